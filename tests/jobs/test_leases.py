"""Holding a job, and the ends of its attempts."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, update

from backend.core.db import transaction
from backend.core.queue import Task, registry
from backend.jobs import leases, service, tasks
from backend.jobs.models import JobAttempt
from backend.jobs.moves import JobError, LeaseLost
from backend.jobs.running import Run
from tests.jobs.conftest import AGO, Declare, Ended, Jobs, fail, project_name, rename

# --- the lease --------------------------------------------------------------------------------------------------------


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


# --- the end of an attempt --------------------------------------------------------------------------------------------


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


AWAY = JobError("storage_unavailable", "The storage does not answer.", retryable=True, spends_attempt=False)


async def test_an_outage_of_something_else_is_waited_out_without_spending_attempts(
    jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare(max_attempts=1, backoff_seconds=1000, backoff_limit_seconds=10_000))
    for _ in range(4):
        claimed = await jobs.claimed()
        assert claimed.attempt == 1
        waiting = await fail(claimed, AWAY)
        assert (waiting.state, waiting.attempt) == ("queued", 0)
        assert waiting.run_at > waiting.updated_at
        await jobs.change(job.id, run_at=AGO)
    attempts = await jobs.attempts(job.id)
    assert {(each.outcome, each.error_code) for each in attempts} == {("released", "storage_unavailable")}


async def test_an_outage_that_lasts_ends_the_job_and_a_retry_begins_anew(
    jobs: Jobs, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Ended()
    job = await jobs.start(declare(max_attempts=3, backoff_seconds=0, on_end=ended))
    await fail(await jobs.claimed(), AWAY)
    monkeypatch.setattr(leases, "OUTAGE_SECONDS", 0)
    failed = await fail(await jobs.claimed(), AWAY)
    assert (failed.state, failed.error_code, failed.error_retryable) == ("failed", "storage_unavailable", True)
    assert ended.told == [("failed", "storage_unavailable")]
    monkeypatch.setattr(leases, "OUTAGE_SECONDS", 24 * 3600)
    async with transaction() as session:
        await session.execute(update(JobAttempt).values(started_at=func.now() - timedelta(days=2)))
        await service.retry_job(session, actor=None, job=failed)
    assert (await fail(await jobs.claimed(), AWAY)).state == "queued"
    assert (await jobs.read(job.id)).attempt == 1


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


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_job_whose_kind_nobody_knows_any_more_is_ended_at_last(
    jobs: Jobs, declare: Declare, cancelled: bool
) -> None:
    kind = declare(max_attempts=1)
    job = await jobs.start(kind)
    await jobs.claimed()
    registry.remove(kind)
    if cancelled:
        await jobs.change(job.id, cancel_requested_at=func.now())
    await jobs.change(job.id, lease_until=func.now() - timedelta(seconds=1))
    assert await tasks.reap() == 0
    await jobs.change(job.id, lease_until=func.now() - timedelta(seconds=leases.OWNERLESS_SECONDS + 1))
    assert await tasks.reap() == 1
    job = await jobs.read(job.id)
    expected = ("cancelled", "cancelled") if cancelled else ("failed", "attempts_exhausted")
    assert (job.state, job.error_code) == expected
