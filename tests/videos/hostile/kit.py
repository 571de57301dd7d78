"""What hostile files are made with: sound clips to spoil, and traps that notice what a file made a tool do."""

import asyncio
import ctypes
import os
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.videos import media_corpus as corpus

IN_OPEN = 0x20
IN_NONBLOCK = 0x800

#: How a file that is taken is written among the codes.
TAKEN = "taken"
#: The answers about a file that is broken somewhere unknown: any but "ours to blame" and "try again".
BROKEN = frozenset(
    {TAKEN, "corrupt_media", "no_video_stream", "dimensions_too_large", "duration_too_long", "resource_limit"}
    | {"too_many_streams", "unsupported_container"}
)
#: What every sound clip here is: 2 s of 320 × 180.
PLAIN: Mapping[str, object] = {"width": 320, "height": 180, "duration": 2.0}


class Kit:
    """A folder with sound clips, each made once, and the addresses of the traps."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.canary = folder / "canary.mp4"
        self.token = "canary-7d1f0c"
        # A picture of a size of its own, with a text in it: it would show in facts, in pixels and in bytes.
        corpus.ffmpeg(*["-f", "lavfi", "-i", "color=magenta:size=176x144:duration=2"], *corpus.H264, self.canary)
        with self.canary.open("ab") as file:
            file.write(box(b"free", self.token.encode() * 20))

    @property
    def trap(self) -> str:
        """An address on which somebody counts."""
        return f"http://127.0.0.1:{self.port}/trap"

    @cache  # noqa: B019 — a kit lives as long as the tests
    def clip(self, name: str, *words: str) -> bytes:
        """The plain clip in the container of this name; `words` are ffmpeg's for the output."""
        path = self.folder / f"{zlib.crc32(repr(words).encode())}-{name}"
        sound = ["-c:a", "libopus"] if name.endswith("webm") else ["-c:a", "aac"]
        codec = {"webm": ["-c:v", "libvpx", "-deadline", "realtime"], "avi": ["-c:v", "mpeg4"]}
        video = codec.get(name.rpartition(".")[2], [*corpus.H264, "-g", "25"])
        corpus.ffmpeg(*corpus.picture(), *corpus.tone(), *video, *sound, *words, path)
        return path.read_bytes()

    @cache  # noqa: B019
    def made(self, name: str, *words: str) -> bytes:
        """What ffmpeg makes of these words alone."""
        path = self.folder / f"{zlib.crc32(repr(words).encode())}-{name}"
        corpus.ffmpeg(*words, path)
        return path.read_bytes()

    def mp4(self) -> bytes:
        """The plain clip with its index at the front."""
        return self.clip("plain.mp4", "-movflags", "+faststart")


@dataclass(frozen=True)
class Hostile:
    """A file that nobody means well with: its name, how it is made, and which answers are right."""

    kind: str
    name: str
    make: Callable[[Kit], bytes]
    codes: frozenset[str]
    facts: Mapping[str, object] = field(default_factory=dict)


def hostile(
    kind: str, name: str, make: Callable[[Kit], bytes], *codes: str, facts: Mapping[str, object] = PLAIN
) -> Hostile:
    """`facts` are what must be told of it when it is taken."""
    return Hostile(kind, name, make, frozenset(codes), facts if TAKEN in codes else {})


# --- bytes -----------------------------------------------------------------------------------------------------------


def box(kind: bytes, *parts: bytes) -> bytes:
    """An MP4 box."""
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def full(kind: bytes, *parts: bytes) -> bytes:
    """An MP4 box with version 0 and no flags."""
    return box(kind, bytes(4), *parts)


def u32(*numbers: int) -> bytes:
    return b"".join(struct.pack(">I", number & 0xFFFFFFFF) for number in numbers)


def within(data: bytes, kind: bytes, offset: int, new: bytes, *, nth: int = 0) -> bytes:
    """The same with `new` written over what lies `offset` bytes after the nth name of a box (or any mark)."""
    at = -1
    for _ in range(nth + 1):
        at = data.index(kind, at + 1)
    at += len(kind) + offset
    return data[:at] + new + data[at + len(new) :]


def grown(data: bytes, path: list[bytes], extra: bytes, *, replace: bytes | None = None) -> bytes:
    """The MP4 with `extra` added to the end of the first box at `path`, every size on the way corrected.

    With `replace` the child of that name gives way. Chunk offsets are not followed: the index must lie at the end.
    """
    at, end = 0, len(data)
    while at < end:
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == path[0]:
            body = data[at + 8 : at + size]
            if len(path) > 1:
                body = grown(body, path[1:], extra, replace=replace)
            else:
                body = (without(body, replace) if replace else body) + extra
            return data[:at] + box(path[0], body) + data[at + size :]
        at += size
    raise ValueError(f"no box {path[0]!r}")


def without(body: bytes, kind: bytes) -> bytes:
    """The boxes but those of this name; a header before the first box stays."""
    at = body.find(kind) - 4
    return body if at < 0 else body[:at] + body[at + int.from_bytes(body[at : at + 4], "big") :]


def element(identity: str, *parts: bytes) -> bytes:
    """An EBML element; the size takes eight bytes."""
    body = b"".join(parts)
    return bytes.fromhex(identity) + (0x0100000000000000 | len(body)).to_bytes(8, "big") + body


def master(data: bytes, identity: str) -> int:
    """Where a top element of a Matroska file begins; the table of contents names it before."""
    name = bytes.fromhex(identity)
    return data.index(name, data.index(name) + 4)


def span(data: bytes, at: int, identity: str) -> tuple[int, int]:
    """Where the body of the element that begins at `at` begins and ends."""
    start = at + len(identity) // 2
    width = 9 - data[start].bit_length()
    size = int.from_bytes(data[start : start + width], "big") & ((1 << (7 * width)) - 1)
    return start + width, start + width + size


def chunk(kind: bytes, *parts: bytes) -> bytes:
    """A RIFF chunk."""
    body = b"".join(parts)
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


# --- traps -----------------------------------------------------------------------------------------------------------


class Listener:
    """Somebody whom no file may reach: counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.port = 0

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    """A listener on loopback."""
    listener = Listener()
    server = await asyncio.start_server(listener._answer, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()


class Watch:
    """Counts how often a file was opened, by any process, as the kernel tells it (inotify)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(IN_NONBLOCK)
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(path), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def opened(self) -> int:
        """How often since the last question."""
        try:
            return len(os.read(self._fd, 65536)) // 16
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self._fd)
