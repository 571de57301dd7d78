"""Jobs that do nothing, and a worker with nothing to do, beside plain ARQ on the same Redis.

Three workers, one process with ten slots each: ours (every job a row in Postgres, with its attempts), ARQ as it is
shipped, and ARQ that polls each 10 ms. All run from beginning to end. In each round they take turns: each drains a full
queue, then takes jobs that come one by one; then all have nothing to do. The wait is from asking (for ours, before the
transaction that adds the job) to the job's first line.
"""

import asyncio
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
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
#: Jobs that have not begun by then will not.
LONGEST_SECONDS = 60

Enqueue = Callable[[int], Awaitable[None]]


class Contender:
    """A worker and how it is given jobs; what it did in each round: jobs a second, waits in milliseconds, and CPU while
    idle in percent."""

    def __init__(self, name: str, worker: Process, notes: Path, enqueue: Enqueue) -> None:
        self.name = name
        self._worker, self._notes, self._enqueue = worker, notes, enqueue
        self._begun = 0
        self.rate: list[float] = []
        self.p50: list[float] = []
        self.p95: list[float] = []
        self.idle: list[float] = []

    async def begin(self) -> None:
        """Wait until the worker works."""
        await self._enqueue(1)
        await self._noted(1)

    async def drain(self, jobs: int) -> None:
        await self._enqueue(jobs)
        began = [at for _, at in await self._noted(jobs)]
        self.rate.append((jobs - 1) / (max(began) - min(began)))

    async def one_by_one(self, jobs: int) -> None:
        for _ in range(jobs):
            await self._enqueue(1)
            await asyncio.sleep(PAUSE_SECONDS)
        waits = [1000 * (at - asked) for asked, at in await self._noted(jobs)]
        self.p50.append(statistics.median(waits))
        self.p95.append(statistics.quantiles(waits, n=20)[18])

    def cpu_seconds(self) -> float:
        return self._worker.cpu_seconds()

    async def _noted(self, count: int) -> list[tuple[float, float]]:
        """The next `count` notes, once they are there: when each job was asked for and when it began."""
        wanted = self._begun + count
        async with asyncio.timeout(LONGEST_SECONDS):
            while not self._notes.exists() or self._notes.read_bytes().count(b"\n") < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        lines = [line.split() for line in self._notes.read_text().splitlines()[self._begun : wanted]]
        self._begun = wanted
        return [(float(asked), float(at)) for asked, at in lines]


async def measure(place: Place) -> list[Row]:
    async with _at_work(place) as contenders:
        for contender in contenders:
            await contender.begin()
        for _ in range(place.rounds):
            await _round(place, contenders)
    ours, shipped, _ = contenders

    def beside(figure: str, unit: str) -> str:
        return ", ".join(f"{each.name} {statistics.median(getattr(each, figure)):.3g}{unit}" for each in contenders)

    return [
        Row(
            "from enqueue to start, p95",
            tuple(ours.p95),
            "ms",
            at_most=30,
            beside=f"{beside('p95', ' ms')}; p50: {beside('p50', ' ms')}",
        ),
        Row("idle worker: CPU", tuple(ours.idle), "%", at_most=1, beside=beside("idle", " %")),
        Row("from enqueue to start, p95: ARQ as shipped / ours", ratios(shipped.p95, ours.p95)),
        Row(
            "no-op jobs per second: ours / ARQ as shipped", ratios(ours.rate, shipped.rate), beside=beside("rate", "/s")
        ),
    ]


async def _round(place: Place, contenders: Sequence[Contender]) -> None:
    for contender in contenders:
        await contender.drain(place.size(300, 20))
        await asyncio.sleep(0.5)
        await contender.one_by_one(place.size(40, 5))
    await asyncio.sleep(1)
    seconds = place.size(5, 1)
    before = [contender.cpu_seconds() for contender in contenders]
    await asyncio.sleep(seconds)
    for contender, computed in zip(contenders, before, strict=True):
        contender.idle.append(100 * (contender.cpu_seconds() - computed) / seconds)


@asynccontextmanager
async def _at_work(place: Place) -> AsyncIterator[Sequence[Contender]]:
    """Ours, ARQ as shipped, and ARQ polling often, while this process holds what it needs to give them jobs."""
    logging.configure()
    database.open()
    redis.open()
    doorbell.hang(make_doorbell())
    pool = await create_pool(RedisSettings.from_dsn(place.env["REDIS_URL"]))
    project = await _project()

    async def nothing(run: object) -> None: ...

    registry.add(Task(QUEUE, nothing, queue=QUEUE))

    async def start(count: int) -> None:
        args = {"asked_at": time.time()}
        async with transaction() as session:
            for _ in range(count):
                await service.start(session, kind=QUEUE, project_id=project, owner_id=None, args=args)

    def plain(queue: str) -> Enqueue:
        async def enqueue(count: int) -> None:
            for _ in range(count):
                await pool.enqueue_job("noop", time.time(), _queue_name=queue)

        return enqueue

    async with AsyncExitStack() as workers:
        contenders = []
        for name, words, enqueue in (
            ("Dailies", ["ours"], start),
            ("ARQ as shipped", ["plain", "0.5"], plain("plain")),
            ("ARQ polling at 10 ms", ["quick", "0.01"], plain("quick")),
        ):
            notes = place.folder / f"{words[0]}.notes"
            worker = await workers.enter_async_context(_worker(place, words, notes))
            contenders.append(Contender(name, worker, notes, enqueue))
        try:
            yield contenders
        finally:
            registry.remove(QUEUE)
            await pool.aclose()
            await doorbell.close()
            await redis.close()
            await database.close()


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


async def _project() -> uuid.UUID:
    owner, project = uuid.uuid4(), uuid.uuid4()
    async with transaction() as session:
        user = text("INSERT INTO users (id, email, email_key, password_hash) VALUES (:id, :email, :email, '!')")
        await session.execute(user, {"id": owner, "email": f"{owner}@example.org"})
        personal = text("INSERT INTO projects (id, name, owner_id) VALUES (:id, 'Jobs', :owner)")
        await session.execute(personal, {"id": project, "owner": owner})
    return project
