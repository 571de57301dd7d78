"""A film of the provider that needs no key and no GPU, beside plain ffmpeg that encodes the same frames, in turns.

The frames of each film are written down raw and encoded again with the same words to ffmpeg, with the film's own sound:
what the animatic takes beyond that is its drawing, speaking and piping.
"""

import time
import uuid
from pathlib import Path

from backend.generation.models import Kind
from backend.generation.providers.animatic import Animatic
from backend.generation.providers.base import Asset, Failed, Orientation, Progress, Spec
from backend.generation.spec import FPS, VIDEO_SIZES
from bench.films import ffmpeg
from bench.place import Place
from bench.table import Row, ratios

PROMPT = (
    "A lighthouse in fog at dawn. Gulls lift off the rail, one after the other. The keeper climbs the last steps and"
    " looks out over the water. Far away a ship answers with two short tones."
)


async def measure(place: Place) -> list[Row]:
    return [await compared(place, orientation) for orientation in ("portrait", "landscape")]


async def compared(place: Place, orientation: Orientation) -> Row:
    seconds = float(place.size(7, 1))
    width, height = VIDEO_SIZES[orientation]
    films: list[float] = []
    plain: list[float] = []
    first: list[float] = []
    for number in range(place.rounds):
        folder = place.folder / f"{orientation}-{number}"
        folder.mkdir()
        began = time.perf_counter()
        film, first_progress = await make(folder, orientation, seconds)
        films.append(time.perf_counter() - began)
        first.append(first_progress)
        raw = folder / "frames.yuv"
        ffmpeg("-i", film, "-f", "rawvideo", "-pix_fmt", "yuv420p", raw)
        began = time.perf_counter()
        frames: list[str | Path] = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "yuv420p",
            "-s",
            f"{width}x{height}",
            "-r",
            str(FPS),
            "-i",
            raw,
        ]
        sound: list[str | Path] = ["-i", film, "-map", "0:v", "-map", "1:a?", "-c:a", "aac", "-b:a", "128k"]
        picture = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-g", str(2 * FPS), "-pix_fmt", "yuv420p"]
        ffmpeg(*frames, *sound, *picture, "-movflags", "+faststart", folder / "plain.mp4")
        plain.append(time.perf_counter() - began)
        raw.unlink()
    ours, theirs = min(films) / seconds, min(plain) / seconds
    beside = (
        f"{ours:.2f} s a second, told of after {min(first):.2f} s; ffmpeg {theirs:.2f} s a second (the best rounds)"
    )
    what = f"animatic, {orientation}, {width}x{height}, {seconds:g} s / ffmpeg encoding its frames"
    return Row(what, ratios(films, plain), at_most=1.5, beside=beside)


async def make(folder: Path, orientation: Orientation, seconds: float) -> tuple[Path, float]:
    """The film, and after how many seconds something was first told of it."""
    width, height = VIDEO_SIZES[orientation]
    spec = Spec(
        id=uuid.uuid4(),
        kind=Kind.VIDEO,
        prompt=PROMPT,
        orientation=orientation,
        width=width,
        height=height,
        seconds=seconds,
        fps=FPS,
        seed=7,
    )
    began, first = time.perf_counter(), 0.0
    async for event in Animatic().run(spec, folder=folder):
        if isinstance(event, Progress):
            first = first or time.perf_counter() - began
        if isinstance(event, Failed):
            raise RuntimeError(event.message)
        if isinstance(event, Asset):
            assert isinstance(event.content, Path)
            return event.content, first
    raise RuntimeError("the provider ended without a film")
