"""Small pictures of a whole video on one sheet, for cards and the seek bar, and the WebVTT track that tells of them."""

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.media_tools import (
    AT_ONCE,
    QUICK_LOOK,
    command,
    reading,
    run_media_tool,
    tone_map_filters,
    too_slow,
    why,
)

#: The longer side of a tile, in pixels.
TILE_SIDE = 160
COLUMNS = 10
MOST_TILES = 100
#: Tiles of a short video; of a longer one there is a tile each so many seconds, up to MOST_TILES.
FEW_TILES = 10
SECONDS_EACH = 2.0
#: Below this much decoding (pixels of the whole video) every frame is looked at; beyond it key frames alone.
EVERY_FRAME_PIXELS = 4_000_000_000
#: Larger files are not read through: for each of fewer tiles, the place is looked up.
READ_THROUGH_BYTES = 256 * 1024 * 1024
SOUGHT_TILES = 36
#: A transport stream has no index: a place in it is found by trying, which reads more than the tile itself.
TRIED_TILES = 24
#: In an MP4 each place is looked up in the whole index, which grows with the length: so much a second, about, and all
#: tiles together must not cost more than a part of the file.
INDEX_BYTES_A_SECOND = 1_000
INDEXES_SHARE = 1 / 6

#: What ffmpeg says of a piece that does not decode; browsers give up there, where it goes on.
_DAMAGE = re.compile(r"Error while decoding stream|Error submitting packet to decoder|Decoding error")
_FAILED = "No preview of the video could be made."


@dataclass(frozen=True)
class Sheet:
    """How the tiles lie on the sheet: row by row, `count` of them, one each `interval` seconds from the start."""

    columns: int
    rows: int
    count: int
    tile_width: int
    tile_height: int
    interval: float


def plan_sheet(info: MediaInfo) -> Sheet | None:
    """How the preview of a video is laid out; None where its length is not known.

    None also for a large file in fragments: without an index each tile would cost a visit to all of them. Browsers are
    given a rendition of such a file, and that is what the preview is made of.
    """
    if not info.duration or (info.fragmented and _is_large(info)):
        return None
    most = _most_sought(info, info.duration) if _is_large(info) else MOST_TILES
    count = min(most, max(FEW_TILES, math.ceil(info.duration / SECONDS_EACH)))
    if info.fps:
        count = max(1, min(count, math.floor(info.duration * info.fps)))
    shrink = TILE_SIDE / max(info.width, info.height)
    columns = min(COLUMNS, count)
    return Sheet(
        columns=columns,
        rows=-(-count // columns),
        count=count,
        tile_width=_even(info.width * shrink),
        tile_height=_even(info.height * shrink),
        interval=round(info.duration / count, 3),
    )


async def preview(
    source: str,
    dest: Path,
    info: MediaInfo,
    sheet: Sheet,
    *,
    timeout_seconds: float = 300,
    limits: Limits | None = None,
) -> bool:
    """Write the sheet as a JPEG to `dest`; answers whether all that was read on the way could be decoded.

    Raises MediaError (corrupt_media, probe_timeout, resource_limit, storage_unavailable).
    """
    limits = limits or Limits()
    make = _sought if _is_large(info) else _read_through
    try:
        async with asyncio.timeout(timeout_seconds):
            sound = await make(source, dest, info, sheet, timeout_seconds, limits)
    except TimeoutError:
        raise too_slow() from None
    if not dest.exists() or not dest.stat().st_size:
        raise MediaError("corrupt_media", _FAILED)
    return sound


def track(sheet: Sheet, picture: str) -> str:
    """WebVTT whose cues name a part of `picture` (an address), as players of preview thumbnails read it."""
    return "WEBVTT\n" + "".join(_cues(sheet, picture))


def _cues(sheet: Sheet, picture: str) -> Iterator[str]:
    for number in range(sheet.count):
        start, end = _time(number * sheet.interval), _time((number + 1) * sheet.interval)
        row, column = divmod(number, sheet.columns)
        left, top = column * sheet.tile_width, row * sheet.tile_height
        yield f"\n{start} --> {end}\n{picture}#xywh={left},{top},{sheet.tile_width},{sheet.tile_height}\n"


def _time(seconds: float) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{thousandths:03}"


def _most_sought(info: MediaInfo, duration: float) -> int:
    if info.container == "mpegts":
        return TRIED_TILES
    if info.container not in ("mp4", "mov"):
        return SOUGHT_TILES
    affordable = INDEXES_SHARE * (info.size_bytes or 0) / (INDEX_BYTES_A_SECOND * duration)
    return min(SOUGHT_TILES, max(FEW_TILES, math.floor(affordable)))


def _is_large(info: MediaInfo) -> bool:
    return (info.size_bytes or 0) > READ_THROUGH_BYTES


async def _read_through(
    source: str, dest: Path, info: MediaInfo, sheet: Sheet, timeout_seconds: float, limits: Limits
) -> bool:
    pixels = (info.duration or 0) * (info.fps or 30) * info.coded_width * info.coded_height
    skip = {} if pixels <= EVERY_FRAME_PIXELS else {"skip_frame": "nokey"}
    # The last tile is repeated: a track that ends early must not leave black ones.
    layout = [f"fps=1/{sheet.interval}:start_time=0", f"tpad=stop_mode=clone:stop={sheet.columns * sheet.rows}"]
    layout.append(f"tile={sheet.columns}x{sheet.rows}")
    pictures = reading(source, info, limits, **skip)[str(info.video_stream)]
    filters = _filters(info, sheet, first=layout[:1], last=layout[1:])
    said = await _run(ffmpeg.output(pictures, f"file:{dest}", vf=filters, threads=1, **_JPEG), timeout_seconds)
    return not _DAMAGE.search(said)


async def _sought(
    source: str, dest: Path, info: MediaInfo, sheet: Sheet, timeout_seconds: float, limits: Limits
) -> bool:
    """One small read for each tile, then all of them side by side; where nothing is found the tile before stays."""
    tile_bytes = sheet.tile_width * sheet.tile_height * 3 // 2
    tiles: list[bytes] = []
    strip = dest.with_suffix(".yuv")
    for number in range(sheet.count):
        seek = {"ss": f"{number * sheet.interval:.3f}", "skip_frame": "nokey", "noaccurate_seek": None}
        pictures = reading(source, info, limits, **seek, **QUICK_LOOK)[str(info.video_stream)]
        tile = {"vf": _filters(info, sheet, first=[AT_ONCE]), "frames:v": 1, "f": "rawvideo"}
        output = await run_media_tool(command(ffmpeg.output(pictures, "pipe:1", threads=1, **tile)), timeout_seconds)
        if len(output.stdout) == tile_bytes:
            tiles.append(output.stdout)
        elif tiles:
            tiles.append(tiles[-1])
        else:
            raise why(output, _FAILED)
    tiles += [tiles[-1]] * (sheet.columns * sheet.rows - sheet.count)
    strip.write_bytes(b"".join(tiles))
    size = f"{sheet.tile_width}x{sheet.tile_height}"
    raw = ffmpeg.input(f"file:{strip}", protocol_whitelist="file", f="rawvideo", pix_fmt="yuvj420p", s=size)
    layout = f"tile={sheet.columns}x{sheet.rows}"
    await _run(ffmpeg.output(raw, f"file:{dest}", vf=layout, **_JPEG), timeout_seconds)
    strip.unlink()
    return True


_JPEG = {"frames:v": 1, "f": "mjpeg", "q:v": 5}


def _filters(info: MediaInfo, sheet: Sheet, *, first: list[str] | None = None, last: list[str] | None = None) -> str:
    shrink = [f"scale={sheet.tile_width}:{sheet.tile_height}:flags=area", "setsar=1"]
    colours = ["scale=out_color_matrix=bt601:out_range=full", "format=yuvj420p"]
    return ",".join([*(first or []), *shrink, *tone_map_filters(info.color_transfer), *colours, *(last or [])])


async def _run(output_of: Any, timeout_seconds: float) -> str:
    output = await run_media_tool(command(output_of), timeout_seconds)
    if output.returncode != 0:
        raise why(output, _FAILED)
    return output.stderr


def _even(side: float) -> int:
    return max(2, 2 * round(side / 2))
