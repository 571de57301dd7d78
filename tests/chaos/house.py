"""A stack of its own, its workers, and the ways to break them."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from backend.local.parts import Part
from backend.local.stack import Stack
from tests.chaos.worker_under_chaos import QUEUE
from tests.conftest import ROOT, environment

LEASE_SECONDS = 3
SLOTS = 4
_AWAY = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)


class Servers(Stack):
    """Postgres and Redis: jobs need no storage."""

    def _make_parts(self) -> list[Part]:
        return super()._make_parts()[:2]


class House:
    """Three workers on their servers; `done` counts what was broken."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.servers = Servers(folder / "stack", durable=False)
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.asleep: dict[int, float] = {}
        self.project_id = uuid.uuid4()
        self._log = folder / "workers.log"
        self._redis_back_at: float | None = None
        self._wanted = 0
        self._deck: list[Callable[[], Awaitable[None]]] = []

    async def open(self) -> None:
        self.servers.start()
        self._env = {
            **environment(self.servers),
            "JOB_LEASE_SECONDS": str(LEASE_SECONDS),
            "WORKER_QUEUES": QUEUE,
            "WORKER_SLOTS": str(SLOTS),
            "WORKER_GRACE_SECONDS": "0",
            "LOG_LEVEL": "WARNING",
            "PYTHONPATH": str(ROOT),
        }
        upgrade = [sys.executable, "-m", "alembic", "upgrade", "head"]
        await asyncio.to_thread(subprocess.run, upgrade, cwd=ROOT, env=self._env, check=True)
        owner = uuid.uuid4()
        await self.sql(
            "INSERT INTO users (id, email, email_key, password_hash) VALUES ($1, 'a@b.c', 'a@b.c', 'x')", owner
        )
        await self.sql("INSERT INTO projects (id, name, owner_id) VALUES ($1, 'p', $2)", self.project_id, owner)
        # No unique constraint: a second effect is to be seen, not prevented.
        await self.sql("CREATE TABLE chaos_effects (number int, job_id uuid, token uuid, at timestamptz DEFAULT now())")
        await self.sql("GRANT ALL ON chaos_effects TO PUBLIC")

    def close(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.servers.stop()

    async def sql(self, statement: str, *arguments: object) -> list[Any]:
        """Over a connection of its own, again until it comes through: others are killed all the time."""
        async with asyncio.timeout(60):
            while True:
                try:
                    connection = await asyncpg.connect(self.servers.superuser_url)
                    try:
                        return list(await connection.fetch(statement, *arguments))
                    finally:
                        await connection.close()
                except _AWAY:
                    await asyncio.sleep(0.1)

    # --- workers -----------------------------------------------------------------------------------------------------

    def hire(self, count: int) -> None:
        """See to it that there are so many workers."""
        self._wanted = count
        self.workers = [process for process in self.workers if process.poll() is None]
        while len(self.workers) < count:
            with self._log.open("ab") as sink:
                self.workers.append(self._run("tests.chaos.worker_under_chaos", sink=sink))

    def produce(self, count: int, seconds: float, seed: int, mean: float) -> subprocess.Popen[bytes]:
        words = [str(self.project_id), str(count), str(seconds), str(seed), str(mean)]
        with self._log.open("ab") as sink:
            return self._run("tests.chaos.producer", *words, sink=sink)

    def _run(self, module: str, *words: str, sink: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *words]
        return subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=sink, stderr=subprocess.STDOUT)

    def pids(self) -> list[int]:
        return [process.pid for process in self.workers if process.poll() is None]

    def process_of(self, worker: str) -> subprocess.Popen[bytes]:
        """The process whose name, HOST-PID-RANDOM, is in a job's row."""
        pid = int(worker.rsplit("-", 2)[1])
        return next(process for process in self.workers if process.pid == pid)

    # --- breaking ----------------------------------------------------------------------------------------------------

    async def break_something(self) -> None:
        """One of the ways, by chance."""
        if not self._deck:  # like cards: each way comes as often as it should even in a short run
            often = {self.kill: 5, self.terminate: 2, self.freeze: 3, self.kill_backends: 2}
            seldom = {self.flush: 1, self.restart_redis: 1}
            self._deck = [way for way, times in {**often, **seldom}.items() for _ in range(times)]
            self.chance.shuffle(self._deck)
        await self._deck.pop()()

    async def kill(self) -> None:
        await self._signal(self.kill, signal.SIGKILL)

    async def terminate(self) -> None:
        await self._signal(self.terminate, signal.SIGTERM)

    async def freeze(self) -> None:
        """For a time that may be shorter or longer than the lease."""
        if process := await self._signal(self.freeze, signal.SIGSTOP):
            self.asleep[process.pid] = time.monotonic() + self.chance.uniform(0.3, 2 * LEASE_SECONDS)

    async def flush(self) -> None:
        if self._redis_back_at is not None:
            self._deck.insert(0, self.flush)  # another time: Redis is away
            return
        await asyncio.to_thread(self._redis, "FLUSHALL")
        self.done["FLUSHALL"] += 1

    async def restart_redis(self) -> None:
        if self._redis_back_at is None:
            valkey = self.servers.parts[1]
            assert valkey.child is not None
            if self.chance.random() < 0.5:
                os.kill(valkey.child.pid, signal.SIGKILL)
            valkey.stop()
            self._redis_back_at = time.monotonic() + self.chance.uniform(0.1, 2.5)
            self.done["Redis restart"] += 1

    async def kill_backends(self) -> None:
        await self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        self.done["all Postgres backends"] += 1

    def mend(self, *, all_of_it: bool = False) -> None:
        """Wake who slept long enough, start Redis again, replace dead workers."""
        now = time.monotonic()
        for pid, until in list(self.asleep.items()):
            if all_of_it or until < now:
                del self.asleep[pid]
                for process in self.workers:
                    if process.pid == pid:
                        process.send_signal(signal.SIGCONT)
        if self._redis_back_at is not None and (all_of_it or self._redis_back_at < now):
            self._redis_back_at = None
            self.servers.parts[1].launch()
        self.hire(self._wanted)

    async def _signal(
        self, way: Callable[[], Awaitable[None]], number: signal.Signals
    ) -> subprocess.Popen[bytes] | None:
        # Those that work by now: to kill what only just starts proves little, and leaves nobody to work.
        ready = {row["pid"] for row in await self.sql("SELECT pid FROM workers WHERE pid = ANY($1)", self.pids())}
        awake = [each for each in self.workers if each.pid in ready and each.pid not in self.asleep]
        if not awake:
            self._deck.insert(0, way)  # another time
            return None
        process = self.chance.choice(awake)
        process.send_signal(number)
        self.done[number.name] += 1
        return process

    def _redis(self, word: str) -> None:
        import redis as client

        connection = client.Redis.from_url(self._env["REDIS_URL"], socket_timeout=2)
        try:
            connection.execute_command(word)  # type: ignore[no-untyped-call]
        except (client.RedisError, OSError):
            pass
        finally:
            connection.close()
