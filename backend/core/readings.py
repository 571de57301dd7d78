"""Reading for many at once: thousands who ask in the same moment share a few queries instead of a thousand each."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import chain
from typing import Generic, TypeVar

import structlog

from backend.core.errors import AppError

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

#: Keys of one read, at most: what a query can carry without holding everybody up.
MOST_KEYS = 500
AGAIN_SECONDS = 2.0


class Readings(Generic[K, V]):
    """`get(key)`, answered by one `read(keys)` at a time; what is asked for during one goes into the next.

    So no answer is older than its question, and all who ask hold one database connection between them.
    """

    def __init__(self, read: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, most: int = MOST_KEYS) -> None:
        self._read, self._most = read, most
        self._asked: dict[K, list[asyncio.Future[V | None]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """What was read for this key, None when it is not there. Raises what the read raised."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(answer)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._go_on())
        return await answer

    async def _go_on(self) -> None:
        while self._asked:
            asked = {key: self._asked.pop(key) for key in list(self._asked)[: self._most]}
            try:
                found = await self._read(list(asked))
            except BaseException as error:
                for answer in chain.from_iterable(asked.values()):
                    if not isinstance(error, Exception):
                        answer.cancel()
                    elif not answer.done():  # who asked may have gone
                        answer.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                for key, answers in asked.items():
                    for answer in answers:
                        if not answer.done():
                            answer.set_result(found.get(key))


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """What `read` answers, however often it fails before: for streams, which have no status left to report with.

    While the database is away they wait, and their heartbeat keeps the client. What it raises on purpose passes.
    """
    while True:
        try:
            return await read()
        except AppError:
            raise
        except Exception as error:
            log.warning("stream.read_failed", error=repr(error))
            await asyncio.sleep(AGAIN_SECONDS)
