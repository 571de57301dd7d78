"""The process that runs jobs: `dailies worker`, or ARQ's own `arq worker.WorkerSettings`.

Both open the same things. The first also outlives a Redis restart; ARQ's own command ends then, and has to be started
again. What is run, and when, is decided by Postgres (backend/jobs/running.py): a ring from ARQ only says "look".
"""

import asyncio
import contextlib
import signal
from typing import Any, ClassVar

import structlog
from arq.worker import Function

import backend.kinds  # noqa: F401
from backend.config import ConfigurationError, settings
from backend.core import capabilities, idempotent_requests, logging
from backend.core.db import database
from backend.core.queue import arq_queue, doorbell, make_doorbell
from backend.core.redis import redis
from backend.core.storage import storage
from backend.generation.providers import diffusers
from backend.jobs.neighbours import worker_name
from backend.jobs.running import Runner
from backend.jobs.tasks import sweep, watch_cancels
from backend.jobs.workers import Registration
from backend.videos import confinement, recounting, workspace
from backend.videos.sweep import keep_tidy
from backend.webhooks.courier import Courier

log = structlog.get_logger("worker")


class Work:
    """What this process holds while it works."""

    def __init__(self) -> None:
        self.runner = Runner(worker=worker_name(), queues=settings.worker_queues, slots=settings.worker_slots)
        self.runner.room["gpu"] = diffusers.has_room
        self.registration = Registration(self.runner)
        self._beside: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        settings.check()
        logging.configure()
        await self._prepare_media()
        database.open()
        redis.open()
        storage.open()
        doorbell.hang(make_doorbell())
        beside = (
            sweep(self.runner),
            watch_cancels(self.runner),
            self.registration.keep(),
            capabilities.keep_current(storage),
            keep_tidy(lambda: self.runner.closed),
            recounting.keep_right(lambda: self.runner.closed),
            idempotent_requests.sweep(lambda: self.runner.closed),
            Courier(draining=lambda: self.runner.draining).keep(),
        )
        self._beside = [asyncio.create_task(each) for each in beside]
        log.info("worker.started", worker=self.runner.worker, queues=self.runner.queues, slots=self.runner.slots)

    async def _prepare_media(self) -> None:
        report = await asyncio.to_thread(confinement.sandbox_report)
        if not report.wanted:
            raise ConfigurationError(f"SANDBOX=bwrap cannot work: {report.why}")
        removed = await asyncio.to_thread(workspace.remove_leftovers)
        log.info("worker.media", sandbox=report.kind, why=report.why or None, leftovers_removed=removed)

    async def listen(self) -> None:
        """Answer the bell until cancelled."""

        async def look() -> None:  # unlike runner.answer it raises, so that a ring nobody could answer rings again
            await self.runner.look()

        await doorbell.listen(self.runner.queues, look, free=lambda: self.runner.free)

    async def stop(self) -> None:
        """Let jobs end for the grace time, give the rest back, and close everything."""
        log.info("worker.stopping", running=len(self.runner.job_ids))
        await self.runner.drain(settings.worker_grace_seconds)
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self.registration.stop()
        await doorbell.close()
        storage.close()
        await redis.close()
        await database.close()
        log.info("worker.stopped")


async def serve() -> None:
    """Work until SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    work = Work()
    await work.start()
    listening = asyncio.create_task(work.listen())
    telling = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({listening, telling}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(listening, telling)
    finally:  # also when listening broke: jobs are given back, and the worker is not taken for lost
        await work.stop()


def main() -> None:
    """Run the worker in this process."""
    asyncio.run(serve())


# --- ARQ's own command -----------------------------------------------------------------------------------------------

_work: Work | None = None


async def _startup(ctx: dict[Any, Any]) -> None:
    global _work
    _work = Work()
    await _work.start()


async def _shutdown(ctx: dict[Any, Any]) -> None:
    if _work is not None:
        await _work.stop()


async def _answer() -> None:
    if _work is not None:
        await _work.runner.answer()


class WorkerSettings:
    """ARQ reads these from the class itself. Only the first queue's bell is heard; other jobs are found by looking."""

    functions: ClassVar[list[Function]] = [arq_queue.ring_function(_answer)]
    queue_name = arq_queue.queue_name(settings.worker_queues[0])
    redis_settings = arq_queue.redis_settings()
    on_startup = _startup
    on_shutdown = _shutdown
    max_jobs = settings.worker_slots
    job_timeout = 30
    keep_result = 0
    max_tries = 1
    poll_delay = arq_queue.POLL_SECONDS
    health_check_interval = 30
    job_serializer = arq_queue.serialize
    job_deserializer = arq_queue.deserialize
    log_results = False


if __name__ == "__main__":
    main()
