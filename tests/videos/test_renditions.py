"""The plan of a rendition, and what is made of awkward files."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.videos import renditions
from backend.videos.media import MediaError, MediaInfo, probe
from backend.videos.renditions import Plan, fit, most_bytes, plan_rendition, render
from backend.videos.sandbox import on_command
from tests.videos import media_corpus as corpus

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")


async def said(_: float) -> None:
    """Nobody listens."""


async def made(source: Path, folder: Path, **options: Any) -> tuple[MediaInfo, Plan, Path, MediaInfo]:
    info = await probe(f"file:{source}")
    plan = plan_rendition(info, max_height=options.pop("max_height", 1080), copy=options.pop("copy", True))
    (folder / "out").mkdir()
    dest = folder / "out" / f"rendition.{plan.container}"
    options = {"tell": said, "timeout_seconds": 60, "stall_seconds": 30, **options}
    return info, plan, dest, await render(f"file:{source}", dest, info, plan, **options)


async def streams(path: Path) -> list[dict[str, Any]]:
    words = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", str(path)]
    done = await asyncio.to_thread(subprocess.run, words, check=True, stdout=subprocess.PIPE)
    listed: list[dict[str, Any]] = json.loads(done.stdout)["streams"]
    return listed


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((1920, 1080), (1920, 1080)),
        ((3840, 2160), (1920, 1080)),
        ((2160, 3840), (1080, 1920)),
        ((321, 181), (320, 180)),
        ((427, 180), (428, 180)),
        ((4000, 16), (4000, 16)),
    ],
)
def test_new_pictures_have_even_sides_and_at_most_so_many_lines(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit(*size, 1080) == fitted


CHEAPEST: list[tuple[str, Callable[[Path], None], tuple[str, bool, bool]]] = [
    ("a.mkv", corpus.encoded(*corpus.H264, *corpus.AAC), ("mp4", True, True)),
    ("a.mov", corpus.encoded(*corpus.H264, "-c:a", "pcm_s16le"), ("mp4", True, False)),
    ("a.webm", corpus.untold_duration, ("webm", True, True)),
    ("a.avi", corpus.encoded("-c:v", "mpeg4", "-c:a", "libmp3lame"), ("mp4", False, False)),
    ("b.mp4", corpus.hdr10, ("mp4", False, True)),
]


@pytest.mark.parametrize(("name", "maker", "plan"), CHEAPEST, ids=[name for name, _, _ in CHEAPEST])
async def test_pictures_and_sound_are_taken_as_they_are_where_they_play(
    name: str, maker: Callable[[Path], None], plan: tuple[str, bool, bool], tmp_path: Path
) -> None:
    maker(tmp_path / name)
    info, chosen, dest, out = await made(tmp_path / name, tmp_path)
    assert (chosen.container, chosen.copy_video, chosen.copy_audio or info.audio is None) == plan
    assert out.playable
    assert out.duration == pytest.approx(info.duration, abs=0.15)
    assert dest.stat().st_size < most_bytes(info, chosen)


async def test_a_rendition_begins_with_its_index(tmp_path: Path) -> None:
    corpus.encoded(*corpus.H264, *corpus.AAC)(tmp_path / "a.mkv")
    _, _, dest, _ = await made(tmp_path / "a.mkv", tmp_path)
    data = dest.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("told", [1, 25], ids=["more frames than it tells of", "as many"])
async def test_room_is_left_in_front_for_the_index_of_a_large_one(
    told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "a.mkv"
    picture = "testsrc2=d=20:s=640x360:r=25,noise=alls=60:allf=t,format=yuv420p"
    corpus.ffmpeg("-f", "lavfi", "-i", picture, *corpus.H264, "-qp", "10", film)
    monkeypatch.setattr(renditions, "SOUND_PACKETS", 0)
    info = replace(await probe(f"file:{film}"), fps=told)
    commands: list[str] = []
    on_command.set(lambda command: commands.append(" ".join(command)))
    dest = tmp_path / "out" / "b.mp4"
    dest.parent.mkdir()
    plan = plan_rendition(info, max_height=1080)
    await render(f"file:{film}", dest, info, plan, tell=said, timeout_seconds=60, stall_seconds=30)
    data = dest.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [("moov_size" in each, "faststart" in each) for each in commands if each.startswith("ffmpeg")] == (
        [(True, False)] if told == 25 else [(True, False), (False, True)]
    )


async def test_only_the_main_picture_and_sound_are_taken(tmp_path: Path) -> None:
    corpus.many_tracks(tmp_path / "a.mp4")
    info = await probe(f"file:{tmp_path / 'a.mp4'}")
    plan = plan_rendition(info, max_height=1080)
    await render(
        f"file:{tmp_path / 'a.mp4'}", tmp_path / "b.mp4", info, plan, tell=said, timeout_seconds=60, stall_seconds=30
    )
    assert [stream["codec_type"] for stream in await streams(tmp_path / "b.mp4")] == ["video", "audio"]


async def test_new_pictures_are_plain_square_upright_and_stereo(tmp_path: Path) -> None:
    words = [*corpus.picture(1), *corpus.tone(1), "-vf", "setsar=4/3", "-c:v", "mpeg4", "-c:a", "ac3", "-ac", "6"]
    corpus.ffmpeg(*words, "-metadata", "title=secret", tmp_path / "a.mkv")
    _, _, dest, out = await made(tmp_path / "a.mkv", tmp_path)
    picture, sound = await streams(dest)
    assert (picture["codec_name"], picture["pix_fmt"], picture["sample_aspect_ratio"]) == ("h264", "yuv420p", "1:1")
    assert (picture["width"], picture["height"]) == (428, 180)
    assert (sound["codec_name"], sound["channels"]) == ("aac", 2)
    assert (out.rotation, out.hdr) == (0, None)
    assert b"secret" not in dest.read_bytes()


async def test_hdr_becomes_ordinary_colours(tmp_path: Path) -> None:
    corpus.hdr10(tmp_path / "a.mp4")
    info, _, dest, out = await made(tmp_path / "a.mp4", tmp_path)
    assert (info.hdr, out.hdr, out.bit_depth) == ("hdr10", None, 8)
    assert (await streams(dest))[0]["color_transfer"] == "bt709"


async def test_lines_are_bounded_by_the_setting(tmp_path: Path) -> None:
    corpus.encoded("-c:v", "mpeg4", "-an")(tmp_path / "a.avi")
    _, _, _, out = await made(tmp_path / "a.avi", tmp_path, max_height=144)
    assert (out.width, out.height) == (256, 144)


async def test_progress_is_told_as_it_comes_and_ends_at_the_end(tmp_path: Path) -> None:
    heard: list[float] = []

    async def hear(share: float) -> None:
        heard.append(share)

    corpus.encoded("-c:v", "mpeg4", "-an")(tmp_path / "a.avi")
    await made(tmp_path / "a.avi", tmp_path, tell=hear)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1, abs=0.1)


async def test_what_cannot_be_made_leaves_no_file(tmp_path: Path) -> None:
    corpus.encoded(*corpus.H264, *corpus.AAC)(tmp_path / "a.mkv")
    info = await probe(f"file:{tmp_path / 'a.mkv'}")
    plan = plan_rendition(info, max_height=1080, copy=False)
    (tmp_path / "b.mkv").write_bytes(b"no film")
    dest = tmp_path / "out.mp4"
    with pytest.raises(MediaError) as caught:
        await render(f"file:{tmp_path / 'b.mkv'}", dest, info, plan, tell=said, timeout_seconds=60, stall_seconds=30)
    assert caught.value.code in ("corrupt_media", "unsupported_container")
    assert not dest.exists()


async def test_more_than_was_reserved_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.videos.renditions.SLACK_BYTES", 1000)
    corpus.encoded(*corpus.H264, *corpus.AAC)(tmp_path / "a.mkv")
    info = replace(await probe(f"file:{tmp_path / 'a.mkv'}"), size_bytes=1000)
    plan = plan_rendition(info, max_height=1080)
    with pytest.raises(MediaError) as caught:
        await render(
            f"file:{tmp_path / 'a.mkv'}",
            tmp_path / "b.mp4",
            info,
            plan,
            tell=said,
            timeout_seconds=60,
            stall_seconds=30,
        )
    assert caught.value.code in ("resource_limit", "corrupt_media")
    assert not (tmp_path / "b.mp4").exists()


async def test_an_encoder_whose_device_is_not_there_is_replaced_by_software(tmp_path: Path) -> None:
    corpus.encoded("-c:v", "mpeg4", "-an")(tmp_path / "a.avi")
    _, _, _, out = await made(tmp_path / "a.avi", tmp_path, encoder="h264_vaapi")
    assert out.playable


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("copy", [True, False], ids=["as they are", "anew"])
async def test_of_a_file_that_was_cut_off_all_is_taken_that_is_whole(share: float, copy: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    corpus.ffmpeg(*corpus.picture(6), *corpus.tone(6), *corpus.H264, *corpus.AAC, "-movflags", "+faststart", path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    info, plan, dest, out = await made(path, tmp_path, copy=copy)
    assert info.missing_bytes
    assert plan.copy_video == copy
    assert 0 < (out.duration or 0) < (info.duration or 0)
    words = ["ffmpeg", "-v", "error", "-i", str(dest), "-f", "null", "-"]
    done = await asyncio.to_thread(subprocess.run, words, check=True, stderr=subprocess.PIPE)
    assert done.stderr == b"", "to its end it decodes"
