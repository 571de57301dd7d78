"""A worker that is gone is noticed by those who can see it, and by nobody else."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.core.db import transaction
from backend.jobs import leases, neighbours, workers
from backend.jobs.models import JobState
from backend.jobs.running import Runner
from backend.jobs.tasks import reap
from backend.jobs.workers import Registration
from tests.jobs.conftest import Declare, Jobs


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_worker_of_another_place_is_never_called_gone(dead_pid: int) -> None:
    assert neighbours.is_gone(f"{neighbours.place()}{dead_pid}-abc123")
    assert not neighbours.is_gone(f"{neighbours.place()}{os.getpid()}-abc123")
    assert not neighbours.is_gone(neighbours.worker_name())
    assert not neighbours.is_gone(f"elsewhere-0123abcd-{dead_pid}-abc123")
    assert not neighbours.is_gone("test")


def test_a_worker_that_cannot_be_looked_at_is_not_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    name = neighbours.worker_name()

    def none_left(path: Path) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_text", none_left)
    assert not neighbours.is_gone(name)


async def test_the_job_of_a_gone_worker_is_queued_again_at_once_and_others_are_left_alone(
    jobs: Jobs, declare: Declare, dead_pid: int
) -> None:
    kind = declare()
    names = [f"{neighbours.place()}{dead_pid}-abc123", f"elsewhere-0-{dead_pid}-abc123", neighbours.worker_name()]
    held = []
    for name in names:
        await jobs.start(kind)
        async with transaction() as session:
            job = await leases.claim(session, worker=name, queues=["test"], kinds=[kind])
        assert job is not None
        held.append(job.id)
    async with transaction() as session:
        assert await neighbours.disown(session) == 1
    assert await reap() == 1
    async with transaction() as session:
        assert await neighbours.disown(session) == 0
    states = [(await jobs.read(job_id)).state for job_id in held]
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.RUNNING]


async def test_a_gone_worker_counts_as_lost_at_once(jobs: Jobs, dead_pid: int) -> None:
    gone, here = f"{neighbours.place()}{dead_pid}-abc123", neighbours.worker_name()
    for name in (gone, here):
        await Registration(Runner(worker=name, queues=["test"], slots=1)).beat()
    async with transaction() as session:
        assert await workers.served(session) == {"test"}
        await workers.mark_lost(session)
        states = {worker.name: worker.state for worker in await workers.list_workers(session)}
    assert states == {gone: "lost", here: "alive"}
