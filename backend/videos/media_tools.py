"""How ffprobe and ffmpeg are called on files from anybody: which may be read how, and what they said went wrong.

Only five demuxers may look at such files (playlists and the like make ffmpeg open other addresses), within limits of
size, time and memory (`sandbox.py`). Sources are `file:` paths or presigned addresses, which never appear in an error.
"""

import os
import re
from typing import Any

import ffmpeg

from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.sandbox import Progress, ToolOutput, ToolOutputTooLarge, ToolStalled, ToolTimeout, run_tool

#: What every call of ffmpeg begins with.
_QUIET = ("-nostdin", "-hide_banner", "-v", "warning")

#: A filter that takes the key frame before the moment sought. ffmpeg drops it for coming too early, and reads on to the
#: next one, which is seconds and megabytes away.
AT_ONCE = "setpts=PTS-STARTPTS"

#: The file was probed before: what its tracks are, and how long, need not be found out at length for each picture.
QUICK_LOOK: dict[str, Any] = {"probesize": 500_000, "analyzeduration": 1, "skip_estimate_duration_from_pts": 1}

#: What ffmpeg says when the server, not the file, is the trouble; 404 and 416 are answers about the object.
_STORAGE_TROUBLE = re.compile(
    r"HTTP error (?:40[0-3]|408|429|5\d\d)|Server returned (?:40[013]|5XX)|Stream ends prematurely|Failed to resolve"
    r"|Connection (?:refused|reset|timed out)|Network is unreachable|No route to host|Broken pipe|Peer certificate"
)
_TOO_LARGE = re.compile(r"exceeds specified max pixel count|Picture size \d{4,}x\d{4,} is invalid")
_TOO_HEAVY = "The file asks for more memory or time than a video may take."


def input_options(source: str, limits: Limits, *, sequential: bool = False) -> dict[str, Any]:
    """What goes before `-i`, by ffmpeg's names. `sequential`: read an address from its start and never jump.

    A fragmented file is read so, because to jump in one ffmpeg first visits all its fragments.
    """
    options: dict[str, Any] = {
        "protocol_whitelist": "file",
        "format_whitelist": "mov,matroska,webm,avi,mpegts",
        "max_alloc": 536_870_912,
        "max_pixels": limits.max_pixels,
        "max_streams": 4 * limits.max_streams,
        "probesize": 20_000_000,
        "analyzeduration": 10_000_000,
        "threads": 2,
    }
    if source.startswith("https:"):
        options |= {"protocol_whitelist": "https,tls,tcp", "tls_verify": 1}
        if authorities := os.environ.get("SSL_CERT_FILE"):
            options["ca_file"] = authorities
    elif source.startswith("http:"):
        options["protocol_whitelist"] = "http,tcp"
    if sequential and not source.startswith("file:"):
        options["seekable"] = 0
    return options


def input_words(source: str, limits: Limits, *, sequential: bool = False, **options: Any) -> list[str]:
    """The same and the source, as words for ffprobe; `options` count instead of ours."""
    every = input_options(source, limits, sequential=sequential) | options
    return [*(word for name, value in every.items() for word in (f"-{name}", str(value))), "-i", source]


def reading(source: str, info: MediaInfo, limits: Limits, **options: Any) -> Any:
    """The source as an input of ffmpeg, to be given to `command`; `options` go before its `-i`."""
    return ffmpeg.input(source, **(input_options(source, limits, sequential=info.fragmented) | options))


def command(*outputs: Any, device: dict[str, str] | None = None) -> list[str]:
    """What to run for these outputs (`ffmpeg.output`); files that are there are overwritten."""
    words = [word for name, value in (device or {}).items() for word in (f"-{name}", value)]
    every = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    return list(ffmpeg.compile(every, cmd=["ffmpeg", *_QUIET, *words], overwrite_output=True))


async def run_media_tool(
    command: list[str],
    timeout_seconds: float,
    *,
    on_progress: Progress | None = None,
    stall_seconds: float | None = None,
    max_written_bytes: int = 64 * 1024 * 1024,
    hardware: bool = False,
) -> ToolOutput:
    """Run a tool in the sandbox. Raises MediaError: probe_timeout, resource_limit; ToolMissing."""
    try:
        return await run_tool(
            command,
            timeout_seconds=timeout_seconds,
            on_progress=on_progress,
            stall_seconds=stall_seconds,
            max_written_bytes=max_written_bytes,
            hardware=hardware,
        )
    except ToolStalled as error:
        words = "The work on this file stood still and was stopped. Trying again may help."
        raise MediaError("resource_limit", words, retryable=True, detail=str(error)) from None
    except ToolTimeout:
        raise too_slow() from None
    except ToolOutputTooLarge as error:
        raise MediaError("resource_limit", _TOO_HEAVY, detail=str(error)) from None


def why(output: ToolOutput, otherwise: str) -> MediaError:
    """Tell what stood in the way, from what the tool said; `otherwise` is the message for a damaged file."""
    said = output.stderr.strip()
    if "Format not on whitelist" in said:
        words = "This kind of file is not supported. Use MP4, MOV, AVI, WebM or MKV."
        return MediaError("unsupported_container", words, detail=said)
    if "max_streams" in said:
        return MediaError("too_many_streams", "The file holds too many streams.", detail=said)
    if _STORAGE_TROUBLE.search(said):
        return storage_trouble(said)
    if _TOO_LARGE.search(said):
        return MediaError("dimensions_too_large", "The picture is too large.", detail=said)
    if output.hit_a_limit:
        return MediaError("resource_limit", _TOO_HEAVY, detail=said)
    return MediaError("corrupt_media", otherwise, detail=said)


def too_slow() -> MediaError:
    """The work took longer than it may."""
    return MediaError("probe_timeout", "Reading the file took too long.", retryable=True)


def storage_trouble(detail: str) -> MediaError:
    """The storage, not the file, is in the way."""
    words = "The storage could not be read. Trying again may help."
    return MediaError("storage_unavailable", words, retryable=True, detail=detail)


def tone_map_filters(transfer: str | None) -> list[str]:
    """Filters that turn HDR of this transfer into ordinary colours; none where it is ordinary, or not told.

    Not every ffmpeg has them.
    """
    if transfer not in ("smpte2084", "arib-std-b67"):
        return []
    return [
        f"zscale=t=linear:npl=100:tin={transfer}:pin=bt2020:min=bt2020nc:rin=limited",
        "format=gbrpf32le",
        "zscale=p=bt709",
        "tonemap=tonemap=hable:desat=0",
        "zscale=t=bt709:m=bt709:r=limited",
    ]
