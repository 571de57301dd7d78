"""Pictures of a video, decoded by ffmpeg in its sandbox and handed over one by one, each with its presentation time.

ffmpeg writes into two named pipes: the pictures, and a list of their times. It never runs further ahead than a few
pictures, so a video of any length takes the same memory.
"""

import asyncio
import fcntl
import math
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from backend.config import settings
from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.media_tools import input_words, run_media_tool, tone_map_filters, why
from backend.videos.sandbox import ToolOutput

#: The longer side of the pictures at most, in pixels: enough for people who fill a tenth of it.
MOST_SIDE = 1280
#: Pictures that wait to be used.
AHEAD = 3
PIPE_BYTES = 1024 * 1024
#: After the last picture was used ffmpeg has no more to do.
TO_END_SECONDS = 5
#: Times in a container are rounded: a picture so little before its slot, in slots, belongs to it.
SLOT_SLACK = 0.05

T = TypeVar("T")
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """The `index`-th picture taken, upright, (height, width, 3) in RGB, shown at `t` seconds."""

    index: int
    t: float
    picture: Picture


def picture_size(info: MediaInfo, most_side: int = MOST_SIDE) -> tuple[int, int]:
    """Width and height of the pictures: as displayed, even, no side over `most_side`."""
    shrink = min(1.0, most_side / max(info.width, info.height))
    return max(2, 2 * round(info.width * shrink / 2)), max(2, 2 * round(info.height * shrink / 2))


async def use_frames(
    source: str,
    info: MediaInfo,
    folder: Path,
    use: Callable[[Iterator[Frame]], T],
    *,
    fps: float,
    size: tuple[int, int],
    timeout_seconds: float,
    limits: Limits | None = None,
) -> T:
    """Give the pictures of `source`, at most `fps` a second, to `use`, which runs in a thread; returns its result.

    Of each slot of 1/`fps` seconds, counted from the first picture, the first picture in it is taken: with the time it
    really has, always later than the one before, and none where there is none. Pipes are made in `folder`. A file that
    breaks off gives what it has.

    Raises MediaError (corrupt_media where not one picture decodes, resource_limit, probe_timeout, storage_unavailable),
    ToolMissing, and what `use` raises.
    """
    with tempfile.TemporaryDirectory(prefix=".frames-", dir=folder) as own:
        pictures, times = Path(own) / "pictures", Path(own) / "times"
        os.mkfifo(pictures, 0o600)
        os.mkfifo(times, 0o600)
        words = _words(source, info, limits or Limits(), fps, size, pictures, times)
        reader = _Reader(pictures, times, size)
        using = asyncio.ensure_future(asyncio.to_thread(_use, reader, use))
        tool = asyncio.ensure_future(
            run_media_tool(words, timeout_seconds, stall_seconds=settings.stall_seconds, max_written_bytes=PIPE_BYTES)
        )
        try:
            await asyncio.wait({using, tool}, return_when=asyncio.FIRST_COMPLETED)
            if tool.done():
                await asyncio.to_thread(reader.release)
                await asyncio.wait({using})
            elif not using.exception():
                await asyncio.wait({tool}, timeout=TO_END_SECONDS)
        finally:
            tool.cancel()
            await asyncio.gather(tool, return_exceptions=True)
            await asyncio.to_thread(reader.stop)
            await asyncio.wait({using})
        result = using.result()
        if not tool.cancelled():
            _check(tool.result(), reader.count)
        return result


def _words(
    source: str, info: MediaInfo, limits: Limits, fps: float, size: tuple[int, int], pictures: Path, times: Path
) -> list[str]:
    slot = f"floor((%s-start_t)*{fps:.6f}+{SLOT_SLACK})"
    select = f"select='isnan(prev_t)+gt({slot % 't'},{slot % 'prev_t'})'"
    before = ["bwdif=mode=send_frame:deint=interlaced"] if info.interlaced else []
    shown = [*before, select, f"scale={size[0]}:{size[1]}:flags=area", "setsar=1"]
    shown += [*tone_map_filters(info.color_transfer), "format=rgb24"]
    stream = ["-map", f"0:{info.video_stream}", "-fps_mode", "passthrough"]
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-v", "warning", "-y"),
        *input_words(source, limits, sequential=info.fragmented),
        # The times go first: they fit into their pipe, so nobody waits for anybody in a circle.
        *(*stream, "-vf", ",".join([*before, select, "scale=16:16"]), "-flush_packets", "1"),
        *("-f", "framecrc", f"file:{times}"),
        *(*stream, "-vf", ",".join(shown), "-c:v", "rawvideo", "-f", "rawvideo", f"file:{pictures}"),
    ]


def _check(output: ToolOutput, count: int) -> None:
    """A file may break off, storage may not."""
    trouble = why(output, "The file is damaged: no picture of it can be read.")
    if trouble.code in ("storage_unavailable", "resource_limit") or count == 0:
        raise trouble


class _Reader:
    """Both ends that we hold of the pipes; pictures are read ahead in a thread of its own."""

    def __init__(self, pictures: Path, times: Path, size: tuple[int, int]) -> None:
        self.count = 0
        self._paths = (times, pictures)  # as ffmpeg opens them
        self._shape = (size[1], size[0], 3)
        self._ready: queue.Queue[Frame | BaseException | None] = queue.Queue(AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, daemon=True)

    @contextmanager
    def frames(self) -> Iterator[Iterator[Frame]]:
        self._thread.start()
        try:
            yield self._taken()
        finally:
            self._stopped.set()

    def release(self) -> None:
        """Wait until all is read that was written, where nobody writes any more; also where a writer never came."""
        while self._thread.is_alive():
            for path in self._paths:
                with suppress(OSError):  # nobody reads there, or not yet
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            self._thread.join(0.02)

    def stop(self) -> None:
        """Read no further. Blocks for a moment."""
        self._stopped.set()
        self.release()

    def _taken(self) -> Iterator[Frame]:
        while True:
            item = self._ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _put(self, item: Frame | BaseException | None) -> bool:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._ready.put(item, timeout=0.2)
                return True
        return False

    def _read_ahead(self) -> None:
        try:
            with self._paths[0].open() as times, self._paths[1].open("rb", buffering=0) as pictures:
                with suppress(OSError):  # more than this user may have
                    fcntl.fcntl(pictures, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
                self._read(times, pictures)
            self._put(None)
        except BaseException as error:
            self._put(error)
        finally:
            # A consumer that still waits, when we were told to stop, gets an end.
            with suppress(queue.Full):
                self._ready.put_nowait(None)

    def _read(self, times: TextIO, pictures: BinaryIO | object) -> None:
        base, last = 0.0, -math.inf
        while True:
            picture = np.empty(self._shape, np.uint8)
            if not _fill(pictures, picture.data.cast("B")):
                return
            line = times.readline()
            while line.startswith("#"):
                if line.startswith("#tb 0:"):
                    above, _, below = line.partition(":")[2].strip().partition("/")
                    base = int(above) / int(below)
                line = times.readline()
            if not line:
                return
            t = int(line.split(",")[2]) * base
            if t <= last:  # times of a broken file may go back: what came too late is left out
                continue
            if not self._put(Frame(self.count, t, picture)):
                return
            last = t
            self.count += 1


def _fill(pipe: object, room: memoryview) -> bool:
    """Read until the room is full; False at the end."""
    got = 0
    while got < len(room):
        part = pipe.readinto(room[got:])  # type: ignore[attr-defined]
        if not part:
            return False
        got += part
    return True


def _use(reader: _Reader, use: Callable[[Iterator[Frame]], T]) -> T:
    with reader.frames() as frames:
        return use(frames)


__all__ = ["MOST_SIDE", "Frame", "MediaError", "Picture", "picture_size", "use_frames"]
