"""A still of a video: a bright enough frame near its start."""

import asyncio
import re
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
from backend.videos.sandbox import ToolOutput

SEEK_FRACTION = 0.1
SEEK_MAX_SECONDS = 3.0
# Mean luma (16 is black) under which a brighter frame is looked for: further in, the most typical among so many.
DARK = 28.0
SECOND_FRACTION = 0.4
SECOND_MAX_SECONDS = 10.0
CANDIDATES = 24
# A file may hold a hundred thousand cuts, and obeying them takes minutes. A picture that is not there after so many
# seconds is looked for without.
PATIENCE_SECONDS = 10

_LUMA = re.compile(rb"lavfi\.signalstats\.YAVG=([0-9.]+)")


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
        raise too_slow() from None
    except BaseException:  # cancelled or failed, a half-written picture must not pass for a whole one
        dest.unlink(missing_ok=True)
        raise


class _Shot:
    """One picture to be made: how to cut it out of the source."""

    def __init__(self, source: str, info: MediaInfo, max_width: int, limits: Limits, timeout_seconds: float) -> None:
        self._source, self._info, self._limits, self._timeout_seconds = source, info, limits, timeout_seconds
        self._width = max(2, min(max_width, info.width))
        self._height = max(2, round(info.height * self._width / info.width))
        self._tone_map = tone_map_filters(info.color_transfer)
        self._look = QUICK_LOOK
        self._is_mp4 = self._obey_cuts = info.container in ("mp4", "mov")
        duration = info.duration or 0
        self.first = min(duration * SEEK_FRACTION, SEEK_MAX_SECONDS)
        self.second = min(duration * SECOND_FRACTION, SECOND_MAX_SECONDS)

    async def take(self, dest: Path, *, seek: float, candidates: int = 1) -> float | None:
        """Write the key frame before `seek` seconds, or the most typical of `candidates` frames from there on.

        Returns its mean luma (16 black, 235 white), or None where no frame could be had.
        """
        luma = await self._take(dest, seek, candidates)
        if luma is None and self._look:
            self._look = {}  # something had to be found out at length after all
            luma = await self._take(dest, seek, candidates)
        if luma is None and self._tone_map:
            # This ffmpeg may lack the filters, or the file's colours may be told wrongly: flat colours beat none.
            tone_map, self._tone_map = self._tone_map, []
            luma = await self._take(dest, seek, candidates)
            if luma is None:  # it was not the colours
                self._tone_map = tone_map
        return luma

    async def _take(self, dest: Path, seek: float, candidates: int) -> float | None:
        options: dict[str, Any] = self._look | ({"ss": f"{seek:.3f}"} if seek else {})
        if candidates == 1:
            options |= {"skip_frame": "nokey", "noaccurate_seek": None}
        filters = [f"thumbnail={candidates}"] if candidates > 1 else [AT_ONCE]
        filters += [f"scale={self._width}:{self._height}:flags=area", "setsar=1", *self._tone_map]
        filters += ["format=yuv420p", "signalstats", "metadata=print:key=lavfi.signalstats.YAVG:file=-"]
        # JPEG knows one matrix and the full range only.
        filters += ["scale=out_color_matrix=bt601:out_range=full", "format=yuvj420p"]
        dest.unlink(missing_ok=True)
        output = await self._run(options, dest, {"vf": ",".join(filters), "frames:v": 1, "f": "mjpeg", "q:v": 3})
        luma = _LUMA.search(output.stdout)
        if output.returncode == 0 and luma and dest.exists() and dest.stat().st_size:
            return float(luma[1])
        self.failure = output
        return None

    async def _run(self, options: dict[str, Any], dest: Path, written: dict[str, Any]) -> ToolOutput:
        def words(**more: str) -> list[str]:
            pictures = reading(self._source, self._info, self._limits, **options, **more)[str(self._info.video_stream)]
            return command(ffmpeg.output(pictures, f"file:{dest}", threads=1, **written))

        if self._obey_cuts:
            try:
                return await run_media_tool(words(), PATIENCE_SECONDS)
            except MediaError as error:
                if error.code != "probe_timeout":
                    raise
            self._obey_cuts = False
        ignoring = {"advanced_editlist": "0"} if self._is_mp4 else {}
        return await run_media_tool(words(**ignoring), self._timeout_seconds)


async def _best_frame(shot: _Shot, dest: Path) -> None:
    """A key frame near the start is cheap; only a dark one, or none, sends us to look further."""
    luma = await shot.take(dest, seek=shot.first)
    if luma is not None and luma >= DARK:
        return
    other = dest.with_name(f"{dest.name}.other")
    try:
        for seek in dict.fromkeys((shot.second, 0.0)):
            found = await shot.take(other, seek=seek, candidates=CANDIDATES)
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
    raise why(shot.failure, "No picture of the video could be made.")
