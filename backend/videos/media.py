"""What a video file is, and a still of it: ffprobe and ffmpeg, kept on a short leash.

The files come from anybody. Only five demuxers may look at them (playlists and the like make ffmpeg open other
addresses), within limits of size, time and memory (`sandbox.py`), and nothing a file says about itself in free text
leaves this module. Sources are `file:` paths or presigned addresses, which never appear in an error.
"""

import asyncio
import json
import os
import re
import ssl
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ffmpeg
import httpx

from backend.videos.media_info import Limits, MediaError, MediaInfo, check_duration, describe
from backend.videos.sandbox import ToolOutput, ToolOutputTooLarge, ToolTimeout, run_tool

__all__ = ["Limits", "MediaError", "MediaInfo", "poster", "probe"]

HEAD_BYTES = 4096
HEAD_TIMEOUT_SECONDS = 10.0
POSTER_SEEK_FRACTION = 0.1
POSTER_SEEK_MAX_SECONDS = 3.0
# Mean luma (16 is black) under which a brighter frame is looked for: further in, the most typical among so many.
POSTER_DARK = 28.0
POSTER_SECOND_FRACTION = 0.4
POSTER_SECOND_MAX_SECONDS = 10.0
POSTER_CANDIDATES = 24
# A file that does not tell its duration is read through to measure it, if it is no larger than this.
MEASURE_MAX_BYTES = 512 * 1024 * 1024

_FIELDS = (
    "format=format_name,duration,nb_streams:format_tags=major_brand"
    ":stream=index,codec_type,codec_name,profile,width,height,sample_aspect_ratio,pix_fmt,r_frame_rate,avg_frame_rate,"
    "field_order,color_transfer,duration,channels:stream_disposition=default,attached_pic:stream_tags=language"
    ":stream_side_data=side_data_type,rotation"
)
# What ffmpeg says when the server, not the file, is the trouble; 404 and 416 are answers about the object.
_STORAGE_TROUBLE = re.compile(
    r"HTTP error (?:40[0-3]|408|429|5\d\d)|Server returned (?:40[013]|5XX)|Stream ends prematurely|Failed to resolve"
    r"|Connection (?:refused|reset|timed out)|Network is unreachable|No route to host|Broken pipe|Peer certificate"
)
_LUMA = re.compile(rb"lavfi\.signalstats\.YAVG=([0-9.]+)")
_MEASURED = re.compile(rb"out_time_us=(\d+)")


async def probe(source: str, *, timeout_seconds: float = 30, limits: Limits | None = None) -> MediaInfo:
    """Describe the file at `source` (`file:` path, or http(s) address that serves ranges), and see a frame decode.

    `timeout_seconds` is wall time for the whole. Raises MediaError with the codes corrupt_media, unsupported_container,
    no_video_stream, dimensions_too_large, duration_too_long, too_many_streams, probe_timeout, resource_limit or
    storage_unavailable; ToolMissing where ffprobe or ffmpeg is not installed.
    """
    limits = limits or Limits()
    try:
        async with asyncio.timeout(timeout_seconds):
            head, size_bytes = await _read_head(source)
            info = await _report(source, limits, timeout_seconds, doctype=_doctype(head), size_bytes=size_bytes)
            await _decode_a_frame(source, info, limits, timeout_seconds)
            if info.duration is None and (size_bytes or 0) <= MEASURE_MAX_BYTES:
                info = replace(info, duration=await _measure(source, info, limits, timeout_seconds))
            return info
    except TimeoutError:
        raise _too_slow() from None


async def poster(
    source: str,
    dest: Path,
    info: MediaInfo,
    *,
    max_width: int = 1280,
    timeout_seconds: float = 60,
    limits: Limits | None = None,
) -> None:
    """Write an upright JPEG of the video at `source` to `dest`: a bright enough frame near a tenth of its length.

    Raises MediaError (corrupt_media, probe_timeout, resource_limit, storage_unavailable), and then leaves no `dest`.
    """
    shot = _Shot(source, info, max_width, limits or Limits(), timeout_seconds)
    try:
        async with asyncio.timeout(timeout_seconds):
            await _best_frame(shot, dest)
    except TimeoutError:
        dest.unlink(missing_ok=True)
        raise _too_slow() from None
    except BaseException:
        # Cancelled or failed, a half-written picture must not pass for a whole one.
        dest.unlink(missing_ok=True)
        raise


async def _read_head(source: str) -> tuple[bytes, int | None]:
    """The first bytes and the size; over http also the surest way to tell storage trouble from a bad file."""
    if source.startswith("file:"):
        head, size = await asyncio.to_thread(_read_local_head, Path(source.removeprefix("file:")))
    elif source.startswith(("http:", "https:")):
        head, size = await _read_remote_head(source)
    else:
        raise ValueError("a source is a file: path or an http(s) address")
    if not head:
        raise MediaError("corrupt_media", "The file is empty.")
    return head, size


def _read_local_head(path: Path) -> tuple[bytes, int | None]:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES), path.stat().st_size


async def _read_remote_head(source: str) -> tuple[bytes, int | None]:
    headers = {"Range": f"bytes=0-{HEAD_BYTES - 1}", "Accept-Encoding": "identity"}
    head = b""
    try:
        async with (
            httpx.AsyncClient(timeout=HEAD_TIMEOUT_SECONDS, trust_env=False, verify=_trust()) as client,
            client.stream("GET", source, headers=headers) as response,
        ):
            if response.status_code == 416:  # S3's answer to a range of an empty object
                return b"", 0
            if response.status_code == 404:
                raise MediaError("storage_unavailable", "The file is no longer in the storage.")
            if response.status_code not in (200, 206):
                raise _storage_trouble(f"status {response.status_code}")
            async for chunk in response.aiter_bytes():
                head += chunk
                if len(head) >= HEAD_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own words may hold the address.
        raise _storage_trouble(type(error).__name__) from None
    total = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length", "")
    return head[:HEAD_BYTES], int(total) if total.isdecimal() else None


@cache
def _trust() -> ssl.SSLContext:
    """The system's authorities, as ffmpeg has them; reading them takes longer than a request."""
    return ssl.create_default_context()


def _doctype(head: bytes) -> str | None:
    """The EBML DocType (element 0x4282, a length of one byte, text) that tells WebM from Matroska."""
    at = head.find(b"\x42\x82", 4) if head.startswith(b"\x1a\x45\xdf\xa3") else -1
    if at < 0 or at + 3 > len(head):
        return None
    return head[at + 3 : at + 3 + (head[at + 2] & 0x7F)].rstrip(b"\0").decode("ascii", errors="replace")


async def _report(
    source: str, limits: Limits, timeout_seconds: float, *, doctype: str | None, size_bytes: int | None
) -> MediaInfo:
    options = [word for name, value in _input_options(source, limits).items() for word in (f"-{name}", str(value))]
    output = await _run(
        ["ffprobe", "-v", "warning", *options, "-of", "json", "-show_entries", _FIELDS, "-i", source],
        timeout_seconds,
    )
    try:
        report = json.loads(output.stdout)
    except ValueError:
        report = {}
    if output.returncode != 0 or not report.get("streams"):
        raise _why(output, "The file is damaged or incomplete, or is not a video.")
    try:
        return describe(report, doctype=doctype, size_bytes=size_bytes, limits=limits)
    except MediaError as error:
        # A size of nothing may be one that the decoder was forbidden, or bytes that did not arrive.
        raise _why(output, error.message) if error.code == "corrupt_media" else error from None


async def _decode_a_frame(source: str, info: MediaInfo, limits: Limits, timeout_seconds: float) -> None:
    """A file may look healthy and decode to nothing; errors beside a frame that decodes are forgiven."""
    frame = _input(source, limits)[str(info.video_stream)].filter("scale", w=16, h=16)
    output = await _ffmpeg(frame, "pipe:1", timeout_seconds, {"frames:v": 1, "f": "framecrc"})
    if not any(line and not line.startswith(b"#") for line in output.stdout.splitlines()):
        raise _why(output, "The file is damaged: no picture of it can be read.")


async def _measure(source: str, info: MediaInfo, limits: Limits, timeout_seconds: float) -> float | None:
    """Seconds of video, by reading it through without decoding; browsers' recordings tell no duration."""
    track = _input(source, limits)[str(info.video_stream)]
    output = await _ffmpeg(track, "pipe:1", timeout_seconds, {"c": "copy", "f": "null"}, "-progress", "pipe:1")
    times = _MEASURED.findall(output.stdout)
    if output.returncode != 0 or not times:
        return None
    seconds = int(times[-1]) / 1_000_000
    check_duration(seconds, limits)
    return seconds or None


class _Shot:
    """One picture to be made: how to cut it out of the source."""

    def __init__(self, source: str, info: MediaInfo, max_width: int, limits: Limits, timeout_seconds: float) -> None:
        self._source, self._info, self._limits, self._timeout_seconds = source, info, limits, timeout_seconds
        self._width = max(2, min(max_width, info.width))
        self._height = max(2, round(info.height * self._width / info.width))
        self._tone_map = info.hdr in ("hdr10", "hlg")
        duration = info.duration or 0
        self.first = min(duration * POSTER_SEEK_FRACTION, POSTER_SEEK_MAX_SECONDS)
        self.second = min(duration * POSTER_SECOND_FRACTION, POSTER_SECOND_MAX_SECONDS)

    async def take(self, dest: Path, *, seek: float, candidates: int = 1) -> float | None:
        """Write the key frame before `seek` seconds, or the most typical of `candidates` frames from there on.

        Returns its mean luma (16 black, 235 white), or None where no frame could be had.
        """
        luma = await self._take(dest, seek, candidates)
        if luma is None and self._tone_map:
            # This ffmpeg may lack the filters, or the file's colours may be told wrongly: flat colours beat none.
            self._tone_map = False
            luma = await self._take(dest, seek, candidates)
        return luma

    async def _take(self, dest: Path, seek: float, candidates: int) -> float | None:
        options: dict[str, Any] = {"ss": f"{seek:.3f}"} if seek else {}
        if candidates == 1:
            options |= {"skip_frame": "nokey", "noaccurate_seek": None}
        frame = _input(self._source, self._limits, **options)[str(self._info.video_stream)]
        if candidates > 1:
            frame = frame.filter("thumbnail", n=candidates)
        frame = frame.filter("scale", w=self._width, h=self._height, flags="area").filter("setsar", "1")
        if self._tone_map:
            frame = self._tone_mapped(frame)
        frame = frame.filter("format", "yuv420p").filter("signalstats")
        frame = frame.filter("metadata", mode="print", key="lavfi.signalstats.YAVG", file="-")
        # JPEG knows one matrix and the full range only.
        frame = frame.filter("scale", out_color_matrix="bt601", out_range="full").filter("format", "yuvj420p")
        dest.unlink(missing_ok=True)
        output = await _ffmpeg(
            frame, f"file:{dest}", self._timeout_seconds, {"frames:v": 1, "f": "mjpeg", "q:v": 3}, "-y"
        )
        luma = _LUMA.search(output.stdout)
        if output.returncode == 0 and luma and dest.exists() and dest.stat().st_size:
            return float(luma[1])
        self.failure = output
        return None

    def _tone_mapped(self, frame: Any) -> Any:
        transfer = "smpte2084" if self._info.hdr == "hdr10" else "arib-std-b67"
        told = {"tin": transfer, "pin": "bt2020", "min": "bt2020nc", "rin": "limited"}
        frame = frame.filter("zscale", t="linear", npl=100, **told).filter("format", "gbrpf32le")
        frame = frame.filter("zscale", p="bt709").filter("tonemap", tonemap="hable", desat=0)
        return frame.filter("zscale", t="bt709", m="bt709", r="limited")


async def _best_frame(shot: _Shot, dest: Path) -> None:
    """A key frame near the start is cheap; only a dark one, or none, sends us to look further."""
    luma = await shot.take(dest, seek=shot.first)
    if luma is not None and luma >= POSTER_DARK:
        return
    other = dest.with_name(f"{dest.name}.other")
    try:
        for seek in dict.fromkeys((shot.second, 0.0)):
            found = await shot.take(other, seek=seek, candidates=POSTER_CANDIDATES)
            if found is not None and (luma is None or found > luma):
                luma = found
                other.replace(dest)
            if luma is not None:
                return
    except MediaError:
        if luma is None:
            raise
        return
    finally:
        other.unlink(missing_ok=True)
    raise _why(shot.failure, "No picture of the video could be made.")


def _input_options(source: str, limits: Limits) -> dict[str, Any]:
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
    return options


def _input(source: str, limits: Limits, **options: Any) -> Any:
    return ffmpeg.input(source, **_input_options(source, limits), **options)


async def _ffmpeg(stream: Any, target: str, timeout_seconds: float, options: dict[str, Any], *words: str) -> ToolOutput:
    command = (
        ffmpeg.output(stream, target, threads=1, **options)
        .global_args("-nostdin", "-hide_banner", "-v", "warning", *words)
        .compile()
    )
    return await _run(command, timeout_seconds)


async def _run(command: list[str], timeout_seconds: float) -> ToolOutput:
    try:
        return await run_tool(command, timeout_seconds=timeout_seconds)
    except ToolTimeout:
        raise _too_slow() from None
    except ToolOutputTooLarge as error:
        raise MediaError("resource_limit", _TOO_HEAVY, detail=str(error)) from None


_TOO_HEAVY = "The file asks for more memory or time than a video may take."


def _why(output: ToolOutput, otherwise: str) -> MediaError:
    """Tell what stood in the way, from what the tool said; `otherwise` is the message for a damaged file."""
    said = output.stderr.strip()
    if "Format not on whitelist" in said:
        words = "This kind of file is not supported. Use MP4, MOV, AVI, WebM or MKV."
        return MediaError("unsupported_container", words, detail=said)
    if "max_streams" in said:
        return MediaError("too_many_streams", "The file holds too many streams.", detail=said)
    if _STORAGE_TROUBLE.search(said):
        return _storage_trouble(said)
    if "exceeds specified max pixel count" in said:
        return MediaError("dimensions_too_large", "The picture is too large.", detail=said)
    if output.hit_a_limit:
        return MediaError("resource_limit", _TOO_HEAVY, detail=said)
    return MediaError("corrupt_media", otherwise, detail=said)


def _too_slow() -> MediaError:
    return MediaError("probe_timeout", "Reading the file took too long.", retryable=True)


def _storage_trouble(detail: str) -> MediaError:
    words = "The storage could not be read. Trying again may help."
    return MediaError("storage_unavailable", words, retryable=True, detail=detail)
