"""What reading, converting and sending large videos costs: `make bench-media`.

Reading: probe, poster and preview of a file in each container, over http ranges, with the bytes sent for them.
Remux: MKV to MP4 by us (in the sandbox, looked at afterwards) and by plain `ffmpeg -c copy`, in turns.
Upload: the page in a real browser and `curl -T`, in turns, to the same storage.

BENCH_MB (1024), BENCH_ROUNDS (3), BENCH_PARTS (read,remux,upload). Only ratios say something about other machines.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from backend.videos.media_info import MediaError, MediaInfo
from bench.range_server import RangeServer

MEGABYTES = int(os.environ.get("BENCH_MB") or 1024)
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)
PARTS = (os.environ.get("BENCH_PARTS") or "read,remux,upload").split(",")
#: A seed of the film is made by the encoder, and then repeated.
SEED_SECONDS = 8
SEED_BITS = 16_000_000
LONG_SECONDS = 900.0

CONTAINERS = {
    "MP4, index at the end": ("end.mp4", []),
    "MP4, index in front": ("front.mp4", ["-movflags", "+faststart"]),
    "MP4, fragmented": ("fragments.mp4", ["-movflags", "frag_keyframe+empty_moov+default_base_moof"]),
    "MKV": ("film.mkv", []),
    "AVI": ("film.avi", ["-bsf:v", "h264_mp4toannexb"]),
    "MPEG-TS": ("film.ts", []),
}


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def ffmpeg(*words: str | Path) -> None:
    """Run ffmpeg; raises CalledProcessError."""
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], check=True)


def make_seed(folder: Path, megabytes: int) -> tuple[Path, int]:
    """A short film of noise, which does not compress, and how often it is to be repeated after the first time."""
    seed = folder / "seed.mp4"
    seconds = min(SEED_SECONDS, megabytes / 2)
    picture = f"testsrc2=duration={seconds}:size=1280x720:rate=30,noise=alls=40:allf=t"
    rate = ["-b:v", str(SEED_BITS), "-minrate", str(SEED_BITS), "-maxrate", str(SEED_BITS), "-bufsize", str(SEED_BITS)]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", *rate, "-c:a", "aac"]
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=duration={seconds}", *codec, seed)
    return seed, max(0, round(megabytes * 1024 * 1024 / seed.stat().st_size) - 1)


def make_film(seed: Path, times: int, path: Path, words: list[str]) -> None:
    """The seed repeated, without encoding anew. The filter that AVI needs does not survive a repetition."""
    looped = path.with_name("looped.mkv") if path.suffix == ".avi" else path
    ffmpeg(
        "-stream_loop", str(times), "-i", seed, "-map", "0", "-c", "copy", *(words if looped == path else []), looped
    )
    if looped != path:
        ffmpeg("-i", looped, "-map", "0", "-c", "copy", *words, path)
        looped.unlink()


async def measure(server: RangeServer, times: list[float], work: Callable[[], Awaitable[object]]) -> tuple[object, str]:
    """Do it in rounds; the last result, and in words the median time and what was read each time."""
    result: object = None
    times.clear()
    for _ in range(ROUNDS):
        server.start_counting()
        began = time.perf_counter()
        try:
            result = await work()
        except MediaError as error:
            return result, f"failed: {error.code}"
        times.append(time.perf_counter() - began)
    sent, requests = server.count.sent_bytes / 1e6, server.count.requests
    return result, f"{statistics.median(times):6.2f} s {sent:7.1f} MB {requests:4d} requests"


async def read(folder: Path) -> None:
    from backend.videos.media import probe
    from backend.videos.poster import poster
    from backend.videos.preview import plan_sheet, preview

    seed, times = make_seed(folder, MEGABYTES)
    say(f"{'reading':<24}{'file':>8}  {'probe':>32}  {'poster':>32}  {'preview':>32}")
    with RangeServer(folder) as server:
        for name, (file, words) in CONTAINERS.items():
            path = folder / file
            make_film(seed, times, path, words)
            source, taken = server.address(path), list[float]()
            info, probed = await measure(server, taken, lambda: probe(source))  # noqa: B023 — awaited at once
            assert isinstance(info, MediaInfo)
            sheet = plan_sheet(info)
            still, tiles = folder / "poster.jpg", folder / "preview.jpg"
            _, shot = await measure(server, taken, lambda: poster(source, still, info))  # noqa: B023
            told = "none: no index, or no length"
            if sheet is not None:
                _, told = await measure(server, taken, lambda: preview(source, tiles, info, sheet))  # noqa: B023
            size = path.stat().st_size / 1e6
            say(f"{name:<24}{size:5.0f} MB  {probed:>32}  {shot:>32}  {told:>32}")
            path.unlink()


async def remux(folder: Path) -> None:
    from backend.videos.confinement import sandbox_report
    from backend.videos.media import probe
    from backend.videos.renditions import plan_rendition, render
    from backend.videos.sandbox import on_command

    seed, times = make_seed(folder, MEGABYTES)
    film, target = folder / "film.mkv", folder / "rendition.mp4"
    make_film(seed, times, film, [])
    with RangeServer(folder) as server:
        source = server.address(film)
        info = await probe(source)
        plan = plan_rendition(info, max_height=1080)
        assert plan.kind == "remux"

        async def nobody(share: float) -> None: ...

        async def ours() -> None:
            starts: list[float] = []
            on_command.set(lambda command: starts.append(time.perf_counter()))
            long = LONG_SECONDS
            await render(source, target, info, plan, tell=nobody, timeout_seconds=long, stall_seconds=long)
            # The second command is the first that looks at what came out.
            seconds["converting"].append(starts[1] - starts[0])

        async def plain() -> None:
            words = ["-i", source, "-map", "0", "-c", "copy", "-movflags", "+faststart"]
            await asyncio.to_thread(ffmpeg, *words, target)

        seconds: dict[str, list[float]] = {"ours": [], "converting": [], "plain": []}
        for number in range(ROUNDS):
            turns = [("ours", ours), ("plain", plain)]
            for name, work in turns if number % 2 == 0 else turns[::-1]:
                began = time.perf_counter()
                await work()
                seconds[name].append(time.perf_counter() - began)
                target.unlink()
    size = film.stat().st_size / 1e6
    film.unlink()
    say()
    say(f"remux of {size:.0f} MB, MKV to MP4 with the index in front; sandbox: {sandbox_report().kind}")
    plain_seconds = statistics.median(seconds["plain"])
    names = {
        "plain": "ffmpeg -c copy",
        "converting": "dailies, ffmpeg alone",
        "ours": "dailies, with the look at the result",
    }
    for name, words in names.items():
        rounds = " ".join(f"{each:.2f}" for each in seconds[name])
        median = statistics.median(seconds[name])
        say(f"  {words:<38}{median:6.2f} s   {median / plain_seconds:.2f} of plain   rounds: {rounds}")
    say("  aim: 1.10 at most")


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-media-") as place:
        folder = Path(place)
        if "read" in PARTS:
            await read(folder)
        if "remux" in PARTS:
            await remux(folder)
        if "upload" in PARTS:
            from bench.upload import upload

            seed, times = make_seed(folder, MEGABYTES)
            film = folder / "film.mp4"
            make_film(seed, times, film, ["-movflags", "+faststart"])
            await upload(folder, film, ROUNDS, say)


if __name__ == "__main__":
    asyncio.run(main())
