"""Worker processes as in production, and what becomes of jobs when they end in every way a process can."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from fastapi import FastAPI

import worker
from backend.core.db import transaction
from backend.core.queue import registry
from backend.core.redis import redis
from backend.jobs import service
from backend.jobs.models import Job
from backend.local.stack import Stack
from tests.conftest import ROOT, environment
from tests.jobs import worker_under_test
from tests.jobs.conftest import Jobs

KIND = worker_under_test.KIND


class Workers:
    """Starts worker processes and sees to their end."""

    def __init__(self, stack: Stack, log: Path) -> None:
        self._env = {
            **environment(stack),
            "JOB_LEASE_SECONDS": "3",
            "WORKER_QUEUES": "test",
            "WORKER_SLOTS": "2",
            "PYTHONPATH": str(ROOT),
        }
        self.log = log
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, *, grace_seconds: int = 0, arq: bool = False, clock_ahead_seconds: int = 0
    ) -> subprocess.Popen[bytes]:
        module = ["arq", "tests.jobs.worker_under_test.WorkerSettings"] if arq else ["tests.jobs.worker_under_test"]
        with self.log.open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env={
                    **self._env,
                    "WORKER_GRACE_SECONDS": str(grace_seconds),
                    "CLOCK_AHEAD_SECONDS": str(clock_ahead_seconds),
                },
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    async def end(self, process: subprocess.Popen[bytes], number: int) -> int:
        process.send_signal(number)
        return await asyncio.to_thread(process.wait, 30)


@pytest.fixture
def workers(stack: Stack, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(stack, tmp_path / "worker.log")
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
async def known(app: FastAPI) -> AsyncIterator[None]:
    """The kind is known here so that it can be started, and to nobody else's sweeps afterwards."""
    registry.add(worker_under_test.TASK)
    yield
    registry.remove(KIND)


class Story:
    """A job, what its handlers noted, and the word that lets them end."""

    def __init__(self, folder: Path) -> None:
        self.notes, self.go = folder / "notes", folder / "go"

    async def start(self, jobs: Jobs) -> Job:
        return await jobs.start(KIND, args={"notes": str(self.notes), "go": str(self.go)})

    def lines(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    async def begun(self, times: int = 1, seconds: float = 40) -> None:
        async with asyncio.timeout(seconds):
            while sum(line.startswith("begin") for line in self.lines()) < times:
                await asyncio.sleep(0.05)

    def let_end(self) -> None:
        self.go.touch()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


async def test_a_job_of_a_killed_worker_is_finished_by_another(jobs: Jobs, workers: Workers, story: Story) -> None:
    job = await story.start(jobs)
    first = workers.start()
    await story.begun()
    await workers.end(first, signal.SIGKILL)
    second = workers.start()
    await story.begun(2)
    story.let_end()
    job = await jobs.wait_for(job.id, "completed")
    assert job.attempt == 2
    assert story.lines() == [f"begin {first.pid}", f"begin {second.pid}", f"end {second.pid}"]
    assert [attempt.outcome for attempt in await jobs.attempts(job.id)] == ["lost", "completed"]


async def test_a_stopped_worker_that_wakes_up_does_not_finish_what_it_lost(
    jobs: Jobs, workers: Workers, story: Story
) -> None:
    job = await story.start(jobs)
    first = workers.start()
    await story.begun()
    first.send_signal(signal.SIGSTOP)
    second = workers.start()
    await story.begun(2)
    first.send_signal(signal.SIGCONT)
    await asyncio.sleep(2)
    assert (await jobs.read(job.id)).attempt == 2
    story.let_end()
    await jobs.wait_for(job.id, "completed")
    assert f"end {second.pid}" in story.lines()
    assert [attempt.outcome for attempt in await jobs.attempts(job.id)] == ["lost", "completed"]


@pytest.mark.parametrize("arq", [False, True], ids=["dailies worker", "arq"])
async def test_a_terminated_worker_gives_its_job_back_and_the_attempt_too(
    jobs: Jobs, workers: Workers, story: Story, arq: bool
) -> None:
    job = await story.start(jobs)
    first = workers.start(arq=arq)
    await story.begun()
    await workers.end(first, signal.SIGTERM)
    given_back = await jobs.read(job.id)
    assert (given_back.state, given_back.attempt) == ("queued", 0)
    workers.start(arq=arq)
    await story.begun(2)
    story.let_end()
    assert (await jobs.wait_for(job.id, "completed")).attempt == 1


async def test_a_terminated_worker_lets_its_job_end_within_the_grace(
    jobs: Jobs, workers: Workers, story: Story
) -> None:
    job = await story.start(jobs)
    worker = workers.start(grace_seconds=30)
    await story.begun()
    worker.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert worker.poll() is None
    story.let_end()
    assert await asyncio.to_thread(worker.wait, 30) == 0
    assert (await jobs.read(job.id)).state == "completed"


async def test_a_worker_whose_listening_breaks_gives_its_jobs_back(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Work(worker.Work):
        async def start(self) -> None:
            done.append("started")

        async def listen(self) -> None:
            raise RuntimeError("nobody foresaw this")

        async def stop(self) -> None:
            done.append("stopped")

    monkeypatch.setattr(worker, "Work", Work)
    try:
        with pytest.raises(RuntimeError):
            await worker.serve()
    finally:  # these are the test run's
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
    assert done == ["started", "stopped"]


async def test_a_worker_outlives_the_loss_of_all_its_connections(
    jobs: Jobs, stack: Stack, workers: Workers, story: Story
) -> None:
    job = await story.start(jobs)
    worker = workers.start()
    await story.begun()
    await redis.client.client_kill_filter(_type="normal")
    await redis.client.flushall()
    connection = await asyncpg.connect(stack.superuser_url)
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    await connection.close()
    story.let_end()
    job = await jobs.wait_for(job.id, "completed")
    assert (job.attempt, worker.poll()) == (1, None)
    after = await story.start(jobs)
    await jobs.wait_for(after.id, "completed")


async def test_a_worker_outlives_redis_and_finds_jobs_without_it(
    jobs: Jobs, stack: Stack, workers: Workers, story: Story
) -> None:
    job = await story.start(jobs)
    worker = workers.start()
    await story.begun()
    valkey = next(part for part in stack.parts if part.name == "valkey")
    valkey.stop()
    try:
        during = await story.start(jobs)
        await story.begun(2)
        story.let_end()
        assert (await jobs.wait_for(job.id, "completed")).attempt == 1
        await jobs.wait_for(during.id, "completed")
        assert worker.poll() is None
    finally:
        valkey.launch()
        async with asyncio.timeout(60):
            while not valkey.is_ready():
                await asyncio.sleep(0.05)
    after = await story.start(jobs)
    await jobs.wait_for(after.id, "completed")


async def test_a_worker_outlives_a_restart_of_postgres(
    jobs: Jobs, stack: Stack, workers: Workers, story: Story
) -> None:
    job, waiting = await story.start(jobs), [await story.start(jobs) for _ in range(3)]
    worker = workers.start()
    await story.begun(2)
    postgres = next(part for part in stack.parts if part.name == "postgres")
    postgres.stop()
    story.let_end()  # what runs comes to its end while the database is away
    await asyncio.sleep(1)
    postgres.launch()
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(postgres.is_ready):
            await asyncio.sleep(0.05)
    for each in (job, *waiting):
        assert (await jobs.wait_for(each.id, "completed")).attempt == 1
    assert worker.poll() is None


async def test_wrong_clocks_of_hosts_neither_steal_nor_keep_a_job(jobs: Jobs, workers: Workers, story: Story) -> None:
    job = await story.start(jobs)
    ahead = workers.start(clock_ahead_seconds=3600)
    await story.begun()
    behind = workers.start(clock_ahead_seconds=-3600)
    await asyncio.sleep(5)  # longer than the lease
    assert (await jobs.read(job.id)).attempt == 1
    await workers.end(ahead, signal.SIGKILL)
    await story.begun(2)
    third = workers.start(clock_ahead_seconds=3600)
    await asyncio.sleep(5)
    story.let_end()
    await jobs.wait_for(job.id, "completed")
    assert story.lines() == [f"begin {ahead.pid}", f"begin {behind.pid}", f"end {behind.pid}"]
    assert third.poll() is None


async def test_a_running_job_is_cancelled_across_processes(jobs: Jobs, workers: Workers, story: Story) -> None:
    job = await story.start(jobs)
    workers.start()
    await story.begun()
    async with transaction() as session:
        await service.cancel_job(session, actor=None, job=job)
    await jobs.wait_for(job.id, "cancelled")
    assert len(story.lines()) == 1


def test_an_idle_worker_costs_little(client: object, workers: Workers) -> None:
    """Ten seconds would be exact; three are enough to see a loop that spins."""
    worker = workers.start()
    deadline = time.monotonic() + 30
    while b"worker.started" not in workers.log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = cpu_seconds(worker.pid)
    time.sleep(3)
    assert cpu_seconds(worker.pid) - before < 1.5


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
