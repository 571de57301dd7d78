"""Boxes of an MP4: a fragmented one is told from the first and measured by the last; one that was cut off is seen."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.videos import boxes
from backend.videos.boxes import Front, fragmented_duration, look_in_front
from backend.videos.media import HEAD_BYTES, probe
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
    assert await look_in_front(reader(data), len(data)) == Front()  # type: ignore[arg-type]


@pytest.mark.parametrize("tail", [b"moof", b"\0\0\0\x20moof\0\0\0\x10mfhd", b"\0\0\0\x18moof\0\0\0\x10mfhd\xff\xff"])
async def test_a_fragment_cut_short_tells_nothing(tail: bytes) -> None:
    assert await fragmented_duration(reader(tail), b"", len(tail)) is None  # type: ignore[arg-type]


def box(kind: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    """`size` is what the box says of itself."""
    return struct.pack(">I4s", 8 + len(content) if size is None else size, kind) + content


INDEX = box(b"ftyp", b"isom") + box(b"moov", b"index of it")
PICTURES = b"pictures" * 100
WIDE_MDAT = box(b"mdat", struct.pack(">Q", 16 + 3000) + PICTURES, size=1)


@pytest.mark.parametrize(
    ("behind", "missing"),
    [
        (box(b"mdat", PICTURES, size=8 + 1000), 200),
        (box(b"free") + box(b"mdat", PICTURES, size=8 + 1000), 200),
        (box(b"free", bytes(5000)) + box(b"mdat", PICTURES, size=8 + 1000), 200),
        (WIDE_MDAT, 2200),
        (box(b"mdat", PICTURES) + box(b"uuid", PICTURES, size=8 + 801), None),  # the film itself is whole
        (box(b"mdat", PICTURES), None),
        (box(b"mdat", PICTURES) + box(b"free"), None),
        (box(b"mdat", PICTURES, size=0), None),
        (box(b"mdat", PICTURES) + box(b"free", bytes(100), size=0), None),
        (box(b"mdat", PICTURES) + b"something was added to the end of it", None),
        (box(b"mdat", PICTURES) + b"\xff" * 40, None),
        (box(b"mdat", PICTURES) + bytes(40), None),
        (box(b"mdat", PICTURES) + b"abc", None),
        (box(b"mdat", b"\xff" * 8 + PICTURES, size=1), None),
        (box(b"moof", PICTURES, size=8 + 1000), None),
        (box(b"free", b"") * 50 + box(b"mdat", PICTURES, size=8 + 1000), None),
        (b"", None),
    ],
)
@pytest.mark.parametrize("most_index_bytes", [1024 * 1024, 4])
async def test_a_box_that_goes_on_behind_the_end_tells_what_is_missing(
    behind: bytes, missing: int | None, most_index_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "_MOST_INDEX_BYTES", most_index_bytes)
    data = INDEX + behind
    assert await look_in_front(reader(data), len(data)) == Front(missing_bytes=missing)  # type: ignore[arg-type]


async def test_of_a_file_whose_size_is_not_told_nothing_is_said_to_be_missing() -> None:
    data = INDEX + box(b"mdat", PICTURES, size=8 + 1000)
    assert await look_in_front(reader(data), None) == Front()  # type: ignore[arg-type]


async def test_a_file_with_its_index_behind_is_not_looked_at_further() -> None:
    asked: list[int] = []

    async def read(offset: int, length: int) -> bytes:
        asked.append(offset)
        return (box(b"ftyp", b"isom") + box(b"mdat", PICTURES, size=10**9))[offset : offset + length]

    assert await look_in_front(read, 1000) == Front()
    assert asked == [0, 12]


@pytest.mark.parametrize("most_index_bytes", [1024 * 1024, 4])
async def test_one_more_request_tells_whether_a_file_is_whole(
    most_index_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "_MOST_INDEX_BYTES", most_index_bytes)
    path = tmp_path / "a.mp4"
    corpus.ffmpeg(*corpus.picture(20), *corpus.tone(20), *corpus.H264, *corpus.AAC, "-movflags", "+faststart", path)
    asked: list[int] = []

    async def read(offset: int, length: int) -> bytes:
        data = path.read_bytes()
        if offset + length > HEAD_BYTES:  # which is there already
            asked.append(offset)
        return data[offset : offset + length]

    assert await look_in_front(read, path.stat().st_size) == Front()
    assert len(asked) == 1
