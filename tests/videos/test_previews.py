"""Small pictures of a whole video: how they lie, what they show, and the track that tells of them."""

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from backend.videos import preview as previews
from backend.videos.media import MediaInfo, probe
from backend.videos.preview import Sheet, plan_sheet, preview, track
from bench.range_server import RangeServer
from tests.videos import media_corpus as corpus

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")


async def film(path: Path, seconds: int = 6, size: str = "320x180") -> MediaInfo:
    """It is red in its first half, and blue in its second."""
    half = f"s={size}:d={seconds / 2}:r=10,format=yuv420p"
    corpus.ffmpeg(
        "-filter_complex", f"color=red:{half}[a];color=blue:{half}[b];[a][b]concat", *corpus.H264, "-g", "5", path
    )
    return await probe(f"file:{path}")


async def tiles(sheet: Sheet, picture: Path) -> list[str]:
    """Whether each tile is red or blue."""
    size = f"scale={sheet.columns}:{sheet.rows}:flags=area"
    words = ["ffmpeg", "-v", "error", "-i", str(picture), "-vf", f"format=rgb24,{size}", "-f", "rawvideo", "-"]
    done = await asyncio.to_thread(subprocess.run, words, check=True, stdout=subprocess.PIPE)
    data = done.stdout
    return ["red" if data[at] > data[at + 2] else "blue" for at in range(0, len(data), 3)][: sheet.count]


@pytest.mark.parametrize(
    ("seconds", "count", "interval"), [(5, 10, 0.5), (60, 30, 2), (3600, 100, 36), (0.3, 7, 0.043)]
)
async def test_long_videos_have_more_tiles_up_to_a_hundred(
    seconds: float, count: int, interval: float, tmp_path: Path
) -> None:
    corpus.plain(tmp_path / "a.mp4")
    sheet = plan_sheet(replace(await probe(f"file:{tmp_path / 'a.mp4'}"), duration=seconds))
    assert sheet is not None
    assert (sheet.count, sheet.interval) == (count, interval)
    assert sheet.columns * sheet.rows >= count > sheet.columns * (sheet.rows - 1)
    assert (sheet.tile_width, sheet.tile_height) == (160, 90)


@pytest.mark.parametrize("large", [False, True], ids=["read through", "sought"])
async def test_tiles_show_the_video_from_its_start_to_its_end(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(previews, "READ_THROUGH_BYTES", 0)
        monkeypatch.setattr(previews, "SOUGHT_TILES", 6)
    info = await film(tmp_path / "a.mp4")
    sheet = plan_sheet(info)
    assert sheet is not None
    assert await preview(f"file:{tmp_path / 'a.mp4'}", tmp_path / "p.jpg", info, sheet)
    seen = await tiles(sheet, tmp_path / "p.jpg")
    assert (seen[0], seen[-1]) == ("red", "blue")
    assert abs(seen.count("red") - sheet.count / 2) <= 1
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".yuv"] == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
async def test_a_sought_tile_is_the_key_frame_before_it_and_not_the_one_after(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "READ_THROUGH_BYTES", 0)
    monkeypatch.setattr(previews, "SOUGHT_TILES", 4)
    path = tmp_path / name
    # Red but for a second of blue, with a key frame each ten seconds.
    blue = "drawbox=c=blue:t=fill:enable='between(t,20,21)'"
    picture = f"color=red:d=40:s=640x360:r=10,noise=alls=60:allf=t,{blue},format=yuv420p"
    corpus.ffmpeg("-f", "lavfi", "-i", picture, *corpus.H264, "-g", "100", "-sc_threshold", "0", "-b:v", "8M", path)
    info = await probe(f"file:{path}")
    sheet = plan_sheet(info)
    assert sheet is not None
    assert (sheet.count, sheet.interval) == (4, 10)
    with RangeServer(tmp_path) as server:
        await preview(server.address(path), tmp_path / "p.jpg", info, sheet)
    assert await tiles(sheet, tmp_path / "p.jpg") == ["red", "red", "blue", "red"]


async def test_a_large_file_in_fragments_has_none(tmp_path: Path) -> None:
    info = await film(tmp_path / "a.mp4")
    assert plan_sheet(replace(info, fragmented=True)) is not None
    large = replace(info, size_bytes=previews.READ_THROUGH_BYTES + 1, duration=600.0)
    assert plan_sheet(replace(large, fragmented=True)) is None
    tiles = [sheet.count for sheet in map(plan_sheet, (large, replace(large, container="mpegts"))) if sheet]
    assert tiles == [previews.SOUGHT_TILES, previews.TRIED_TILES]


@pytest.mark.parametrize(
    ("container", "hours", "count"), [("mp4", 0.5, 36), ("mp4", 2, 24), ("mov", 2, 24), ("mp4", 20, 10), ("mkv", 2, 36)]
)
async def test_tiles_of_a_long_film_read_no_more_of_indexes_than_a_share_of_it(
    container: str, hours: float, count: int, tmp_path: Path
) -> None:
    info = replace(await film(tmp_path / "a.mp4"), container=container, size_bytes=1_050_000_000, duration=3600 * hours)
    sheet = plan_sheet(info)
    assert sheet is not None
    assert sheet.count == count


async def test_tiles_of_a_turned_video_are_upright(tmp_path: Path) -> None:
    corpus.two_colours_turned(tmp_path / "a.mp4", 90)
    info = await probe(f"file:{tmp_path / 'a.mp4'}")
    sheet = plan_sheet(info)
    assert sheet is not None
    assert (sheet.tile_width, sheet.tile_height) == (90, 160)
    await preview(f"file:{tmp_path / 'a.mp4'}", tmp_path / "p.jpg", info, sheet)
    above_and_below = replace(sheet, rows=2 * sheet.rows, count=20)
    assert await tiles(above_and_below, tmp_path / "p.jpg") == ["red"] * 10 + ["blue"] * 10


async def test_pieces_that_do_not_decode_are_told(tmp_path: Path) -> None:
    info = await film(tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    body = data.index(b"mdat") + 4
    half = body + (data.index(b"moov") - body) // 2
    data[half : half + 400] = b"\xff" * 400
    (tmp_path / "b.mp4").write_bytes(data)
    sheet = plan_sheet(info)
    assert sheet is not None
    assert not await preview(f"file:{tmp_path / 'b.mp4'}", tmp_path / "p.jpg", info, sheet)


def test_the_track_names_a_tile_for_each_moment() -> None:
    sheet = Sheet(columns=2, rows=2, count=3, tile_width=160, tile_height=90, interval=1800.5)
    assert track(sheet, "https://files.example.org/p.jpg?x=1") == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:30:00.500\nhttps://files.example.org/p.jpg?x=1#xywh=0,0,160,90\n"
        "\n00:30:00.500 --> 01:00:01.000\nhttps://files.example.org/p.jpg?x=1#xywh=160,0,160,90\n"
        "\n01:00:01.000 --> 01:30:01.500\nhttps://files.example.org/p.jpg?x=1#xywh=0,90,160,90\n"
    )
