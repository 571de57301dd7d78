"""What is known of a video, in words for pages."""

from backend.core import words
from backend.jobs.words import STAGES
from backend.videos.models import Video, VideoStatus
from backend.videos.schemas import VideoOut

STAGES.update(
    probe="Reading metadata",
    poster="Making the poster",
    preview="Making the preview",
    remux="Repacking for browsers",
    transcode="Converting for browsers",
    ladder="Making sizes for streaming",
    store="Storing the result",
)

#: What a step of processing is called in the history: at work, done, failed.
STEPS = {
    "process_video": ("Reading metadata", "Metadata read", "The file could not be read"),
    "make_poster": ("Making the poster", "Poster made", "No poster could be made"),
    "make_preview": ("Making the preview", "Preview made", "No preview could be made"),
    "make_rendition": ("Converting for browsers", "Converted for browsers", "The conversion failed"),
    "make_ladder": ("Making sizes for streaming", "Sizes for streaming made", "No sizes for streaming could be made"),
}

_CONTAINERS = {"mp4": "MP4", "mov": "QuickTime", "matroska": "MKV", "webm": "WebM", "avi": "AVI", "mpegts": "MPEG-TS"}
_CODECS = {
    "h264": "H.264",
    "hevc": "HEVC",
    "mpeg4": "MPEG-4 Part 2",
    "mpeg2video": "MPEG-2",
    "prores": "ProRes",
    "av1": "AV1",
    "vp8": "VP8",
    "vp9": "VP9",
    "aac": "AAC",
    "mp3": "MP3",
    "opus": "Opus",
    "vorbis": "Vorbis",
    "flac": "FLAC",
    "ac3": "AC-3",
    "eac3": "E-AC-3",
}
_HDR = {"hdr10": "HDR10", "hlg": "HLG", "dolby_vision": "Dolby Vision"}
_ACTIVITY = {
    VideoStatus.UPLOADED: "uploaded",
    VideoStatus.PROCESSING: "processing",
    VideoStatus.COMPLETED: "ready",
    VideoStatus.FAILED: "failed",
}

Fact = tuple[str, str]


def activity(video: Video) -> str:
    """What last happened to a video, as one word."""
    return "cancelled" if video.error_code == "cancelled" else _ACTIVITY[VideoStatus(video.status)]


def codec(name: str) -> str:
    """A codec as people write it."""
    return _CODECS.get(name, name.upper())


def missing_share(video: Video | VideoOut) -> str:
    """How much of the whole file is missing, as `43%`; of a file whose end is known to be missing."""
    missing = video.missing_bytes or 0
    percent = round(100 * missing / (video.size_bytes + missing))
    return "less than 1%" if percent < 1 else "more than 99%" if percent > 99 else f"{percent}%"


def facts(video: Video) -> list[Fact]:
    """What most people want to know; unknown facts are left out."""
    found: list[Fact] = []
    if video.width and video.height:
        found.append(("Picture", f"{video.width} × {video.height}"))
    if video.duration is not None:
        found.append(("Duration", words.duration(video.duration)))
    found.append(("File size", words.filesize(video.size_bytes)))
    if video.missing_bytes:
        found.append(("Missing at its end", f"{words.filesize(video.missing_bytes)}, {missing_share(video)}"))
    if video.container:
        found.append(("Format", _CONTAINERS.get(video.container, video.container.upper())))
    if video.video_codec:
        found.append(("Video", codec(video.video_codec)))
    if video.has_audio is not None:
        sound = codec(video.audio_codec) if video.audio_codec else "Yes"
        found.append(("Sound", sound if video.has_audio else "None"))
    if video.fps:
        found.append(("Frame rate", f"{video.fps:.4g} per second{', varying' if video.vfr else ''}"))
    if video.hdr:
        found.append(("Dynamic range", _HDR.get(video.hdr, video.hdr.upper())))
    if video.model_used:
        found.append(("Made by", video.model_used))
    found.append(("File name", video.filename))
    return found


def technical(video: Video) -> list[Fact]:
    """The rest, for those who look closely."""
    found: list[Fact] = []
    if video.not_playable_reason:
        found.append(("As it was sent", video.not_playable_reason))
    if video.rendition_kind:
        made = "A repacked copy" if video.rendition_kind == "remux" else "A converted copy"
        found.append(("What plays", f"{made}, {words.filesize(video.rendition_size_bytes or 0)}"))
    if video.coded_width and video.coded_height:
        found.append(("Coded picture", f"{video.coded_width} × {video.coded_height}"))
    if video.rotation is not None:
        found.append(("Rotation", f"{video.rotation}°"))
    if video.bit_depth:
        found.append(("Bit depth", f"{video.bit_depth} bits"))
    found.extend((f"Stream {stream.get('index', 0)}", _stream(stream)) for stream in video.streams or [])
    found.append(("Content type", video.content_type))
    found.append(("Exact size", f"{video.size_bytes:,} bytes"))
    found.append(("Video id", str(video.id)))
    return found


def _stream(stream: dict[str, object]) -> str:
    parts = [str(stream.get("type") or "data")]
    if stream.get("codec"):
        parts.append(codec(str(stream["codec"])))
    if stream.get("width") and stream.get("height"):
        parts.append(f"{stream['width']} × {stream['height']}")
    if stream.get("channels"):
        parts.append(f"{stream['channels']} channels")
    if stream.get("language"):
        parts.append(str(stream["language"]))
    return ", ".join(parts)
