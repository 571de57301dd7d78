"""What it takes to know and to show a large video: the bytes and requests of probe, poster and preview.

Over http ranges from a server that counts, beside ffprobe as it comes. Poster and preview are held beside the fewest
bytes with which an output seek (`-ss` after `-i`, which reads all that comes before) can make them: one for the poster,
and one pass for all tiles. Of a fragmented MP4, whose every fragment ffprobe visits, the time with each request as
slow as one to a storage far away.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backend.videos.media import probe
from backend.videos.media_info import MediaInfo
from backend.videos.poster import SEEK_FRACTION, SEEK_MAX_SECONDS, poster
from backend.videos.preview import plan_sheet, preview
from bench.films import CONTAINERS, FRAGMENTED, LONG, LONG_BITS, Reel, ffmpeg
from bench.place import Place
from bench.range_server import RangeServer
from bench.table import Row

DELAY_SECONDS = 0.05


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    seconds: float
    sent_bytes: int
    requests: int

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.sent_bytes / 1e6:.1f} MB, {self.requests} requests"


async def measure(place: Place) -> list[Row]:
    megabytes = place.size(1024, 2)
    reel, long = Reel(place.folder / "media", megabytes), Reel(place.folder / "long", megabytes, LONG_BITS)
    rows: list[Row] = []
    lengths: list[float] = []
    for made, films in ((reel, CONTAINERS), (long, LONG)):
        with RangeServer(made.folder) as server:
            for name, (file, words) in films.items():
                film = made.make(file, words)
                info = await probe(server.address(film))
                lengths.append(info.duration or 0.0)
                rows += await known(place, server, name, film)
                rows.append(await shown(place, server, name, film, info))
                film.unlink()
    with RangeServer(reel.folder) as server:
        film = reel.make(*FRAGMENTED)
        rows += await fragmented(place, server, film, lengths[0])
        film.unlink()
    return rows


async def known(place: Place, server: RangeServer, name: str, film: Path) -> list[Row]:
    """The probe, which also decodes a frame."""
    source, size = server.address(film), film.stat().st_size
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for _ in range(place.rounds):
        ours.append(await counted(server, lambda: probe(source)))
        theirs.append(await counted(server, lambda: ffprobe(source)))
    what = f"probe, {name}"
    beside = f"{size / 1e6:.0f} MB: {ours[-1]}; ffprobe {theirs[-1]}"
    read = tuple(100 * cost.sent_bytes / size for cost in ours)
    return [
        Row(f"{what}: share of the file read", read, "%", at_most=1.0, beside=beside),
        Row(f"{what}: requests", tuple(float(cost.requests) for cost in ours), "requests", at_most=10),
    ]


async def shown(place: Place, server: RangeServer, name: str, film: Path, info: MediaInfo) -> Row:
    """Poster and preview."""
    source, out = server.address(film), film.parent
    sheet = plan_sheet(info)
    assert sheet is not None
    at = min((info.duration or 0) * SEEK_FRACTION, SEEK_MAX_SECONDS)
    last = (sheet.count - 1) * sheet.interval
    ratios: list[float] = []
    for _ in range(place.rounds):
        still = await counted(server, lambda: poster(source, out / "poster.jpg", info))
        tiles = await counted(server, lambda: preview(source, out / "preview.jpg", info, sheet))
        plain_still = await counted(server, lambda: output_seek(source, at))
        plain_tiles = await counted(server, lambda: output_seek(source, last))
        plain = plain_still.sent_bytes + plain_tiles.sent_bytes
        ratios.append(plain / (still.sent_bytes + tiles.sent_bytes))
    beside = f"poster {still}; {sheet.count} tiles {tiles}; output seeks {plain / 1e6:.0f} MB"
    return Row(f"poster + preview, {name}: bytes of output seeks / ours", tuple(ratios), at_least=5, beside=beside)


async def fragmented(place: Place, server: RangeServer, film: Path, length: float) -> list[Row]:
    """`length` is what the same film is known to last, in seconds, from a file with an index."""
    source, size = server.address(film), film.stat().st_size
    seconds: list[float] = []
    told: list[float] = []
    server.delay_seconds = DELAY_SECONDS if not place.tiny else 0.0
    for _ in range(place.rounds):
        ours = await counted(server, lambda: probe(source))
        seconds.append(ours.seconds)
        told.append(100 * abs(((await probe(source)).duration or 0.0) / length - 1))
        theirs = await counted(server, lambda: ffprobe(source))
    server.delay_seconds = 0.0
    what = f"probe, MP4 in fragments, {DELAY_SECONDS * 1000:.0f} ms a request"
    beside = f"{size / 1e6:.0f} MB: {ours}; ffprobe {theirs}"
    return [
        Row(f"{what}: time", tuple(seconds), "s", at_most=15, beside=beside),
        Row(f"{what}: error of the length", tuple(told), "%", at_most=0.1, beside=f"{length:.2f} s"),
    ]


async def counted(server: RangeServer, work: Callable[[], Awaitable[object]]) -> Cost:
    server.start_counting()
    began = time.perf_counter()
    await work()
    return Cost(time.perf_counter() - began, server.count.sent_bytes, server.count.requests)


async def ffprobe(source: str) -> None:
    """As anybody would call it. Raises CalledProcessError."""
    words = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", source]
    done = await asyncio.to_thread(partial(subprocess.run, words, capture_output=True, check=True))
    json.loads(done.stdout)


async def output_seek(source: str, seconds: float) -> None:
    """One picture that long after the start. Key frames alone are decoded: only what is read counts."""
    one = ["-ss", f"{seconds:.3f}", "-frames:v", "1", "-f", "null", "-"]
    await asyncio.to_thread(ffmpeg, "-skip_frame", "nokey", "-i", source, "-map", "0:v:0", *one)
