"""The pictures a coach looks at: the video with the skeleton in it, single frames, and the frames of the moments.

The video is decoded a second time, because who the athlete is and how the points are smoothed is known only when all of
it was seen. Pictures go to ffmpeg through a named pipe, as they came.
"""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from backend.coaching.drawing import draw
from backend.coaching.frames import Frame, Picture, picture_size, use_frames
from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.media_tools import run_media_tool, why
from backend.videos.sandbox import ToolOutput

_FAILED = "The pictures of the analysis could not be written."
_QUALITY = "3"
_MOST_THREADS = 2


@dataclass(frozen=True)
class Wanted:
    """What is to be made; `frames` all of them as JPEG, `keys` the indexes of single ones by their names."""

    overlay: bool
    frames: bool
    keys: dict[str, int]

    @property
    def anything(self) -> bool:
        return self.overlay or self.frames or bool(self.keys)


@dataclass(frozen=True)
class Made:
    """Paths below the folder, as they are named in the summary."""

    overlay: str | None
    frames: list[str]
    keys: dict[str, str]


async def make_pictures(
    source: str,
    info: MediaInfo,
    folder: Path,
    drawn: list[dict[str, Any] | None],
    wanted: Wanted,
    *,
    fps: float,
    most_bytes: int,
    timeout_seconds: float,
    limits: Limits,
    tell: Callable[[int], None],
) -> Made:
    """Write what is wanted into `folder`; `tell` hears of each frame. Raises MediaError, ToolMissing."""
    size = picture_size(info)
    scale = (size[0] / info.width, size[1] / info.height)
    singles = list(range(len(drawn))) if wanted.frames else sorted(set(wanted.keys.values()))
    with tempfile.TemporaryDirectory(prefix=".pipes-", dir=folder) as own:
        overlay = _Encoder(Path(own) / "overlay", _overlay_words(folder / "overlay.mp4"), size, fps)
        stills = _Encoder(Path(own) / "stills", _still_words(folder / "frames" / "%05d.jpg"), size, fps)
        (folder / "frames").mkdir(exist_ok=True)
        takes_single = set(singles)
        encoders = [*([overlay] if wanted.overlay else []), *([stills] if singles else [])]

        def use(frames: Iterator[Frame]) -> None:
            film = _Film(overlay, fps) if wanted.overlay else None
            try:
                for frame in frames:
                    if frame.index >= len(drawn):
                        break
                    body = drawn[frame.index]
                    picture = draw(frame.picture, body["points"], scale) if body else frame.picture
                    if film:
                        film.show(picture, frame.t)
                    if frame.index in takes_single:
                        stills.write(picture)
                    tell(frame.index)
            finally:
                for one in encoders:  # at the pipe of another nobody would ever be
                    one.close()

        tools = [asyncio.ensure_future(one.run(timeout_seconds, most_bytes)) for one in encoders]
        try:
            await use_frames(
                source, info, folder, use, fps=fps, size=size, timeout_seconds=timeout_seconds, limits=limits
            )
            await asyncio.gather(*tools)
        except BrokenPipeError:
            # ffmpeg went first: it says why.
            await asyncio.gather(*tools)
            raise MediaError("resource_limit", _FAILED, retryable=True) from None
        finally:
            for tool in tools:
                tool.cancel()
            await asyncio.gather(*tools, return_exceptions=True)
    return _sort_out(folder, wanted, singles)


def _sort_out(folder: Path, wanted: Wanted, singles: list[int]) -> Made:
    """Give the single frames the names they are known by."""
    stills = {index: folder / "frames" / f"{number:05d}.jpg" for number, index in enumerate(singles, start=1)}
    keys = {}
    if wanted.keys:
        (folder / "key").mkdir(exist_ok=True)
    for name, index in wanted.keys.items():
        if stills[index].exists():
            (folder / "key" / f"{name}.jpg").write_bytes(stills[index].read_bytes())
            keys[name] = f"key/{name}.jpg"
    frames = []
    for path in stills.values():
        if wanted.frames and path.exists():
            frames.append(f"frames/{path.name}")
        else:
            path.unlink(missing_ok=True)
    if not frames:
        (folder / "frames").rmdir()
    return Made("overlay.mp4" if wanted.overlay else None, frames, keys)


class _Film:
    """Pictures at an even rate: each in the slot its time falls into, the one before again where there is none."""

    def __init__(self, encoder: "_Encoder", fps: float) -> None:
        self._encoder, self._fps = encoder, fps
        self._start: float | None = None
        self._shown = 0
        self._last: Picture | None = None

    def show(self, picture: Picture, t: float) -> None:
        self._start = t if self._start is None else self._start
        slot = int((t - self._start) * self._fps + 0.05)
        while self._last is not None and self._shown < slot:
            self._write(self._last)
        self._write(picture)
        self._last = picture

    def _write(self, picture: Picture) -> None:
        self._encoder.write(picture)
        self._shown += 1


class _Encoder:
    """ffmpeg at the other end of a pipe; `write` and `close` are for one thread, `run` for the event loop."""

    def __init__(self, pipe: Path, words: list[str], size: tuple[int, int], fps: float) -> None:
        self._pipe = pipe
        self._file: FileIO | None = None
        self._ended = threading.Event()
        raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{size[0]}x{size[1]}"]
        begin = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning", "-y", *raw, "-framerate", f"{fps:.6f}"]
        self._words = [*begin, "-protocol_whitelist", "file", "-i", f"file:{pipe}", *words]
        os.mkfifo(pipe, 0o600)

    async def run(self, timeout_seconds: float, most_bytes: int) -> ToolOutput:
        """Raises MediaError when ffmpeg fails, and lets go of whoever still writes."""
        try:
            output = await run_media_tool(self._words, timeout_seconds, max_written_bytes=most_bytes)
        finally:
            self._ended.set()
        if output.returncode != 0:
            trouble = why(output, _FAILED)
            raise MediaError("resource_limit", _FAILED, retryable=True, detail=trouble.detail)
        return output

    def write(self, picture: Picture) -> None:
        """Raises BrokenPipeError when ffmpeg is gone."""
        if self._file is None:
            self._file = self._open()
        room = picture.data.cast("B")
        while len(room):
            room = room[self._file.write(room) :]

    def close(self) -> None:
        """The end of the pictures; without any, the pipe is opened once so that ffmpeg sees it too."""
        with suppress(OSError):
            (self._file or self._open()).close()

    def _open(self) -> FileIO:
        """Wait for ffmpeg to read, not longer than it lives. Raises BrokenPipeError."""
        while not self._ended.wait(0.005):
            with suppress(OSError):  # nobody reads yet
                pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(pipe, True)
                return FileIO(pipe, "wb")
        raise BrokenPipeError


def _overlay_words(path: Path) -> list[str]:
    encode = ["-c:v", "libx264", "-profile:v", "high", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"]
    # One thread more or less would give other bytes; the maximum keeps within what bytes were reserved.
    limits = ["-maxrate", "4M", "-bufsize", "8M", "-threads", str(_MOST_THREADS), "-g", "50"]
    return [*encode, *limits, "-movflags", "+faststart", "-f", "mp4", f"file:{path}"]


def _still_words(pattern: Path) -> list[str]:
    picture = ["-vf", "scale=out_color_matrix=bt601:out_range=full,format=yuvj420p", "-q:v", _QUALITY]
    return [*picture, "-c:v", "mjpeg", "-f", "image2", f"file:{pattern}"]
