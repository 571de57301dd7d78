"""Jobs that do nothing, and a worker with nothing to do, beside plain ARQ on the same Redis.

Three workers take turns, one process with ten slots each: ours (every job a row in Postgres, with its attempts), ARQ
as it is shipped, and ARQ that polls each 10 ms. Each drains a full queue, then takes jobs that come one by one, then
has nothing to do. The wait is from asking (for ours, before the transaction that adds the job) to the job's first line.
"""

import asyncio
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from arq import create_pool
from arq.connections import RedisSettings
from sqlalchemy import text

import backend.kinds  # noqa: F401  # jobs refer to what they are of
from backend.config import settings
from backend.core import logging
from backend.core.db import database, transaction
from backend.core.queue import Task, doorbell, make_doorbell, registry
from backend.core.redis import redis
from backend.jobs import service
from bench.place import ROOT, Place, Process
from bench.table import Row, ratios

QUEUE = "bench"
#: Between jobs that come one by one: no divisor of the poll delays.
PAUSE_SECONDS = 0.037

Enqueue = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Round:
    """What one worker did in one round: jobs a second, waits in milliseconds, CPU while idle in percent."""

    rate: float
    p50: float
    p95: float
    idle: float


class Contender:
    """A worker and how it is given jobs."""

    def __init__(self, name: str, words: list[str], enqueue: Enqueue) -> None:
        self.name, self.enqueue = name, enqueue
        self._words = words
        self.rounds: list[Round] = []

    async def round(self, place: Place) -> None:
        jobs, single, idle = place.size(1000, 20), place.size(100, 5), place.size(10, 1)
        notes = place.folder / f"{uuid.uuid4().hex}.txt"
        await self.enqueue(jobs)
        async with _worker(place, self._words, notes) as worker:
            drained = await _noted(notes, jobs)
            rate = (jobs - 1) / (max(at for _, at in drained) - min(at for _, at in drained))
            await asyncio.sleep(1)
            for _ in range(single):
                await self.enqueue(1)
                await asyncio.sleep(PAUSE_SECONDS)
            waits = [1000 * (at - asked) for asked, at in (await _noted(notes, jobs + single))[jobs:]]
            await asyncio.sleep(1)
            before = worker.cpu_seconds()
            await asyncio.sleep(idle)
            share = (worker.cpu_seconds() - before) / idle
        p95 = statistics.quantiles(waits, n=20)[18]
        self.rounds.append(Round(rate, statistics.median(waits), p95, 100 * share))

    def told(self, figure: str, unit: str = "") -> str:
        return f"{self.name} {statistics.median(self.figures(figure)):.3g}{unit}"

    def figures(self, name: str) -> tuple[float, ...]:
        return tuple(getattr(each, name) for each in self.rounds)


async def measure(place: Place) -> list[Row]:
    async with _at_work(place) as (ours, shipped, quick):
        for _ in range(place.rounds):
            for contender in (ours, shipped, quick):
                await contender.round(place)

    def beside(figure: str, unit: str) -> str:
        return ", ".join(each.told(figure, unit) for each in (ours, shipped, quick))

    rates = ratios(ours.figures("rate"), shipped.figures("rate"))
    waits = ratios(shipped.figures("p95"), ours.figures("p95"))
    return [
        Row(
            "from enqueue to start, p95",
            ours.figures("p95"),
            "ms",
            at_most=30,
            beside=f"{beside('p95', ' ms')}; p50: {beside('p50', ' ms')}",
        ),
        Row("idle worker: CPU", ours.figures("idle"), "%", at_most=1, beside=beside("idle", " %")),
        Row("from enqueue to start, p95: ARQ as shipped / ours", waits),
        Row("no-op jobs per second: ours / ARQ as shipped", rates, beside=beside("rate", "/s")),
    ]


@asynccontextmanager
async def _worker(place: Place, words: list[str], notes: Path) -> AsyncIterator[Process]:
    env = {
        **place.env,
        "BENCH_NOTES": str(notes),
        "WORKER_QUEUES": ",".join([*settings.worker_queues, QUEUE]),
        "WORKER_SLOTS": "10",
        "WORKER_GRACE_SECONDS": "0",
    }
    command = [sys.executable, "-m", "bench.jobs_worker", *words]
    with (place.folder / "worker.log").open("ab") as sink:
        worker = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        yield Process(worker.pid)
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, 60)


async def _noted(notes: Path, count: int) -> list[tuple[float, float]]:
    """The first `count` notes, once they are there: when each job was asked for and when it began."""
    async with asyncio.timeout(300):
        while not notes.exists() or notes.read_bytes().count(b"\n") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    lines = [line.split() for line in notes.read_text().splitlines()[:count]]
    return [(float(asked), float(at)) for asked, at in lines]


@asynccontextmanager
async def _at_work(place: Place) -> AsyncIterator[tuple[Contender, Contender, Contender]]:
    """The contenders, while this process holds what it needs to give them jobs."""
    logging.configure()
    database.open()
    redis.open()
    doorbell.hang(make_doorbell())
    pool = await create_pool(RedisSettings.from_dsn(place.env["REDIS_URL"]))
    project = await _project()

    async def nothing(run: object) -> None: ...

    registry.add(Task(QUEUE, nothing, queue=QUEUE))

    async def start(count: int) -> None:
        for _ in range(count):
            args = {"asked_at": time.time()}
            async with transaction() as session:
                await service.start(session, kind=QUEUE, project_id=project, owner_id=None, args=args)

    def plain(queue: str) -> Enqueue:
        async def enqueue(count: int) -> None:
            for _ in range(count):
                await pool.enqueue_job("noop", time.time(), _queue_name=queue)

        return enqueue

    try:
        yield (
            Contender("Dailies", ["ours"], start),
            Contender("ARQ as shipped", ["plain", "0.5"], plain("plain")),
            Contender("ARQ polling at 10 ms", ["quick", "0.01"], plain("quick")),
        )
    finally:
        registry.remove(QUEUE)
        await pool.aclose()
        await doorbell.close()
        await redis.close()
        await database.close()


async def _project() -> uuid.UUID:
    owner, project = uuid.uuid4(), uuid.uuid4()
    async with transaction() as session:
        user = text("INSERT INTO users (id, email, email_key, password_hash) VALUES (:id, :email, :email, '!')")
        await session.execute(user, {"id": owner, "email": f"{owner}@example.org"})
        personal = text("INSERT INTO projects (id, name, owner_id) VALUES (:id, 'Jobs', :owner)")
        await session.execute(personal, {"id": project, "owner": owner})
    return project
