"""What a result or a picture from elsewhere is, and how it becomes what we keep: MP4, JPEG, MP3, or PNG to work from.

Nothing of it is trusted: what a file is, is told by its first bytes, and only the sandboxed tools decode it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from backend.config import settings
from backend.generation.models import Kind
from backend.videos.media import probe
from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.media_tools import command, run_media_tool
from backend.videos.renditions import Plan, fit, render

#: Told how much is done, from 0 to 1.
Tell = Callable[[float], Awaitable[None]]

EXTENSIONS = {Kind.VIDEO: "mp4", Kind.IMAGE: "jpg", Kind.AUDIO: "mp3"}
TYPES = {Kind.VIDEO: "video/mp4", Kind.IMAGE: "image/jpeg", Kind.AUDIO: "audio/mpeg"}
#: The longer side of a picture to work from: more than any provider looks at.
MOST_PIXELS_A_SIDE = 2048

_IMAGE_SECONDS = 60
_AUDIO_SECONDS = 300
_HEAD_BYTES = 16
_ORIENTATION_TAG = 0x0112
#: What turns a picture upright, by the orientation that a camera has noted (EXIF).
_UPRIGHT = {
    2: ["hflip"],
    3: ["hflip", "vflip"],
    4: ["vflip"],
    5: ["transpose=cclock_flip"],
    6: ["transpose=clock"],
    7: ["transpose=clock_flip"],
    8: ["transpose=cclock"],
}


@dataclass(frozen=True)
class Result:
    """What is kept: sizes in pixels and bytes, `duration` in seconds; `info` of a video alone."""

    path: Path
    content_type: str
    size_bytes: int
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    info: MediaInfo | None = None


async def take_in(kind: Kind, path: Path, folder: Path, *, tell: Tell) -> Result:
    """Look at what a provider gave, and make of it what is kept. Raises MediaError."""
    if path.stat().st_size == 0:
        raise MediaError("corrupt_media", "The result is empty.")
    if kind == Kind.VIDEO:
        return await _video(path, folder, tell)
    return await (_image if kind == Kind.IMAGE else _audio)(path, folder)


# --- videos ----------------------------------------------------------------------------------------------------------


async def _video(path: Path, folder: Path, tell: Tell) -> Result:
    limits = Limits(max_duration_seconds=settings.max_duration_seconds)
    info = await probe(f"file:{path}", timeout_seconds=settings.probe_timeout_seconds, limits=limits)
    if not (info.playable and info.container == "mp4" and info.video_codec == "h264"):
        made = folder / "taken-in.mp4"
        width, height = fit(info.width, info.height, max(info.width, info.height))
        info = await render(
            f"file:{path}",
            made,
            info,
            Plan("mp4", copy_video=False, copy_audio=False, width=width, height=height),
            tell=tell,
            timeout_seconds=settings.transcode_timeout_seconds,
            stall_seconds=settings.stall_seconds,
            limits=limits,
        )
        path = made
    size = path.stat().st_size
    return Result(path, TYPES[Kind.VIDEO], size, info.width, info.height, info.duration, info)


# --- pictures --------------------------------------------------------------------------------------------------------


async def clean_picture(path: Path, dest: Path) -> None:
    """Write a picture from anybody upright as a PNG that may be opened without fear. Raises MediaError."""
    side = MOST_PIXELS_A_SIDE
    filters = [
        *_UPRIGHT.get(await asyncio.to_thread(_orientation, path), []),
        f"scale='min(iw,{side})':'min(ih,{side})':force_original_aspect_ratio=decrease",
        "setsar=1",
        "format=rgb24",
    ]
    await _convert(
        _picture(path), dest, _IMAGE_SECONDS, vf=",".join(filters), **{"frames:v": 1, "c:v": "png"}, f="image2"
    )


async def _image(path: Path, folder: Path) -> Result:
    made = folder / "taken-in.jpg"
    # JPEG knows one matrix and the full range only.
    filters = "scale=out_color_matrix=bt601:out_range=full,format=yuvj420p"
    options = {"vf": filters, "frames:v": 1, "c:v": "mjpeg", "q:v": 2, "f": "image2"}
    await _convert(_picture(path), made, _IMAGE_SECONDS, **options)
    if _format_of(path) == "jpeg_pipe":  # it was seen to decode, and is not made worse
        made = path
    width, height = await asyncio.to_thread(_size, made)
    return Result(made, TYPES[Kind.IMAGE], made.stat().st_size, width, height)


def _picture(path: Path) -> Any:
    found = _format_of(path)
    if found not in ("jpeg_pipe", "png_pipe", "webp_pipe"):
        raise MediaError("unsupported_container", "This is no JPEG, PNG or WebP picture.")
    options = {"noautorotate": None, "protocol_whitelist": "file", "max_alloc": 536_870_912, "max_pixels": 80_000_000}
    return ffmpeg.input(f"file:{path}", f=found, **options)


def _orientation(path: Path) -> int:
    """As the camera noted it: 1, upright, where it did not. Only the head is read."""
    if _format_of(path) != "jpeg_pipe":
        return 1
    from PIL import Image  # only who looks at pictures holds it

    try:
        with Image.open(path, formats=["JPEG"]) as picture:
            return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a head that cannot be read says nothing
        return 1


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path, formats=["JPEG"]) as picture:
            return picture.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError("corrupt_media", "The picture is damaged.", detail=repr(error)) from error


# --- sounds ----------------------------------------------------------------------------------------------------------


async def _audio(path: Path, folder: Path) -> Result:
    found = _format_of(path)
    if found not in ("mp3", "wav", "ogg", "flac", "mov", "matroska", "aac"):
        raise MediaError("unsupported_container", "This is no sound that is known here.")
    made = folder / "taken-in.mp3"
    source = ffmpeg.input(f"file:{path}", f=found, protocol_whitelist="file", max_alloc=536_870_912)["a:0"]
    sound = {"c:a": "copy"} if found == "mp3" else {"c:a": "libmp3lame", "q:a": 3}
    await _convert(source, made, _AUDIO_SECONDS, **sound, map_metadata=-1, f="mp3")
    look = ["ffprobe", "-v", "error", "-f", "mp3", "-show_entries", "format=duration", "-of", "csv=p=0"]
    output = await run_media_tool([*look, "-i", f"file:{made}"], _IMAGE_SECONDS)
    try:
        duration = float(output.stdout)
    except ValueError:
        raise MediaError("corrupt_media", "The sound is damaged.", detail=output.stderr) from None
    return Result(made, TYPES[Kind.AUDIO], made.stat().st_size, duration=duration)


# --- both ------------------------------------------------------------------------------------------------------------


async def _convert(source: Any, dest: Path, seconds: float, **options: Any) -> None:
    words = command(ffmpeg.output(source, f"file:{dest}", **options))
    most = max(64, 2 * settings.generation_max_mb) * 1024 * 1024
    output = await run_media_tool(words, seconds, max_written_bytes=most)
    if output.returncode != 0 or not dest.exists() or dest.stat().st_size == 0:
        code = "resource_limit" if output.hit_a_limit else "corrupt_media"
        raise MediaError(code, "The file is damaged, or too large.", detail=output.stderr)


def _format_of(path: Path) -> str | None:
    """What ffmpeg calls it, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for name, magic in (
        ("jpeg_pipe", b"\xff\xd8\xff"),
        ("png_pipe", b"\x89PNG\r\n\x1a\n"),
        ("ogg", b"OggS"),
        ("flac", b"fLaC"),
        ("mp3", b"ID3"),
        ("matroska", b"\x1a\x45\xdf\xa3"),
    ):
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF"):
        return {b"WEBP": "webp_pipe", b"WAVE": "wav"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "mov"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return None
