"""Running a claimed job: the work with no transaction open, a heartbeat beside it, and one transaction that ends it.

Whatever stops the work (a cancel, a lost lease, a timeout, a shutdown) cancels its coroutine, waits until it really
ended, and only then writes what happened, fenced by the lease token.
"""

import asyncio
import math
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.db import is_away, transaction
from backend.core.queue import registry
from backend.jobs import families, leases, moves, progress
from backend.jobs.attempts import Notes
from backend.jobs.claims import Turns, Which, suspect_waits, take_one
from backend.jobs.models import Job
from backend.jobs.moves import JobError, LeaseLost

__all__ = ["Cancelled", "JobError", "LeaseLost", "Run", "Runner", "database_is_away", "run_next"]

log = structlog.get_logger(__name__)

#: Progress messages of one job are at least this far apart (at most four a second).
PUBLISH_SECONDS = 0.25
#: Progress reaches Postgres at most this often between heartbeats.
WRITE_SECONDS = 2.0
#: How long stopped work may clean up before it is told again.
STUBBORN_SECONDS = 10.0

T = TypeVar("T")
Reason = Literal["cancel", "lost", "timeout", "shutdown"]

#: Tried again without spending attempts, but not for ever (leases.OUTAGE_SECONDS).
AWAY = JobError("database_away", "The database was away.", retryable=True, spends_attempt=False)
INTERNAL = JobError("internal_error", "Something went wrong on our side.", retryable=True)


class Cancelled(asyncio.CancelledError):
    """Raised by `report` in work that has been stopped; let it pass."""


def database_is_away(error: BaseException | None) -> bool:
    """Whether this tells of the database (or of who holds rows there) rather than of what it was asked."""
    return error is not None and (is_away(error) or families.is_in_use(error))


class Run:
    """One attempt, as its handler sees it. `args` are the job's; `attempt` begins at 1."""

    def __init__(self, job: Job) -> None:
        assert job.lease_token is not None
        self.job_id = job.id
        self.kind = job.kind
        self.queue = job.queue
        self.args: dict[str, Any] = job.args
        self.project_id = job.project_id
        self.owner_id = job.owner_id
        self.video_id = job.video_id
        self.request_id = job.request_id
        self.attempt = job.attempt
        self.max_attempts = job.max_attempts
        self.stage: str | None = None
        self.progress = 0.0
        self.token: uuid.UUID = job.lease_token
        self.finished = False
        self.reason: Reason | None = None
        self.stopped_at: float | None = None
        self.changed = asyncio.Event()
        self.over = False
        self._state = progress.state_of(job)
        self.notes = Notes()
        self._finishing = False
        self._work: asyncio.Task[None] | None = None

    async def report(self, stage: str, percent: float) -> None:
        """Say what is being done and how far the whole job is (0 to 100; it never falls). Raises Cancelled."""
        if self.reason is not None:
            raise Cancelled(self.reason)
        if math.isfinite(percent):
            self.progress = max(self.progress, min(99.9, round(percent, 1)))
        self.stage = stage
        self.changed.set()
        await asyncio.sleep(0)  # work without other awaits can be stopped here

    def note(self, line: str) -> None:
        """Add a line to the attempt's log, of which the end is kept; signatures in addresses are cut."""
        self.notes.note(line)

    def command(self, text: str) -> None:
        """Say which tool is run and how; signatures in addresses are cut."""
        self.notes.command(text)

    @asynccontextmanager
    async def finishing(
        self, *, first: Callable[[AsyncSession], Awaitable[None]] | None = None
    ) -> AsyncIterator[AsyncSession]:
        """The transaction that completes the job with its domain rows. Raises LeaseLost: then none is written.

        Children started in it are there exactly when the job is completed. `first` writes what is told with its end.
        """
        self._finishing = True
        try:
            async with transaction() as session:
                if first is not None:
                    await moves.held(session, self.job_id, self.token)
                    await first(session)
                job = await leases.complete(session, job_id=self.job_id, token=self.token, notes=self.notes)
                yield session
                await families.settle(session, job)
            self.finished = True
        finally:
            self._finishing = False

    def state(self) -> progress.State:
        """What watchers are told."""
        job = self._state.job.model_copy(update={"stage": self.stage, "progress": self.progress})
        return progress.State(progress.Version(self._state.version.moved, round(self.progress * 10)), job)

    def stop(self, reason: Reason) -> None:
        """Cancel the work; the first reason counts. A finishing transaction that has begun may end."""
        if self.reason is None:
            self.reason, self.stopped_at = reason, time.monotonic()
            if self._work is not None and not self._finishing:
                self._work.cancel()

    async def execute(self) -> None:
        """Run the handler to its end and write how it ended. Never raises for what the handler did."""
        task = registry.get(self.kind)
        of = {"job_id": str(self.job_id), "kind": self.kind}
        if self.request_id:
            of["request_id"] = self.request_id
        with structlog.contextvars.bound_contextvars(**of):
            self._work = asyncio.ensure_future(task.handler(self))
            if self.reason is not None:  # stopped before it began
                self._work.cancel()
            beside = [asyncio.create_task(_beat(self)), asyncio.create_task(_publish(self))]
            try:
                await self._watch(self._work, task.timeout_seconds)
            finally:
                self.over = True  # a Redis client may swallow a cancel: the loops look at this too
                self.changed.set()
                for helper in beside:
                    helper.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
            await self._settle(self._work, task.timeout_seconds)

    async def _watch(self, work: asyncio.Future[None], timeout_seconds: float) -> None:
        until = time.monotonic() + timeout_seconds
        while not work.done():
            left = until - time.monotonic()
            await asyncio.wait({work}, timeout=min(max(left, 0.0) if self.reason is None else 1.0, 1.0))
            if work.done():
                return
            if self.reason is None and time.monotonic() >= until:
                self.stop("timeout")
            elif self.stopped_at is not None and time.monotonic() - self.stopped_at > STUBBORN_SECONDS:
                log.warning("job.does_not_stop", reason=self.reason)
                self.stopped_at = time.monotonic()
                work.cancel()

    async def _settle(self, work: asyncio.Future[None], timeout_seconds: float) -> None:
        error = None if work.cancelled() else work.exception()
        if self.finished:
            if error is not None:
                log.error("job.failed_after_its_end", exc_info=error)
            return
        if self.reason == "lost" or isinstance(error, LeaseLost):
            log.warning("job.lease_lost", attempt=self.attempt)
            return
        end = self._ending(error, work.cancelled(), timeout_seconds)
        give_up_at = time.monotonic() + settings.job_lease_seconds
        while True:
            try:
                async with transaction() as session:
                    await end(session, job_id=self.job_id, token=self.token, notes=self.notes)
                return
            except LeaseLost:
                log.warning("job.lease_lost", attempt=self.attempt)
                return
            except Exception as failure:  # whatever prevents the end is logged; the lease runs out and the reaper acts
                if not database_is_away(failure) or time.monotonic() > give_up_at:
                    log.exception("job.end_not_written")
                    return
            await asyncio.sleep(0.5)

    def _ending(
        self, error: BaseException | None, cancelled: bool, timeout_seconds: float
    ) -> Callable[..., Awaitable[Job]]:
        """Which move ends this attempt."""
        if self.reason == "cancel":
            return leases.confirm_cancel
        if self.reason == "shutdown":
            return leases.release
        if self.reason == "timeout":
            minutes = max(1, round(timeout_seconds / 60))
            words = f"It took longer than the {minutes} min that are allowed."
            return partial(leases.fail, error=JobError("resource_limit", words))
        if error is None and not cancelled:
            return leases.finish
        if isinstance(error, JobError):
            return partial(leases.fail, error=error)
        if database_is_away(error):
            log.warning("job.database_away", error=repr(error))
            return partial(leases.fail, error=AWAY)
        log.error("job.crashed", attempt=self.attempt, exc_info=error)
        return partial(leases.fail, error=INTERNAL)


async def _beat(run: Run) -> None:
    """Renew the lease each third of it, sooner when there is progress to note."""
    period = settings.job_lease_seconds / 3
    written: tuple[str | None, float, int] = (None, 0.0, 0)  # as the claim left the row
    renewed = time.monotonic()  # as the claim left the row
    while not run.over:
        await asyncio.sleep(min(1.0, period))
        since, now = time.monotonic() - renewed, (run.stage, run.progress, run.notes.version)
        if since < period and (now == written or since < WRITE_SECONDS):
            continue
        try:
            async with transaction() as session:
                asked = await leases.heartbeat(
                    session,
                    job_id=run.job_id,
                    token=run.token,
                    stage=now[0],
                    progress=now[1],
                    notes=run.notes if now[2] != written[2] else None,
                )
        except LeaseLost:
            run.stop("lost")
            return
        except Exception as error:  # a heartbeat that failed is tried again in a second, whatever it was
            log.warning("job.heartbeat_failed", error=repr(error))
            continue
        renewed, written = time.monotonic(), now
        if asked is not None:
            run.stop("cancel")


async def _publish(run: Run) -> None:
    """Send the newest progress, never more often than PUBLISH_SECONDS."""
    while not run.over:
        await run.changed.wait()
        run.changed.clear()
        await progress.publish(run.state())
        await asyncio.sleep(PUBLISH_SECONDS)


async def run_next(*, worker: str, queues: Sequence[str] | None = None) -> bool:
    """Claim the best due job and run it to its end here; False when none is due."""
    if queues is None:
        queues = sorted({registry.get(kind).queue for kind in registry.kinds()})
    job = await take_one(worker=worker, queues=queues)
    if job is None:
        return False
    await progress.publish(progress.state_of(job))
    await Run(job).execute()
    return True


class Runner:
    """The slots of one worker process. A ring, a freed slot, each second's sweep: all mean, look for a due job.

    A job that may have been what ended its workers has its last attempt alone here, so that it takes no others with it.
    """

    def __init__(self, *, worker: str, queues: Sequence[str], slots: int) -> None:
        self.worker = worker
        self.room: dict[str, Callable[[], bool]] = {}  #: of some queues: could this machine carry one of its jobs now?
        self.queues = list(queues)
        self.slots = slots
        self.draining = self.stopping = self.closed = False
        self._claiming = 0
        self._suspect_waits = self._alone = False
        self._limits = {queue: most for queue, most in settings.worker_queue_slots.items() if queue in queues}
        self._asked: Counter[str] = Counter()
        self._turns = Turns()
        self._runs: dict[uuid.UUID, Run] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def free(self) -> int:
        """Slots that could take a job now."""
        busy = len(self._runs) + self._claiming
        return 0 if self.draining or self._alone else max(0, self.slots - busy)

    @property
    def job_ids(self) -> list[uuid.UUID]:
        return [run.job_id for run in self._runs.values()]

    async def look(self) -> bool:
        """Begin the best due job; False when none is due or no slot is free. Raises when the database is away."""
        if self.free == 0 or not (queues := self._open_queues()):
            return False
        self._alone = self._suspect_waits and not self._runs and not self._claiming
        self._claiming += 1
        for queue in queues:
            self._asked[queue] += 1
        # A task of its own: who listens cancels what it began, and a claim that was made has to be carried on.
        return await asyncio.shield(self._keep(self._begin(queues)))

    async def look_for_suspects(self, session: AsyncSession) -> None:
        """Whether a job waits that has to run alone: it is the next that is taken when nothing runs here."""
        self._suspect_waits = await suspect_waits(session, queues=self.queues, kinds=registry.kinds())

    async def _begin(self, queues: Sequence[str]) -> bool:
        job = None
        try:
            which: Which = "suspects" if self._alone else "others"
            job = await take_one(worker=self.worker, queues=queues, turns=self._turns, which=which)
            if self._alone:  # and the next sweep says whether another one waits
                self._suspect_waits = False
            if job is None:
                return self._alone  # another worker was the first: look for other work
            run = Run(job)
            self._runs[run.token] = run
            if self.stopping:  # claimed while the others were being stopped
                run.stop("shutdown")
        finally:
            self._claiming -= 1
            for queue in queues:
                self._asked[queue] -= 1
            if job is None:
                self._alone = False
        self._keep(self._carry(run))
        await progress.publish(progress.state_of(job))
        return True

    def _keep(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task that a drain waits for, and that ends by itself."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # seen, if nobody waits any more
        return task

    def _open_queues(self) -> list[str]:
        """The queues from which a job may be begun: some have fewer slots than the worker has.

        A claim under way may bring a job of any queue that it asks.
        """
        taken = Counter(run.queue for run in self._runs.values()) + self._asked if self._limits else self._asked
        free = [queue for queue in self.queues if queue not in self._limits or taken[queue] < self._limits[queue]]
        return [queue for queue in free if queue not in self.room or self.room[queue]()]

    async def answer(self) -> None:
        """What a ring does."""
        try:
            await self.look()
        except Exception as error:  # the sweep looks again in a second; a ring must not end its listener
            log.warning("worker.look_failed", error=repr(error))

    def cancel(self, job_ids: set[uuid.UUID]) -> None:
        """Stop these jobs: somebody wants them cancelled."""
        for run in list(self._runs.values()):
            if run.job_id in job_ids:
                run.stop("cancel")

    async def drain(self, grace_seconds: float) -> None:
        """Take no more, let jobs end for the grace, then stop the rest and give them back."""
        self.draining = True
        await self._until_idle(grace_seconds)
        self.stopping = True
        for run in list(self._runs.values()):
            run.stop("shutdown")
        await self._until_idle(STUBBORN_SECONDS)
        for run in list(self._runs.values()):  # it ends with this process: others need not wait for its lease
            try:
                async with transaction() as session:
                    await leases.release(session, job_id=run.job_id, token=run.token)
            except Exception:  # the lease will run out
                log.exception("job.not_released", job_id=str(run.job_id))
        self.closed = True

    async def _until_idle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        # Polled: a claim under way may still add a run.
        while (self._tasks or self._claiming) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _carry(self, run: Run) -> None:
        try:
            await run.execute()
        except Exception:  # the slot must come free whatever happened; the lease runs out and the reaper acts
            log.exception("job.run_broke", job_id=str(run.job_id))
        finally:
            self._runs.pop(run.token, None)
            self._alone = False
        await self.answer()
