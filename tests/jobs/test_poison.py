"""Jobs that end or freeze their worker's process: others must not pay for them."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import func, insert, update

from backend.core.db import transaction
from backend.core.queue import registry
from backend.jobs.models import Job, JobAttempt
from backend.local.stack import Stack
from tests.conftest import ROOT, environment
from tests.jobs import poison_worker
from tests.jobs.conftest import Declare, Jobs, MakeRunner, Work, reached

Hire = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
async def known(app: FastAPI) -> AsyncIterator[None]:
    for each in poison_worker.TASKS:
        registry.add(each)
    yield
    for each in poison_worker.TASKS:
        registry.remove(each.kind)


@pytest.fixture
def hire(stack: Stack, tmp_path: Path) -> Iterator[Hire]:
    """Starts a worker with three slots and a lease of three seconds."""
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        env = {**environment(stack), "JOB_LEASE_SECONDS": "3", "WORKER_QUEUES": "test", "WORKER_SLOTS": "3"}
        with (tmp_path / "worker.log").open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.poison_worker"],
                cwd=ROOT,
                env={**env, "WORKER_GRACE_SECONDS": "0", "PYTHONPATH": str(ROOT)},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


async def test_a_job_that_ends_its_worker_each_time_takes_no_others_with_it(jobs: Jobs, hire: Hire) -> None:
    poison = await jobs.start("test_poison")
    innocent = [await jobs.start("test_innocent") for _ in range(2)]
    deaths, worker = 0, hire()
    async with asyncio.timeout(120):
        while {(await jobs.read(job.id)).state for job in (poison, *innocent)} & {"queued", "running"}:
            if worker.poll() is not None:
                deaths, worker = deaths + 1, hire()
            await asyncio.sleep(0.1)
    job = await jobs.read(poison.id)
    assert (job.state, job.error_code, deaths) == ("failed", "attempts_exhausted", 3)
    assert [(await jobs.read(each.id)).state for each in innocent] == ["completed", "completed"]


async def test_a_worker_frozen_inside_its_finishing_transaction_loses_its_job_soon(jobs: Jobs, hire: Hire) -> None:
    job = await jobs.start("test_frozen")
    first = hire()
    async with asyncio.timeout(60):
        while Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0.05)
    frozen_at = time.monotonic()
    hire()
    await jobs.wait_for(job.id, "completed")
    assert time.monotonic() - frozen_at < 3 + 40
    assert [attempt.outcome for attempt in await jobs.attempts(job.id)] == ["lost", "completed"]


async def suspect(jobs: Jobs, kind: str) -> Job:
    """A job before its last attempt, whose worker was lost in the one before."""
    job = await jobs.start(kind, priority=1, delay_seconds=3600)
    lost = {"job_id": job.id, "attempt": 2, "worker": "gone", "outcome": "lost", "lease_token": job.id}
    async with transaction() as session:
        await session.execute(insert(JobAttempt).values(lost))
        await session.execute(update(Job).where(Job.id == job.id).values(attempt=2, run_at=func.now()))
    return job


async def test_a_job_that_may_be_poison_waits_until_nothing_runs_beside_it_and_nothing_begins_then(
    jobs: Jobs, declare: Declare, runner: MakeRunner
) -> None:
    before, alone = Work(), Work()
    await jobs.start(declare(before))
    slots = runner(3)
    await reached(before.began)
    job = await suspect(jobs, declare(alone))
    await asyncio.sleep(2.5)  # more than two sweeps
    beside = await jobs.start(declare())
    await jobs.wait_for(beside.id, "completed")  # others go on meanwhile
    assert (await jobs.read(job.id)).state == "queued"
    before.go.set()
    await reached(alone.began)
    after = await jobs.start(declare())
    await asyncio.sleep(1.5)
    assert slots.free == 0
    assert (await jobs.read(after.id)).state == "queued"
    alone.go.set()
    await jobs.wait_for(after.id, "completed")
    assert (await jobs.read(job.id)).state == "completed"


async def test_a_job_that_may_be_poison_does_not_wait_for_ever(
    jobs: Jobs, declare: Declare, runner: MakeRunner
) -> None:
    before = Work()
    await jobs.start(declare(before))
    runner(3)
    await reached(before.began)
    job = await suspect(jobs, declare())
    await jobs.change(job.id, run_at=func.now() - timedelta(minutes=11))
    await jobs.wait_for(job.id, "completed")
    before.go.set()
