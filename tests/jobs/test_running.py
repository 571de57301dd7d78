"""Running jobs in this process: how work ends, and what it tells meanwhile."""

import asyncio

import pytest
import structlog
from sqlalchemy import func

from backend.core.db import transaction
from backend.core.queue import Task
from backend.jobs import leases, progress, service
from backend.jobs.moves import JobError
from backend.jobs.running import Run, run_next
from tests.conftest import Person
from tests.jobs.conftest import Declare, Jobs, Work, reached

# --- how work ends ----------------------------------------------------------------------------------------------------


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


async def test_work_goes_on_in_the_name_of_the_request_that_queued_it(
    user: Person, jobs: Jobs, declare: Declare
) -> None:
    names: list[object] = []

    async def handler(run: Run) -> None:
        names.append(structlog.contextvars.get_contextvars().get("request_id"))
        if run.attempt == 1 and run.args:
            async with transaction() as session:
                await service.start(session, kind=run.kind, project_id=run.project_id, owner_id=None)
            raise JobError("x", "x")

    with structlog.contextvars.bound_contextvars(request_id="of-the-start"):
        job = await jobs.start(declare(handler), args={"first": True})
    assert await run_next(worker="tester")
    assert await run_next(worker="tester")
    await user.client.post(f"/api/jobs/{job.id}/retry", headers={"X-Request-Id": "of-the-retry"})
    assert await run_next(worker="tester")
    assert names == ["of-the-start", "of-the-start", "of-the-retry"]


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


async def test_work_that_always_finds_the_database_away_waits_longer_each_time_and_says_why(
    jobs: Jobs, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(run: Run) -> None:
        async with run.finishing() as session:
            await session.execute(func.pg_terminate_backend(func.pg_backend_pid()).select())

    tries: list[int] = []

    def backoff(task: Task | None, attempt: int) -> float:
        tries.append(attempt)
        return 0.0

    monkeypatch.setattr(leases, "backoff", backoff)
    job = await jobs.start(declare(handler, max_attempts=1))
    for _ in range(3):
        assert await run_next(worker="tester")
    assert tries == [1, 2, 3]
    assert {attempt.error_code for attempt in await jobs.attempts(job.id)} == {"database_away"}
    monkeypatch.setattr(leases, "OUTAGE_SECONDS", 0)
    assert await run_next(worker="tester")
    job = await jobs.read(job.id)
    assert (job.state, job.error_code) == ("failed", "database_away")


async def test_a_file_that_is_missing_while_finishing_is_a_failure_of_the_work(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        async with run.finishing():
            raise FileNotFoundError("/no/such/file")

    job = await jobs.start(declare(handler, max_attempts=1))
    await run_next(worker="tester")
    job = await jobs.read(job.id)
    assert (job.state, job.error_code) == ("failed", "internal_error")


# --- progress ---------------------------------------------------------------------------------------------------------


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
    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
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
