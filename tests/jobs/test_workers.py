"""The rows that tell who works."""

import asyncio
from datetime import timedelta

from sqlalchemy import func, update

from backend.core.db import transaction
from backend.jobs import workers
from backend.jobs.models import WorkerRow
from backend.jobs.running import Runner
from backend.jobs.workers import Registration, Worker
from tests.jobs.conftest import Declare

NAME = "a worker of this test"


async def listed() -> list[Worker]:
    async with transaction() as session:
        return [worker for worker in await workers.list_workers(session) if worker.name == NAME]


async def seen_ago(seconds: float) -> None:
    async with transaction() as session:
        await session.execute(update(WorkerRow).values(last_seen_at=func.now() - timedelta(seconds=seconds)))


async def test_a_worker_says_who_it_is_and_is_alive(client: object, declare: Declare) -> None:
    kind = declare()
    registration = Registration(Runner(worker=NAME, queues=["test", "other"], slots=3))
    keeping = asyncio.create_task(registration.keep())
    async with asyncio.timeout(60):
        while not await listed():
            await asyncio.sleep(0.02)
    keeping.cancel()
    [worker] = await listed()
    assert (worker.name, worker.queues, worker.slots, worker.state) == (NAME, ["test", "other"], 3, "alive")
    assert kind in worker.kinds
    assert worker.memory_bytes > 1_000_000


async def test_a_worker_that_is_silent_is_lost_and_one_that_ended_as_asked_is_stopped(client: object) -> None:
    registration = Registration(Runner(worker=NAME, queues=["test"], slots=1))
    await registration.beat()
    await seen_ago(workers.ALIVE_SECONDS + 1)
    assert [worker.state for worker in await listed()] == ["lost"]
    await registration.beat()
    assert [worker.state for worker in await listed()] == ["alive"]
    await registration.stop()
    await seen_ago(60)
    assert [worker.state for worker in await listed()] == ["stopped"]


async def test_workers_of_long_ago_are_forgotten(client: object) -> None:
    registration = Registration(Runner(worker=NAME, queues=["test"], slots=1))
    await registration.beat()
    await seen_ago(2 * 86_400)
    assert await listed() == []
    await seen_ago(8 * 86_400)
    await workers.forget_old()
    async with transaction() as session:
        assert await session.get(WorkerRow, registration.id) is None
