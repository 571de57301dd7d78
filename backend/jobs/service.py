"""What the rest of the platform does with jobs: start them, cancel them, try them again, show them."""

import uuid
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import InvalidState, NotFound
from backend.core.queue import Task, registry
from backend.jobs import families, moves
from backend.jobs.families import Family, InUse, cancel_family, family_of
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.moves import JobError, LeaseLost
from backend.jobs.queries import find_job, latest_for_videos, list_jobs, public, public_many, queue_positions
from backend.orgs.access import Actor, Permission, require, visible

__all__ = [
    "Family",
    "InUse",
    "JobError",
    "LeaseLost",
    "bring_forward",
    "cancel_family",
    "cancel_job",
    "family_of",
    "find_job",
    "latest_for_videos",
    "list_jobs",
    "public",
    "public_many",
    "queue_positions",
    "retry_job",
    "start",
    "start_again",
]

log = structlog.get_logger(__name__)

_NOW = func.now()
_INSERT = (
    insert(Job)
    .on_conflict_do_nothing(index_elements=["dedupe_key"], index_where=text("state IN ('queued', 'running')"))
    .returning(Job)
)


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
    ring: bool = True,
) -> Job:
    """Queue a job in the caller's transaction; the bell rings after the commit, unless the caller rings it (`ring`).

    With a `dedupe_key` that a queued or running job has, that job is answered and none is made. `run_at`, or now and
    `delay_seconds`, is the earliest time it runs. Its parent is not done without a `required` child (jobs.families).

    Raises UnknownKind; InvalidState when its parent failed or was cancelled, or that other job is just being cancelled.
    """
    task = registry.get(kind)
    if parent_id is not None:
        await _hold_parent(session, parent_id)
    await session.flush()  # a video added by the caller has to be there for the foreign key
    statement = _INSERT.values(
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
        run_at=run_at if run_at is not None else moves.in_seconds(delay_seconds) if delay_seconds else _NOW,
        dedupe_key=dedupe_key,
        request_id=_request_id(),
    )
    while True:
        job = (await session.scalars(statement.values(id=uuid.uuid4()))).one_or_none()
        if job is not None:
            break
        twin = await session.scalar(
            select(Job).where(Job.dedupe_key == dedupe_key, Job.state.in_(LIVE_STATES)).limit(1)
        )
        if twin is not None and twin.cancel_requested_at is not None:  # nothing will come of it
            raise InvalidState("The same work is just being stopped. Try again in a moment.")
        if twin is not None:
            return twin
    log.info("job.queued", job_id=str(job.id), kind=kind, queue=job.queue)
    if ring and run_at is None and not delay_seconds:
        moves.ring(session, job)
    moves.announce(session, job)
    return job


async def cancel_job(session: AsyncSession, *, actor: Actor | None, job: Job) -> Job:
    """Cancel a queued job at once; ask the worker of a running one to stop, which it confirms. Raises InvalidState.

    Its live children end with it, also those for which a completed one waits. Raises InUse while they are changed.
    """
    if job.state == JobState.COMPLETED and job.unsettled:
        await families.cancel_family(session, actor=actor, root=job)
        return job
    log.info("job.cancel_requested", job_id=str(job.id), kind=job.kind, by=_who(actor))
    return await families.cancel(session, job)


async def call_off(session: AsyncSession, *, actor: Actor, dedupe_key: str) -> Job:
    """Cancel what waits under this key and was never begun. Raises NotFound once it has begun; Forbidden."""
    job = await session.scalar(
        visible(Job, actor)
        .where(
            Job.dedupe_key == dedupe_key,
            Job.state == JobState.QUEUED,
            Job.started_at.is_(None),
        )
        .with_for_update(skip_locked=True)
    )
    if job is None:
        raise NotFound
    require(actor, Permission.EDIT, job.project_id)
    return await cancel_job(session, actor=actor, job=job)


async def retry_job(session: AsyncSession, *, actor: Actor | None, job: Job, ring: bool = True) -> Job:
    """Queue a failed job once more, with a new set of attempts. Raises InvalidState.

    Children of before are not waited for any more (`families.end`): it will start those it needs. Without `ring` the
    caller rings the bell.
    """
    task = _known(job.kind)
    try:
        async with session.begin_nested():
            moved = await moves.move(
                session,
                job.id,
                JobState.FAILED,
                JobState.QUEUED,
                max_attempts=Job.attempt + task.max_attempts,
                request_id=_request_id(),
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
    if ring:
        moves.ring(session, moved)
    moves.announce(session, moved)
    return moved


def _known(kind: str) -> Task:
    task = registry.find(kind)
    if task is None:
        raise InvalidState("This version does not know this kind of work any more.")
    return task


async def bring_forward(session: AsyncSession, job_id: uuid.UUID) -> None:
    """Let a job that waits for its time run now; any other stays as it is."""
    moved = await session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.QUEUED, Job.run_at > func.now())
        .values(run_at=func.now(), updated_at=Job.updated_at)
        .returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    )
    if moved is not None:
        moves.ring(session, moved)


async def start_again(session: AsyncSession, *, actor: Actor | None, job: Job) -> Job:
    """Queue the work of a cancelled job as a new job, once: `cancelled` is final. Raises InvalidState.

    The new one takes its place also with the job that required it. What a cancelled job had started is not started
    with it: it will start what it needs.
    """
    task = _known(job.kind)
    once = Job.error_code.is_distinct_from(moves.STARTED_AGAIN.code)
    held: Job | None = await session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.CANCELLED, once)
        .values(updated_at=func.clock_timestamp(), **moves.error_columns(moves.STARTED_AGAIN))
        .returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    )
    if held is None:
        raise InvalidState("Only a cancelled job can be started again, and only once.")
    if held.dedupe_key is not None and await session.scalar(
        select(Job.id).where(Job.dedupe_key == held.dedupe_key, Job.state.in_(LIVE_STATES)).limit(1)
    ):
        raise InvalidState("This work is already queued again.")
    new = await start(
        session,
        kind=held.kind,
        project_id=held.project_id,
        owner_id=held.owner_id,
        video_id=held.video_id,
        args=held.args,
        priority=held.priority,
        dedupe_key=held.dedupe_key,
        parent_id=held.parent_id,
        required=held.required,
    )
    await session.execute(update(Job).where(Job.id == held.id).values(required=False, updated_at=Job.updated_at))
    if task.on_queued is not None:
        await task.on_queued(session, new)
    log.info("job.started_again", job_id=str(new.id), cancelled_job_id=str(held.id), kind=job.kind, by=_who(actor))
    moves.announce(session, held)
    return new


async def _hold_parent(session: AsyncSession, parent_id: uuid.UUID) -> None:
    """Nobody can end a parent, or find it done, while it is being given a child."""
    state = await session.scalar(select(Job.state).where(Job.id == parent_id).with_for_update())
    if state in (None, JobState.FAILED, JobState.CANCELLED):
        raise InvalidState("The work that this belongs to has ended.")


def _request_id() -> str:
    """Of the request, or of the job's request, in which this is done (core.middleware, jobs.running)."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64]


def _who(actor: Actor | None) -> str | None:
    return str(actor.user_id) if actor else None
