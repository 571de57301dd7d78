"""What each worker does beside its jobs, about once a second: rescue, look, and notice cancels.

Any number of workers may do all of it at once. None of it needs Redis, and an absent database is waited for.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import structlog

from backend.core.db import transaction
from backend.jobs import leases
from backend.jobs.neighbours import disown
from backend.jobs.running import Runner

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
#: A job that could not be reaped (its `on_end` failed) is left alone for this long.
REAP_AGAIN_SECONDS = 30.0
#: Jobs reaped in one sweep, so that looking for work is not kept waiting.
REAP_AT_ONCE = 50

_reap_later: dict[uuid.UUID, float] = {}


async def sweep(runner: Runner) -> None:
    """Rescue jobs of lost workers, and fill free slots with due jobs no bell announced, until the runner closes."""

    async def once() -> None:
        async with transaction() as session:
            await disown(session)
        await reap()
        while await runner.look():
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
    """Take jobs whose lease ran out from their workers, each in its own transaction; answers how many."""
    now = time.monotonic()
    for over in [job_id for job_id, until in _reap_later.items() if until < now]:
        del _reap_later[over]
    for count in range(REAP_AT_ONCE):
        job_id: uuid.UUID | None = None
        try:
            async with transaction() as session:
                job_id = await leases.expired(session, but=list(_reap_later))
                if job_id is None:
                    return count
                await leases.reap(session, job_id)
        except Exception:
            if job_id is None:
                raise
            # one job that cannot be ended must not keep the others from being rescued
            log.exception("job.not_reaped", job_id=str(job_id))
            _reap_later[job_id] = now + REAP_AGAIN_SECONDS
    return REAP_AT_ONCE


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
