"""What a worker does with jobs it claimed: hold them, end them; and rescue those whose worker was lost."""

import random
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.queue import Task, registry
from backend.jobs import families, moves
from backend.jobs.attempts import Notes
from backend.jobs.claims import claim
from backend.jobs.models import Job, JobAttempt, JobState
from backend.jobs.moves import CANCELLED, JobError, LeaseLost

__all__ = [
    "backoff",
    "cancel_requests",
    "claim",
    "complete",
    "confirm_cancel",
    "expired",
    "fail",
    "finish",
    "heartbeat",
    "reap",
    "release",
]

log = structlog.get_logger(__name__)

#: How long work is tried again without spending attempts while something else is away.
OUTAGE_SECONDS = 24 * 3600.0

#: A job of a kind that no worker knows any more is ended without its task when its lease is over for so long.
OWNERLESS_SECONDS = 600.0

EXHAUSTED = JobError("attempts_exhausted", "The work was interrupted each time it was tried.", retryable=True)


async def heartbeat(
    session: AsyncSession,
    *,
    job_id: uuid.UUID,
    token: uuid.UUID,
    stage: str | None,
    progress: float,
    notes: Notes | None = None,
) -> datetime | None:
    """Renew the lease and write progress, and notes if given; answers when a cancel was asked for, if it was.

    Raises LeaseLost.
    """
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.RUNNING, Job.lease_token == token)
        .values(
            lease_until=moves.in_seconds(settings.job_lease_seconds),
            stage=stage,
            progress=func.greatest(Job.progress, progress),
            updated_at=Job.updated_at,  # the time of the last move (progress.state_of)
        )
        .returning(Job.cancel_requested_at)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise LeaseLost
    if columns := moves.note_columns(notes):
        await session.execute(update(JobAttempt).where(JobAttempt.lease_token == token).values(columns))
    asked: datetime | None = row[0]
    return asked


async def cancel_requests(session: AsyncSession, job_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these jobs somebody wants cancelled."""
    statement = select(Job.id).where(Job.id.in_(job_ids), Job.cancel_requested_at.is_not(None))
    return set(await session.scalars(statement))


# --- end of an attempt -----------------------------------------------------------------------------------------------


async def finish(session: AsyncSession, *, job_id: uuid.UUID, token: uuid.UUID, notes: Notes | None = None) -> Job:
    """Complete the job, and its family with it if nothing is missing. Raises LeaseLost: then nothing may be written."""
    job = await complete(session, job_id=job_id, token=token, notes=notes)
    await families.settle(session, job)
    return job


async def complete(session: AsyncSession, *, job_id: uuid.UUID, token: uuid.UUID, notes: Notes | None = None) -> Job:
    """The first half of `finish`: domain rows may follow, and children that are started; then `families.settle`."""
    job = await moves.move(
        session,
        job_id,
        JobState.RUNNING,
        JobState.COMPLETED,
        token=token,
        # One statement: this is the way most attempts end. A lost lease raises, which takes this back, too.
        beside=moves.closing(token, "completed", notes=notes).where(_holds(job_id, token)).cte("closed"),
        progress=100.0,
        finished_at=func.now(),
        unsettled=families.has_to_settle(),
        **moves.error_columns(None),
    )
    if job is None:
        raise LeaseLost
    log.info("job.completed", job_id=str(job.id), kind=job.kind, attempt=job.attempt)
    moves.announce(session, job)
    await families.hold_above(session, job)
    return job


def _holds(job_id: uuid.UUID, token: uuid.UUID) -> ColumnElement[bool]:
    return select(Job.id).where(Job.id == job_id, Job.state == JobState.RUNNING, Job.lease_token == token).exists()


async def fail(
    session: AsyncSession, *, job_id: uuid.UUID, token: uuid.UUID, error: JobError, notes: Notes | None = None
) -> Job:
    """End the attempt: queue the next one after a backoff if the error allows and any is left, else fail the job.

    Raises LeaseLost.
    """
    job = await moves.held(session, job_id, token)
    outage = None if error.spends_attempt or not error.retryable else await _outage(session, job_id)
    waits = outage is not None and outage.seconds < OUTAGE_SECONDS
    await moves.close_attempt(session, token, "released" if waits else "failed", error, notes)
    log.info("job.attempt_failed", job_id=str(job.id), kind=job.kind, attempt=job.attempt, code=error.code)
    if job.cancel_requested_at is not None:
        return await families.end(session, job, JobState.CANCELLED, CANCELLED, token=token)
    task = registry.find(job.kind)
    if outage is not None and waits:
        delay = backoff(task, outage.attempts)
        return await moves.requeue(session, job, token=token, delay_seconds=delay, attempt=Job.attempt - 1)
    if error.retryable and error.spends_attempt and job.attempt < job.max_attempts:
        return await moves.requeue(session, job, token=token, delay_seconds=backoff(task, job.attempt))
    return await families.end(session, job, JobState.FAILED, error, token=token)


class _Outage(NamedTuple):
    """How often a job met something that was away, without another end between, and for how long."""

    attempts: int
    seconds: float


async def _outage(session: AsyncSession, job_id: uuid.UUID) -> _Outage:
    """With the attempt that is still open."""
    otherwise = select(func.max(JobAttempt.started_at)).where(
        JobAttempt.job_id == job_id, JobAttempt.outcome.is_distinct_from("released"), JobAttempt.outcome.is_not(None)
    )
    since = func.coalesce(otherwise.scalar_subquery(), text("'-infinity'::timestamptz"))
    statement = select(
        func.count(), func.coalesce(func.extract("epoch", func.now() - func.min(JobAttempt.started_at)), 0)
    ).where(
        JobAttempt.job_id == job_id,
        JobAttempt.started_at > since,
        JobAttempt.outcome.is_(None) | JobAttempt.error_code.is_not(None),
    )
    row = (await session.execute(statement)).one()
    return _Outage(row[0], float(row[1]))


async def release(
    session: AsyncSession,
    *,
    job_id: uuid.UUID,
    token: uuid.UUID,
    delay_seconds: float = 0,
    notes: Notes | None = None,
) -> Job:
    """Give the job back without spending the attempt: the work was stopped by us. Raises LeaseLost."""
    job = await moves.held(session, job_id, token)
    await moves.close_attempt(session, token, "released", notes=notes)
    log.info("job.released", job_id=str(job.id), kind=job.kind)
    if job.cancel_requested_at is not None:
        return await families.end(session, job, JobState.CANCELLED, CANCELLED, token=token)
    return await moves.requeue(session, job, token=token, delay_seconds=delay_seconds, attempt=Job.attempt - 1)


async def confirm_cancel(
    session: AsyncSession, *, job_id: uuid.UUID, token: uuid.UUID, notes: Notes | None = None
) -> Job:
    """The work has stopped as asked. Raises LeaseLost."""
    job = await moves.held(session, job_id, token)
    await moves.close_attempt(session, token, "cancelled", CANCELLED, notes)
    return await families.end(session, job, JobState.CANCELLED, CANCELLED, token=token)


async def expired(session: AsyncSession, *, but: Sequence[uuid.UUID] = ()) -> uuid.UUID | None:
    """A job whose lease ran out, locked for `reap`; None when there is none.

    Ending a job needs its task's `on_end`: one with no attempts left, or to be cancelled, is only answered where its
    kind is known, or anywhere when nobody who knows it came for OWNERLESS_SECONDS.
    """
    nobodys = Job.lease_until < moves.in_seconds(-OWNERLESS_SECONDS)
    again = (Job.attempt < Job.max_attempts) & Job.cancel_requested_at.is_(None)
    statement = (
        select(Job.id)
        .where(Job.state == JobState.RUNNING, Job.lease_until < func.now(), Job.id.not_in(but))
        .where(again | Job.kind.in_(registry.kinds()) | nobodys)
        .order_by(Job.lease_until)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return await session.scalar(statement)


async def reap(session: AsyncSession, job_id: uuid.UUID) -> Job:
    """Take a job that `expired` found from its lost worker: queue it again, or end it when no attempt is left."""
    job = await session.scalar(select(Job).where(Job.id == job_id), execution_options={"populate_existing": True})
    if job is None or job.lease_token is None:
        raise LeaseLost
    token = job.lease_token
    await moves.close_attempt(session, token, "lost")
    log.warning("job.lease_expired", job_id=str(job.id), kind=job.kind, attempt=job.attempt, worker=job.worker)
    if job.cancel_requested_at is not None:
        return await families.end(session, job, JobState.CANCELLED, CANCELLED, token=token)
    if job.attempt < job.max_attempts:
        return await moves.requeue(session, job, token=token, delay_seconds=0)
    return await families.end(session, job, JobState.FAILED, EXHAUSTED, token=token)


def backoff(task: Task | None, attempt: int) -> float:
    """Seconds until the attempt after this one: full jitter, random up to a limit that doubles with each attempt."""
    base, limit = (task.backoff_seconds, task.backoff_limit_seconds) if task else (2.0, 300.0)
    return random.uniform(0, min(limit, base * 2 ** min(attempt - 1, 30)))  # noqa: S311
