"""The moves of a job, one by one."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.core.queue import Task, UnknownKind
from backend.jobs import leases, service, tasks
from backend.jobs.models import Job
from backend.jobs.moves import JobError, LeaseLost
from backend.jobs.running import Run
from backend.orgs.models import Project
from tests.jobs.conftest import Declare, Jobs

AGO = func.now() - timedelta(minutes=1)


class Ended:
    """An `on_end` that writes a domain row and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.failure: Exception | None = None

    async def __call__(self, session: AsyncSession, job: Job, state: str, error: JobError) -> None:
        await rename(session, job.project_id, f"ended {state}")
        self.told.append((state, error.code))
        if self.failure is not None:
            raise self.failure


async def rename(session: AsyncSession, project_id: uuid.UUID, name: str) -> None:
    await session.execute(update(Project).where(Project.id == project_id).values(name=name))


async def project_name(project_id: uuid.UUID) -> str:
    async with transaction() as session:
        name: str = (await session.execute(select(Project.name).where(Project.id == project_id))).scalar_one()
        return name


async def fail(job: Job, error: JobError) -> Job:
    assert job.lease_token is not None
    async with transaction() as session:
        return await leases.fail(session, job_id=job.id, token=job.lease_token, error=error)


# --- start -----------------------------------------------------------------------------------------------------------


async def test_a_job_of_an_unknown_kind_cannot_be_started(jobs: Jobs) -> None:
    with pytest.raises(UnknownKind):
        await jobs.start("nobody_knows")


async def test_a_dedupe_key_gives_the_live_job_again_and_is_free_after_its_end(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    first = await jobs.start(kind, dedupe_key="same")
    assert (await jobs.start(kind, dedupe_key="same")).id == first.id
    await fail(await jobs.claimed(), JobError("x", "x"))
    assert (await jobs.start(kind, dedupe_key="same")).id != first.id


async def test_many_starts_with_one_dedupe_key_make_one_job(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    started = await asyncio.gather(*(jobs.start(kind, dedupe_key="same") for _ in range(8)))
    assert len({job.id for job in started}) == 1


async def test_a_rolled_back_start_leaves_no_job(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    with pytest.raises(ZeroDivisionError):
        async with transaction() as session:
            await service.start(session, kind=kind, project_id=jobs.project_id, owner_id=jobs.owner_id)
            raise ZeroDivisionError
    assert await jobs.claim() is None


# --- claim -----------------------------------------------------------------------------------------------------------


async def test_jobs_are_claimed_by_priority_then_by_time(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    now = datetime.now(UTC)
    late = await jobs.start(kind, run_at=now - timedelta(minutes=1))
    low = await jobs.start(kind, priority=3, run_at=now - timedelta(hours=2))
    early = await jobs.start(kind, run_at=now - timedelta(minutes=2))
    high = await jobs.start(kind, priority=1, run_at=now)
    claimed = [(await jobs.claimed()).id for _ in range(4)]
    assert claimed == [high.id, early.id, late.id, low.id]


async def test_the_best_job_is_taken_across_queues(jobs: Jobs, declare: Declare) -> None:
    slow, quick = declare(queue="slow"), declare(queue="quick")
    await jobs.start(slow, priority=3)
    best = await jobs.start(quick, priority=1)
    other = await jobs.start(declare(queue="other"), priority=1)
    first = await jobs.claim(queues=("slow", "quick"))
    assert first is not None
    assert first.id == best.id
    assert await jobs.claim(queues=("slow", "quick")) is not None
    assert await jobs.claim(queues=("slow", "quick")) is None
    assert (await jobs.read(other.id)).state == "queued"


async def test_a_job_is_not_claimed_before_its_time(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare(), delay_seconds=60)
    assert await jobs.claim() is None
    await jobs.change(job.id, run_at=AGO)
    assert (await jobs.claimed()).id == job.id


async def test_an_unknown_kind_stays_queued(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    assert await jobs.claim("another_kind") is None
    assert (await jobs.read(job.id)).state == "queued"


async def test_claims_at_once_take_different_jobs_without_waiting(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    for _ in range(2):
        await jobs.start(kind)
    async with asyncio.timeout(10), transaction() as session:
        first = await leases.claim(session, worker="a", queues=["test"], kinds=[kind])
        second = await jobs.claim()  # the first is not committed yet
        third = await jobs.claim()
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert third is None


async def test_every_job_is_claimed_once_by_many_claimers(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    for _ in range(20):
        await jobs.start(kind)
    claimed = await asyncio.gather(*(jobs.claim() for _ in range(8)))
    while (job := await jobs.claim()) is not None:
        claimed.append(job)
    ids = [job.id for job in claimed if job is not None]
    assert len(ids) == len(set(ids)) == 20


async def test_a_claim_begins_an_attempt(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    claimed = await jobs.claimed()
    assert (claimed.state, claimed.attempt, claimed.worker) == ("running", 1, "tester")
    [attempt] = await jobs.attempts(job.id)
    assert (attempt.lease_token, attempt.attempt, attempt.outcome) == (claimed.lease_token, 1, None)


# --- the lease -------------------------------------------------------------------------------------------------------


async def test_a_stale_token_finishes_nothing_and_its_domain_rows_are_not_written(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    stale = Run(await jobs.claimed())
    await jobs.change(stale.job_id, lease_until=AGO)
    assert await tasks.reap() == 1
    current = await jobs.claimed()
    with pytest.raises(LeaseLost):
        async with stale.finishing() as session:
            await rename(session, jobs.project_id, "written by a ghost")
    assert await project_name(jobs.project_id) != "written by a ghost"
    assert (await jobs.read(current.id)).lease_token == current.lease_token


async def test_a_fence_that_breaks_late_still_takes_the_domain_rows_back(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    stale = await jobs.claimed()
    with pytest.raises(LeaseLost):
        async with transaction() as session:
            await rename(session, jobs.project_id, "written by a ghost")
            await leases.finish(session, job_id=stale.id, token=uuid.uuid4())
    assert await project_name(jobs.project_id) != "written by a ghost"
    assert (await jobs.read(stale.id)).state == "running"


@pytest.mark.parametrize("move", [leases.release, leases.confirm_cancel, leases.finish])
async def test_no_move_is_made_with_another_token(jobs: Jobs, declare: Declare, move: Any) -> None:
    await jobs.start(declare())
    job = await jobs.claimed()
    with pytest.raises(LeaseLost):
        async with transaction() as session:
            await move(session, job_id=job.id, token=uuid.uuid4())
    assert (await jobs.read(job.id)).state == "running"


async def test_a_heartbeat_renews_the_lease_and_progress_never_falls(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    job = await jobs.claimed()
    token = job.lease_token
    assert token is not None
    await jobs.change(job.id, lease_until=AGO)
    for percent in (40.0, 30.0):
        async with transaction() as session:
            asked = await leases.heartbeat(session, job_id=job.id, token=token, stage="probe", progress=percent)
            assert asked is None
    after = await jobs.read(job.id)
    assert (after.stage, after.progress, after.updated_at) == ("probe", 40.0, job.updated_at)
    assert await tasks.reap() == 0
    with pytest.raises(LeaseLost):
        async with transaction() as session:
            await leases.heartbeat(session, job_id=job.id, token=uuid.uuid4(), stage=None, progress=0)


async def test_a_lost_lease_is_queued_again_at_once(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    job = await jobs.claimed()
    assert await tasks.reap() == 0
    await jobs.change(job.id, lease_until=AGO)
    assert await tasks.reap() == 1
    again = await jobs.claimed()
    assert (again.id, again.attempt) == (job.id, 2)
    assert [attempt.outcome for attempt in await jobs.attempts(job.id)] == ["lost", None]


async def test_a_job_that_loses_every_worker_ends_failed_with_its_domain_rows(jobs: Jobs, declare: Declare) -> None:
    ended = Ended()
    job = await jobs.start(declare(max_attempts=2, on_end=ended))
    for _ in range(2):
        await jobs.claimed()
        await jobs.change(job.id, lease_until=AGO)
        assert await tasks.reap() == 1
    after = await jobs.read(job.id)
    assert (after.state, after.error_code) == ("failed", "attempts_exhausted")
    assert ended.told == [("failed", "attempts_exhausted")]
    assert await project_name(jobs.project_id) == "ended failed"


async def test_a_job_that_cannot_be_ended_does_not_keep_others_from_being_rescued(jobs: Jobs, declare: Declare) -> None:
    ended = Ended()
    ended.failure = RuntimeError("a bug")
    bad = await jobs.start(declare(max_attempts=1, on_end=ended))
    await jobs.claimed()
    await jobs.change(bad.id, lease_until=func.now() - timedelta(hours=1))
    good = await jobs.start(declare())
    await jobs.claimed()
    await jobs.change(good.id, lease_until=AGO)
    await tasks.reap()
    assert (await jobs.read(good.id)).state == "queued"
    assert (await jobs.read(bad.id)).state == "running"


async def test_a_cancel_asked_of_a_lost_worker_is_confirmed_by_the_reaper(jobs: Jobs, declare: Declare) -> None:
    ended = Ended()
    await jobs.start(declare(on_end=ended))
    job = await jobs.claimed()
    async with transaction() as session:
        await service.cancel_job(session, actor=None, job=job)
    await jobs.change(job.id, lease_until=AGO)
    await tasks.reap()
    assert (await jobs.read(job.id)).state == "cancelled"
    assert ended.told == [("cancelled", "cancelled")]


# --- the end of an attempt -------------------------------------------------------------------------------------------


async def test_completion_is_written_with_the_domain_rows(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    run = Run(await jobs.claimed())
    async with run.finishing() as session:
        await rename(session, jobs.project_id, "made by the job")
    job = await jobs.read(run.job_id)
    assert (job.state, job.progress, job.lease_token) == ("completed", 100.0, None)
    assert job.finished_at is not None
    assert await project_name(jobs.project_id) == "made by the job"
    assert [attempt.outcome for attempt in await jobs.attempts(job.id)] == ["completed"]


async def test_a_release_does_not_spend_the_attempt(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare(max_attempts=1))
    for _ in range(3):
        job = await jobs.claimed()
        assert job.attempt == 1
        assert job.lease_token is not None
        async with transaction() as session:
            await leases.release(session, job_id=job.id, token=job.lease_token)
    assert [attempt.outcome for attempt in await jobs.attempts(job.id)] == ["released"] * 3


async def test_a_retryable_error_is_tried_again_after_a_while_until_attempts_run_out(
    jobs: Jobs, declare: Declare
) -> None:
    ended = Ended()
    kind = declare(max_attempts=2, on_end=ended, backoff_seconds=1000, backoff_limit_seconds=1000)
    await jobs.start(kind)
    job = await fail(await jobs.claimed(), JobError("gpu_oom", "No memory.", retryable=True))
    assert (job.state, job.attempt, job.error_code) == ("queued", 1, None)
    assert job.run_at > job.created_at
    assert ended.told == []
    await jobs.change(job.id, run_at=AGO)
    job = await fail(await jobs.claimed(), JobError("gpu_oom", "No memory.", retryable=True))
    assert (job.state, job.error_code, job.error_retryable) == ("failed", "gpu_oom", True)
    assert ended.told == [("failed", "gpu_oom")]
    assert [attempt.error_code for attempt in await jobs.attempts(job.id)] == ["gpu_oom", "gpu_oom"]


async def test_an_error_that_is_not_retryable_ends_the_job_at_once(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    job = await fail(await jobs.claimed(), JobError("corrupt_media", "The file is broken."))
    assert (job.state, job.error_code, job.attempt) == ("failed", "corrupt_media", 1)


async def test_the_domain_is_told_inside_the_same_transaction(jobs: Jobs, declare: Declare) -> None:
    ended = Ended()
    ended.failure = RuntimeError("the domain refuses")
    await jobs.start(declare(on_end=ended))
    job = await jobs.claimed()
    with pytest.raises(RuntimeError):
        await fail(job, JobError("x", "x"))
    assert (await jobs.read(job.id)).state == "running"
    assert await project_name(jobs.project_id) != "ended failed"


def test_backoff_is_random_up_to_a_limit_that_doubles() -> None:
    async def handler(run: Run) -> None: ...

    task = Task("x", handler, backoff_seconds=2, backoff_limit_seconds=30)
    for attempt, most in ((1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (500, 30)):
        delays = [leases.backoff(task, attempt) for _ in range(300)]
        assert all(0 <= delay <= most for delay in delays)
        assert min(delays) < most * 0.2
        assert max(delays) > most * 0.8


# --- cancel and retry ------------------------------------------------------------------------------------------------


async def test_a_queued_job_is_cancelled_at_once_with_its_domain_rows(jobs: Jobs, declare: Declare) -> None:
    ended = Ended()
    job = await jobs.start(declare(on_end=ended))
    async with transaction() as session:
        job = await service.cancel_job(session, actor=None, job=job)
    assert (job.state, job.error_code) == ("cancelled", "cancelled")
    assert ended.told == [("cancelled", "cancelled")]
    assert await project_name(jobs.project_id) == "ended cancelled"
    assert await jobs.claim() is None


async def test_a_running_job_is_asked_to_stop_and_cancelled_when_its_worker_says_so(
    jobs: Jobs, declare: Declare
) -> None:
    ended = Ended()
    await jobs.start(declare(on_end=ended))
    job = await jobs.claimed()
    assert job.lease_token is not None
    async with transaction() as session:
        asked = await service.cancel_job(session, actor=None, job=job)
    assert asked.state == "running"
    assert asked.cancel_requested_at is not None
    assert ended.told == []
    async with transaction() as session:
        assert await leases.cancel_requests(session, [job.id]) == {job.id}
        job = await leases.confirm_cancel(session, job_id=job.id, token=job.lease_token)
    assert job.state == "cancelled"
    assert ended.told == [("cancelled", "cancelled")]


@pytest.mark.parametrize("how", ["fail", "release"])
async def test_a_job_to_be_cancelled_is_never_queued_again(jobs: Jobs, declare: Declare, how: str) -> None:
    await jobs.start(declare())
    job = await jobs.claimed()
    assert job.lease_token is not None
    async with transaction() as session:
        await service.cancel_job(session, actor=None, job=job)
    async with transaction() as session:
        if how == "fail":
            error = JobError("x", "x", retryable=True)
            await leases.fail(session, job_id=job.id, token=job.lease_token, error=error)
        else:
            await leases.release(session, job_id=job.id, token=job.lease_token)
    assert (await jobs.read(job.id)).state == "cancelled"


async def test_an_ended_job_cannot_be_cancelled(jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    job = await fail(await jobs.claimed(), JobError("x", "x"))
    with pytest.raises(InvalidState):
        async with transaction() as session:
            await service.cancel_job(session, actor=None, job=job)


async def test_only_a_failed_job_is_tried_again_and_its_domain_rows_follow(jobs: Jobs, declare: Declare) -> None:
    async def queued(session: AsyncSession, job: Job) -> None:
        await rename(session, job.project_id, "queued again")

    job = await jobs.start(declare(max_attempts=1, on_queued=queued))
    with pytest.raises(InvalidState):
        async with transaction() as session:
            await service.retry_job(session, actor=None, job=job)
    await fail(await jobs.claimed(), JobError("x", "x"))
    async with transaction() as session:
        job = await service.retry_job(session, actor=None, job=job)
    assert (job.state, job.error_code, job.progress, job.finished_at) == ("queued", None, 0.0, None)
    assert await project_name(jobs.project_id) == "queued again"
    again = await jobs.claimed()
    assert (again.attempt, again.max_attempts) == (2, 2)


async def test_work_that_was_queued_anew_is_not_also_tried_again(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    failed = await jobs.start(kind, dedupe_key="same")
    await fail(await jobs.claimed(), JobError("x", "x"))
    await jobs.start(kind, dedupe_key="same")
    with pytest.raises(InvalidState):
        async with transaction() as session:
            await service.retry_job(session, actor=None, job=failed)


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_the_queue_position_counts_due_jobs_that_go_first(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    first = await jobs.start(kind)
    await jobs.start(kind, delay_seconds=60)
    await jobs.start(kind, priority=1)
    last = await jobs.start(kind, priority=3)
    await jobs.start(declare(queue="other"), priority=1)
    async with transaction() as session:
        shown = await service.public_many(session, [first, last])
    assert [job.queue_position for job in shown] == [1, 2]


async def test_the_estimate_is_the_median_of_completed_jobs_of_the_kind(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    for seconds in (10, 20, 600):
        await jobs.start(kind)
        run = Run(await jobs.claimed())
        async with run.finishing():
            pass
        await jobs.change(run.job_id, started_at=func.now() - timedelta(seconds=seconds), finished_at=func.now())
    async with transaction() as session:
        shown = await service.public(session, await jobs.start(kind))
    assert shown.estimated_seconds == pytest.approx(20, abs=0.1)
    assert shown.queue_position == 0
