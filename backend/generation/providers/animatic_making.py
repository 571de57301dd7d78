"""How an animatic is made: cards drawn with Pillow, filmed and mixed by ffmpeg, spoken by espeak-ng."""

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from backend.generation.providers import animatic_cards as cards
from backend.generation.providers import animatic_film as filming
from backend.generation.providers import animatic_scenes as scenes
from backend.generation.providers import animatic_voice as voices
from backend.generation.providers.animatic import NAME
from backend.generation.providers.animatic_film import Sound
from backend.generation.providers.base import Asset, Event, Failed, Progress, Spec
from backend.videos.media_info import MediaError
from backend.videos.media_tools import run_media_tool
from backend.videos.sandbox import ToolError, ToolMissing

_PREVIEW = (270, 270)
_MOST_SEED = 2**31 - 1
_NO_VOICE = "No voice is installed on the server (espeak-ng), so there is no narration."
_SILENT = ("none", "silent", "off", "no")
#: A narration that is too long is spoken faster, up to so much, and then cut.
_MOST_TEMPO = 1.6
#: A film takes at most so many seconds to make for each of its own.
_PATIENCE = 60


# --- a film ----------------------------------------------------------------------------------------------------------


async def film(spec: Spec, folder: Path, told: "asyncio.Queue[Event]") -> Event:
    seed = _seed(spec)
    frames = max(1, round(spec.seconds * spec.fps))
    captions = scenes.texts(spec.prompt, frames / spec.fps, len(spec.images))
    told.put_nowait(Progress(2, "writing the scenes"))
    size = (spec.width // 2 * 2, spec.height // 2 * 2)
    drawn = []
    speaking = asyncio.ensure_future(_narrated(captions, spec, folder))
    try:
        for number, text in enumerate(captions):
            given = spec.images[number] if number < len(spec.images) else None
            card = await asyncio.to_thread(_card, spec, size, text, seed, number, len(captions), given, folder)
            drawn.append(card.filmed)
            told.put_nowait(Progress(4 + 16 * (number + 1) / len(captions), "drawing the scenes", card.preview))
        voice = await speaking
    finally:
        speaking.cancel()
        await asyncio.wait({speaking})
    timed = scenes.timed(captions, voice.weights, frames=frames, fps=spec.fps)

    async def made(seconds: float) -> None:
        told.put_nowait(Progress(20 + 79 * min(1.0, seconds * spec.fps / frames), "filming"))

    noise, notes = voices.noise_for(spec.background_noise)
    dest = folder / "animatic.mp4"
    output = await filming.encode(
        drawn,
        timed,
        dest,
        size=size,
        fps=spec.fps,
        frames=frames,
        sounds=_placed(voice, timed, spec.fps, frames),
        noise=noise,
        timeout_seconds=60 + _PATIENCE * spec.seconds,
        tell=made,
    )
    if output.returncode != 0:
        raise MediaError("corrupt_media", "The film could not be encoded.", detail=output.stderr)
    left_out = len(spec.images) - len(timed)
    if left_out > 0:
        notes.append(f"{left_out} of {len(spec.images)} pictures found no room in {spec.seconds:g} s.")
    if sum(voice.seconds) > _MOST_TEMPO * spec.seconds:
        notes.append(f"So many words cannot all be said in {spec.seconds:g} s.")
    return Asset(dest, "video/mp4", NAME, seed, {"scenes": len(timed), "notes": [*voice.notes, *notes]})


@dataclass(frozen=True)
class _Card:
    filmed: filming.Card
    preview: Path


def _card(
    spec: Spec, size: cards.Size, text: str, seed: int, number: int, count: int, picture: Path | None, folder: Path
) -> _Card:
    large = filming.card_size(size)
    card = cards.card(large, text, seed=seed, number=number + 1, count=count, picture=picture)
    return _Card(filming.saved(card, folder / f"card-{number}.rgb"), _preview(card, folder / f"card-{number}.jpg"))


def _preview(picture: Image.Image, dest: Path) -> Path:
    small = picture.copy()
    small.thumbnail(_PREVIEW)
    small.save(dest, format="JPEG", quality=80)
    return dest


# --- its voice -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Narration:
    """What is said of each scene (None: nothing), how long that takes, and what people should know."""

    said: list[Path | None]
    seconds: list[float]
    weights: list[float]
    notes: list[str]


async def _narrated(captions: list[str], spec: Spec, folder: Path) -> _Narration:
    # Without a voice a scene is as long as it takes to read it.
    read = [max(1.0, len(caption.split()) / 2.5) for caption in captions]
    nothing: list[Path | None] = [None] * len(captions)
    if (spec.voice or "").lower() in _SILENT:
        return _Narration(nothing, [0.0] * len(captions), read, [])
    if not voices.is_installed():
        return _Narration(nothing, [0.0] * len(captions), read, [_NO_VOICE])
    voice = voices.voice_for(spec.prompt, voice=spec.voice, pace=spec.pace, emotion=spec.emotion)
    said, seconds = nothing.copy(), [0.0] * len(captions)
    for number, caption in enumerate(captions):
        path = folder / f"voice-{number}.wav"
        try:
            seconds[number] = await voices.speak(caption, voice, path)
        except ToolError as error:
            return _Narration(nothing, [0.0] * len(captions), read, [*voice.notes, f"There is no narration: {error}."])
        said[number] = path if seconds[number] else None
    weights = [max(1.0, each + 0.3) for each in seconds]
    return _Narration(said, seconds, weights, list(voice.notes))


def _placed(voice: _Narration, timed: list[scenes.Scene], fps: int, frames: int) -> list[Sound]:
    """Each scene's words with its scene, and faster where they would run into the next one's."""
    placed = []
    for number, (path, scene) in enumerate(zip(voice.said, timed, strict=True)):
        if path is None:
            continue
        start = scene.start / fps + 0.15
        end = (timed[number + 1].start if number + 1 < len(timed) else frames) / fps
        tempo = min(_MOST_TEMPO, max(1.0, voice.seconds[number] / max(0.3, end - start)))
        placed.append(Sound(path, start, tempo))
    return placed


# --- a picture, a sound ----------------------------------------------------------------------------------------------


async def picture(spec: Spec, folder: Path, told: "asyncio.Queue[Event]") -> Event:
    seed = _seed(spec)
    told.put_nowait(Progress(10, "drawing"))
    dest = folder / "card.jpg"
    reference = spec.images[0] if spec.images else None

    def draw() -> Path:
        card = cards.card((spec.width, spec.height), spec.prompt, seed=seed, number=1, count=1, picture=reference)
        card.save(dest, format="JPEG", quality=92, subsampling=0)
        return _preview(card, folder / "preview.jpg")

    told.put_nowait(Progress(90, "drawing", await asyncio.to_thread(draw)))
    return Asset(dest, "image/jpeg", NAME, seed)


async def speech(spec: Spec, folder: Path, told: "asyncio.Queue[Event]") -> Event:
    if not voices.is_installed():
        words = "No voice is installed on the server: espeak-ng, or a provider of speech."
        return Failed("provider_unavailable", words)
    told.put_nowait(Progress(10, "speaking"))
    voice = voices.voice_for(spec.prompt, voice=spec.voice, pace=spec.pace, emotion=spec.emotion)
    spoken, dest = folder / "voice.wav", folder / "speech.mp3"
    notes = list(voice.notes)
    try:
        seconds = await voices.speak(spec.prompt, voice, spoken)
    except ToolMissing:
        raise
    except ToolError as error:
        return Failed("provider_error", f"It could not be spoken: {error}.")
    if not seconds:
        return Failed("provider_error", "There is nothing in this text that can be spoken.")
    noise, unknown = voices.noise_for(spec.background_noise)
    told.put_nowait(Progress(60, "mixing"))
    length = f"{seconds + 0.4:.3f}"
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning", "-f", "wav", "-i", f"file:{spoken}"]
    command += ["-filter_complex", filming.mixed([(0, Sound(spoken, 0.1))], noise, length), "-map", "[sound]"]
    command += ["-c:a", "libmp3lame", "-q:a", "3", "-y", f"file:{dest}"]
    output = await run_media_tool(command, 60 + seconds)
    if output.returncode != 0:
        raise MediaError("corrupt_media", "The sound could not be encoded.", detail=output.stderr)
    return Asset(dest, "audio/mpeg", NAME, None, {"words_per_minute": voice.pace, "notes": [*notes, *unknown]})


def _seed(spec: Spec) -> int:
    return random.randint(0, _MOST_SEED) if spec.seed is None else spec.seed  # noqa: S311
