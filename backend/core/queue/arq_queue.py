"""The doorbell over ARQ: a ring is a short-lived ARQ job `run_job(job_id)` with a fresh id, in one ARQ queue per queue.

ARQ polls; here it waits. Beside each ARQ queue is a list with an entry for each ring, and an idle worker sits in a
blocking read of that list: one ring wakes one worker, at once. The entry says nothing but "poll now", and may be lost.
ARQ's own retries, results and in-progress locks are kept out of the way: nothing depends on a ring arriving.
"""

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Function, Worker, func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from backend.config import settings
from backend.core.queue import Answer

log = structlog.get_logger(__name__)

RING_EXPIRES_SECONDS = 60
#: More rings than this waiting in a queue tell workers nothing new: after each job they look for the next themselves.
MAX_WAITING_RINGS = 100
#: A worker that nothing wakes polls all the same after this long: the entry of a ring may have gone to one that died.
WAIT_SECONDS = 5
#: How often a worker without free slots looks whether one came free.
FULL_SECONDS = 0.05
#: Who is to stop listening is told so again after this: a Redis client may swallow a cancel.
AGAIN_SECONDS = 0.2
#: Of ARQ's own command, which only polls.
POLL_SECONDS = 0.1


def queue_name(queue: str) -> str:
    """The Redis key of a queue's rings."""
    return f"dailies:ring:{queue}"


def wake_name(queue: str) -> str:
    """The Redis key of the list whose entries wake those who listen to a queue."""
    return f"dailies:wake:{queue}"


def serialize(value: dict[str, Any]) -> bytes:
    """JSON instead of ARQ's pickle: whoever can write to Redis must not run code here."""
    return json.dumps(value, default=str).encode()


def deserialize(value: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(value)
    return parsed


def redis_settings() -> RedisSettings:
    """For ARQ's own command. Without REDIS_URL a place holder: the settings are checked when the worker starts."""
    url = settings.redis_url.get_secret_value()
    return RedisSettings.from_dsn(url) if url else RedisSettings()


def _connect(*, timeout_seconds: float = 2.0) -> ArqRedis:
    pool: ConnectionPool = ConnectionPool.from_url(
        settings.redis_url.get_secret_value(), socket_timeout=timeout_seconds, socket_connect_timeout=2.0
    )
    return ArqRedis(
        pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        expires_extra_ms=RING_EXPIRES_SECONDS * 1000,
    )


def ring_function(answer: Answer) -> Function:
    """The one ARQ function: it answers the bell, and leaves which job to run to the database."""

    async def run_job(ctx: dict[Any, Any], job_id: str) -> None:
        try:
            await answer()
        except Exception as error:  # the sweep looks again in a second; ARQ itself would log a page
            log.warning("bell.answer_failed", job_id=job_id, error=repr(error))

    return func(run_job, name="run_job", keep_result=0, max_tries=1)


class Ear(Worker):
    """An ARQ worker that waits instead of polling, outlives Redis, and takes no more rings than slots are free."""

    def __init__(self, queue: str, answer: Answer, *, free: Callable[[], int]) -> None:
        super().__init__(
            functions=[ring_function(answer)],
            queue_name=queue_name(queue),
            redis_pool=_connect(timeout_seconds=WAIT_SECONDS + 2.0),
            handle_signals=False,
            max_jobs=settings.worker_slots,
            job_timeout=30,
            keep_result=0,
            max_tries=1,
            poll_delay=0,
            health_check_interval=30,
            job_serializer=serialize,
            job_deserializer=deserialize,
            log_results=False,
        )
        self._wake_name = wake_name(queue)
        self._slots_free = free

    async def _poll_iteration(self) -> None:
        self.max_jobs = min(self.job_counter + self._slots_free(), settings.worker_slots)
        await super()._poll_iteration()
        await self._until_woken()

    async def _until_woken(self) -> None:
        """Until a ring is there that a free slot can take; others are left to workers that have one."""
        while self._slots_free() == 0 or self.job_counter >= settings.worker_slots:  # noqa: ASYNC110
            await asyncio.sleep(FULL_SECONDS)
        # redis-py types these for its synchronous client, too.
        woken = await cast("Awaitable[object]", self.pool.blpop([self._wake_name], timeout=WAIT_SECONDS))
        if woken and self._slots_free() == 0:  # taken meanwhile, for what another queue or the sweep found
            await cast("Awaitable[object]", self.pool.rpush(self._wake_name, b""))

    async def main(self) -> None:
        away = False
        while True:
            try:
                await super().main()
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("bell.redis_away", queue=self.queue_name, error=repr(error))
                away = True
                await asyncio.sleep(1.0)

    async def hang_up(self) -> None:
        """Give up the connection; rings being answered are cut off."""
        for answering in self.tasks.values():
            answering.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await self.pool.aclose(close_connection_pool=True)


class ArqDoorbell:
    """See `backend.core.queue.Doorbell`."""

    def __init__(self) -> None:
        self._redis = _connect()

    async def ring(self, job_id: uuid.UUID, queue: str) -> None:
        name, wake = queue_name(queue), wake_name(queue)
        if await self._redis.zcard(name) >= MAX_WAITING_RINGS:
            return
        await self._redis.enqueue_job("run_job", str(job_id), _queue_name=name)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.rpush(wake, b"")
            pipe.ltrim(wake, 0, MAX_WAITING_RINGS - 1)
            pipe.expire(wake, RING_EXPIRES_SECONDS)
            await pipe.execute()

    async def listen(self, queues: list[str], answer: Answer, *, free: Callable[[], int]) -> None:
        logging.getLogger("arq.worker").setLevel(logging.ERROR)  # an expired ring is nothing to report
        ears = [Ear(queue, answer, free=free) for queue in queues]
        hearing = {asyncio.create_task(ear.main()) for ear in ears}
        try:
            # Not `gather`: cancelled, it would wait for an ear that lost its cancel.
            ended, _ = await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            while hearing:
                for task in hearing:
                    task.cancel()
                _, hearing = await asyncio.wait(hearing, timeout=AGAIN_SECONDS)
            for ear in ears:
                await ear.hang_up()

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)
