"""The film of an animatic: cards zoomed slowly and faded into each other, frame by frame into one ffmpeg.

The cards are cut into the planes of YUV 4:2:0 once, and each frame is a piece of these, scaled: what ffmpeg is given is
what it encodes. It reads them from a named pipe, as any other file, so that it runs behind the same wall.
"""

import asyncio
import errno
import fcntl
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from backend.generation.providers.animatic_scenes import Scene
from backend.videos.media_tools import run_media_tool
from backend.videos.sandbox import ToolOutput

Tell = Callable[[float], Awaitable[None]]
Planes = tuple[Image.Image, Image.Image, Image.Image]
Box = tuple[float, float, float, float]

#: How much larger a card is drawn than it is shown, and over how much of that its zoom goes.
OVERSIZE = 1.12
_STALL_SECONDS = 120
_OPEN_SECONDS = 60
_PIPE_BYTES = 1024 * 1024
#: RGB to the planes of BT.709 in the range of television: weights of red, green, blue, and what is added.
_LUMA = (0.18259, 0.61423, 0.06201, 16.0)
_BLUE = (-0.10064, -0.33857, 0.43922, 128.0)
_RED = (0.43922, -0.39894, -0.04027, 128.0)


@dataclass(frozen=True)
class Sound:
    """A WAV that is heard from `start` seconds on, `tempo` times as fast."""

    path: Path
    start: float
    tempo: float = 1.0


def planes_of(card: Image.Image) -> Planes:
    """Luma, and both chromas in half the size."""
    half = (card.width // 2, card.height // 2)
    luma, blue, red = (card.convert("L", weights) for weights in (_LUMA, _BLUE, _RED))
    return luma, *(each.resize(half, Image.Resampling.BOX) for each in (blue, red))  # type: ignore[return-value]


async def encode(
    cards: Sequence[Planes],
    scenes: Sequence[Scene],
    dest: Path,
    *,
    size: tuple[int, int],
    fps: int,
    frames: int,
    sounds: Sequence[Sound],
    noise: str | None,
    timeout_seconds: float,
    tell: Tell,
) -> ToolOutput:
    """Write the MP4; `tell` is told how many seconds are made. Raises MediaError, ToolMissing."""
    pipe = dest.with_suffix(".frames")
    os.mkfifo(pipe)
    stop = threading.Event()
    feeding = asyncio.ensure_future(asyncio.to_thread(_feed, pipe, cards, scenes, size, frames, stop))
    try:
        return await run_media_tool(
            _command(pipe, dest, size, fps, frames, sounds, noise),
            timeout_seconds,
            on_progress=tell,
            stall_seconds=_STALL_SECONDS,
            max_written_bytes=max(64, 4 * frames // fps) * 1024 * 1024,
        )
    finally:
        stop.set()  # a thread cannot be stopped from outside
        while not feeding.done():
            await asyncio.wait({feeding})
        feeding.result()
        pipe.unlink(missing_ok=True)


def _command(
    pipe: Path, dest: Path, size: tuple[int, int], fps: int, frames: int, sounds: Sequence[Sound], noise: str | None
) -> list[str]:
    seconds = f"{frames / fps:.6f}"
    words = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning"]
    words += [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-s",
        f"{size[0]}x{size[1]}",
        "-r",
        str(fps),
        "-i",
        f"file:{pipe}",
    ]
    for sound in sounds:
        words += ["-f", "wav", "-i", f"file:{sound.path}"]
    graph = mixed([(number + 1, each) for number, each in enumerate(sounds)], noise, seconds)
    words += ["-filter_complex", graph, "-map", "0:v", "-map", "[sound]"] if graph else ["-map", "0:v"]
    words += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-g", str(2 * fps), "-pix_fmt", "yuv420p"]
    for what in ("-colorspace", "-color_primaries", "-color_trc"):
        words += [what, "bt709"]
    words += ["-color_range", "tv", *(["-c:a", "aac", "-b:a", "128k"] if graph else [])]
    return [*words, "-t", seconds, "-movflags", "+faststart", "-y", f"file:{dest}"]


def mixed(sounds: Sequence[tuple[int, Sound]], noise: str | None, seconds: str) -> str:
    """The filters that put sounds (with the numbers of their inputs) and noise together; "" when there is nothing.

    Exactly so long, with soft ends.
    """
    parts, names = [], []
    for number, sound in sounds:
        delay = f"adelay={round(sound.start * 1000)}:all=1"
        tempo = f"atempo={sound.tempo:.4f}," if sound.tempo != 1 else ""
        parts.append(f"[{number}:a]{tempo}aresample=48000,{delay}[s{number}]")
        names.append(f"[s{number}]")
    if noise:
        parts.append(f"{noise},aresample=48000,volume=0.5,atrim=duration={seconds}[noise]")
        names.append("[noise]")
    if not names:
        return ""
    end = max(0.0, float(seconds) - 0.25)
    shape = f"apad,atrim=duration={seconds},afade=t=out:st={end:.3f}:d=0.25,alimiter=limit=0.95"
    mix = f"amix=inputs={len(names)}:normalize=0:duration=longest," if len(names) > 1 else ""
    return ";".join([*parts, f"{''.join(names)}{mix}{shape},aformat=channel_layouts=stereo[sound]"])


# --- frames ----------------------------------------------------------------------------------------------------------


def _feed(
    pipe: Path,
    cards: Sequence[Planes],
    scenes: Sequence[Scene],
    size: tuple[int, int],
    frames: int,
    stop: threading.Event,
) -> None:
    """Write all frames; ends early when nobody reads any more."""
    target = _open(pipe, stop)
    if target is None:
        return
    try:
        for number in range(frames):
            if stop.is_set():
                return
            for plane in frame(cards, scenes, size, number):
                _write(target, plane.tobytes(), stop)
    except BrokenPipeError:
        return
    finally:
        os.close(target)


def frame(cards: Sequence[Planes], scenes: Sequence[Scene], size: tuple[int, int], number: int) -> list[Image.Image]:
    """The planes of one frame."""
    shown = [index for index, scene in enumerate(scenes) if scene.start <= number < scene.start + scene.frames]
    pieces = [_zoomed(cards[index], scenes[index], size, index, number) for index in shown[-2:]]
    if len(pieces) == 1:
        return pieces[0]
    before, after = (scenes[index] for index in shown[-2:])
    overlap = before.start + before.frames - after.start
    share = (number - after.start + 1) / (overlap + 1)
    return [Image.blend(old, new, share) for old, new in zip(*pieces, strict=True)]


def _zoomed(planes: Planes, scene: Scene, size: tuple[int, int], index: int, number: int) -> list[Image.Image]:
    """The card at this moment: every other one is drawn nearer, the rest go away; all drift a little."""
    done = (number - scene.start) / max(1, scene.frames - 1)
    near = done if index % 2 == 0 else 1 - done
    share = 1 - (1 - 1 / OVERSIZE) * near  # of the card that is seen
    drift = (done - 0.5) * 0.4 * (1 if index % 4 < 2 else -1)
    pieces = []
    for plane, scale in zip(planes, (1, 2, 2), strict=True):
        width, height = plane.size
        seen = (width * share, height * share)
        left, top = (width - seen[0]) * (0.5 + drift), (height - seen[1]) * 0.5
        box: Box = (left, top, min(width, left + seen[0]), min(height, top + seen[1]))
        pieces.append(plane.resize((size[0] // scale, size[1] // scale), Image.Resampling.BILINEAR, box))
    return pieces


def _open(pipe: Path, stop: threading.Event) -> int | None:
    """The pipe, once somebody reads it; None: nobody will."""
    until = time.monotonic() + _OPEN_SECONDS
    while not stop.is_set() and time.monotonic() < until:
        try:
            target = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(0.01)
            continue
        _widen(target)
        return target
    return None


def _widen(target: int) -> None:
    try:
        fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:  # fewer bytes at once is only slower
        return


def _write(target: int, data: bytes, stop: threading.Event) -> None:
    """Raises BrokenPipeError."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(target, left) :]
        except BlockingIOError:
            if stop.is_set():
                raise BrokenPipeError from None
            time.sleep(0.002)
