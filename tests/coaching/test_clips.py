"""Real clips: people are found where they are, and nobody where there are cats, cars and tables."""

from pathlib import Path

import pytest

from tests.coaching.films import NOT_READY, analysed
from tests.videos.media_corpus import corpus_folder

pytestmark = [
    pytest.mark.skipif(bool(NOT_READY), reason=NOT_READY),
    pytest.mark.skipif(corpus_folder() is None, reason="the clips are not here"),
]


def clip(name: str) -> Path:
    folder = corpus_folder()
    assert folder is not None
    return folder / name


@pytest.mark.parametrize(
    ("name", "whole", "people"),
    [
        # From when to when a whole person is in the picture.
        ("walk_side_view.mp4", (1.6, 11.0), 1),
        ("football_juggle_faststart.mp4", (0.0, 10.2), 1),
        ("multi_person_treadmill.mp4", (0.0, 1.6), 2),
        ("demo_jump_walk_vp9.mp4", (0.4, 7.4), 2),
        # No further down than the hips, which is somebody all the same.
        ("asl_walk_upper_body.mkv", (0.0, 2.9), 1),
    ],
)
async def test_people_are_seen_in_four_pictures_of_five(
    name: str, whole: tuple[float, float], people: int, tmp_path: Path
) -> None:
    summary = await analysed(clip(name), tmp_path, overlay=False)
    missed = sum(max(0.0, min(gap["to"], whole[1]) - max(gap["from"], whole[0])) for gap in summary["coverage"]["gaps"])
    assert missed <= 0.2 * (whole[1] - whole[0])
    assert len(summary["athlete"]["people"]) >= people


@pytest.mark.parametrize("name", ["cat_vp9.webm", "h264_aac_faststart_car.mp4"])
async def test_cats_and_cars_are_nobody(name: str, tmp_path: Path) -> None:
    summary = await analysed(clip(name), tmp_path, overlay=False)
    assert summary["coverage"]["with_pose"] == 0
    assert summary["athlete"] is None


async def test_stretches_with_nobody_are_gaps(tmp_path: Path) -> None:
    summary = await analysed(clip("walk_in_out_nobody_between.mp4"), tmp_path, sample_fps=3, overlay=False)
    gaps = summary["coverage"]["gaps"]

    def empty(begin: float, end: float) -> bool:
        return any(gap["from"] <= begin and end <= gap["to"] for gap in gaps)

    # The table alone.
    assert all(empty(*stretch) for stretch in ((20.4, 21.6), (45.4, 49.8), (88.0, 91.6), (136.6, 139.0)))
    standing = ((8.0, 19.0), (24.0, 44.0), (54.0, 68.0), (76.0, 86.0), (96.0, 118.0), (124.0, 135.0))
    missed = sum(max(0.0, min(g["to"], b) - max(g["from"], a)) for g in gaps for a, b in standing)
    assert missed <= 0.2 * sum(b - a for a, b in standing)


async def test_the_hidden_arm_of_one_who_walks_by_is_not_guessed(tmp_path: Path) -> None:
    summary = await analysed(clip("walk_side_view.mp4"), tmp_path, overlay=False)
    metrics = {one["name"]: one for one in summary["metrics"]}
    assert summary["view"] == "side"
    assert metrics["elbow_right_range"]["value"] is None
    assert metrics["elbow_right_range"]["reason"]
    assert metrics["hip_left_range"]["value"] == pytest.approx(38, abs=12)
    assert metrics["separation_peak"]["value"] is None
