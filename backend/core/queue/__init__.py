"""The doorbell protocol and the registry of tasks: knows ids and kinds, no domain.

Postgres holds the jobs. A bell only says "look": it may be lost, rung twice or answered by another worker without harm,
because workers also look by themselves each second.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from backend.config import settings

#: A task's function; it is given a `jobs.running.Run`.
Handler = Callable[[Any], Awaitable[None]]
#: Called inside the transaction that moves the job, so that the domain rows move with it.
Callback = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Task:
    """How jobs of one kind are run.

    `on_end(session, job, state, error)` runs in the transaction that writes `failed` or `cancelled`, whoever writes it;
    `on_queued(session, job)` in the one that queues a failed job again, or anew what a cancelled one was to do;
    `on_done(session, job)`, once, in the one after which the job and all the children it requires are completed,
    whichever of them ended last (`jobs.families`).
    Backoff: full jitter, a random time up to `backoff_seconds` doubled with each attempt, at most
    `backoff_limit_seconds`.
    """

    kind: str
    handler: Handler
    queue: str = "default"
    max_attempts: int = 3
    timeout_seconds: float = 900.0
    backoff_seconds: float = 2.0
    backoff_limit_seconds: float = 300.0
    on_end: Callback | None = None
    on_queued: Callback | None = None
    on_done: Callback | None = None


class UnknownKind(LookupError):
    """No task of this kind was imported in this process: a programming error where a job is started."""


class Registry:
    """The tasks this process knows; filled by importing the modules that declare them."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Make a kind known. Raises ValueError when another function has it already."""
        known = self._tasks.get(task.kind)
        if known is not None and known.handler.__qualname__ != task.handler.__qualname__:
            raise ValueError(f"two tasks are called {task.kind!r}")
        self._tasks[task.kind] = task

    def remove(self, kind: str) -> None:
        """Forget a kind: its jobs stay queued for workers that know it."""
        self._tasks.pop(kind, None)

    def find(self, kind: str) -> Task | None:
        return self._tasks.get(kind)

    def get(self, kind: str) -> Task:
        """The task of this kind. Raises UnknownKind."""
        try:
            return self._tasks[kind]
        except KeyError:
            raise UnknownKind(kind) from None

    def kinds(self) -> list[str]:
        return sorted(self._tasks)


registry = Registry()


def task(
    kind: str,
    *,
    queue: str = "default",
    max_attempts: int = 3,
    timeout_seconds: float = 900.0,
    backoff_seconds: float = 2.0,
    backoff_limit_seconds: float = 300.0,
    on_end: Callback | None = None,
    on_queued: Callback | None = None,
    on_done: Callback | None = None,
) -> Callable[[Handler], Handler]:
    """Declare the function that runs jobs of this kind (see Task)."""

    def declare(handler: Handler) -> Handler:
        registry.add(
            Task(
                kind=kind,
                handler=handler,
                queue=queue,
                max_attempts=max_attempts,
                timeout_seconds=timeout_seconds,
                backoff_seconds=backoff_seconds,
                backoff_limit_seconds=backoff_limit_seconds,
                on_end=on_end,
                on_queued=on_queued,
                on_done=on_done,
            )
        )
        return handler

    return declare


#: What a worker does when the bell of its queue rings. When it raises, SQS rings again later; ARQ leaves it to the
#: workers' own look.
Answer = Callable[[], Awaitable[None]]


class Doorbell(Protocol):
    """Tells workers that a queue has something to do."""

    async def ring(self, job_id: uuid.UUID, queue: str) -> None:
        """Ring once for this job. May raise: the caller logs it, and the workers' own look makes up for it."""

    async def listen(self, queues: list[str], answer: Answer, *, free: Callable[[], int]) -> None:
        """Call `answer` for each ring until cancelled; rings are left for others while `free()` is zero."""

    async def close(self) -> None:
        """Give up connections."""


@runtime_checkable
class SpeakingDoorbell(Protocol):
    """A doorbell whose rings are messages that others may read, too."""

    async def tell(self, job_id: uuid.UUID, queue: str, words: Mapping[str, Any]) -> str:
        """Ring with these words beside the job's id; answers the message's id. May raise."""


class DoorbellHolder:
    """The bell of this process; without one, nothing rings and workers find jobs by looking."""

    def __init__(self) -> None:
        self._bell: Doorbell | None = None

    def hang(self, bell: Doorbell) -> None:
        self._bell = bell

    async def ring(self, job_id: uuid.UUID, queue: str) -> None:
        if self._bell is not None:
            await self._bell.ring(job_id, queue)

    async def tell(self, job_id: uuid.UUID, queue: str, words: Mapping[str, Any]) -> str | None:
        """Ring with words beside, where the bell carries any; the message's id, or None."""
        if isinstance(self._bell, SpeakingDoorbell):
            return await self._bell.tell(job_id, queue, words)
        await self.ring(job_id, queue)
        return None

    async def listen(self, queues: list[str], answer: Answer, *, free: Callable[[], int]) -> None:
        if self._bell is not None:
            await self._bell.listen(queues, answer, free=free)

    async def close(self) -> None:
        if self._bell is not None:
            bell, self._bell = self._bell, None
            await bell.close()


def make_doorbell() -> Doorbell:
    """The bell that the settings choose (`DOORBELL`); only its library is loaded."""
    if settings.doorbell == "sqs":
        from backend.core.queue.sqs_queue import SqsDoorbell

        return SqsDoorbell()
    from backend.core.queue.arq_queue import ArqDoorbell

    return ArqDoorbell()


doorbell = DoorbellHolder()
