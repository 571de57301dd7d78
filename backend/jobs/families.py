"""Families: a job may start others (`parent_id`), and is done once it and all that it requires are completed.

`unsettled` is set when a job is completed that has something to wait for or to say (`on_done`, a parent), and taken
back in the transaction in which it is done: so each is done once. A parent that fails or is cancelled takes its live
children with it. Children that a parent requires are best started in its finishing transaction: then no second attempt
starts them again.

Locks. Who ends a job holds its row and waits only upwards: for its parent's row, the parent's parent's, then for domain
rows. Downwards nobody waits: who ends a parent takes the rows of its children only if they are free at this moment,
else gives back all it holds and begins anew. So no two ends ever wait for each other.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.core.errors import InvalidState
from backend.core.queue import registry
from backend.jobs import moves
from backend.jobs.models import Job, JobState
from backend.jobs.moves import CANCELLED, JobError, LeaseLost
from backend.orgs.access import Actor

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: How long a cancel tries to get hold of a family whose members are ending.
PATIENCE_SECONDS = 5.0
#: Children that `family_of` shows at most.
SHOWN = 200


class InUse(InvalidState):
    """Members of a family are held by others for long: nothing was done."""

    message = "This is just being changed. Try again in a moment."


_NEWEST = {"synchronize_session": False, "populate_existing": True}


@dataclass(frozen=True, slots=True)
class Family:
    """Who started a job, and whom it started, oldest first (at most `SHOWN`)."""

    parent: Job | None
    children: Sequence[Job]


async def family_of(session: AsyncSession, job: Job) -> Family:
    """The parent and the children of a job that the caller may see; they are of its project."""
    parent = await session.get(Job, job.parent_id) if job.parent_id is not None else None
    below = select(Job).where(Job.parent_id == job.id).order_by(Job.created_at, Job.id).limit(SHOWN)
    return Family(parent, (await session.scalars(below)).all())


# --- being done ------------------------------------------------------------------------------------------------------


def has_to_settle() -> ColumnElement[bool]:
    """Whether there is more to a job's completion than the move: one that requires it, or its own `on_done`."""
    with_end = [kind for kind in registry.kinds() if registry.get(kind).on_done is not None]
    return or_(Job.required, Job.kind.in_(with_end)) if with_end else Job.required.is_(True)


async def hold_above(session: AsyncSession, job: Job) -> None:
    """Lock all those that may be done with this job, before domain rows are. For jobs that are required."""
    while job.required and job.parent_id is not None:
        above = select(Job).where(Job.id == job.parent_id).with_for_update()
        parent = await session.scalar(above, execution_options=_NEWEST)
        if parent is None:
            return
        job = parent


async def settle(session: AsyncSession, job: Job) -> None:
    """At the end of the transaction that completes a job: if it is done, say so, and look at its parent, and so up.

    The caller holds the rows of the job and of those above it. A kind that this process does not know is left to the
    sweep of one that does. Whatever `on_done` raises takes the completion back.
    """
    settled = job if job.unsettled else None
    while settled is not None:
        settled = await session.scalar(
            update(Job)
            .where(Job.id == settled.id, Job.unsettled, _nothing_missing(), Job.kind.in_(registry.kinds()))
            .values(unsettled=False, updated_at=Job.updated_at)
            .returning(Job),
            execution_options=_NEWEST,
        )
        if settled is None:
            return
        task = registry.get(settled.kind)
        if task.on_done is not None:
            log.info("job.done", job_id=str(settled.id), kind=settled.kind)
            await task.on_done(session, settled)
        if not settled.required or settled.parent_id is None:
            return
        settled = await session.get(Job, settled.parent_id)


async def left(session: AsyncSession, *, but: Sequence[uuid.UUID] = ()) -> uuid.UUID | None:
    """A job that is done, and whose kind was unknown where that came about, locked for `settle_left`; None: none is."""
    statement = (
        select(Job.id)
        .where(Job.unsettled, _nothing_missing(), Job.kind.in_(registry.kinds()), Job.id.not_in(but))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return await session.scalar(statement)


async def settle_left(session: AsyncSession, job_id: uuid.UUID) -> None:
    """Make up for what `left` found."""
    job = await session.get_one(Job, job_id)
    await hold_above(session, job)
    await settle(session, job)


def _nothing_missing() -> ColumnElement[bool]:
    child = aliased(Job)
    return ~select(child.id).where(child.parent_id == Job.id, child.required, _not_done(child)).exists()


def _not_done(job: type[Job]) -> ColumnElement[bool]:
    return or_(job.state != JobState.COMPLETED, job.unsettled)


# --- ending without success ------------------------------------------------------------------------------------------


async def end(session: AsyncSession, job: Job, state: JobState, error: JobError, *, token: uuid.UUID) -> Job:
    """To `failed` or `cancelled`, with the domain rows and the live children.

    Raises LeaseLost; and what `is_in_use` tells when a child is just being moved: then try the whole transaction again.
    """
    moved = await moves.move(
        session, job.id, JobState.RUNNING, state, token=token, finished_at=func.now(), **moves.error_columns(error)
    )
    if moved is None:
        raise LeaseLost
    await _cancel_all(session, await _below(session, moved))
    # Tried again it starts what it needs, and waits for none of these, however those end that are still stopping.
    await session.execute(
        update(Job)
        .where(Job.parent_id == moved.id, Job.required, _not_done(Job))
        .values(required=False, updated_at=Job.updated_at)
    )
    await moves.tell_domain(session, moved, state, error)
    return moved


async def cancel(session: AsyncSession, job: Job) -> Job:
    """Cancel a queued job at once, with its children; ask the worker of a running one to stop, which it confirms.

    Raises InvalidState when it has ended already; InUse.
    """

    async def attempt() -> tuple[Job | None, list[Job]]:
        moved = await _cancel_queued(session, job)
        return moved, await _below(session, moved) if moved else []

    moved, below = await _patiently(session, attempt)
    if moved is None:
        asked = await _ask(session, job)
        if asked is None:
            raise InvalidState("This job has already ended.")
        return asked
    await _cancel_all(session, below)
    await moves.tell_domain(session, moved, JobState.CANCELLED, CANCELLED)
    return moved


async def cancel_family(session: AsyncSession, *, actor: Actor | None, root: Job) -> list[Job]:
    """Cancel a job and all it started, and they, as far as they live; answers those, as `cancel` leaves them.

    Raises InUse.
    """

    async def attempt() -> list[Job]:
        first = await session.scalar(select(Job).where(Job.id == root.id).with_for_update(), execution_options=_NEWEST)
        return [] if first is None else [*await _below(session, first), first]

    by = str(actor.user_id) if actor else None
    log.info("job.family_cancel_requested", job_id=str(root.id), kind=root.kind, by=by)
    return await _cancel_all(session, await _patiently(session, attempt))


def is_in_use(error: BaseException) -> bool:
    """Whether this says that a row of a family was held by somebody else, who may wait for what we hold."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == "55P03"


async def _below(session: AsyncSession, job: Job) -> list[Job]:
    """All descendants, locked, the lowest first; the job's own row is. Raises what `is_in_use` tells, never waits.

    Who holds a row has all its children: to start one takes its row, too.
    """
    found: list[Job] = []
    above = [job.id]
    while above:
        children = select(Job).where(Job.parent_id.in_(above)).with_for_update(nowait=True)
        rows = (await session.scalars(children, execution_options=_NEWEST)).all()
        found = [*rows, *found]
        above = [row.id for row in rows]
    return found


async def _cancel_all(session: AsyncSession, jobs: Sequence[Job]) -> list[Job]:
    """Cancel those of these jobs that live; all are locked."""
    cancelled: list[Job] = []
    for job in jobs:
        moved = await _cancel_queued(session, job) if job.state == JobState.QUEUED else await _ask(session, job)
        if moved is not None:
            cancelled.append(moved)
        if moved is not None and moved.state == JobState.CANCELLED:
            await moves.tell_domain(session, moved, JobState.CANCELLED, CANCELLED)
    return cancelled


async def _cancel_queued(session: AsyncSession, job: Job) -> Job | None:
    values = moves.error_columns(CANCELLED)
    return await moves.move(session, job.id, JobState.QUEUED, JobState.CANCELLED, finished_at=func.now(), **values)


async def _ask(session: AsyncSession, job: Job) -> Job | None:
    """Ask the worker of a running job to stop; None when it does not run."""
    asked: Job | None = await session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.RUNNING)
        .values(
            cancel_requested_at=func.coalesce(Job.cancel_requested_at, func.now()),
            updated_at=Job.updated_at,
        )
        .returning(Job),
        execution_options=_NEWEST,
    )
    if asked is not None:
        moves.announce(session, asked)
    return asked


async def _patiently(session: AsyncSession, attempt: Callable[[], Awaitable[T]]) -> T:
    """Take the locks of a family; while one is in use, give them all back (a savepoint does) and try again.

    Raises InUse.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            async with session.begin_nested():
                return await attempt()
        except DBAPIError as error:
            if not is_in_use(error):
                raise
            if time.monotonic() > until:
                raise InUse from error
        await asyncio.sleep(random.uniform(0.01, 0.05))  # noqa: S311
