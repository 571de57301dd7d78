"""What a video file is: ffprobe and ffmpeg, kept on a short leash (`media_tools.py`, `sandbox.py`).

Nothing a file says about itself in free text leaves this module. A file is never downloaded to learn what it is: over
http it is read by ranges.
"""

import asyncio
import json
import re
import ssl
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import ffmpeg
import httpx

from backend.videos.boxes import fragmented_duration, look_in_front
from backend.videos.media_info import ABSURD_DURATION_SECONDS, Limits, MediaError, MediaInfo, check_duration, describe
from backend.videos.media_tools import (
    QUICK_LOOK,
    command,
    input_words,
    reading,
    run_media_tool,
    storage_trouble,
    too_slow,
    why,
)
from backend.videos.poster import poster
from backend.videos.sandbox import ToolOutput

__all__ = ["Limits", "MediaError", "MediaInfo", "poster", "probe"]

HEAD_BYTES = 4096
HEAD_TIMEOUT_SECONDS = 10.0
# A file that does not tell its duration is read through to measure it, if it is no larger than this.
MEASURE_MAX_BYTES = 512 * 1024 * 1024

_FIELDS = (
    "format=format_name,duration,nb_streams:format_tags=major_brand"
    ":stream=index,codec_type,codec_name,codec_tag_string,profile,width,height,sample_aspect_ratio,pix_fmt,r_frame_rate"
    ",avg_frame_rate,field_order,color_transfer,duration,channels:stream_disposition=default,attached_pic"
    ":stream_tags=language:stream_side_data=side_data_type,rotation:packet_side_data=side_data_type"
)
# Packets tell whether they are encrypted, so some of each track are looked at.
_FEW_PACKETS = "%+#8"
# What is looked at first, ffprobe's own measure; a transport stream has no head, and is always looked at to the limit.
_SHORT_LOOK = {"probesize": 5_000_000, "analyzeduration": 5_000_000}
# Of these ffmpeg looks at the end, or at tables in between, before it reads the first picture.
_WITHOUT_HEAD = ("avi", "mpegts")
_MEASURED = re.compile(rb"out_time_us=(\d+)")


async def probe(
    source: str, *, timeout_seconds: float = 30, limits: Limits | None = None, decode: bool = True
) -> MediaInfo:
    """Describe the file at `source` (`file:` path, or http(s) address that serves ranges), and see a frame decode.

    Without `decode` no frame is looked at: of pictures that are known to decode. `timeout_seconds` is wall time for the
    whole. Raises MediaError with the codes corrupt_media, unsupported_container,
    no_video_stream, dimensions_too_large, duration_too_long, too_many_streams, probe_timeout, resource_limit or
    storage_unavailable; ToolMissing where ffprobe or ffmpeg is not installed.
    """
    limits = limits or Limits()
    try:
        async with asyncio.timeout(timeout_seconds):
            start = await _look(source)
            info = await _report(source, limits, timeout_seconds, start)
            if decode:
                await _decode_a_frame(source, info, limits, timeout_seconds)
            if info.duration is None and (start.size_bytes or 0) <= MEASURE_MAX_BYTES:
                info = replace(info, duration=await _measure(source, info, limits, timeout_seconds))
            return info
    except TimeoutError:
        raise too_slow() from None


# --- the first look --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Start:
    """What a few bytes tell: the EBML document type, and of a fragmented MP4 how long it is (None: not found).

    Of a plain MP4 whose index is in front, how many bytes its end lacks (None: nothing that is known).

    The tables of an AVI lie far from each other, and ffmpeg visits all before it tells anything: `avi` is read from its
    start instead, as long as that is enough.
    """

    size_bytes: int | None
    doctype: str | None
    fragmented: bool = False
    duration: float | None = None
    avi: bool = False
    missing_bytes: int | None = None


async def _look(source: str) -> _Start:
    """Read the first bytes; over http also the surest way to tell storage trouble from a bad file."""
    if source.startswith("file:"):
        return await _look_into(_LocalBytes(Path(source.removeprefix("file:"))))
    if source.startswith(("http:", "https:")):
        async with httpx.AsyncClient(timeout=HEAD_TIMEOUT_SECONDS, trust_env=False, verify=_trust()) as client:
            return await _look_into(_RemoteBytes(client, source))
    raise ValueError("a source is a file: path or an http(s) address")


async def _look_into(file: "_LocalBytes | _RemoteBytes") -> _Start:
    head = await file.read(0, HEAD_BYTES)
    if not head:
        raise MediaError("corrupt_media", "The file is empty.")

    async def read(offset: int, length: int) -> bytes:
        has = offset + length <= len(head) or len(head) == size_bytes
        return head[offset : offset + length] if has else await file.read(offset, length)

    size_bytes = file.size_bytes
    front = await look_in_front(read, size_bytes)
    if front.index is None:
        is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
        return _Start(size_bytes, _doctype(head), avi=is_avi, missing_bytes=front.missing_bytes)
    duration = await fragmented_duration(read, front.index, size_bytes) if size_bytes else None
    return _Start(size_bytes, None, True, duration if 0 < (duration or 0) < ABSURD_DURATION_SECONDS else None)


class _LocalBytes:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes: int | None = None

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        with self._path.open("rb") as file:
            self.size_bytes = self._path.stat().st_size
            file.seek(offset)
            return file.read(length)


class _RemoteBytes:
    def __init__(self, client: httpx.AsyncClient, source: str) -> None:
        self._client, self._source = client, source
        self.size_bytes: int | None = None

    async def read(self, offset: int, length: int) -> bytes:
        """Raises MediaError: storage_unavailable, without the address."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        data = b""
        try:
            async with self._client.stream("GET", self._source, headers=headers) as response:
                if response.status_code == 416:  # S3's answer to a range of an empty object, or past the end
                    return b""
                if response.status_code == 404:
                    raise MediaError("storage_unavailable", "The file is no longer in the storage.")
                if response.status_code != 206 and (response.status_code != 200 or offset):
                    raise storage_trouble(f"status {response.status_code}")
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) >= length:
                        break
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The error's own words may hold the address.
            raise storage_trouble(type(error).__name__) from None
        total = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get(
            "Content-Length", ""
        )
        self.size_bytes = int(total) if total.isdecimal() else None
        return data[:length]


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


# --- what the tools tell ---------------------------------------------------------------------------------------------


async def _report(source: str, limits: Limits, timeout_seconds: float, start: _Start) -> MediaInfo:
    words = input_words(source, limits, sequential=start.fragmented or start.avi, **_SHORT_LOOK)
    report, output = await _ask(words, timeout_seconds)
    if output.returncode == 0 and not _is_whole(report, timed=start.avi):
        report, output = await _ask(input_words(source, limits, sequential=start.fragmented), timeout_seconds)
    if output.returncode != 0 or not report.get("streams"):
        raise why(output, "The file is damaged or incomplete, or is not a video.")
    try:
        info = describe(
            report, doctype=start.doctype, size_bytes=start.size_bytes, limits=limits, fragmented=start.fragmented
        )
        if start.missing_bytes:
            reason = info.not_playable_reason or "The end of the file is missing; browsers would stop there for good."
            info = replace(info, missing_bytes=start.missing_bytes, playable=False, not_playable_reason=reason)
    except MediaError as error:
        # A size of nothing may be one that the decoder was forbidden, or bytes that did not arrive.
        raise why(output, error.message) if error.code == "corrupt_media" else error from None
    if start.fragmented:
        # What ffprobe tells is the length of what it has read.
        info = replace(info, duration=start.duration)
        check_duration(start.duration or 0, limits)
    return info


async def _ask(words: list[str], timeout_seconds: float) -> tuple[dict[str, Any], ToolOutput]:
    look = ["ffprobe", "-v", "warning", "-of", "json", "-show_entries", _FIELDS, "-read_intervals", _FEW_PACKETS]
    output = await run_media_tool([*look, *words], timeout_seconds)
    try:
        return json.loads(output.stdout), output
    except ValueError:
        return {}, output


def _is_whole(report: dict[str, Any], *, timed: bool) -> bool:
    """Whether of each track is known what it takes to decode it; when `timed`, also how long the file is."""
    needed = {"video": "width", "audio": "channels"}
    streams = report.get("streams") or []
    if timed and not (report.get("format") or {}).get("duration"):
        return False
    return bool(streams) and all(stream.get(needed.get(stream.get("codec_type"), "index")) for stream in streams)


async def _decode_a_frame(source: str, info: MediaInfo, limits: Limits, timeout_seconds: float) -> None:
    """A file may look healthy and decode to nothing; errors beside a frame that decodes are forgiven."""
    options = {"vf": "scale=16:16", "frames:v": 1, "f": "framecrc"}
    from_start = info.container in _WITHOUT_HEAD and not source.startswith("file:")
    for look in (QUICK_LOOK | ({"seekable": 0} if from_start else {}), {}):
        output = await _read_video(source, info, limits, timeout_seconds, options, **look)
        if any(line and not line.startswith(b"#") for line in output.stdout.splitlines()):
            return
    early = "The file ends before its first picture. Upload it again."
    raise why(output, early if info.missing_bytes else "The file is damaged: no picture of it can be read.")


async def _measure(source: str, info: MediaInfo, limits: Limits, timeout_seconds: float) -> float | None:
    """Seconds of video, by reading it through without decoding; browsers' recordings tell no duration."""
    options = {"c": "copy", "f": "null", "progress": "pipe:1"}
    output = await _read_video(source, info, limits, timeout_seconds, options)
    times = _MEASURED.findall(output.stdout)
    if output.returncode != 0 or not times:
        return None
    seconds = int(times[-1]) / 1_000_000
    check_duration(seconds, limits)
    return seconds or None


async def _read_video(
    source: str, info: MediaInfo, limits: Limits, timeout_seconds: float, options: dict[str, Any], **look: Any
) -> ToolOutput:
    pictures = reading(source, info, limits, **look)[str(info.video_stream)]
    return await run_media_tool(command(ffmpeg.output(pictures, "pipe:1", threads=1, **options)), timeout_seconds)
