"""A large MKV repacked as MP4 with its index in front: by us, in the sandbox and looked at afterwards, and by plain
`ffmpeg -c copy`, in turns. In times of the latter."""

import asyncio
import statistics
import time

from backend.videos.confinement import sandbox_report
from backend.videos.media import probe
from backend.videos.renditions import plan_rendition, render
from backend.videos.sandbox import on_command
from bench.films import CONTAINERS, FASTSTART, Reel, ffmpeg
from bench.place import Place
from bench.range_server import RangeServer
from bench.table import Row, ratios

LONG_SECONDS = 900.0


async def measure(place: Place) -> list[Row]:
    reel = Reel(place.folder / "remux", place.size(1024, 2))
    film, target = reel.make(*CONTAINERS["MKV"]), reel.folder / "rendition.mp4"
    whole: list[float] = []
    converting: list[float] = []
    plain: list[float] = []
    with RangeServer(reel.folder) as server:
        source = server.address(film)
        info = await probe(source)
        plan = plan_rendition(info, max_height=1080)
        assert plan.kind == "remux"

        async def nobody(share: float) -> None: ...

        async def ours() -> None:
            starts: list[float] = []
            on_command.set(lambda command: starts.append(time.perf_counter()))
            began, long = time.perf_counter(), LONG_SECONDS
            await render(source, target, info, plan, tell=nobody, timeout_seconds=long, stall_seconds=long)
            whole.append(time.perf_counter() - began)
            # The second command is the first that looks at what came out.
            converting.append(starts[1] - starts[0])

        async def theirs() -> None:
            began = time.perf_counter()
            await asyncio.to_thread(ffmpeg, "-i", source, "-map", "0", "-c", "copy", *FASTSTART, target)
            plain.append(time.perf_counter() - began)

        for number in range(place.rounds):
            for work in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                await work()
                target.unlink()
    size = film.stat().st_size / 1e6
    film.unlink()
    median = statistics.median
    beside = f"{size:.0f} MB, sandbox {sandbox_report().kind}: {median(whole):.2f} s; ffmpeg {median(plain):.2f} s"
    return [
        Row("remux of MKV, with the look at the result / ffmpeg -c copy", ratios(whole, plain), beside=beside),
        Row("remux of MKV, the conversion alone / ffmpeg -c copy", ratios(converting, plain), at_most=1.1),
    ]
