"""Fragmented MP4: told from the first boxes, measured by the last, and never read from end to end."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.videos.boxes import fragmented_duration, fragmented_index
from backend.videos.media import probe
from tests.videos import media_corpus as corpus
from tests.videos.test_media_http import Storage, serving

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"


def reader(data: bytes) -> Callable[..., object]:
    async def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    return read


@pytest.mark.parametrize("flags", [FRAGMENTS, "frag_keyframe+empty_moov+separate_moof", "frag_keyframe", "cmaf"])
async def test_the_last_fragment_tells_the_duration(flags: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    corpus.ffmpeg(*corpus.picture(5), *corpus.tone(5), *corpus.H264, "-g", "25", *corpus.AAC, "-movflags", flags, path)
    info = await probe(f"file:{path}")
    assert info.fragmented
    assert info.duration == pytest.approx(5, abs=0.1)
    assert not info.playable


async def test_a_plain_file_is_not_fragmented(tmp_path: Path) -> None:
    for flags in ("faststart", "disable_chpl"):
        path = tmp_path / f"{flags}.mp4"
        corpus.ffmpeg(*corpus.picture(1), *corpus.H264, "-movflags", flags, path)
        assert not (await probe(f"file:{path}")).fragmented


async def test_little_of_a_long_fragmented_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    corpus.ffmpeg(*corpus.picture(60, "640x360"), *corpus.H264, "-b:v", "8M", "-g", "25", "-movflags", FRAGMENTS, path)
    storage = Storage(path)
    async with serving(storage) as server:
        info = await probe(server.address)
    assert info.duration == pytest.approx(60, abs=0.1)
    assert len(storage.requests) <= 8, "ffprobe alone visits all sixty fragments"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\x08ftyp",
        b"\0\0\0\x08ftyp\0\0\0\x01moov",
        b"\0\0\0\x08ftyp\0\0\0\x00moov",
        b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 50,
        b"\0\0\0\x08ftyp\0\0\0\x01moov" + b"\xff" * 8,
        b"\0\0\0\x08ftyp\0\0\0\x0cmoovmvex",
        b"moof" * 100,
    ],
)
async def test_nonsense_is_no_fragmented_file(data: bytes) -> None:
    assert await fragmented_index(reader(data)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("tail", [b"moof", b"\0\0\0\x20moof\0\0\0\x10mfhd", b"\0\0\0\x18moof\0\0\0\x10mfhd\xff\xff"])
async def test_a_fragment_cut_short_tells_nothing(tail: bytes) -> None:
    assert await fragmented_duration(reader(tail), b"", len(tail)) is None  # type: ignore[arg-type]
