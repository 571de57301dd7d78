"""No-op jobs per second and time from asking to starting, beside plain ARQ on the same Redis: `make bench-jobs`.

Three workers take turns, one process with ten slots each: ours (every job a row in Postgres, with its attempts), ARQ
as it is shipped, and ARQ that polls each 10 ms. BENCH_JOBS (1000), BENCH_ROUNDS (3). The figures of one machine tell
only how the three compare there.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

JOBS = int(os.environ.get("BENCH_JOBS") or 1000)
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)
ONE_BY_ONE = 100
ROOT = Path(__file__).resolve().parents[1]

Enqueue = Callable[[int], Awaitable[None]]


class Contender:
    """A worker and how it is given jobs."""

    def __init__(self, name: str, words: list[str], enqueue: Enqueue, env: dict[str, str], folder: Path) -> None:
        self.name, self.enqueue = name, enqueue
        self._words, self._env = words, env
        self._folder = folder
        self.rates: list[float] = []
        self.asking: list[float] = []
        self.waits: list[float] = []

    async def round(self) -> None:
        """Drain a full queue, then take jobs that come one by one."""
        notes = self._folder / f"{uuid.uuid4().hex}.txt"
        began = time.perf_counter()
        await self.enqueue(JOBS)
        self.asking.append(JOBS / (time.perf_counter() - began))
        with (self._folder / "worker.log").open("ab") as sink:
            worker = subprocess.Popen(
                [sys.executable, "-m", "bench.jobs_worker", *self._words],
                cwd=ROOT,
                env={**self._env, "BENCH_NOTES": str(notes)},
                stdout=sink,
                stderr=sink,
            )
        try:
            drained = await until(notes, JOBS)
            self.rates.append((JOBS - 1) / (max(at for _, at in drained) - min(at for _, at in drained)))
            await asyncio.sleep(1)
            for _ in range(ONE_BY_ONE):
                await self.enqueue(1)
                await asyncio.sleep(0.037)  # no divisor of the poll delays
            found = await until(notes, JOBS + ONE_BY_ONE)
            self.waits += [at - asked for asked, at in found[JOBS:]]
        finally:
            worker.terminate()
            await asyncio.to_thread(worker.wait, 60)

    def tell(self) -> str:
        p50, p95 = statistics.median(self.waits), statistics.quantiles(self.waits, n=20)[18]
        rounds = " ".join(f"{rate:.0f}" for rate in self.rates)
        return (
            f"{self.name:<22} {statistics.median(self.rates):6.0f} jobs/s (rounds: {rounds})   start after p50"
            f" {p50 * 1000:5.1f} ms, p95 {p95 * 1000:5.1f} ms   enqueue {statistics.median(self.asking):5.0f}/s"
        )


async def until(notes: Path, count: int) -> list[tuple[float, float]]:
    """The first `count` notes, once they are there: when each job was asked for and when it began."""
    async with asyncio.timeout(300):
        while not notes.exists() or notes.read_bytes().count(b"\n") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    lines = [line.split() for line in notes.read_text().splitlines()[:count]]
    return [(float(asked), float(at)) for asked, at in lines]


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as folder:
        await measure(Path(folder))


async def measure(folder: Path) -> None:
    from backend.local.stack import Stack

    stack = Stack(folder / "stack")
    stack.start()
    try:
        env = {
            **os.environ,
            **stack.env(),
            "ENVIRONMENT": "local",
            "LOG_LEVEL": "WARNING",
            "WORKER_QUEUES": "bench",
            "WORKER_SLOTS": "10",
            "WORKER_GRACE_SECONDS": "0",
        }
        os.environ.update(env)
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=env, check=True)
        await compare(env, folder)
    finally:
        stack.stop()


async def compare(env: dict[str, str], folder: Path) -> None:
    from arq import create_pool
    from arq.connections import RedisSettings
    from sqlalchemy import text

    import backend.videos.models  # noqa: F401  # jobs refer to videos
    from backend.core import logging
    from backend.core.db import database, transaction
    from backend.core.queue import Task, doorbell, make_doorbell, registry
    from backend.core.redis import redis
    from backend.jobs import service

    logging.configure()
    database.open()
    redis.open()
    doorbell.hang(make_doorbell())
    pool = await create_pool(RedisSettings.from_dsn(env["REDIS_URL"]))
    owner, project = uuid.uuid4(), uuid.uuid4()
    async with transaction() as session:
        user = text("INSERT INTO users (id, email, email_key, password_hash) VALUES (:id, 'a@b.c', 'a@b.c', 'x')")
        await session.execute(user, {"id": owner})
        personal = text("INSERT INTO projects (id, name, owner_id) VALUES (:id, 'p', :owner)")
        await session.execute(personal, {"id": project, "owner": owner})

    async def nothing(run: object) -> None: ...

    registry.add(Task("bench", nothing, queue="bench"))

    async def start(count: int) -> None:
        for _ in range(count):
            async with transaction() as session:
                args = {"asked_at": time.time()}
                await service.start(session, kind="bench", project_id=project, owner_id=None, args=args)

    def plain(queue: str) -> Enqueue:
        async def enqueue(count: int) -> None:
            for _ in range(count):
                await pool.enqueue_job("noop", time.time(), _queue_name=queue)

        return enqueue

    contenders = [
        Contender("dailies", ["ours"], start, env, folder),
        Contender("arq, as shipped", ["plain", "0.5"], plain("plain"), env, folder),
        Contender("arq, polling at 10 ms", ["quick", "0.01"], plain("quick"), env, folder),
    ]
    for _ in range(ROUNDS):
        for contender in contenders:
            await contender.round()
    for contender in contenders:
        sys.stdout.write(contender.tell() + "\n")
    await pool.aclose()
    await doorbell.close()
    await redis.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main())
