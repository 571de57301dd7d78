"""What ffprobe's report says about a file, in our words; pure, and knows no process."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from backend.videos.playability import Facts, Track, why_not_playable

# Beyond this a sample aspect ratio is a lie or a mistake, and following it would make absurd sizes.
MAX_ASPECT = 10
# Frame rates that differ by less are rounding in the container.
VFR_TOLERANCE = 0.02
# A head that claims this much over twice what its tracks hold lies.
BELIEVABLE_EXTRA_SECONDS = 60
# Longer than any recording: a header that overflowed.
ABSURD_DURATION_SECONDS = 10 * 366 * 86_400

_DEEP_PIXELS = re.compile(r"(9|10|12|14|16)(?:le|be)$")
_LANGUAGE = re.compile(r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})?$")
_WORD = re.compile(r"[^A-Za-z0-9 .:+_-]")


class MediaError(Exception):
    """A file that cannot be taken, or storage that could not be read.

    `code` is one of the stable codes of a job's error; `message` is for a person; `retryable` says whether trying the
    same file again may help; `detail` is for the log (what the tool said, without addresses).
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False, detail: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """What a file may ask of us. Sides and pixels are of the coded picture."""

    min_side: int = 16
    max_side: int = 8192
    max_pixels: int = 40_000_000
    max_streams: int = 32
    max_duration_seconds: float = 43_200


@dataclass(frozen=True)
class MediaInfo:
    """A video file as a person would see it.

    `width` and `height` are the displayed size, after rotation and sample aspect ratio; `rotation` is the clockwise
    turn, in degrees, that shows the coded picture upright (a phone held upright: 90). `duration` is in seconds, None
    where the file does not say and it could not be measured. `video_stream` and `audio_stream` are the indexes of the
    streams described, which are those that are shown. `fragmented` is of MP4 alone. `missing_bytes` is what was cut off
    the end of a plain MP4 or MOV, as far as it tells; its `duration` is of the whole, and it is not playable.
    """

    container: str
    duration: float | None
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int
    sar: float
    fps: float | None
    vfr: bool
    video_codec: str
    video_profile: str | None
    pix_fmt: str | None
    bit_depth: int
    hdr: str | None
    audio_codec: str | None
    audio_channels: int | None
    has_audio: bool
    streams: list[dict[str, Any]] = field(repr=False)
    size_bytes: int | None
    playable: bool
    not_playable_reason: str | None
    video_stream: int = 0
    audio_stream: int | None = None
    audio_profile: str | None = None
    interlaced: bool = False
    fragmented: bool = False
    color_transfer: str | None = None
    missing_bytes: int | None = None

    @property
    def video(self) -> Track:
        """What decides whether the pictures can be shown."""
        return Track(self.video_codec, self.video_profile, self.pix_fmt)

    @property
    def audio(self) -> Track | None:
        """What decides whether the sound can be played."""
        return Track(self.audio_codec, self.audio_profile) if self.audio_codec else None


def describe(
    report: Mapping[str, Any],
    *,
    doctype: str | None,
    size_bytes: int | None,
    limits: Limits,
    fragmented: bool = False,
) -> MediaInfo:
    """Read ffprobe's JSON; `doctype` is the EBML document type, which ffprobe does not tell.

    Raises MediaError: unsupported_container, too_many_streams, no_video_stream, dimensions_too_large,
    duration_too_long, corrupt_media (a size no picture has).
    """
    form: Mapping[str, Any] = report.get("format") or {}
    streams: list[Mapping[str, Any]] = report.get("streams") or []
    container = _container(form, doctype)
    if _is_encrypted(report):
        raise MediaError("unsupported_container", "The file is encrypted. Upload it without its copy protection.")
    if max(len(streams), int(form.get("nb_streams") or 0)) > limits.max_streams:
        raise MediaError("too_many_streams", f"The file holds more than {limits.max_streams} streams.")
    video = _video(streams)
    audio = _audio(streams)
    coded_width, coded_height = int(video.get("width") or 0), int(video.get("height") or 0)
    _check_size(coded_width, coded_height, limits)
    duration = _duration(container, form, streams) or _seconds(video.get("duration"))
    if duration is not None:
        check_duration(duration, limits)
    rotation = _rotation(video)
    sar = _aspect(video.get("sample_aspect_ratio"))
    width, height = _displayed(coded_width, coded_height, sar, rotation)
    fps, vfr = _rates(video)
    facts = Facts(
        container=container,
        video=_track(video),
        audio=_track(audio) if audio else None,
        hdr=_hdr(video),
        max_side=max(coded_width, coded_height),
        rotation=rotation,
        fragmented=fragmented,
        duration_told=duration is not None,
        is_first=all(stream is _first(streams, stream) for stream in (video, audio) if stream is not None),
    )
    reason = why_not_playable(facts)
    return MediaInfo(
        container=container,
        duration=duration,
        width=width,
        height=height,
        coded_width=coded_width,
        coded_height=coded_height,
        rotation=rotation,
        sar=float(sar),
        fps=fps,
        vfr=vfr,
        video_codec=str(video["codec_name"]),
        video_profile=_word(video.get("profile")),
        pix_fmt=_word(video.get("pix_fmt")),
        bit_depth=_bit_depth(video),
        hdr=_hdr(video),
        audio_codec=_word(audio.get("codec_name")) if audio else None,
        audio_channels=int(audio.get("channels") or 0) or None if audio else None,
        has_audio=audio is not None,
        streams=[_summary(stream) for stream in streams],
        size_bytes=size_bytes,
        playable=reason is None,
        not_playable_reason=reason,
        video_stream=int(video["index"]),
        audio_stream=int(audio["index"]) if audio else None,
        audio_profile=_word(audio.get("profile")) if audio else None,
        interlaced=_is_interlaced(video),
        fragmented=fragmented,
        color_transfer=_word(video.get("color_transfer")),
    )


def _duration(container: str, form: Mapping[str, Any], streams: list[Mapping[str, Any]]) -> float | None:
    """What the head claims, unless the tracks of an MP4, which count their frames, hold far less.

    They may hold somewhat more or less than is shown: cuts and late starts are part of the format.
    """
    claimed = _seconds(form.get("duration"))
    tracks = [seconds for stream in streams if (seconds := _seconds(stream.get("duration"))) is not None]
    if claimed and tracks and container in ("mp4", "mov") and claimed > 2 * max(tracks) + BELIEVABLE_EXTRA_SECONDS:
        return max(tracks)
    return claimed


def check_duration(seconds: float, limits: Limits) -> None:
    """Raises MediaError: duration_too_long."""
    if seconds > limits.max_duration_seconds:
        hours = limits.max_duration_seconds / 3600
        raise MediaError("duration_too_long", f"The video is longer than {hours:g} hours.")


def _container(form: Mapping[str, Any], doctype: str | None) -> str:
    name = str(form.get("format_name") or "").partition(",")[0]
    if name == "mov":
        brand = str((form.get("tags") or {}).get("major_brand") or "qt").strip()
        return "mov" if brand == "qt" else "mp4"
    if name == "matroska":
        return "webm" if doctype == "webm" else "matroska"
    if name in ("avi", "mpegts"):
        return name
    raise MediaError("unsupported_container", "This kind of file is not supported. Use MP4, MOV, AVI, WebM or MKV.")


def _is_encrypted(report: Mapping[str, Any]) -> bool:
    """Whether packets need a key. Of an encrypted MP4 ffprobe tells tracks as if they were not, and decodes noise."""
    packets: list[Mapping[str, Any]] = report.get("packets") or []
    told = [data.get("side_data_type") for packet in packets for data in packet.get("side_data_list") or []]
    return "Encryption info" in told


def _video(streams: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first real picture track, a default one before others: what a player would show."""
    moving = [s for s in streams if s.get("codec_type") == "video" and not _disposed(s, "attached_pic")]
    if not moving:
        raise MediaError("no_video_stream", "The file holds no video, only sound or other data.")
    video = next((stream for stream in moving if _disposed(stream, "default")), moving[0])
    if video.get("codec_name") in (None, "unknown", "none"):
        raise MediaError("corrupt_media", "The video is in a format we cannot read.")
    return video


def _audio(streams: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The track that a player would sound: a default one before others."""
    sounds = [stream for stream in streams if stream.get("codec_type") == "audio"]
    return next((stream for stream in sounds if _disposed(stream, "default")), sounds[0] if sounds else None)


def _first(streams: list[Mapping[str, Any]], like: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first track of this kind: what a player takes that looks at nothing else."""
    kind = like.get("codec_type")
    return next(one for one in streams if one.get("codec_type") == kind and not _disposed(one, "attached_pic"))


def _track(stream: Mapping[str, Any]) -> Track:
    tag = _word(stream.get("codec_tag_string"))
    return Track(
        codec=_word(stream.get("codec_name")) or "unknown",
        profile=_word(stream.get("profile")),
        pix_fmt=_word(stream.get("pix_fmt")),
        # Where a container has none, ffprobe writes the four zeros of it.
        tag=tag if tag and not tag.startswith("[0]") and tag != "0000" else None,
    )


def _disposed(stream: Mapping[str, Any], flag: str) -> bool:
    return bool((stream.get("disposition") or {}).get(flag))


def _check_size(width: int, height: int, limits: Limits) -> None:
    if min(width, height) < limits.min_side:
        raise MediaError("corrupt_media", "The picture has no size that could be shown.")
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise MediaError(
            "dimensions_too_large",
            f"The picture is {width} × {height}; each side may be at most {limits.max_side},"
            f" and the whole at most {limits.max_pixels // 1_000_000} megapixels.",
        )


def _rotation(video: Mapping[str, Any]) -> int:
    """ffprobe gives the counter-clockwise turn of the display matrix; we keep the clockwise one, in quarter turns."""
    for data in video.get("side_data_list") or []:
        if "rotation" in data:
            return round(-float(data["rotation"]) / 90) * 90 % 360
    return 0


def _aspect(text: object) -> Fraction:
    ratio = _ratio(text, separator=":")
    if ratio is None or not Fraction(1, MAX_ASPECT) <= ratio <= MAX_ASPECT:
        return Fraction(1)
    return ratio


def _displayed(width: int, height: int, sar: Fraction, rotation: int) -> tuple[int, int]:
    """Grow one side and leave the other, as HTML asks of browsers; then turn."""
    shown = (round(width * sar), height) if sar >= 1 else (width, round(height / sar))
    return (shown[1], shown[0]) if rotation in (90, 270) else shown


def _rates(video: Mapping[str, Any]) -> tuple[float | None, bool]:
    base, average = _ratio(video.get("r_frame_rate")), _ratio(video.get("avg_frame_rate"))
    rate = average or base
    if rate is None:
        return None, False
    # Interlaced streams count fields in the one and frames in the other.
    same = [base, base / 2] if base and _is_interlaced(video) else [base or rate]
    vfr = all(abs(float(rate / one) - 1) > VFR_TOLERANCE for one in same)
    return round(float(rate), 3), vfr


def _is_interlaced(video: Mapping[str, Any]) -> bool:
    return video.get("field_order") not in (None, "progressive", "unknown")


def _ratio(text: object, separator: str = "/") -> Fraction | None:
    try:
        top, _, bottom = str(text).partition(separator)
        ratio = Fraction(int(top), int(bottom))
    except (ValueError, ZeroDivisionError):
        return None
    return ratio if ratio > 0 else None


def _seconds(text: object) -> float | None:
    try:
        seconds = float(str(text))
    except ValueError:
        return None
    return seconds if 0 < seconds < ABSURD_DURATION_SECONDS else None


def _bit_depth(video: Mapping[str, Any]) -> int:
    deep = _DEEP_PIXELS.search(str(video.get("pix_fmt") or ""))
    return int(deep[1]) if deep else 8


def _hdr(video: Mapping[str, Any]) -> str | None:
    if any("DOVI" in str(data.get("side_data_type")) for data in video.get("side_data_list") or []):
        return "dolby_vision"
    return {"smpte2084": "hdr10", "arib-std-b67": "hlg"}.get(str(video.get("color_transfer")))


def _summary(stream: Mapping[str, Any]) -> dict[str, Any]:
    language = str((stream.get("tags") or {}).get("language") or "")
    facts = {
        "index": int(stream.get("index") or 0),
        "type": _word(stream.get("codec_type")),
        "codec": _word(stream.get("codec_name")),
        "width": stream.get("width") or None,
        "height": stream.get("height") or None,
        "channels": stream.get("channels") or None,
        "language": language if _LANGUAGE.match(language) and language != "und" else None,
        "default": _disposed(stream, "default"),
        "cover": _disposed(stream, "attached_pic"),
    }
    return {name: value for name, value in facts.items() if value not in (None, False)}


def _word(text: object) -> str | None:
    """A name of ffprobe's own, short and plain; it makes none of what the file says, and this makes sure."""
    return _WORD.sub("", str(text))[:64] or None if text is not None else None
