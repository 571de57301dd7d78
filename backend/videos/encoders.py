"""How pictures are encoded to H.264, in software or by a device of the host (`VIDEO_ENCODER`)."""

import os
from typing import Any, Literal

from backend.videos.media_info import MediaInfo
from backend.videos.media_tools import tone_map_filters

#: What the setting may name, by ffmpeg's names.
Encoder = Literal["libx264", "h264_nvenc", "h264_qsv", "h264_vaapi"]
SOFTWARE = "libx264"

MOST_FPS = 60
#: A key frame each so many seconds: where a player may begin, and where segments of a ladder may.
KEY_SECONDS = 4
#: Threads of the software encoder: each costs memory, of which a tool has so much and no more.
MOST_THREADS = 8
#: Lines of the picture → the most bits a second. What takes less is given less.
_MOST_BITS = ((360, 1_000_000), (480, 1_600_000), (720, 3_200_000), (1080, 6_000_000), (1440, 10_000_000))
_MORE_BITS = 20_000_000

_QUALITY: dict[str, dict[str, Any]] = {
    "libx264": {"preset": "veryfast", "crf": 22},
    "h264_nvenc": {"preset": "p5", "rc": "vbr", "cq": 23, "b:v": 0, "forced-idr": 1},
    "h264_qsv": {"preset": "faster", "global_quality": 23},
    "h264_vaapi": {"qp": 23},
}
_RENDER_NODE = "/dev/dri/renderD128"


def most_bits(width: int, height: int) -> int:
    """The most bits a second of a picture of this size; lines count on the shorter side."""
    lines = min(width, height)
    return next((bits for most, bits in _MOST_BITS if lines <= most), _MORE_BITS)


def device_options(encoder: str) -> dict[str, str]:
    """What goes before the input, so that the encoder finds its device."""
    return {"vaapi_device": _RENDER_NODE} if encoder == "h264_vaapi" else {}


def filters(info: MediaInfo, width: int, height: int) -> str:
    """Upright (ffmpeg turns by itself), square pixels, this size, ordinary colours, 8 bits 4:2:0."""
    steps = ["bwdif=mode=send_frame:deint=interlaced"] if info.interlaced else []
    if (info.fps or 0) > MOST_FPS * 1.01:
        steps.append(f"fps={MOST_FPS}")
    steps += [f"scale={width}:{height}", "setsar=1", *tone_map_filters(info.color_transfer)]
    return ",".join([*steps, "format=yuv420p"])


def picture_options(info: MediaInfo, width: int, height: int, encoder: str) -> dict[str, Any]:
    """Filters, encoder and its limits, for one output."""
    graph = filters(info, width, height) + (",format=nv12,hwupload" if encoder == "h264_vaapi" else "")
    bits = most_bits(width, height)
    options = {"vf": graph, "c:v": encoder, "profile:v": "high", **_QUALITY[encoder]}
    if encoder != "h264_vaapi":  # a fixed quality there knows no limit
        options |= {"maxrate": bits, "bufsize": 2 * bits}
    if encoder == SOFTWARE:
        options["threads:v"] = min(MOST_THREADS, os.cpu_count() or 1)
    return options | {"force_key_frames": f"expr:gte(t,n_forced*{KEY_SECONDS})"}


def trial(encoder: str) -> list[str]:
    """The call that encodes some frames which ffmpeg draws itself: it fails where the encoder has no device."""
    upload = ",hwupload" if encoder == "h264_vaapi" else ""
    options = {"c:v": encoder, "profile:v": "high", **_QUALITY[encoder], "f": "null"}
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-v", "error"),
        *(word for name, value in device_options(encoder).items() for word in (f"-{name}", value)),
        *("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-frames:v", "5", "-vf", f"format=nv12{upload}"),
        *(word for name, value in options.items() for word in (f"-{name}", str(value))),
        "-",
    ]
