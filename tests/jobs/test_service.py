"""Starting, cancelling and retrying jobs."""

import asyncio
import uuid

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.core.queue import UnknownKind
from backend.jobs import leases, service
from backend.jobs.models import Job
from backend.jobs.moves import JobError
from backend.orgs.models import AuditEntry
from tests.conftest import Person
from tests.jobs.conftest import Declare, Ended, Jobs, fail, project_name, rename

# --- start ------------------------------------------------------------------------------------------------------------


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


# --- cancel and retry -------------------------------------------------------------------------------------------------


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


async def test_a_twin_that_is_being_cancelled_does_not_stand_for_new_work(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    twin = await jobs.start(kind, dedupe_key="same")
    await jobs.claimed()
    async with transaction() as session:
        await service.cancel_job(session, actor=None, job=twin)
    with pytest.raises(InvalidState):
        await jobs.start(kind, dedupe_key="same")


async def test_the_owners_cancel_is_in_the_audit_log_and_so_in_the_timeline(
    user: Person, jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare())
    assert (await user.client.post(f"/api/jobs/{job.id}/cancel")).status_code == 200
    async with transaction() as session:
        entry = (await session.scalars(select(AuditEntry).where(AuditEntry.object_id == str(job.id)))).one()
    assert (entry.action, entry.actor_id) == ("job.cancel", uuid.UUID(user.id))
