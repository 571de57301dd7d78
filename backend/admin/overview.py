"""What the top of the admins' page shows: figures, queues, running jobs, workers and the last deeds, read together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from backend.admin import service
from backend.admin.filters import Window
from backend.admin.numbers import (
    NONE,
    Bucket,
    Count,
    QueueNumbers,
    Shared,
    forget,
    queue_names,
    read_buckets,
    read_queues,
)
from backend.admin.schemas import WorkerOut
from backend.jobs import queues, workers
from backend.jobs.models import JobState
from backend.orgs import audit
from backend.orgs.audit import Deed

DEEDS_SHOWN = 5


@dataclass(frozen=True)
class Queue:
    """A queue: its figures, and whether it is paused. `served`: a living worker listens to it."""

    name: str
    numbers: QueueNumbers
    paused_at: datetime | None
    paused_by: str | None
    served: bool

    @property
    def needs_worker(self) -> bool:
        """Whether jobs wait that nobody will ever take as things are."""
        return not self.served and self.paused_at is None and self.numbers.count(JobState.QUEUED).number > 0


@dataclass(frozen=True)
class Overview:
    """Everything that changes by itself at the top of the page."""

    queues: list[Queue]
    workers: list[WorkerOut]
    running: list[service.Row]
    buckets: list[Bucket]
    deeds: Sequence[Deed]

    def total(self, state: str) -> Count:
        """All queues together."""
        return total(self.queues, state)

    @property
    def oldest_seconds(self) -> float | None:
        """The age of the job that waits longest."""
        ages = (queue.numbers.oldest_seconds for queue in self.queues)
        return max((age for age in ages if age is not None), default=None)

    def alive(self) -> list[WorkerOut]:
        return [worker for worker in self.workers if worker.state == "alive"]


def total(queues: Sequence[Queue], state: str) -> Count:
    """How many jobs of all these queues are in this state."""
    return sum((queue.numbers.count(state) for queue in queues), NONE)


async def all_workers(session: AsyncSession) -> list[WorkerOut]:
    """The worker processes of late, those alive first, then by name."""
    found = [WorkerOut.model_validate(worker, from_attributes=True) for worker in await workers.list_workers(session)]
    order = {"alive": 0, "lost": 1, "stopped": 2}
    return sorted(found, key=lambda worker: (order[worker.state], worker.name))


async def all_queues(session: AsyncSession, at_work: Sequence[WorkerOut] | None = None) -> list[Queue]:
    """Every queue that is known, has jobs or is listened to."""
    known = {state.name: state for state in await queues.list_queues(session)}
    if at_work is None:
        at_work = await all_workers(session)
    listening = {name for worker in at_work if worker.state == "alive" for name in worker.queues}
    names = await queue_names(session, [*known, *listening])
    return [
        Queue(
            name=numbers.name,
            numbers=numbers,
            paused_at=known[numbers.name].paused_at if numbers.name in known else None,
            paused_by=known[numbers.name].paused_by if numbers.name in known else None,
            served=numbers.name in listening,
        )
        for numbers in await read_queues(session, names)
    ]


async def _read(session: AsyncSession, *, window: Window) -> Overview:
    at_work = await all_workers(session)
    found = await all_queues(session, at_work)
    return Overview(
        queues=found,
        workers=at_work,
        running=await service.running_jobs(session),
        buckets=await read_buckets(session, window, waiting=total(found, JobState.QUEUED).number),
        deeds=await audit.deeds(session, limit=DEEDS_SHOWN),
    )


_shared: dict[Window, Shared[Overview]] = {
    "hour": Shared(partial(_read, window="hour")),
    "day": Shared(partial(_read, window="day")),
}


async def overview(window: Window) -> Overview:
    """One reading a second for everybody who watches."""
    return await _shared[window].get()


def read_anew() -> None:
    """Drop what is remembered: somebody changed something, and wants to see it."""
    for shared in _shared.values():
        shared.forget()


def forget_everything() -> None:
    """Drop also the figures of time that is over."""
    read_anew()
    forget()
