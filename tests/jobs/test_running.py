"""Running jobs in this process: how work ends, and what stops it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from sqlalchemy import func

from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import arq_queue, doorbell
from backend.core.redis import redis
from backend.jobs import progress, queries, service
from backend.jobs.models import Job
from backend.jobs.running import JobError, Run, Runner, run_next
from backend.jobs.tasks import sweep, watch_cancels
from tests.jobs.conftest import Declare, Jobs

MakeRunner = Callable[..., Runner]


class Work:
    """A handler that says when it began, waits to be let go, and notes when it was stopped."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.stopped = asyncio.Event()
        self.runs = 0

    async def __call__(self, run: Run) -> None:
        self.runs += 1
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise


@pytest.fixture
async def runner() -> AsyncIterator[MakeRunner]:
    """Makes a worker's slots in this process, swept like a real one unless told otherwise."""
    runners: list[Runner] = []
    beside: list[asyncio.Task[None]] = []

    def make(slots: int = 2, *, swept: bool = True) -> Runner:
        made = Runner(worker="tester", queues=["test"], slots=slots)
        runners.append(made)
        if swept:
            beside.extend((asyncio.create_task(sweep(made)), asyncio.create_task(watch_cancels(made))))
        return made

    yield make
    for each in runners:
        await each.drain(0)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


async def reached(event: asyncio.Event, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()


# --- how work ends ---------------------------------------------------------------------------------------------------


async def test_work_that_returns_is_completed(jobs: Jobs, declare: Declare) -> None:
    seen: list[tuple[object, ...]] = []

    async def handler(run: Run) -> None:
        seen.append((run.args, run.attempt, run.project_id))
        await run.report("only", 50)

    job = await jobs.start(declare(handler), args={"a": 1})
    assert await run_next(worker="tester")
    assert not await run_next(worker="tester")
    assert (await jobs.read(job.id)).state == "completed"
    assert seen == [({"a": 1}, 1, jobs.project_id)]


async def test_no_transaction_is_open_while_work_runs(jobs: Jobs, declare: Declare) -> None:
    from backend.core.db import database

    open_connections: list[int] = []

    async def handler(run: Run) -> None:
        await asyncio.sleep(0.1)
        open_connections.append(database.engine.pool.checkedout())  # type: ignore[attr-defined]

    await jobs.start(declare(handler))
    await run_next(worker="tester")
    assert open_connections == [0]


async def test_an_expected_error_fails_the_job_with_its_code(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        raise JobError("corrupt_media", "The file is broken.")

    job = await jobs.start(declare(handler))
    await run_next(worker="tester")
    job = await jobs.read(job.id)
    assert (job.state, job.error_code, job.error_message) == ("failed", "corrupt_media", "The file is broken.")


async def test_a_crash_is_tried_again_and_tells_nothing_of_its_insides(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        raise ValueError("a secret detail")

    job = await jobs.start(declare(handler, max_attempts=2, backoff_seconds=0))
    await run_next(worker="tester")
    assert (await jobs.read(job.id)).state == "queued"
    await run_next(worker="tester")
    job = await jobs.read(job.id)
    assert (job.state, job.error_code, job.error_retryable) == ("failed", "internal_error", True)
    assert "secret" not in (job.error_message or "")


async def test_work_that_takes_too_long_is_stopped_and_failed(jobs: Jobs, declare: Declare) -> None:
    work = Work()
    job = await jobs.start(declare(work, timeout_seconds=0.2))
    await run_next(worker="tester")
    job = await jobs.read(job.id)
    assert (job.state, job.error_code) == ("failed", "resource_limit")
    assert work.stopped.is_set()


async def test_a_finishing_block_that_raises_writes_nothing(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        async with run.finishing():
            raise JobError("corrupt_media", "Seen late.")

    job = await jobs.start(declare(handler))
    await run_next(worker="tester")
    job = await jobs.read(job.id)
    assert (job.state, job.error_code) == ("failed", "corrupt_media")


async def test_an_error_after_the_end_does_not_undo_it(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        async with run.finishing():
            pass
        raise ValueError("while tidying up")

    job = await jobs.start(declare(handler))
    await run_next(worker="tester")
    assert (await jobs.read(job.id)).state == "completed"


async def test_a_database_that_went_away_does_not_cost_the_attempt(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        async with transaction() as session:
            await session.execute(func.pg_terminate_backend(func.pg_backend_pid()).select())

    job = await jobs.start(declare(handler))
    await run_next(worker="tester")
    job = await jobs.read(job.id)
    assert (job.state, job.attempt) == ("queued", 0)
    assert [attempt.outcome for attempt in await jobs.attempts(job.id)] == ["released"]


# --- progress --------------------------------------------------------------------------------------------------------


async def test_progress_never_falls_and_reaches_redis_before_the_row(jobs: Jobs, declare: Declare) -> None:
    told = asyncio.Event()
    go = asyncio.Event()

    async def handler(run: Run) -> None:
        await run.report("probe", 40)
        await run.report("probe", 20)
        await run.report("poster", float("nan"))
        told.set()
        await go.wait()

    job = await jobs.start(declare(handler))
    running = asyncio.create_task(run_next(worker="tester"))
    await reached(told)
    async with asyncio.timeout(10):
        while True:
            row = await jobs.read(job.id)
            [state] = await progress.freshen([progress.state_of(row)])
            if state.job.stage == "poster":
                break
            await asyncio.sleep(0.02)
    assert state.job.progress == 40
    go.set()
    await running
    assert (await jobs.read(job.id)).progress == 100


async def test_progress_is_noted_in_the_row_between_heartbeats(jobs: Jobs, declare: Declare) -> None:
    work = Work()

    async def handler(run: Run) -> None:
        await run.report("probe", 40)
        await work(run)

    job = await jobs.start(declare(handler))
    running = asyncio.create_task(run_next(worker="tester"))
    async with asyncio.timeout(10):
        while (await jobs.read(job.id)).progress != 40:
            await asyncio.sleep(0.1)
    work.go.set()
    await running


async def test_progress_of_an_earlier_attempt_is_not_shown(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        await run.report("probe", 80)
        await asyncio.sleep(0.1)
        raise JobError("x", "x", retryable=True)

    job = await jobs.start(declare(handler, backoff_seconds=0))
    await run_next(worker="tester")
    await jobs.claimed()
    [state] = await progress.freshen([progress.state_of(await jobs.read(job.id))])
    assert (state.job.attempt, state.job.progress) == (2, 0)


# --- what stops work -------------------------------------------------------------------------------------------------


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
    async with asyncio.timeout(10):
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


# --- how workers find jobs -------------------------------------------------------------------------------------------


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


async def test_estimates_are_remembered_for_a_while(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    async with transaction() as session:
        assert await queries.estimated_seconds(session, kind) is None
    await jobs.start(kind)
    await run_next(worker="tester")
    async with transaction() as session:
        assert await queries.estimated_seconds(session, kind) is None
