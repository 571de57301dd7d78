"""What admins see of all projects' jobs, and do with them. Every action writes the audit log in its own transaction."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import User
from backend.admin.filters import ACTS_ON, JobFilter, S
from backend.admin.numbers import Count, names_of_queues
from backend.admin.schemas import Action, AdminJobOut, BulkOut
from backend.core.db import transaction
from backend.core.errors import AppError, InvalidState, NotFound
from backend.core.queue import UnknownKind
from backend.jobs import moves, progress, queues
from backend.jobs import service as jobs
from backend.jobs.families import Family
from backend.jobs.models import Job, JobAttempt, JobState
from backend.jobs.queries import NEWEST
from backend.orgs import audit
from backend.orgs.access import Actor
from backend.orgs.models import Project

PAGE_SIZE = 50
#: A search that looks at more than it can in this time is given up.
SEARCH_SECONDS = 4
#: Beyond so many newer jobs, or jobs that a filter finds, the page says "more than".
MOST_NEWER = 99
MOST_FOUND = 100_000
#: Bulk actions: jobs moved in one transaction, and how long one request goes on: who waits sees the number grow.
CHUNK = 50
BULK_SECONDS = 1.0
RUNNING_SHOWN = 8


@dataclass(frozen=True)
class Row:
    """A job as the page shows it."""

    job: AdminJobOut
    version: progress.Version

    @property
    def can_restart(self) -> bool:
        """Whether this is cancelled work that no other job does since."""
        error = self.job.error
        return self.job.status == JobState.CANCELLED and (not error or error.code != moves.STARTED_AGAIN.code)


@dataclass(frozen=True)
class JobPage:
    """One page, newest first, and where the next one begins."""

    rows: list[Row]
    next_cursor: str | None


class TooBroad(AppError):
    """The database was asked to look at too much."""

    status, code = 503, "busy"
    message = "This search looks at too many jobs. Choose a state, a queue or a kind as well."


# --- looking ---------------------------------------------------------------------------------------------------------


def _rows() -> Select[Job, str, str]:
    return (
        select(Job, Project.name, User.email)
        .join(Project, Project.id == Job.project_id)
        .outerjoin(User, User.id == Job.owner_id)
    )


async def _search(session: AsyncSession) -> None:
    """What follows in this transaction may not take long."""
    await session.execute(text(f"SET LOCAL statement_timeout = '{SEARCH_SECONDS}s'"))


def _took_too_long(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "57014"


async def list_jobs(
    session: AsyncSession, *, filter: JobFilter, cursor: str | None = None, limit: int = PAGE_SIZE
) -> JobPage:
    """Newest first, on from `cursor`. Raises BadCursor, TooBroad."""
    statement = (await filter.narrow(session, _rows())).order_by(*NEWEST.terms).limit(limit + 1)
    if cursor:
        statement = statement.where(NEWEST.after(cursor))
    await _search(session)
    try:
        found = (await session.execute(statement)).all()
    except DBAPIError as error:
        if _took_too_long(error):
            raise TooBroad from error
        raise
    more = len(found) > limit
    last = found[limit - 1][0] if more else None
    return JobPage(await _shown(found[:limit]), NEWEST.cursor(last.created_at, last.id) if last else None)


async def jobs_by_id(session: AsyncSession, ids: Sequence[uuid.UUID]) -> list[Row]:
    """These jobs as they stand now; those that are gone are left out."""
    return await _shown((await session.execute(_rows().where(Job.id.in_(ids)))).all())


async def running_jobs(session: AsyncSession) -> list[Row]:
    """Those that have been running longest."""
    statement = _rows().where(Job.state == JobState.RUNNING).order_by(Job.started_at, Job.id).limit(RUNNING_SHOWN)
    return await _shown((await session.execute(statement)).all())


async def count_newer(session: AsyncSession, *, filter: JobFilter, than: Row | None) -> int:
    """Jobs that this filter finds and that came after one (all, when there is none), up to MOST_NEWER + 1."""
    statement = await filter.narrow(session, select(Job.id))
    if than is not None:
        oldest = NEWEST.reversed()
        statement = statement.where(oldest.after(oldest.cursor(than.job.created_at, than.job.id)))
    return await _count(session, statement, MOST_NEWER + 1)


async def count_jobs(session: AsyncSession, *, filter: JobFilter, action: Action | None = None) -> Count:
    """How many jobs a filter finds, of those that `action` can act on when it is given. Raises TooBroad."""
    statement = await filter.narrow(session, select(Job.id))
    if action is not None:
        statement = _actionable(statement, action)
    number = await _count(session, statement, MOST_FOUND)
    return Count(number, exact=number < MOST_FOUND)


async def _count(session: AsyncSession, statement: Select[uuid.UUID], most: int) -> int:
    await _search(session)
    try:
        return await session.scalar(select(func.count()).select_from(statement.limit(most).subquery())) or 0
    except DBAPIError as error:
        if _took_too_long(error):
            raise TooBroad from error
        raise


async def get_job(session: AsyncSession, job_id: uuid.UUID) -> Row:
    """One job. Raises NotFound."""
    found = (await session.execute(_rows().where(Job.id == job_id))).one_or_none()
    if found is None:
        raise NotFound
    (row,) = await _shown([found])
    public = await jobs.public(session, found[0])
    known = {
        "queue_position": public.queue_position,
        "waiting_for": public.waiting_for,
        "estimated_seconds": public.estimated_seconds,
    }
    return Row(row.job.model_copy(update=known), row.version)


async def family_of(session: AsyncSession, job_id: uuid.UUID) -> Family:
    """The job that started this one, and those it started. Raises NotFound."""
    job = await session.get(Job, job_id)
    if job is None:
        raise NotFound
    return await jobs.family_of(session, job)


async def attempts_of(session: AsyncSession, job_id: uuid.UUID) -> Sequence[JobAttempt]:
    """Every attempt at a job, oldest first."""
    statement = select(JobAttempt).where(JobAttempt.job_id == job_id)
    return (await session.scalars(statement.order_by(JobAttempt.started_at, JobAttempt.attempt))).all()


async def _shown(found: Sequence[Any]) -> list[Row]:
    """`found` are rows of `_rows`. Places in the queue are left out: counting those of a long list would take long."""
    states = await progress.freshen([progress.state_of(job) for job, _, _ in found])
    return [
        Row(
            AdminJobOut(
                **state.job.model_dump(),
                owner_id=job.owner_id,
                owner_email=email,
                project_name=project,
                worker=job.worker,
                priority=job.priority,
                run_at=job.run_at,
                parent_id=job.parent_id,
                request_id=job.request_id,
            ),
            state.version,
        )
        for (job, project, email), state in zip(found, states, strict=True)
    ]


# --- acting ----------------------------------------------------------------------------------------------------------


async def act(session: AsyncSession, *, actor: Actor, job_id: uuid.UUID, action: Action) -> Job:
    """Retry, cancel or start again one job; answers it as it stands, or the new one. Raises NotFound, InvalidState."""
    job = await session.get(Job, job_id)
    if job is None:
        raise NotFound
    moved = await _move(session, actor=actor, job=job, action=action)
    await audit.record(
        session,
        actor=actor,
        action=f"job.{action}",
        object_type="job",
        object_id=job_id,
        project_id=job.project_id,
        detail={"kind": job.kind, **({"new_job_id": str(moved.id)} if moved.id != job_id else {})},
    )
    return moved


async def act_on_many(
    *,
    actor: Actor,
    action: Action,
    ids: Sequence[uuid.UUID] | None = None,
    filter: JobFilter | None = None,
    cursor: str | None = None,
    order: uuid.UUID | None = None,
) -> BulkOut:
    """Act on the jobs with these ids, or all that a filter finds; for BULK_SECONDS, then the answer says more.

    Jobs are moved a few at a time, each lot in a transaction with its entry in the audit log: what was done is told
    even when a later lot fails. The entries are about one `order`, made here unless it goes on.
    Raises BadCursor, TooBroad.
    """
    order = order or uuid.uuid4()
    until = time.monotonic() + BULK_SECONDS
    done = skipped = 0
    while True:
        async with transaction() as session:
            statement = _actionable(select(Job), action).order_by(*NEWEST.terms).limit(CHUNK)
            statement = await filter.narrow(session, statement) if filter else statement.where(Job.id.in_(ids or []))
            if cursor:
                statement = statement.where(NEWEST.after(cursor))
            await _search(session)
            try:
                lot = (await session.scalars(statement)).all()
            except DBAPIError as error:
                if _took_too_long(error):
                    raise TooBroad from error
                raise
            await session.execute(text("SET LOCAL statement_timeout TO DEFAULT"))
            # All of them before any domain row, as everybody takes locks. Who holds one now is just moving it.
            free = select(Job.id).where(Job.id.in_([job.id for job in lot])).order_by(Job.id)
            held = set(await session.scalars(free.with_for_update(skip_locked=True)))
            ours = [job for job in lot if job.id in held]
            moved = [job.id for job in ours if await _moved(session, actor=actor, job=job, action=action)]
            if moved:
                chosen = {"filter": filter.words()} if filter else {"selected": len(ids or [])}
                await audit.record(
                    session,
                    actor=actor,
                    action=f"jobs.{action}",
                    object_type="jobs",
                    object_id=order,
                    detail={**chosen, "number": len(moved), "ids": [str(id) for id in moved]},
                )
        done, skipped = done + len(moved), skipped + len(lot) - len(moved)
        if len(lot) < CHUNK:
            return BulkOut(done=done, skipped=skipped, more=False, order=order)
        cursor = NEWEST.cursor(lot[-1].created_at, lot[-1].id)
        if time.monotonic() > until:
            return BulkOut(done=done, skipped=skipped, more=True, cursor=cursor, order=order)


async def _moved(session: AsyncSession, *, actor: Actor, job: Job, action: Action) -> bool:
    try:
        async with session.begin_nested():
            await _move(session, actor=actor, job=job, action=action)
    except InvalidState:
        return False
    return True


async def _move(session: AsyncSession, *, actor: Actor, job: Job, action: Action) -> Job:
    verbs = {"retry": jobs.retry_job, "cancel": jobs.cancel_job, "restart": jobs.start_again}
    try:
        return await verbs[action](session, actor=actor, job=job)
    except UnknownKind as error:  # of another version, whose workers know it
        raise InvalidState("This version of the platform does not know this kind of job.") from error


def _actionable(statement: S, action: Action) -> S:
    statement = statement.where(Job.state.in_(ACTS_ON[action]))
    if action == "cancel":
        return statement.where(Job.cancel_requested_at.is_(None))
    if action == "restart":
        return statement.where(Job.error_code.is_distinct_from(moves.STARTED_AGAIN.code))
    return statement


async def pause(session: AsyncSession, *, actor: Actor, queue: str) -> None:
    """Let no worker take jobs from a queue; those that run go on. Raises NotFound."""
    await _check_known(session, queue)
    await queues.pause(session, queue, by=actor.user.email)
    await audit.record(session, actor=actor, action="queue.pause", object_type="queue", object_id=queue)


async def resume(session: AsyncSession, *, actor: Actor, queue: str) -> None:
    """Let workers take jobs from a queue again. Raises NotFound."""
    await _check_known(session, queue)
    await queues.resume(session, queue)
    await audit.record(session, actor=actor, action="queue.resume", object_type="queue", object_id=queue)


async def _check_known(session: AsyncSession, queue: str) -> None:
    if queue not in await names_of_queues(session):
        raise NotFound
