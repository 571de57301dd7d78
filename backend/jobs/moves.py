"""The moves of a job: each is one conditional UPDATE (`move`), fenced by the lease token of whoever holds the job.

Locks are taken job first, then the jobs above it (jobs.families), then domain rows: finishing, failing and cancelling
lock jobs and then call into the domain. Times are the database's; no host's clock matters.
"""

import uuid
from functools import partial
from typing import Any

import structlog
from sqlalchemy import CTE, ColumnElement, Update, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import after_commit
from backend.core.queue import doorbell, registry
from backend.jobs import progress
from backend.jobs.attempts import Notes
from backend.jobs.models import Job, JobAttempt, JobState
from backend.jobs.schemas import from_row
from backend.webhooks import events
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)


class JobError(Exception):
    """Ends an attempt: `code` is stable, `message` is for people; retried by itself only when `retryable`.

    What is no fault of the work (a storage that does not answer) `spends_attempt=False`: it is tried again until that
    has lasted for `leases.OUTAGE_SECONDS`, however often.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False, spends_attempt: bool = True) -> None:
        self.code, self.message, self.retryable = code, message, retryable
        self.spends_attempt = spends_attempt
        super().__init__(f"{code}: {message}")


class LeaseLost(Exception):
    """Somebody else may run this job by now: write nothing of it."""


CANCELLED = JobError("cancelled", "It was cancelled.")
#: What webhooks are told of a move, in its transaction. (Of a claim they are told in `jobs.claims`.)
_TOLD = {
    JobState.COMPLETED: EventType.JOB_COMPLETED,
    JobState.FAILED: EventType.JOB_FAILED,
    JobState.CANCELLED: EventType.JOB_CANCELLED,
}
#: Of a cancelled job whose work another job does since (`service.start_again`): it is not started a second time.
STARTED_AGAIN = JobError("started_again", "It was cancelled, and started again as another job.")


async def move(
    session: AsyncSession,
    job_id: uuid.UUID | ColumnElement[Any],
    source: JobState,
    target: JobState,
    *,
    token: uuid.UUID | None = None,
    beside: CTE | None = None,
    **values: Any,
) -> Job | None:
    """Change a state (a claim does so too, in `jobs.claims`); None: the job is elsewhere or held under another token.

    `beside` is done in the same statement, whatever becomes of the move.
    """
    held = Job.lease_token == token if token is not None else Job.lease_token.is_(None)
    lease: dict[str, Any] = {} if target == JobState.RUNNING else {"lease_token": None, "lease_until": None}
    event = _TOLD.get(target)
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state == source, held)
        # clock_timestamp(): later than every earlier move's, even when this transaction began before them.
        .values(state=target, updated_at=func.clock_timestamp(), **lease, **values)
        .returning(Job, events.is_wanted(Job.project_id, event) if event else literal(False))
    )
    if beside is not None:
        statement = statement.add_cte(beside)
    options = {"synchronize_session": False, "populate_existing": True}
    row = (await session.execute(statement, execution_options=options)).one_or_none()
    if row is None:
        return None
    job: Job = row[0]
    if event is not None and row[1]:
        await events.emit(session, project_id=job.project_id, type=event, data=partial(_described, job))
    return job


async def _described(job: Job) -> dict[str, Any]:
    return from_row(job).model_dump(mode="json")


async def held(session: AsyncSession, job_id: uuid.UUID, token: uuid.UUID) -> Job:
    """The running job, locked. Raises LeaseLost."""
    statement = select(Job).where(Job.id == job_id, Job.state == JobState.RUNNING, Job.lease_token == token)
    job = await session.scalar(statement.with_for_update(), execution_options={"populate_existing": True})
    if job is None:
        raise LeaseLost
    return job


async def requeue(session: AsyncSession, job: Job, *, token: uuid.UUID, delay_seconds: float, **values: Any) -> Job:
    """Back to the queue, to be claimed after the delay at the earliest. Raises LeaseLost."""
    moved = await move(
        session,
        job.id,
        JobState.RUNNING,
        JobState.QUEUED,
        token=token,
        run_at=in_seconds(delay_seconds),
        stage=None,
        progress=0.0,
        worker=None,
        **values,
    )
    if moved is None:
        raise LeaseLost
    if not delay_seconds:
        ring(session, moved)
    announce(session, moved)
    return moved


async def tell_domain(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """Let the domain rows end with the job, in the same transaction."""
    log.info(f"job.{state}", job_id=str(job.id), kind=job.kind, attempt=job.attempt, code=error.code)
    task = registry.find(job.kind)
    if task is not None and task.on_end is not None:
        await task.on_end(session, job, state, error)
    announce(session, job)


async def close_attempt(
    session: AsyncSession,
    token: uuid.UUID,
    outcome: str,
    error: JobError | None = None,
    notes: Notes | None = None,
) -> None:
    """Write how the attempt under this token ended, and what it noted."""
    await session.execute(closing(token, outcome, error, notes))


def closing(token: uuid.UUID, outcome: str, error: JobError | None = None, notes: Notes | None = None) -> Update:
    """The statement of `close_attempt`."""
    return (
        update(JobAttempt)
        .where(JobAttempt.lease_token == token)
        .values(
            finished_at=func.now(),
            outcome=outcome,
            error_code=error.code if error else None,
            error_message=error.message if error else None,
            **note_columns(notes),
        )
    )


def note_columns(notes: Notes | None) -> dict[str, Any]:
    """Notes as the columns of an attempt; without any, those written before stay."""
    return {"log_tail": notes.log_tail, "command": notes.commands} if notes and notes.version else {}


def error_columns(error: JobError | None) -> dict[str, Any]:
    """An error as the columns of a job; None clears them."""
    return {
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "error_retryable": error.retryable if error else None,
    }


def in_seconds(seconds: float) -> ColumnElement[Any]:
    """That long after the beginning of the transaction, by the database's clock."""
    # make_interval(years, months, weeks, days, hours, mins, secs)
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, float(seconds))


def ring(session: AsyncSession, job: Job) -> None:
    """Ring the bell of the job's queue after the commit."""
    after_commit(session, partial(doorbell.ring, job.id, job.queue))


def announce(session: AsyncSession, job: Job) -> None:
    """Tell those who watch the job, after the commit, how it stands now."""
    after_commit(session, partial(progress.publish, progress.state_of(job)))
