"""A job's life in steps."""

from sqlalchemy import update

from backend.core.db import transaction
from backend.jobs import leases, timeline
from backend.jobs.models import Job, JobAttempt
from backend.jobs.running import JobError
from backend.jobs.schemas import from_row
from backend.jobs.timeline import Step
from backend.orgs import audit
from tests.conftest import Person
from tests.jobs.conftest import Declare, Jobs


async def steps(jobs: Jobs, job: Job) -> list[Step]:
    now = await jobs.read(job.id)
    async with transaction() as session:
        deeds = await audit.about(session, "job", job.id)
    return timeline.steps_of(
        from_row(now), await jobs.attempts(job.id), deeds, words=lambda step: step.what, due_at=now.run_at
    )


async def told(jobs: Jobs, job: Job) -> list[tuple[str, str]]:
    return [(step.what, step.mark) for step in await steps(jobs, job)]


async def fails(jobs: Jobs, kind: str, *, retryable: bool = False) -> None:
    taken = await jobs.claimed(kind)
    assert taken.lease_token is not None
    async with transaction() as session:
        error = JobError("broken", "It broke.", retryable=retryable)
        await leases.fail(session, job_id=taken.id, token=taken.lease_token, error=error)


async def test_a_job_waits_is_tried_fails_and_is_tried_again_by_hand(
    user: Person, jobs: Jobs, declare: Declare
) -> None:
    kind = declare()
    job = await jobs.start(kind)
    assert await told(jobs, job) == [("queued", "done")]
    await fails(jobs, kind)
    assert await told(jobs, job) == [("queued", "done"), ("failed", "failed")]
    assert (await user.client.post(f"/api/jobs/{job.id}/retry")).status_code == 200
    by_hand = [("queued", "done"), ("failed", "done"), ("retried", "done")]
    assert await told(jobs, job) == [*by_hand, ("waiting", "now")]
    await jobs.claimed(kind)
    assert await told(jobs, job) == [*by_hand, ("running", "now")]


async def test_a_job_that_will_be_tried_again_by_itself_says_when(user: Person, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    job = await jobs.start(kind)
    await fails(jobs, kind, retryable=True)
    last = (await steps(jobs, job))[-1]
    assert (last.what, last.at) == ("waiting", (await jobs.read(job.id)).run_at)
    await user.client.post(f"/api/jobs/{job.id}/cancel")
    assert [what for what, _ in await told(jobs, job)] == ["queued", "failed", "cancel_asked", "cancelled"]


async def test_waits_and_attempts_have_their_length_and_what_went_wrong(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    job = await jobs.start(kind)
    await fails(jobs, kind)
    async with transaction() as session:
        began = (await jobs.attempts(job.id))[0].started_at
        await session.execute(update(JobAttempt).values(finished_at=began.replace(year=began.year + 1)))
    queued, attempt = await steps(jobs, job)
    assert queued.seconds is None or queued.seconds >= timeline.NOTICEABLE_SECONDS
    assert attempt.seconds is not None
    assert attempt.seconds >= 365 * 86_400
    assert (attempt.detail, attempt.code) == ("It broke.", "broken")


async def test_steps_without_words_are_left_out(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    assert timeline.steps_of(from_row(job), [], [], words=lambda step: "") == []
