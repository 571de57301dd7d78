"""Adaptive streaming (HLS, RFC 8216): the same video at several sizes, in segments that players choose among.

Each rung is one file of fragments (CMAF); its segments are ranges of it. So an object a rung is stored, and a playlist
is written when it is asked for, with an address that is signed then.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from backend.videos import encoders
from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.media_tools import command, run_media_tool, why
from backend.videos.renditions import PLAIN, SLACK_BYTES, SOUND_BITS, Tell, fit, sound_options, tracks

CONTENT_TYPE = "video/mp4"
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"

_SEGMENT = re.compile(r"#EXTINF:([0-9.]+),[^\n]*\n#EXT-X-BYTERANGE:(\d+)@(\d+)")
_HEADER = re.compile(r'#EXT-X-MAP:URI="[^"]*",BYTERANGE="(\d+)@0"')
_FAILED = "The video could not be prepared for streaming."


@dataclass(frozen=True)
class Rung:
    """One size. `header` is the length in bytes of what every player reads first; the segments follow without gaps.

    Each segment is its milliseconds and its bytes.
    """

    name: str
    width: int
    height: int
    codecs: str
    header: int
    segments: list[list[int]]

    @property
    def bandwidth(self) -> int:
        """Bits a second of the dearest segment."""
        return max(math.ceil(size * 8000 / max(ms, 1)) for ms, size in self.segments)


def plan_ladder(info: MediaInfo, heights: Sequence[int]) -> list[tuple[str, int, int]]:
    """Name, width and height of the rungs that are no larger than the video, the smallest first.

    None for one whose length is not known: the room that they take could not be bounded.
    """
    if not info.duration:
        return []
    fitting = sorted({lines for lines in heights if lines <= min(info.width, info.height)})
    return [(f"{lines}p", *fit(info.width, info.height, lines)) for lines in fitting]


def most_bytes(info: MediaInfo, sizes: Sequence[tuple[str, int, int]]) -> int:
    """What all rungs take on the disk at most."""
    bits = sum(encoders.most_bits(width, height) + SOUND_BITS for _, width, height in sizes)
    return int((info.duration or 0) * bits / 8 * 1.1) + SLACK_BYTES * len(sizes)


async def make_ladder(
    source: str,
    folder: Path,
    info: MediaInfo,
    sizes: Sequence[tuple[str, int, int]],
    *,
    tell: Tell,
    timeout_seconds: float,
    stall_seconds: float,
    encoder: str = encoders.SOFTWARE,
    limits: Limits | None = None,
) -> list[Rung]:
    """Write `{name}.mp4` for each size into `folder`; the source is decoded once for all.

    Raises MediaError (corrupt_media, probe_timeout, resource_limit, storage_unavailable).
    """

    async def seconds_made(seconds: float) -> None:
        if info.duration:
            await tell(min(1.0, seconds / info.duration))

    again = {} if source.startswith("file:") else {"reconnect": 1, "reconnect_on_network_error": 1}
    read = tracks(source, info, limits or Limits(), **again)
    written = [_output(read, folder, info, name, width, height, encoder) for name, width, height in sizes]
    output = await run_media_tool(
        command(*written, device=encoders.device_options(encoder)),
        timeout_seconds,
        on_progress=seconds_made,
        stall_seconds=stall_seconds,
        max_written_bytes=most_bytes(info, sizes),
        hardware=encoder != encoders.SOFTWARE,
    )
    if output.returncode != 0:
        raise why(output, _FAILED)
    return [_read(folder, name, width, height, has_audio=info.has_audio) for name, width, height in sizes]


def _output(
    read: Sequence[Any], folder: Path, info: MediaInfo, name: str, width: int, height: int, encoder: str
) -> Any:
    options = PLAIN | encoders.picture_options(info, width, height, encoder)
    if info.audio_stream is not None:
        options |= sound_options("mp4")
    options |= {"hls_time": encoders.KEY_SECONDS, "hls_playlist_type": "vod", "hls_segment_type": "fmp4"}
    options |= {"hls_flags": "single_file", "hls_segment_filename": f"file:{folder}/{name}.mp4"}
    return ffmpeg.output(*read, f"file:{folder}/{name}.m3u8", f="hls", **options)


def _read(folder: Path, name: str, width: int, height: int, *, has_audio: bool) -> Rung:
    playlist = Path(folder, f"{name}.m3u8").read_text()
    header = _HEADER.search(playlist)
    segments = _SEGMENT.findall(playlist)
    if header is None or not segments:
        raise MediaError("corrupt_media", _FAILED, detail="no segments were written")
    at = int(header[1])
    for _, size, offset in segments:
        if int(offset) != at:
            raise MediaError("corrupt_media", _FAILED, detail="the segments do not lie one after the other")
        at += int(size)
    with Path(folder, f"{name}.mp4").open("rb") as file:
        codecs = _codecs(file.read(int(header[1])), has_audio=has_audio)
    lengths = [[round(float(seconds) * 1000), int(size)] for seconds, size, _ in segments]
    return Rung(name, width, height, codecs, int(header[1]), lengths)


def _codecs(header: bytes, *, has_audio: bool) -> str:
    """RFC 6381: profile, constraints and level stand in the decoder's configuration."""
    at = header.find(b"avcC")
    video = f"avc1.{header[at + 5 : at + 8].hex()}" if at >= 0 else "avc1.640028"
    return f"{video},mp4a.40.2" if has_audio else video


# --- playlists -------------------------------------------------------------------------------------------------------


def master_playlist(rungs: Sequence[dict[str, Any]]) -> str:
    """The list of rungs; each has a playlist `{name}.m3u8` beside this one. Rungs are as `describe` gives them."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for rung in rungs:
        size = f"{rung['width']}x{rung['height']}"
        lines.append(f'#EXT-X-STREAM-INF:BANDWIDTH={rung["bandwidth"]},RESOLUTION={size},CODECS="{rung["codecs"]}"')
        lines.append(f"{rung['name']}.m3u8")
    return "\n".join([*lines, ""])


def rung_playlist(rung: dict[str, Any], url: str) -> str:
    """The segments of one rung as ranges of `url`."""
    longest = max(ms for ms, _ in rung["segments"])
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{math.ceil(longest / 1000)}"]
    lines += ["#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS"]
    at = rung["header"]
    lines.append(f'#EXT-X-MAP:URI="{url}",BYTERANGE="{at}@0"')
    for ms, size in rung["segments"]:
        lines += [f"#EXTINF:{ms / 1000:.3f},", f"#EXT-X-BYTERANGE:{size}@{at}", url]
        at += size
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def describe(rung: Rung, *, key: str) -> dict[str, Any]:
    """As it is kept with the video."""
    return {
        "name": rung.name,
        "key": key,
        "width": rung.width,
        "height": rung.height,
        "bandwidth": rung.bandwidth,
        "codecs": rung.codecs,
        "header": rung.header,
        "segments": rung.segments,
    }
