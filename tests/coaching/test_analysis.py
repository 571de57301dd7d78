"""A drawn figure whose angles are known, from the file to the numbers; and what else an analysis leaves."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.coaching.options import AnalysisOptions
from backend.coaching.recompute import recompute
from backend.videos.media import probe
from backend.videos.media_info import MediaError
from tests.coaching import mannequin
from tests.coaching.films import NOT_READY, analysed, film, table, values

pytestmark = pytest.mark.skipif(bool(NOT_READY), reason=NOT_READY)

WORST_DEGREES = 8.0


def errors(columns: dict[str, Any], joint: str, side: str) -> float:
    """Root mean square of what is wrong with an angle, in degrees; every picture must have it."""
    want = np.array([mannequin.angle(t, joint, side) for t in columns["t"]])
    return float(np.sqrt(((columns[f"{joint}_{side}"] - want) ** 2).mean()))


@pytest.mark.parametrize("kind", ["portrait", "landscape", "landscape-90", "portrait-180", "landscape-270"])
async def test_elbows_knees_and_phases_of_the_mannequin_are_found(kind: str, tmp_path: Path) -> None:
    summary = await analysed(film(kind), tmp_path, sample_fps=10, overlay=False)
    stage = mannequin.PORTRAIT if kind.startswith("portrait") else mannequin.LANDSCAPE
    assert (summary["video"]["width"], summary["video"]["height"]) == (stage.width, stage.height)
    assert summary["video"]["rotation"] == int(kind.partition("-")[2] or 0)
    columns = table(tmp_path)
    for joint in ("elbow", "knee"):
        for side in ("left", "right"):
            assert errors(columns, joint, side) < WORST_DEGREES, (joint, side)
    for name, at in (("load", mannequin.LOAD), ("strike", mannequin.TURN), ("end", mannequin.REST)):
        assert summary["moments"][name] == pytest.approx(at, abs=2 / 10), name
    assert summary["strike_side"] == "right"
    assert summary["view"] == "front"
    assert summary["coverage"]["share"] == 1


async def test_numbers_of_a_film_agree_at_five_ten_and_thirty_pictures_a_second(tmp_path: Path) -> None:
    by_rate = {}
    for fps in (5, 10, 30):
        (tmp_path / str(fps)).mkdir()
        summary = await analysed(film("landscape"), tmp_path / str(fps), sample_fps=fps, overlay=False, view="other")
        assert summary["frames"]["effective_fps"] == pytest.approx(fps, rel=0.01)
        by_rate[fps] = values(summary)
    # A tenth, or what the model itself is unsure of.
    floors = {"deg": 5.0, "trunk": 0.02, "trunk/s": 0.2, "s": 0.2, "%": 12.0, "base": 0.1, "": 0.2}
    compared = 0
    for name, best in by_rate[30].items():
        for fps in (5, 10):
            other = by_rate[fps][name]
            if best["value"] is not None and other["value"] is not None:
                compared += 1
                allowed = max(0.1 * abs(best["value"]), floors[best["unit"]])
                assert abs(other["value"] - best["value"]) <= allowed, (name, fps, best["value"], other["value"])
    assert compared > 25


async def test_an_analysis_leaves_its_files_and_names_them(tmp_path: Path) -> None:
    summary = await analysed(film("portrait"), tmp_path, sample_fps=10, include_frames=True)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    lines = [json.loads(line) for line in gzip.decompress((tmp_path / "poses.jsonl.gz").read_bytes()).splitlines()]
    assert lines[0]["kind"] == "poses"
    assert len(lines) == 1 + summary["frames"]["count"] == 41
    assert len(lines[5]["athlete"]["points"]) == len(lines[0]["keypoints"]) == 33
    assert lines[5]["people"][0]["id"] == lines[0]["athlete"]
    assert len(summary["files"]["frames"]) == 40
    info = await probe(f"file:{tmp_path / 'overlay.mp4'}")
    assert (info.width, info.height, info.video_codec, info.playable) == (360, 640, "h264", True)
    assert info.duration == pytest.approx(4.0, abs=0.15)
    assert {one["event"]: one["file"] for one in summary["key_frames"]}["impact"] == "key/impact.jpg"
    pictures = [*summary["files"]["frames"], *(one["file"] for one in summary["key_frames"])]
    for name in pictures:
        assert (tmp_path / name).read_bytes()[:2] == b"\xff\xd8"
    named = {"summary.json", "poses.jsonl.gz", "angles.csv", "overlay.mp4", *pictures}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == named
    made = summary["made_by"]
    assert made["mediapipe"]
    assert len(made["model"]["sha256"]) == 64
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert written < AnalysisOptions(include_frames=True).most_bytes(4.0)
    again, angles = recompute((tmp_path / "poses.jsonl.gz").read_bytes(), summary, {})
    assert again == summary
    assert angles == (tmp_path / "angles.csv").read_bytes()


async def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        await analysed(film("portrait"), tmp_path / name, sample_fps=5)
    for name in ("summary.json", "poses.jsonl.gz", "angles.csv", "key/impact.jpg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


async def test_the_skeleton_is_drawn_where_the_figure_is(tmp_path: Path) -> None:
    await analysed(film("portrait"), tmp_path, sample_fps=10)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = ["ffmpeg", "-v", "error", "-ss", "0.5", "-i", str(tmp_path / "overlay.mp4"), "-frames:v", "1", *raw]
    shown = subprocess.run(command, capture_output=True, check=True).stdout
    picture = np.frombuffer(shown, np.uint8).reshape(640, 360, 3).astype(int)
    changed = np.abs(picture - mannequin.draw(mannequin.PORTRAIT, 0.5).astype(int)).sum(axis=2) > 120
    knee = mannequin.joints_at(0.5)["right_knee"] * mannequin.PORTRAIT.trunk + np.array(mannequin.PORTRAIT.hips)
    x, y = knee.astype(int)
    assert changed[y - 12 : y + 12, x - 12 : x + 12].mean() > 0.05
    assert changed[:100].mean() < 0.01


async def test_a_file_that_is_no_video_is_told_as_everywhere(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film("portrait").read_bytes()[:3000])
    with pytest.raises(MediaError) as told:
        await analysed(broken, tmp_path)
    assert told.value.code == "corrupt_media"
    assert not told.value.retryable


async def test_a_film_without_anybody_is_an_answer(tmp_path: Path) -> None:
    source = tmp_path / "empty.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10:duration=1", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", *picture, str(source)], check=True)
    out = tmp_path / "out"
    out.mkdir()
    summary = await analysed(source, out)
    assert summary["athlete"] is None
    assert summary["coverage"]["with_pose"] == 0
    assert (out / "overlay.mp4").stat().st_size > 0
    assert all(one["value"] is None and one["reason"] for one in summary["metrics"])
