"""The ways to see poses in a film that `bench/coach.py` compares."""

import asyncio
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from backend.coaching import model
from backend.coaching.child import run_analysis
from backend.coaching.frames import Frame, picture_size, use_frames
from backend.coaching.options import AnalysisOptions
from backend.coaching.pose import Landmarker
from backend.videos.media import probe
from backend.videos.media_info import MediaInfo
from bench.films import ffmpeg
from bench.place import Place
from bench.table import Row, ratios


async def compared(place: Place, fps: float) -> list[Row]:
    folder = place.folder / "coach"
    folder.mkdir()
    named = os.environ.get("BENCH_FILM")
    film = Path(named) if named else make_film(folder, place.size(12, 4))
    info = await probe(f"file:{film}")
    seconds = info.duration or 0.0
    options = AnalysisOptions(sample_fps=fps)
    plain = AnalysisOptions(sample_fps=fps, overlay=False)
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "bare": partial(asyncio.to_thread, bare, film, info, options),
        "up to the poses": partial(poses, film, info, options, folder),
        "all but the overlay": partial(whole, film, plain, folder),
        "all of it": partial(whole, film, options, folder),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(place.rounds):
        for name, way in ways.items():
            began, worked = time.perf_counter(), cpu_seconds()
            await way()
            times[name].append(time.perf_counter() - began)
            cpu[name].append(cpu_seconds() - worked)
    rows = []
    for name in list(ways)[1:]:
        faster = ratios(times["bare"], times[name])
        real, bare_real = (seconds / min(times[which]) for which in (name, "bare"))
        in_cpu = min(cpu["bare"]) / min(cpu[name])
        beside = f"{real:.2f} × real time, bare {bare_real:.2f}; {in_cpu:.2f} of bare in CPU-seconds (the best rounds)"
        what = f"pose analysis, {info.width}x{info.height}, {fps:.0f} pictures a second, {name}: bare MediaPipe / ours"
        rows.append(Row(what, faster, at_least=0.8 if name == "up to the poses" else None, beside=beside))
    return rows


def make_film(folder: Path, seconds: int) -> Path:
    """The mannequin of the tests, its stroke again and again, large enough to be work."""
    from tests.coaching import mannequin  # drawn pictures of nobody: no film needs to come with the project

    stage = mannequin.Stage(1280, 720, 138, (640, 350))
    once = mannequin.film(folder / "once.mp4", stage, fps=15)
    film = folder / "film.mp4"
    times = max(0, round(seconds / mannequin.END) - 1)
    # At 30 pictures a second, as cameras have it.
    words = ["-vf", "fps=30", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
    ffmpeg("-stream_loop", str(times), "-i", once, *words, film)
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

    fps, size = options.sample_fps, picture_size(info)
    seen = await use_frames(f"file:{film}", info, folder, use, fps=fps, size=size, timeout_seconds=600)
    work.close()
    return seen


async def whole(film: Path, options: AnalysisOptions, folder: Path) -> None:
    """Ours, as the job runs it."""

    async def tell(stage: str, percent: float) -> None:
        return

    with tempfile.TemporaryDirectory(dir=folder) as out:
        await run_analysis(f"file:{film}", Path(out), options, timeout_seconds=600, on_progress=tell)
