"""The boxes of an MP4 (ISO 14496-12): is it a fragmented one, and how long is it; or was a plain one cut off?

A fragmented file tells its length nowhere for certain, and ffprobe visits every fragment to find out. The last fragment
alone tells it too, and is at the end. A plain one whose index is in front promises there what was cut off behind; only
the sizes of its boxes tell that the file ends too early.
"""

import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

#: Reads `length` bytes (or fewer, at the end of the file) from an offset.
Read = Callable[[int, int], Awaitable[bytes]]

#: Boxes that may stand before the index of a file, and behind it those that are looked at.
_MOST_BOXES = 8
#: The index of a fragmented file lists no frames, so it is small; a larger one is not looked into.
_MOST_INDEX_BYTES = 1024 * 1024
#: Read behind the index: room for the heads of a `free` and an `mdat` box, which is what most files have there.
_AHEAD_BYTES = 64
#: What may lie behind the index. Other letters are no box, but something that was added to the file.
_BEHIND = (b"mdat", b"free", b"skip", b"wide", b"uuid", b"udta", b"meta")
#: No file is this large, and no number of a program that reads our JSON need be larger.
_ABSURD_BYTES = 2**53
#: How much of the end is searched for the last fragment, step by step.
_TAIL_BYTES = (256 * 1024, 2 * 1024 * 1024, 16 * 1024 * 1024)

_FRAGMENT_DURATION, _BASE_OFFSET, _DESCRIPTION, _SIZE, _FLAGS = 0x8, 0x1, 0x2, 0x10, 0x20
_SAMPLE_OFFSET, _FIRST_FLAGS, _SAMPLE_DURATION, _SAMPLE_SIZE, _SAMPLE_FLAGS, _SAMPLE_SHIFT = (
    0x1,
    0x4,
    0x100,
    0x200,
    0x400,
    0x800,
)


@dataclass(frozen=True)
class Front:
    """`index` is the body of the `moov` box of a fragmented MP4, else None.

    `missing_bytes` is how much a plain one promises beyond its end; None where it is whole, or cannot be told.
    """

    index: bytes | None = None
    missing_bytes: int | None = None


@dataclass(frozen=True)
class _Track:
    """Of each track: ticks a second, and how many ticks a frame takes unless told otherwise."""

    timescale: int
    frame_ticks: int


async def look_in_front(read: Read, size_bytes: int | None) -> Front:
    """What lies before the pictures; nothing of a file that is no MP4, or whose index is behind them."""
    at = 0
    for _ in range(_MOST_BOXES):
        box = _header(await read(at, 16))
        if box is None:
            break
        kind, start, size = box
        if kind == b"mdat" or (at == 0 and kind not in (b"ftyp", b"styp")):
            break
        if kind == b"moov":
            small = size <= _MOST_INDEX_BYTES
            body, ahead = b"", b""
            if small:
                both = await read(at + start, size - start + _AHEAD_BYTES)
                body, ahead = both[: size - start], both[size - start :]
            if any(kind == b"mvex" for kind, _ in _boxes(body)):
                return Front(index=body)
            return Front(missing_bytes=await _missing(read, at + size, ahead, size_bytes) if size_bytes else None)
        at += size
    return Front()


async def _missing(read: Read, start: int, ahead: bytes, size_bytes: int) -> int | None:
    """Bytes of pictures and sound that are promised beyond the end of the file; `ahead` is what lies at `start`."""
    at = start
    for _ in range(_MOST_BOXES):
        if at >= size_bytes:
            return None
        if at + 16 > start + len(ahead):
            start, ahead = at, await read(at, _AHEAD_BYTES)
        # The last box may have size 0, up to the end of the file wherever that is: `_header` takes that for nonsense.
        box = _header(ahead[at - start : at - start + 16])
        if box is None or box[0] not in _BEHIND:
            return None
        at += box[2]
        if at > size_bytes:
            return at - size_bytes if box[0] == b"mdat" and at < _ABSURD_BYTES else None
    return None


async def fragmented_duration(read: Read, index: bytes, size_bytes: int) -> float | None:
    """Seconds up to the end of the last fragment; None where it cannot be told from the file's end."""
    tracks = dict(_tracks(index))
    seen = 0
    for length in _TAIL_BYTES:
        start = max(0, size_bytes - length)
        tail = await read(start, size_bytes - start)
        ends = _ends(tail, tracks)
        if ends is not None:
            return ends
        seen = length
        if seen >= size_bytes:
            break
    return None


def _ends(tail: bytes, tracks: dict[int, _Track]) -> float | None:
    """When the last fragments end: each track may have fragments of its own, so all that are here are asked."""
    found: float | None = None
    at = tail.find(b"moof")
    while at != -1:
        box = _header(tail[at - 4 : at + 12]) if at >= 4 else None
        # The letters may stand in the pictures: a real one begins with its own header box.
        if box is not None and tail[at + 8 : at + 12] == b"mfhd":
            body = tail[at + 4 : at - 4 + box[2]]
            for kind, inner in _boxes(body):
                end = _fragment_end(inner, tracks) if kind == b"traf" else None
                if end is not None:
                    found = max(found or 0.0, end)
        at = tail.find(b"moof", at + 4)
    return found


def _fragment_end(body: bytes, tracks: dict[int, _Track]) -> float | None:
    track: _Track | None = None
    frame_ticks, base, ticks = 0, None, 0
    try:
        for kind, inner in _boxes(body):
            if kind == b"tfhd":
                flags, number = struct.unpack_from(">II", inner)
                track = tracks.get(number)
                if track is None:
                    return None
                at = 8 + 8 * bool(flags & _BASE_OFFSET) + 4 * bool(flags & _DESCRIPTION)
                told = flags & _FRAGMENT_DURATION
                frame_ticks = struct.unpack_from(">I", inner, at)[0] if told else track.frame_ticks
            elif kind == b"tfdt":
                base = struct.unpack_from(">Q" if inner[0] else ">I", inner, 4)[0]
            elif kind == b"trun":
                ticks += _run_ticks(inner, frame_ticks)
    except (struct.error, IndexError):
        return None
    return (base + ticks) / track.timescale if track is not None and base is not None else None


def _run_ticks(body: bytes, frame_ticks: int) -> int:
    flags, count = struct.unpack_from(">II", body)
    flags &= 0xFFFFFF
    if not flags & _SAMPLE_DURATION:
        return frame_ticks * int(count)
    at = 8 + 4 * bool(flags & _SAMPLE_OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
    step = 4 * sum(bool(flags & bit) for bit in (_SAMPLE_DURATION, _SAMPLE_SIZE, _SAMPLE_FLAGS, _SAMPLE_SHIFT))
    count = min(count, (len(body) - at) // step)
    return sum(struct.unpack_from(">I", body, at + step * number)[0] for number in range(count))


def _tracks(index: bytes) -> Iterator[tuple[int, _Track]]:
    """By number, the tracks that the index announces."""
    ticks: dict[int, int] = {}
    scales: dict[int, int] = {}
    try:
        for kind, body in _boxes(index):
            if kind == b"mvex":
                for inner, extends in _boxes(body):
                    if inner == b"trex":
                        number, _, duration = struct.unpack_from(">III", extends, 4)
                        ticks[number] = duration
            elif kind == b"trak":
                parts = dict(_boxes(body))
                header = parts[b"tkhd"]
                number = struct.unpack_from(">I", header, 20 if header[0] else 12)[0]
                media = dict(_boxes(parts[b"mdia"]))[b"mdhd"]
                scales[number] = struct.unpack_from(">I", media, 20 if media[0] else 12)[0]
    except (struct.error, IndexError, KeyError):
        return
    for number, scale in scales.items():
        if scale:
            yield number, _Track(scale, ticks.get(number, 0))


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes that lie side by side in `body`, as long as they make sense."""
    at = 0
    while box := _header(body[at : at + 16]):
        kind, start, size = box
        if at + size > len(body):
            return
        yield kind, body[at + start : at + size]
        at += size


def _header(data: bytes) -> tuple[bytes, int, int] | None:
    """Kind, where the content begins and the size of the whole box, both from its first byte; None at nonsense."""
    if len(data) < 8:
        return None
    size, kind = struct.unpack_from(">I4s", data)
    start = 8
    if size == 1 and len(data) >= 16:
        size, start = struct.unpack_from(">Q", data, 8)[0], 16
    return (kind, start, size) if size >= start else None
