"""The slots of a worker: what stops the work in them, and how it finds more."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func

from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import arq_queue, doorbell
from backend.core.redis import redis
from backend.jobs import claims, running, service
from backend.jobs.models import Job
from backend.jobs.moves import JobError
from backend.jobs.running import Run
from tests.jobs.conftest import Declare, Jobs, MakeRunner, Work, reached

# --- what stops work --------------------------------------------------------------------------------------------------


async def cancel(job: Job) -> None:
    async with transaction() as session:
        await service.cancel_job(session, actor=None, job=job)


async def test_a_cancel_stops_running_work_and_is_then_confirmed(
    jobs: Jobs, declare: Declare, runner: MakeRunner
) -> None:
    work = Work()
    job = await jobs.start(declare(work))
    runner()
    await reached(work.began)
    await cancel(job)
    await reached(work.stopped)
    job = await jobs.wait_for(job.id, "cancelled")
    assert job.error_code == "cancelled"


async def test_a_cancel_waits_until_the_work_really_stopped(jobs: Jobs, declare: Declare, runner: MakeRunner) -> None:
    tidied = asyncio.Event()
    tidying = asyncio.Event()

    async def handler(run: Run) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            tidying.set()
            with contextlib.suppress(asyncio.CancelledError):
                await tidied.wait()

    job = await jobs.start(declare(handler))
    runner()
    await jobs.wait_for(job.id, "running")
    await cancel(job)
    await reached(tidying)
    assert (await jobs.read(job.id)).state == "running"
    tidied.set()
    await jobs.wait_for(job.id, "cancelled")


async def test_a_lost_lease_stops_the_work(
    jobs: Jobs, declare: Declare, runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "job_lease_seconds", 3)
    work = Work()
    job = await jobs.start(declare(work))
    slots = runner(swept=False)
    assert await slots.look()
    await reached(work.began)
    await jobs.change(
        job.id, state="queued", lease_token=None, lease_until=None, run_at=func.now() + timedelta(hours=1)
    )
    await reached(work.stopped)
    async with asyncio.timeout(60):
        while slots.job_ids:
            await asyncio.sleep(0.05)
    assert (await jobs.read(job.id)).state == "queued"


async def test_the_lease_is_renewed_while_work_goes_on(
    jobs: Jobs, declare: Declare, runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "job_lease_seconds", 3)
    work = Work()
    job = await jobs.start(declare(work))
    runner()
    await reached(work.began)
    await asyncio.sleep(4)
    work.go.set()
    job = await jobs.wait_for(job.id, "completed")
    assert (work.runs, job.attempt) == (1, 1)


async def test_a_shutdown_lets_jobs_end_within_the_grace(jobs: Jobs, declare: Declare, runner: MakeRunner) -> None:
    work = Work()
    job = await jobs.start(declare(work))
    slots = runner()
    await reached(work.began)
    draining = asyncio.create_task(slots.drain(20))
    await asyncio.sleep(0.1)
    assert slots.free == 0
    work.go.set()
    await draining
    assert (await jobs.read(job.id)).state == "completed"


async def test_a_shutdown_gives_back_what_does_not_end(jobs: Jobs, declare: Declare, runner: MakeRunner) -> None:
    work = Work()
    job = await jobs.start(declare(work))
    slots = runner()
    await reached(work.began)
    await slots.drain(0)
    job = await jobs.read(job.id)
    assert (job.state, job.attempt) == ("queued", 0)
    assert work.stopped.is_set()


async def test_a_job_claimed_while_its_worker_stops_is_given_back_at_once(
    jobs: Jobs, declare: Declare, runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    job = await jobs.start(declare(work))
    slots = runner(swept=False)
    claimed, go_on = slow_claims(monkeypatch)
    looking = asyncio.create_task(slots.look())
    await reached(claimed)
    draining = asyncio.create_task(slots.drain(0))
    await asyncio.sleep(0.1)
    go_on.set()
    await looking
    async with asyncio.timeout(5):  # not the time that stubborn work is given
        await draining
    job = await jobs.read(job.id)
    assert (job.state, job.attempt, work.runs) == ("queued", 0, 0)


def slow_claims(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Answers: set when a job was claimed, and to be set before the worker hears of it."""
    claimed, go_on = asyncio.Event(), asyncio.Event()
    take_one = claims.take_one

    async def slow(**options: Any) -> Job | None:
        job = await take_one(**options)
        claimed.set()
        await go_on.wait()
        return job

    monkeypatch.setattr(running, "take_one", slow)
    return claimed, go_on


async def test_a_ring_that_is_cut_off_leaves_no_claimed_job_without_a_holder(
    jobs: Jobs, declare: Declare, runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    job = await jobs.start(declare(work))
    slots = runner(swept=False)
    claimed, go_on = slow_claims(monkeypatch)
    ring = asyncio.create_task(slots.answer())
    await reached(claimed)
    ring.cancel()
    await asyncio.gather(ring, return_exceptions=True)
    go_on.set()
    await reached(work.began)
    work.go.set()
    await jobs.wait_for(job.id, "completed")


# --- how workers find jobs --------------------------------------------------------------------------------------------


async def test_a_worker_runs_no_more_than_its_slots_and_goes_on_by_itself(
    jobs: Jobs, declare: Declare, runner: MakeRunner
) -> None:
    at_once = most = 0

    async def handler(run: Run) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1

    kind = declare(handler)
    started = [await jobs.start(kind) for _ in range(9)]
    slots = runner(3, swept=False)
    for _ in range(5):
        await slots.look()
    for job in started:
        await jobs.wait_for(job.id, "completed")
    assert most == 3


async def test_a_queue_with_fewer_slots_leaves_the_others_of_its_worker_free(
    jobs: Jobs, declare: Declare, runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "worker_queue_slots", {"test": 1})
    work = Work()
    kind = declare(work)
    first, second = await jobs.start(kind), await jobs.start(kind)
    slots = runner(3)
    await jobs.wait_for(first.id, "running")
    await asyncio.gather(*(slots.look() for _ in range(4)))
    assert (work.runs, slots.free) == (1, 2)
    work.go.set()
    await jobs.wait_for(second.id, "completed")


async def test_a_queue_that_this_machine_has_no_room_for_is_left_to_others(
    jobs: Jobs, declare: Declare, runner: MakeRunner
) -> None:
    room = False
    job = await jobs.start(declare())
    slots = runner(1)
    slots.room["test"] = lambda: room
    for _ in range(3):
        assert not await slots.look()
    room = True
    await slots.look()
    await jobs.wait_for(job.id, "completed")


async def test_jobs_are_found_when_redis_lost_every_ring(jobs: Jobs, declare: Declare, runner: MakeRunner) -> None:
    job = await jobs.start(declare())
    await redis.client.flushdb()
    runner()
    await jobs.wait_for(job.id, "completed")


async def test_a_job_starts_although_the_bell_cannot_be_rung(
    jobs: Jobs, declare: Declare, runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object) -> None:
        raise ConnectionError("redis is away")

    monkeypatch.setattr(doorbell, "ring", broken)
    job = await jobs.start(declare())
    runner()
    await jobs.wait_for(job.id, "completed")


async def test_a_due_retry_is_found_by_looking(jobs: Jobs, declare: Declare, runner: MakeRunner) -> None:
    async def handler(run: Run) -> None:
        if run.attempt == 1:
            raise JobError("x", "x", retryable=True)

    job = await jobs.start(declare(handler, backoff_seconds=0.5))
    runner()
    assert (await jobs.wait_for(job.id, "completed")).attempt == 2


async def test_a_ring_reaches_a_listening_worker(jobs: Jobs, declare: Declare, runner: MakeRunner) -> None:
    slots = runner(swept=False)
    bell = arq_queue.ArqDoorbell()
    listening = asyncio.create_task(bell.listen(["test", "other"], slots.answer, free=lambda: slots.free))
    try:
        for queue in ("test", "test"):
            job = await jobs.start(declare(queue=queue))
            await jobs.wait_for(job.id, "completed")
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bell.close()


async def test_rings_wait_for_others_while_a_worker_is_full(jobs: Jobs, declare: Declare, runner: MakeRunner) -> None:
    work = Work()
    slots = runner(1, swept=False)
    bell = arq_queue.ArqDoorbell()
    await jobs.start(declare(work))
    assert await slots.look()
    listening = asyncio.create_task(bell.listen(["test"], slots.answer, free=lambda: slots.free))
    try:
        await redis.client.delete(arq_queue.queue_name("test"))
        await jobs.start(declare())
        await asyncio.sleep(0.5)
        assert await redis.client.zcard(arq_queue.queue_name("test")) == 1
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bell.close()


async def test_redis_holds_no_more_rings_than_are_of_use(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    for _ in range(arq_queue.MAX_WAITING_RINGS + 5):
        await jobs.start(kind)
    assert await redis.client.zcard(arq_queue.queue_name("test")) == arq_queue.MAX_WAITING_RINGS
