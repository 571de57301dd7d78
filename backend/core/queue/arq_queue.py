"""The doorbell over ARQ: a ring is a short-lived ARQ job `run_job(job_id)` with a fresh id, in one ARQ queue per queue.

ARQ's own retries, results and in-progress locks are kept out of the way: nothing depends on a ring arriving.
"""

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

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
POLL_SECONDS = 0.1


def queue_name(queue: str) -> str:
    """The Redis key of a queue's rings."""
    return f"dailies:ring:{queue}"


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


def _connect() -> ArqRedis:
    pool: ConnectionPool = ConnectionPool.from_url(
        settings.redis_url.get_secret_value(), socket_timeout=2.0, socket_connect_timeout=2.0
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
    """An ARQ worker that outlives Redis, and takes no more rings than there are free slots."""

    def __init__(self, queue: str, answer: Answer, *, free: Callable[[], int]) -> None:
        super().__init__(
            functions=[ring_function(answer)],
            queue_name=queue_name(queue),
            redis_pool=_connect(),
            handle_signals=False,
            max_jobs=settings.worker_slots,
            job_timeout=30,
            keep_result=0,
            max_tries=1,
            poll_delay=POLL_SECONDS,
            health_check_interval=30,
            job_serializer=serialize,
            job_deserializer=deserialize,
            log_results=False,
        )
        self._slots_free = free
        self._closed = False

    async def _poll_iteration(self) -> None:
        if self._closed:  # the Redis client may have swallowed the cancel
            raise asyncio.CancelledError
        self.allow_pick_jobs = self._slots_free() > 0
        await super()._poll_iteration()

    async def main(self) -> None:
        away = False
        while not self._closed:
            try:
                await super().main()
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("bell.redis_away", queue=self.queue_name, error=repr(error))
                away = True
                await asyncio.sleep(1.0)

    def close_soon(self) -> None:
        """Take no more rings."""
        self._closed = True

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
        name = queue_name(queue)
        if await self._redis.zcard(name) < MAX_WAITING_RINGS:
            await self._redis.enqueue_job("run_job", str(job_id), _queue_name=name)

    async def listen(self, queues: list[str], answer: Answer, *, free: Callable[[], int]) -> None:
        logging.getLogger("arq.worker").setLevel(logging.ERROR)  # an expired ring is nothing to report
        ears = [Ear(queue, answer, free=free) for queue in queues]
        hearing = [asyncio.create_task(ear.main()) for ear in ears]
        try:
            # Not `gather`: cancelled, it would wait for an ear that lost its cancel, which only `close_soon` ends.
            ended, _ = await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for ear in ears:
                ear.close_soon()
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
            for ear in ears:
                await ear.hang_up()

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)
