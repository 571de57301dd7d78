"""The analysis in a process of its own: what ends it, what it may take, and how it tells what went wrong."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.coaching import child, pose
from backend.coaching.child import run_analysis
from backend.coaching.options import AnalysisOptions, CoachError
from backend.coaching.readiness import coach_report
from backend.config import settings
from backend.videos.sandbox import MEMORY_BYTES
from tests.coaching.films import NOT_READY

ready = pytest.mark.skipif(bool(NOT_READY), reason=NOT_READY)
OPTIONS = AnalysisOptions(sample_fps=30)
DEADLINE = 120


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody in it, but much of it."""
    path = tmp_path_factory.mktemp("film") / "long.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30:duration=60"]
    encode = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(["ffmpeg", "-v", "error", *picture, *encode], check=True)
    return path


def below(pid: int) -> set[int]:
    """Every live process that descends from this one."""
    parents = {}
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit():
                state, parent = (place / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(place.name)] = int(parent)
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(processes: set[int]) -> None:
    async with asyncio.timeout(DEADLINE):
        while any(alive(one) for one in processes):
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def working(source: Path, folder: Path) -> AsyncIterator[tuple[asyncio.Task[object], set[int]]]:
    """An analysis that has begun to look at pictures, and the processes it consists of."""
    looking = asyncio.Event()

    async def tell(stage: str, percent: float) -> None:
        if stage == "poses" and percent > 2:
            looking.set()

    before = below(os.getpid())
    run = run_analysis(f"file:{source}", folder, OPTIONS, timeout_seconds=300, on_progress=tell)
    task: asyncio.Task[object] = asyncio.create_task(run)
    try:
        async with asyncio.timeout(DEADLINE):
            await looking.wait()
        yield task, below(os.getpid()) - before
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@ready
async def test_cancelling_ends_the_child_and_its_ffmpegs(long_film: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    async with working(long_film, tmp_path / "out") as (task, processes):
        assert any(b"ffmpeg" in Path(f"/proc/{one}/cmdline").read_bytes() for one in processes)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(processes)


@ready
async def test_a_child_that_is_killed_is_a_failure_worth_another_try(long_film: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    async with working(long_film, tmp_path / "out") as (task, processes):
        theirs = [one for one in processes if b"coaching.child" in Path(f"/proc/{one}/cmdline").read_bytes()]
        os.kill(theirs[0], signal.SIGKILL)
        with pytest.raises(CoachError) as told:
            await task
        assert told.value.code == "resource_limit"
        assert told.value.retryable
        await gone(processes)


@ready
async def test_the_child_dies_with_its_parent(long_film: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    code = f"""
import asyncio
from pathlib import Path
from backend.coaching.child import run_analysis
from backend.coaching.options import AnalysisOptions
async def tell(stage, percent):
    if stage == "poses" and percent > 2:
        print("looking", flush=True)
asyncio.run(run_analysis("file:{long_film}", Path("{tmp_path}/out"), AnalysisOptions(sample_fps=30),
                         timeout_seconds=300, on_progress=tell))
"""
    root = str(Path(child.__file__).parents[2])
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": root}
    )
    assert parent.stdout is not None
    async with asyncio.timeout(DEADLINE):
        assert await parent.stdout.readline() == b"looking\n"
    family = below(parent.pid)
    assert len(family) >= 2
    parent.kill()
    await parent.wait()
    await gone(family)


@ready
async def test_what_hears_of_the_progress_may_end_it(long_film: Path, tmp_path: Path) -> None:
    async def enough(stage: str, percent: float) -> None:
        raise RuntimeError("enough")

    (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError, match="enough"):
        await run_analysis(f"file:{long_film}", tmp_path / "out", OPTIONS, timeout_seconds=60, on_progress=enough)


@ready
async def test_the_child_and_its_ffmpegs_are_bounded_in_memory(
    long_film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "pose_delegate", "cpu")
    (tmp_path / "out").mkdir()
    async with working(long_film, tmp_path / "out") as (_, processes):
        for one in processes:
            lines = Path(f"/proc/{one}/limits").read_text().splitlines()
            most = next(line for line in lines if line.startswith("Max address space")).split()[3]
            assert int(most) <= MEMORY_BYTES


async def test_without_a_model_it_is_said_what_is_missing(
    long_film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "pose_model_file", str(tmp_path / "none.task"))
    report = coach_report()
    assert not report.ready
    assert "none.task" in report.why or not pose.installed()

    async def tell(stage: str, percent: float) -> None:
        return

    with pytest.raises(CoachError) as told:
        await run_analysis(f"file:{long_film}", tmp_path, OPTIONS, timeout_seconds=60, on_progress=tell)
    assert told.value.code == "coach_unavailable"
    assert not told.value.retryable


def test_nothing_secret_reaches_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "k" * 40)
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://u:p@h/d")
    assert not {"SECRET_KEY", "DATABASE_URL"} & set(child._environment("cpu"))
