"""Adaptive streaming: sizes, segments, and playlists by which they are found."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from backend.videos.ladder import describe, make_ladder, master_playlist, plan_ladder, rung_playlist
from backend.videos.media import probe
from tests.videos import media_corpus as corpus

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")


async def said(_: float) -> None:
    """Nobody listens."""


async def test_rungs_are_no_larger_than_the_video(tmp_path: Path) -> None:
    corpus.plain(tmp_path / "a.mp4")
    info = await probe(f"file:{tmp_path / 'a.mp4'}")
    assert plan_ladder(info, [1080, 180, 144, 180]) == [("144p", 256, 144), ("180p", 320, 180)]
    assert plan_ladder(info, [360]) == []


async def test_each_segment_is_a_range_that_plays_after_the_header(tmp_path: Path) -> None:
    corpus.ffmpeg(*corpus.picture(10), *corpus.tone(10), *corpus.H264, *corpus.AAC, tmp_path / "a.mp4")
    info = await probe(f"file:{tmp_path / 'a.mp4'}")
    out = tmp_path / "out"
    out.mkdir()
    sizes = plan_ladder(info, [144, 180])
    source = f"file:{tmp_path / 'a.mp4'}"
    rungs = await make_ladder(source, out, info, sizes, tell=said, timeout_seconds=60, stall_seconds=30)
    assert [(rung.width, rung.height) for rung in rungs] == [(256, 144), (320, 180)]
    kept: list[dict[str, Any]] = [describe(rung, key=f"{rung.name}.mp4") for rung in rungs]
    master = master_playlist(kept)
    assert re.findall(r"RESOLUTION=(\S+),CODECS=\"avc1\.[0-9a-f]{6},mp4a\.40\.2\"\n(\S+)\n", master) == [
        ("256x144", "144p.m3u8"),
        ("320x180", "180p.m3u8"),
    ]
    playlist = rung_playlist(kept[0], "https://files.example.org/144p.mp4?signed")
    assert playlist.startswith("#EXTM3U\n")
    assert playlist.endswith("#EXT-X-ENDLIST\n")
    seconds = [float(each) for each in re.findall(r"#EXTINF:([0-9.]+),", playlist)]
    assert sum(seconds) == pytest.approx(10, abs=0.2)
    assert len(seconds) == 3
    data = (out / "144p.mp4").read_bytes()
    header = re.search(r'BYTERANGE="(\d+)@0"', playlist)
    ranges = [(int(size), int(at)) for size, at in re.findall(r"#EXT-X-BYTERANGE:(\d+)@(\d+)", playlist)]
    assert header is not None
    assert int(header[1]) + sum(size for size, _ in ranges) == len(data)
    size, at = ranges[1]
    (tmp_path / "middle.mp4").write_bytes(data[: int(header[1])] + data[at : at + size])
    middle = await probe(f"file:{tmp_path / 'middle.mp4'}")
    assert (middle.width, middle.height) == (256, 144)
