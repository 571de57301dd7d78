"""What browsers play when they cannot play the original: the same pictures in another file, or new ones in H.264.

A rendition is made of the first real picture track and the main sound track alone. docs/adr/0015 says when which.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ffmpeg

from backend.videos import encoders
from backend.videos.media import probe
from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.media_tools import command, reading, run_media_tool, storage_trouble, why
from backend.videos.playability import is_plain_aac, why_not_decodable
from backend.videos.sandbox import ToolOutput

#: Told how much is done, from 0 to 1.
Tell = Callable[[float], Awaitable[None]]

#: Sound that is made anew: stereo.
SOUND_BITS = 160_000
#: Room for indexes and small mistakes of an estimate.
SLACK_BYTES = 16 * 1024 * 1024
#: What the index of an MP4 takes for a packet, amply, and how many packets a second of sound is.
INDEX_BYTES = 40
SOUND_PACKETS = 50
#: A rendition shorter than its source by more than this share, and a second, lost something on the way.
SHORT_SHARE = 0.02

_FAILED = "The video could not be converted for browsers."


@dataclass(frozen=True)
class Plan:
    """How the rendition is made. `width` and `height` are those of new pictures, square pixels, upright."""

    container: Literal["mp4", "webm"]
    copy_video: bool
    copy_audio: bool
    width: int
    height: int

    @property
    def kind(self) -> Literal["remux", "transcode"]:
        """`remux` when pictures are taken as they are (sound may be made anew)."""
        return "remux" if self.copy_video else "transcode"

    @property
    def content_type(self) -> str:
        return f"video/{self.container}"


def plan_rendition(info: MediaInfo, *, max_height: int, copy: bool = True) -> Plan:
    """The cheapest way to something that plays; without `copy` new pictures in any case.

    `max_height` is of new pictures, as in "1080p": their shorter side.
    """
    width, height = fit(info.width, info.height, max_height)
    audio = info.audio
    if copy and why_not_decodable(info.video, hdr=info.hdr, max_side=max(info.coded_width, info.coded_height)) is None:
        if info.video_codec == "h264":
            taken = audio is None or is_plain_aac(audio) or audio.codec == "mp3"
            return Plan("mp4", copy_video=True, copy_audio=taken, width=width, height=height)
        if info.video_codec in ("vp8", "vp9") and not info.rotation:
            taken = audio is None or audio.codec in ("opus", "vorbis")
            return Plan("webm", copy_video=True, copy_audio=taken, width=width, height=height)
    return Plan("mp4", copy_video=False, copy_audio=False, width=width, height=height)


def fit(width: int, height: int, max_height: int) -> tuple[int, int]:
    """Even sides, at most so many lines ("1080p": of the shorter side), in the same proportion."""
    shrink = min(1.0, max_height / min(width, height))
    return max(2, 2 * round(width * shrink / 2)), max(2, 2 * round(height * shrink / 2))


def most_bytes(info: MediaInfo, plan: Plan) -> int:
    """What the rendition takes on the disk at most: room for it is reserved, and more is not written."""
    seconds = info.duration or 0
    sound = 0 if plan.copy_audio else seconds * SOUND_BITS / 8
    if plan.copy_video:
        return int((info.size_bytes or 0) * 1.05 + sound) + SLACK_BYTES
    pictures = seconds * encoders.most_bits(plan.width, plan.height) / 8
    if not seconds:  # not known: a guess from the other side
        pictures = 4 * (info.size_bytes or 0)
    return int((pictures + sound) * 1.1) + SLACK_BYTES


async def render(
    source: str,
    dest: Path,
    info: MediaInfo,
    plan: Plan,
    *,
    tell: Tell,
    timeout_seconds: float,
    stall_seconds: float,
    encoder: str = encoders.SOFTWARE,
    limits: Limits | None = None,
) -> MediaInfo:
    """Write the rendition to `dest`, and answer what came out: it was looked at, and plays.

    Raises MediaError (corrupt_media, probe_timeout, resource_limit, storage_unavailable), and then leaves no `dest`.
    """
    limits = limits or Limits()

    async def seconds_made(seconds: float) -> None:
        if info.duration:
            await tell(min(1.0, seconds / info.duration))

    async def run(words: list[str], hardware: bool) -> ToolOutput:
        return await run_media_tool(
            words,
            timeout_seconds,
            on_progress=seconds_made,
            stall_seconds=stall_seconds,
            max_written_bytes=most_bytes(info, plan),
            hardware=hardware,
        )

    hardware = encoder != encoders.SOFTWARE and not plan.copy_video
    room = _room_for_index(info, plan)
    try:
        output = await run(_command(source, dest, info, plan, encoder, limits, room), hardware)
        if "reserved_moov_size is too small" in output.stderr:
            # There are more frames than the file tells of.
            output = await run(_command(source, dest, info, plan, encoder, limits), hardware)
        if output.returncode != 0 and hardware:
            # The device is busy, or gone: slower is better than not at all.
            output = await run(_command(source, dest, info, plan, encoders.SOFTWARE, limits), False)
        if "No such filter" in output.stderr:
            # This ffmpeg has no tone mapping: flat colours are better than no picture.
            info = replace(info, color_transfer=None)
            output = await run(_command(source, dest, info, plan, encoders.SOFTWARE, limits), False)
        if output.returncode != 0:
            raise why(output, _FAILED)
        return await _checked(dest, info, plan, output, limits)
    except BaseException:  # cancelled or failed, a half-written file must not pass for a whole one
        dest.unlink(missing_ok=True)
        raise


def _room_for_index(info: MediaInfo, plan: Plan) -> int:
    """Bytes to leave in front for the index of an MP4; 0: it is moved there afterwards, which writes all a second time.

    Room is left where it is little beside the pictures, which are then written once.
    """
    if not plan.copy_video or not info.duration or not info.fps:
        return 0
    room = int(info.duration * (info.fps + SOUND_PACKETS) * INDEX_BYTES)
    return room if room * 100 < (info.size_bytes or 0) else 0


def _command(
    source: str, dest: Path, info: MediaInfo, plan: Plan, encoder: str, limits: Limits, room: int = 0
) -> list[str]:
    again: dict[str, Any] = {}
    if info.missing_bytes:
        again["fflags"] = "+discardcorrupt"  # the last piece, of which a part is there
    if not source.startswith("file:"):
        # It is read slowly, for hours perhaps: servers close such connections.
        again |= {"reconnect": 1, "reconnect_on_network_error": 1, "reconnect_delay_max": 10}
    options: dict[str, Any] = dict(PLAIN)
    if plan.copy_video:
        options["c:v"] = "copy"
    else:
        options |= encoders.picture_options(info, plan.width, plan.height, encoder)
    if info.audio_stream is not None:
        options |= {"c:a": "copy"} if plan.copy_audio else sound_options(plan.container)
    in_front: dict[str, Any] = {"moov_size": room} if room else {"movflags": "+faststart"}
    options |= in_front if plan.container == "mp4" else {"cues_to_front": 1}
    written = ffmpeg.output(*tracks(source, info, limits, **again), f"file:{dest}", f=plan.container, **options)
    return command(written, device=None if plan.copy_video else encoders.device_options(encoder))


def tracks(source: str, info: MediaInfo, limits: Limits, **options: Any) -> list[Any]:
    """The pictures and, if there is any, the sound of the source, as streams for `ffmpeg.output`."""
    read = reading(source, info, limits, **options)
    return [read[str(number)] for number in (info.video_stream, info.audio_stream) if number is not None]


#: Nothing but pictures and sound.
PLAIN = {"sn": None, "dn": None, "map_metadata": -1, "map_chapters": -1, "max_muxing_queue_size": 4096}


def sound_options(container: str) -> dict[str, Any]:
    """Sound made anew, for an MP4 or a WebM."""
    codec = "aac" if container == "mp4" else "libopus"
    return {"c:a": codec, "b:a": SOUND_BITS, "ac": 2, "ar": 48000, "af": "aresample=async=1"}


async def _checked(dest: Path, info: MediaInfo, plan: Plan, output: ToolOutput, limits: Limits) -> MediaInfo:
    """What came out. A tool that ends well may have written little: the source was cut off, or did not decode."""
    # Our own file may be larger than those we take, and a long one takes long to read.
    ample = replace(limits, max_duration_seconds=10**9)
    # Pictures taken as they are were seen to decode where they come from.
    made = await probe(f"file:{dest}", timeout_seconds=60, limits=ample, decode=not plan.copy_video)
    if info.duration and (made.duration or 0) < info.duration * (1 - SHORT_SHARE) - 1:
        trouble = why(output, _FAILED)
        if trouble.code == "storage_unavailable":
            raise storage_trouble(trouble.detail)
    if not made.playable:
        raise MediaError("corrupt_media", _FAILED, detail=f"the rendition does not play: {made.not_playable_reason}")
    return made
