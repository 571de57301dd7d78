"""What an analysis costs beside bare MediaPipe: `make bench-coach`.

In turns, in the same run, on the same pictures: all of ours (decoding in the sandbox, poses, numbers, overlay), ours up
to the poses, and a program that only decodes with plain ffmpeg and hands each picture to MediaPipe, with the same
options. Told as multiples of real time, on two cores, and as theirs over ours: in time, and in CPU-seconds, which say
more on a machine that has other work.

BENCH_ROUNDS (3), BENCH_FPS (10), BENCH_FILM (a file; else the drawn figure at 1280x720, 12 s), BENCH_SECONDS (12).
Only ratios say something about other machines.
"""

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from backend.coaching import model
from backend.coaching.child import run_analysis
from backend.coaching.frames import Frame, picture_size, use_frames
from backend.coaching.options import AnalysisOptions
from backend.coaching.pose import Landmarker
from backend.coaching.readiness import coach_report
from backend.videos.media import probe
from backend.videos.media_info import MediaInfo

ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)
FPS = float(os.environ.get("BENCH_FPS") or 10)
SECONDS = float(os.environ.get("BENCH_SECONDS") or 12)
FILM = os.environ.get("BENCH_FILM") or ""
CORES = 2


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def make_film(folder: Path) -> Path:
    """The mannequin of the tests, its stroke again and again, large enough to be work."""
    from tests.coaching import mannequin  # drawn pictures of nobody: no film needs to come with the project

    stage = mannequin.Stage(1280, 720, 138, (640, 350))
    once = mannequin.film(folder / "once.mp4", stage, fps=15)
    film = folder / "film.mp4"
    times = max(0, round(SECONDS / mannequin.END) - 1)
    # At 30 pictures a second, as cameras have it.
    words = ["-stream_loop", str(times), "-i", str(once), "-vf", "fps=30", "-c:v", "libx264", "-preset", "veryfast"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, "-pix_fmt", "yuv420p", str(film)], check=True)
    return film


def cpu_seconds() -> float:
    """What this process and all it waited for have used so far."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def landmarker(options: AnalysisOptions) -> Landmarker:
    return Landmarker(model.model_file(), people=options.max_people, delegate="cpu")


def bare(film: Path, info: MediaInfo, options: AnalysisOptions) -> int:
    """What anybody would write first."""
    width, height = picture_size(info)
    filters = f"fps={options.sample_fps},scale={width}:{height}"
    words = ["ffmpeg", "-v", "error", "-threads", "2", "-i", str(film), "-vf", filters, "-pix_fmt", "rgb24"]
    work, count = landmarker(options), 0
    with subprocess.Popen([*words, "-f", "rawvideo", "-"], stdout=subprocess.PIPE) as tool:
        assert tool.stdout is not None
        while len(data := tool.stdout.read(width * height * 3)) == width * height * 3:
            work.see(np.frombuffer(data, np.uint8).reshape(height, width, 3), count / options.sample_fps)
            count += 1
    work.close()
    return count


async def poses(film: Path, info: MediaInfo, options: AnalysisOptions, folder: Path) -> int:
    """Ours, up to the points."""
    work = landmarker(options)

    def use(frames: Iterator[Frame]) -> int:
        count = 0
        for frame in frames:
            work.see(frame.picture, frame.t)
            count += 1
        return count

    size = picture_size(info)
    seen = await use_frames(f"file:{film}", info, folder, use, fps=FPS, size=size, timeout_seconds=600)
    work.close()
    return seen


async def whole(film: Path, options: AnalysisOptions, folder: Path) -> None:
    """Ours, as the job runs it."""

    async def tell(stage: str, percent: float) -> None:
        return

    await run_analysis(f"file:{film}", folder, options, timeout_seconds=600, on_progress=tell)


async def main() -> None:
    if not (report := coach_report()).ready:
        sys.exit(report.why)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
    options = AnalysisOptions(sample_fps=FPS)
    plain = AnalysisOptions(sample_fps=FPS, overlay=False)
    times: dict[str, list[float]] = {"bare": [], "poses": [], "numbers": [], "whole": []}
    cpu: dict[str, list[float]] = {name: [] for name in times}
    with tempfile.TemporaryDirectory(prefix="bench-coach-") as own:
        folder = Path(own)
        film = Path(FILM) if FILM else make_film(folder)
        info = await probe(f"file:{film}")
        seconds = info.duration or SECONDS
        counts = set()
        for _ in range(ROUNDS):
            for name in times:
                began, worked = time.perf_counter(), cpu_seconds()
                if name == "bare":
                    counts.add(await asyncio.to_thread(bare, film, info, options))
                elif name == "poses":
                    counts.add(await poses(film, info, options, folder))
                else:
                    with tempfile.TemporaryDirectory(dir=folder) as out:
                        await whole(film, options if name == "whole" else plain, Path(out))
                times[name].append(time.perf_counter() - began)
                cpu[name].append(cpu_seconds() - worked)
        say(f"{info.width}x{info.height}, {seconds:.1f} s, {FPS:.0f} pictures a second: {sorted(counts)} pictures")
        words = {
            "bare": "plain ffmpeg and bare MediaPipe",
            "poses": "dailies, up to the poses",
            "numbers": "dailies, all but the overlay",
            "whole": "dailies, all of it",
        }
        theirs = statistics.median(times["bare"])
        for name, label in words.items():
            took, worked = statistics.median(times[name]), statistics.median(cpu[name])
            figures = f"{took:6.2f} s {seconds / took:6.2f}x real time {theirs / took:6.2f} of bare"
            say(f"{label:34} {figures} {worked:7.2f} CPU-s {statistics.median(cpu['bare']) / worked:6.2f} of bare")


if __name__ == "__main__":
    asyncio.run(main())
