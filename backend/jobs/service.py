"""What the rest of the platform does with jobs: start them, cancel them, try them again, show them."""

import uuid
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import InvalidState
from backend.core.queue import registry
from backend.jobs import moves
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.moves import CANCELLED, JobError, LeaseLost
from backend.jobs.queries import children_of, find_job, latest_for_videos, list_jobs, public, public_many
from backend.orgs.access import Actor

__all__ = [
    "JobError",
    "LeaseLost",
    "cancel_job",
    "children_of",
    "find_job",
    "latest_for_videos",
    "list_jobs",
    "public",
    "public_many",
    "retry_job",
    "start",
]

log = structlog.get_logger(__name__)


async def start(
    session: AsyncSession,
    *,
    kind: str,
    project_id: uuid.UUID,
    owner_id: uuid.UUID | None,
    video_id: uuid.UUID | None = None,
    args: dict[str, Any] | None = None,
    priority: int = 2,
    run_at: datetime | None = None,
    delay_seconds: float | None = None,
    dedupe_key: str | None = None,
    parent_id: uuid.UUID | None = None,
    required: bool = False,
) -> Job:
    """Queue a job in the caller's transaction; the bell rings after the commit.

    With a `dedupe_key` that a queued or running job has, that job is answered and none is made. `run_at`, or now and
    `delay_seconds`, is the earliest time it runs. A `required` child counts in `children_of` its parent.

    Raises UnknownKind.
    """
    task = registry.get(kind)
    await session.flush()  # a video added by the caller has to be there for the foreign key
    statement = (
        insert(Job)
        .values(
            kind=kind,
            queue=task.queue,
            max_attempts=task.max_attempts,
            project_id=project_id,
            owner_id=owner_id,
            video_id=video_id,
            parent_id=parent_id,
            required=required,
            args=args or {},
            priority=priority,
            run_at=run_at if run_at is not None else moves.in_seconds(delay_seconds or 0),
            dedupe_key=dedupe_key,
        )
        .on_conflict_do_nothing(index_elements=["dedupe_key"], index_where=text("state IN ('queued', 'running')"))
        .returning(Job)
    )
    while True:
        job = (await session.scalars(statement.values(id=uuid.uuid4()))).one_or_none()
        if job is not None:
            break
        twin = await session.scalar(
            select(Job).where(Job.dedupe_key == dedupe_key, Job.state.in_(LIVE_STATES)).limit(1)
        )
        if twin is not None:
            return twin
    log.info("job.queued", job_id=str(job.id), kind=kind, queue=job.queue)
    if run_at is None and not delay_seconds:
        moves.ring(session, job)
    moves.announce(session, job)
    return job


async def cancel_job(session: AsyncSession, *, actor: Actor | None, job: Job) -> Job:
    """Cancel a queued job at once; ask the worker of a running one to stop, which it confirms. Raises InvalidState."""
    log.info("job.cancel_requested", job_id=str(job.id), kind=job.kind, by=_who(actor))
    cancelled = await moves.move(
        session, job.id, JobState.QUEUED, JobState.CANCELLED, finished_at=func.now(), **moves.error_columns(CANCELLED)
    )
    if cancelled is not None:
        await moves.tell_domain(session, cancelled, JobState.CANCELLED, CANCELLED)
        return cancelled
    asked: Job | None = await session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.RUNNING)
        .values(
            cancel_requested_at=func.coalesce(Job.cancel_requested_at, func.now()),
            updated_at=Job.updated_at,
        )
        .returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    )
    if asked is None:
        raise InvalidState("This job has already ended.")
    moves.announce(session, asked)
    return asked


async def retry_job(session: AsyncSession, *, actor: Actor | None, job: Job) -> Job:
    """Queue a failed job once more, with a new set of attempts. Raises InvalidState."""
    task = registry.get(job.kind)
    try:
        async with session.begin_nested():
            moved = await moves.move(
                session,
                job.id,
                JobState.FAILED,
                JobState.QUEUED,
                max_attempts=Job.attempt + task.max_attempts,
                run_at=func.now(),
                stage=None,
                progress=0.0,
                finished_at=None,
                **moves.error_columns(None),
            )
    except IntegrityError as error:  # the same work (dedupe key) was queued anew meanwhile
        raise InvalidState("This work is already queued again.") from error
    if moved is None:
        raise InvalidState("Only a failed job can be tried again.")
    if task.on_queued is not None:
        await task.on_queued(session, moved)
    log.info("job.retried", job_id=str(job.id), kind=job.kind, by=_who(actor))
    moves.ring(session, moved)
    moves.announce(session, moved)
    return moved


def _who(actor: Actor | None) -> str | None:
    return str(actor.user_id) if actor else None
