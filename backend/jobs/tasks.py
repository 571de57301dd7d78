"""What each worker does beside its jobs, about once a second: rescue, look, and notice cancels.

Any number of workers may do all of it at once. None of it needs Redis, and an absent database is waited for.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import autocommit, transaction
from backend.jobs import families, leases
from backend.jobs.neighbours import disown, is_gone
from backend.jobs.running import Runner
from backend.jobs.workers import ALIVE_SECONDS, mark_lost

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
#: Families that wait for a person (a child failed) are looked at each time: rarely, and all others settle themselves.
SETTLE_SECONDS = 30.0
#: A job that could not be mended (its `on_end` or `on_done` failed) is left alone for this long.
AGAIN_SECONDS = 30.0
#: Jobs mended in one sweep, so that looking for work is not kept waiting.
AT_ONCE = 50

_later: dict[uuid.UUID, float] = {}

# An idle worker sees here that nothing is to be mended, and asks no more: the workers that may be gone, and whether a
# lease is over.
_GLANCE = text(
    """
    SELECT ARRAY(SELECT DISTINCT worker FROM jobs WHERE state = 'running' AND worker IS NOT NULL UNION
            SELECT name FROM workers
            WHERE stopped_at IS NULL AND last_seen_at > now() - make_interval(secs => :alive)) AS names,
        EXISTS (SELECT FROM jobs WHERE state = 'running' AND lease_until < now()) AS expired
    """
)


async def sweep(runner: Runner) -> None:
    """Rescue jobs of lost workers, and fill free slots with due jobs no bell announced, until the runner closes."""
    settle_at = 0.0

    async def once() -> None:
        nonlocal settle_at
        async with autocommit() as session:
            names, expired = (await session.execute(_GLANCE, {"alive": ALIVE_SECONDS})).one()
            await runner.look_for_suspects(session)
        if gone := any(is_gone(name) for name in names):
            async with transaction() as session:
                await disown(session)
                await mark_lost(session)
        if gone or expired:
            await reap()
        if time.monotonic() >= settle_at:
            settle_at = time.monotonic() + SETTLE_SECONDS
            await settle()
        until = time.monotonic() + SWEEP_SECONDS  # a flood of short jobs must not keep those of lost workers waiting
        while time.monotonic() < until and await runner.look():
            pass

    await _each_second(runner, "worker.sweep_failed", once)


async def watch_cancels(runner: Runner) -> None:
    """Stop running jobs that somebody wants cancelled. Runs until the runner is closed."""

    async def once() -> None:
        if ids := runner.job_ids:
            async with transaction() as session:
                asked = await leases.cancel_requests(session, ids)
            runner.cancel(asked)

    await _each_second(runner, "worker.watch_failed", once)


async def reap() -> int:
    """Take jobs whose lease ran out from their workers; answers how many."""
    return await _mend(leases.expired, leases.reap)


async def settle() -> int:
    """Say of jobs that they are done where those that ended them could not; answers how many."""
    return await _mend(families.left, families.settle_left)


async def _mend(
    find: Callable[..., Awaitable[uuid.UUID | None]], mend: Callable[[AsyncSession, uuid.UUID], Awaitable[object]]
) -> int:
    """Each in its own transaction: one job that cannot be mended must not keep the others from it."""
    now = time.monotonic()
    for over in [job_id for job_id, until in _later.items() if until < now]:
        del _later[over]
    for count in range(AT_ONCE):
        job_id: uuid.UUID | None = None
        try:
            async with transaction() as session:
                job_id = await find(session, but=list(_later))
                if job_id is None:
                    return count
                await mend(session, job_id)
        except Exception as error:
            if job_id is None:
                raise
            busy = families.is_in_use(error)  # a child is just ending: by the next sweep it has ended
            if not busy:
                log.exception("job.not_mended", job_id=str(job_id))
            _later[job_id] = now + (SWEEP_SECONDS / 2 if busy else AGAIN_SECONDS)
    return AT_ONCE


async def _each_second(runner: Runner, name: str, once: Callable[[], Awaitable[None]]) -> None:
    failing = False
    while not runner.closed:
        try:
            await once()
            failing = False
        except Exception as error:  # a sweep that dies would leave jobs waiting for ever: say it once, go on
            if not failing:
                log.warning(name, error=repr(error))
            failing = True
        await asyncio.sleep(SWEEP_SECONDS)
