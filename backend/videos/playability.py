"""Whether browsers play a file as it is: what Chromium, Firefox and Safari all play in versions of today.

docs/adr/0015 says where the line was drawn, and why.
"""

from dataclasses import dataclass

#: The pictures that every decoder of H.264, VP8 and VP9 in a browser can show: 8 bits, 4:2:0.
PLAIN_PIXELS = ("yuv420p", "yuvj420p")
#: Profiles of H.264 that hardware and browsers know; of one that is not told the pixels decide.
H264_PROFILES = (None, "Baseline", "Constrained Baseline", "Main", "High", "Constrained High", "Progressive High")
#: AAC that is played everywhere: plain, and the two high-efficiency ones that are an extension of it.
AAC_PROFILES = (None, "LC", "HE-AAC", "HE-AACv2")
#: Names of tracks in MP4 and MOV under which players look for a codec.
TAGS = {"h264": ("avc1", "avc3"), "aac": ("mp4a",), "mp3": ("mp4a", ".mp3")}
#: Larger pictures are beyond the decoders of many phones.
MAX_SIDE = 4096

_VIDEO = {"mp4": ("h264",), "mov": ("h264",), "webm": ("vp8", "vp9")}
_SOUND = {"mp4": ("aac", "mp3"), "mov": ("aac", "mp3"), "webm": ("opus", "vorbis")}
_CONTAINERS = {"matroska": "MKV", "avi": "AVI", "mpegts": "MPEG-TS", "webm": "WebM"}
_CODECS = {"h264": "H.264", "hevc": "HEVC", "mpeg4": "MPEG-4", "prores": "ProRes"}


@dataclass(frozen=True)
class Track:
    """What decides whether a track can be decoded; `tag` is its name in an MP4 or MOV, where it has one."""

    codec: str
    profile: str | None = None
    pix_fmt: str | None = None
    tag: str | None = None


@dataclass(frozen=True)
class Facts:
    """What decides whether a file plays. `is_first`: players that choose no track show and sound these."""

    container: str
    video: Track
    audio: Track | None
    hdr: str | None
    max_side: int
    rotation: int = 0
    fragmented: bool = False
    duration_told: bool = True
    is_first: bool = True


def why_not_playable(facts: Facts) -> str | None:
    """A sentence for a person; None when every ordinary browser plays the file as it is."""
    container = facts.container
    name = _CONTAINERS.get(container, container.upper())
    if container not in _VIDEO:
        return f"Browsers do not play {name} files."
    if facts.video.codec not in _VIDEO[container]:
        return f"Not every browser plays {codec_label(facts.video.codec)} video in {name}."
    return (
        why_not_decodable(facts.video, hdr=facts.hdr, max_side=facts.max_side)
        or _why_not_heard(facts, name)
        or _why_not_read(facts, name)
    )


def why_not_decodable(video: Track, *, hdr: str | None, max_side: int) -> str | None:
    """Why browsers could not show the pictures of an H.264, VP8 or VP9 track, whatever file it is in."""
    label = codec_label(video.codec)
    if video.pix_fmt not in PLAIN_PIXELS:
        return f"Browsers do not play {label} video with this colour format ({video.pix_fmt or 'unknown'})."
    if video.codec == "h264" and video.profile not in H264_PROFILES:
        return f"Not every browser plays {label} video of this profile ({video.profile})."
    if hdr is not None:
        return "Not every browser shows HDR colours right."
    if max_side > MAX_SIDE:
        return f"Many devices do not play pictures with a side of more than {MAX_SIDE} pixels."
    return None


def is_plain_aac(audio: Track) -> bool:
    """AAC that MP4 takes as it is."""
    return audio.codec == "aac" and audio.profile in AAC_PROFILES


def codec_label(codec: str) -> str:
    """The name people know a codec by."""
    return _CODECS.get(codec) or codec.upper() or "this"


def _why_not_heard(facts: Facts, name: str) -> str | None:
    audio = facts.audio
    if audio is None:
        return None
    if audio.codec not in _SOUND[facts.container] or (audio.codec == "aac" and not is_plain_aac(audio)):
        return f"Not every browser plays {codec_label(audio.codec)} sound in {name}."
    return None


def _why_not_read(facts: Facts, name: str) -> str | None:
    """The codecs are fine; whether players find, time and turn them."""
    if not facts.is_first:
        return "The file holds several tracks, and browsers would not play its main one."
    if facts.fragmented:
        return "The file is in fragments: browsers cannot tell its length, or seek in it."
    if not facts.duration_told:
        return "The file does not tell its length: browsers cannot seek in it."
    if facts.container == "webm":
        return "Not every browser turns WebM upright." if facts.rotation else None
    for track in (facts.video, facts.audio):
        if track is not None and track.tag is not None and track.tag not in TAGS[track.codec]:
            return f"The {name} names its {codec_label(track.codec)} track in a way not every browser knows."
    return None
