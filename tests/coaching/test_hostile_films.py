"""Films that are broken, or lie about themselves: an answer in words, soon, or what there is of them."""

import gzip
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from backend.coaching.options import MOST_SLOTS, AnalysisOptions
from backend.videos.media_info import MediaError
from tests.coaching.films import NOT_READY, analysed

ready = pytest.mark.skipif(bool(NOT_READY), reason=NOT_READY)


def film(path: Path, *words: str, rate: int = 10, seconds: float = 2) -> Path:
    source = ["-f", "lavfi", "-i", f"testsrc2=s=160x120:r={rate}:d={seconds}"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *words, str(path)], check=True)
    return path


def times(folder: Path) -> list[float]:
    lines = gzip.decompress((folder / "poses.jsonl.gz").read_bytes()).splitlines()
    return [json.loads(line)["t"] for line in lines[1:]]


@ready
async def test_times_that_go_back_are_left_out(tmp_path: Path) -> None:
    plain = film(tmp_path / "plain.mkv", "-c:v", "mjpeg")
    broken = tmp_path / "broken.mkv"
    jump = "setts=pts='if(eq(N,3),PTS+1000,PTS)':dts=DTS"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(plain), "-c", "copy", "-bsf:v", jump, str(broken)], check=True)
    (tmp_path / "out").mkdir()
    summary = await analysed(broken, tmp_path / "out", sample_fps=10)
    seen = times(tmp_path / "out")
    assert len(seen) == summary["frames"]["count"] > 5
    assert (np.diff(seen) > 0).all()
    assert summary["frames"]["effective_fps"] == pytest.approx(10, rel=0.3)


@ready
async def test_a_film_with_a_hole_of_hours_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    hole = f"setpts='if(gte(N,10),PTS+{MOST_SLOTS / 30 + 1}/TB,PTS)'"
    source = film(tmp_path / "hole.mkv", "-vf", hole, "-fps_mode", "passthrough", "-c:v", "mjpeg")
    (tmp_path / "out").mkdir()
    with pytest.raises(MediaError) as told:
        await analysed(source, tmp_path / "out", sample_fps=30)
    assert (told.value.code, told.value.retryable) == ("duration_too_long", False)
    assert "24 minutes" in told.value.message
    assert list((tmp_path / "out").iterdir()) == []


@ready
async def test_one_picture_and_two_hundred_and_forty_a_second_are_films(tmp_path: Path) -> None:
    one = film(tmp_path / "one.mp4", "-frames:v", "1", "-pix_fmt", "yuv420p")
    fast = film(tmp_path / "fast.mp4", "-pix_fmt", "yuv420p", rate=240, seconds=1)
    for source, rate, count in ((one, 10, 1), (fast, 10, 10), (fast, 30, 30)):
        out = tmp_path / f"{source.stem}-{rate}"
        out.mkdir()
        summary = await analysed(source, out, sample_fps=rate)
        assert summary["frames"]["count"] == pytest.approx(count, abs=1)
        assert all(metric["value"] is None and metric["reason"] for metric in summary["metrics"])


@pytest.mark.parametrize(
    ("rate", "seconds", "fits"),
    [(10, 4320, True), (10, 4322, False), (30, 1440, True), (1, 43_200, True), (10, 36_000, False), (10, None, True)],
)
def test_how_long_a_film_may_be_hangs_on_the_rate(rate: float, seconds: float | None, fits: bool) -> None:
    assert AnalysisOptions(sample_fps=rate).takes(seconds) is fits
    assert not AnalysisOptions(sample_fps=rate, include_frames=True).takes(9_100 / rate)
