"""Five hundred clients follow jobs while their web process ends: it ends in time, and no client misses an end."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from backend.core import events
from backend.core.redis import redis
from backend.jobs.models import Job
from backend.jobs.running import Run, run_next
from backend.local.stack import Stack
from tests.conftest import ROOT, Person, environment, free_port
from tests.jobs.conftest import Declare, Jobs
from tests.jobs.test_live import Event, parsed

CLIENTS = 500
JOBS = 10
#: Far fewer than streams: would each hold a connection, only the first few could open.
POOL = 4


class Web:
    """A web process as in production."""

    def __init__(self, stack: Stack, log: Path) -> None:
        self.log = log
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        env = {**environment(stack), "PORT": str(port), "DATABASE_POOL_SIZE": str(POOL), "PATH": os.environ["PATH"]}
        with log.open("wb") as sink:
            command = [sys.executable, "-m", "backend.cli", "web"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=sink, stderr=subprocess.STDOUT)

    async def ready(self) -> "Web":
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{self.url}/ready")).status_code == 200:
                        return self
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def terminate(self) -> float:
        """SIGTERM; answers how many seconds it took to end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, 60)
        return time.monotonic() - began


@pytest.fixture
def webs(stack: Stack, tmp_path: Path) -> Iterator[list[Web]]:
    made = [Web(stack, tmp_path / f"web-{number}.log") for number in range(2)]
    yield made
    for web in made:
        if web.process.poll() is None:
            web.process.kill()
            web.process.wait()


class Balancer:
    """Where clients are sent."""

    def __init__(self, url: str) -> None:
        self.url = url


class Client:
    """Follows a job as a browser does: it comes back after one to three seconds, with the last id it got."""

    def __init__(self, http: httpx.AsyncClient, person: Person, job: Job, balancer: Balancer) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {person.token}"}
        self._path = f"/api/jobs/{job.id}/stream"
        self._balancer = balancer
        self.got: list[Event] = []
        self.at: str | None = None
        self.refused = 0

    @property
    def ends(self) -> list[Event]:
        return [event for event in self.got if event.name != "progress"]

    async def follow(self) -> None:
        """Until the job's end, over as many connections as it takes."""
        while True:
            with contextlib.suppress(httpx.TransportError):  # cut off, or nobody there
                await self._connect(self._balancer.url)
            self.at = None
            if self.ends:
                return
            await asyncio.sleep(random.uniform(1, 3))

    async def _connect(self, url: str) -> None:
        last = {"Last-Event-ID": self.got[-1].id} if self.got else {}
        async with self._http.stream("GET", url + self._path, headers={**self._headers, **last}) as response:
            if response.status_code != 200:
                self.refused += 1
                return
            async for event in parsed(response):
                self.at = url
                self.got.append(event)


class Work:
    """Jobs that run in this process until they are told to end."""

    def __init__(self) -> None:
        self.ends = [asyncio.Event() for _ in range(JOBS)]
        self._tasks: list[asyncio.Task[bool]] = []

    async def __call__(self, run: Run) -> None:
        await run.report("working", 10)
        await self.ends[run.args["number"]].wait()

    @asynccontextmanager
    async def running(self, jobs: Jobs, kind: str) -> AsyncIterator[list[Job]]:
        rows = [await jobs.start(kind, args={"number": number}) for number in range(JOBS)]
        self._tasks = [asyncio.create_task(run_next(worker="tester", queues=["test"])) for _ in rows]
        for row in rows:
            await jobs.wait_for(row.id, "running")
        try:
            yield rows
        finally:
            for end in self.ends:
                end.set()
            await asyncio.gather(*self._tasks)

    async def end(self, jobs: Jobs, rows: list[Job], numbers: range) -> None:
        for number in numbers:
            self.ends[number].set()
        for number in numbers:
            await jobs.wait_for(rows[number].id, "completed")


async def subscriptions() -> int:
    [(_, count)] = await redis.client.pubsub_numsub(events.CHANNEL)
    return int(count)


async def held_connections(stack: Stack) -> int:
    """Connections of ours, in any process, that are doing something or are inside a transaction."""
    connection = await asyncpg.connect(stack.superuser_url)
    try:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dailies' AND state <> 'idle'"
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def until(holds: Callable[[], bool], following: "asyncio.Future[list[None]]") -> None:
    async with asyncio.timeout(120):
        while not holds():
            if following.done():
                await following
            await asyncio.sleep(0.1)


async def test_no_client_misses_an_end_when_its_web_process_ends_with_five_hundred_streams(
    webs: list[Web], stack: Stack, user: Person, jobs: Jobs, declare: Declare, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work()
    first, second = [await web.ready() for web in webs]
    before = await subscriptions()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with work.running(jobs, declare(work)) as rows, httpx.AsyncClient(limits=limits, timeout=60) as http:
        balancer = Balancer(first.url)
        clients = [Client(http, user, rows[number % JOBS], balancer) for number in range(CLIENTS)]
        following = asyncio.gather(*(client.follow() for client in clients))
        await until(lambda: all(client.at == first.url for client in clients), following)
        assert await subscriptions() == before, "a process has one subscription, however many streams"
        async with asyncio.timeout(60):
            while await held_connections(stack):
                await asyncio.sleep(0.05)

        balancer.url = second.url
        ending = asyncio.create_task(work.end(jobs, rows, range(3)))  # these end as the process does
        seconds = await first.terminate()
        await ending
        await work.end(jobs, rows, range(3, 6))  # these while few are connected
        await until(lambda: all(client.at == second.url or client.ends for client in clients), following)
        await work.end(jobs, rows, range(6, JOBS))  # and these when all are back
        async with asyncio.timeout(120):
            await following

    with capsys.disabled():
        refused = sum(client.refused for client in clients)
        print(f"\n{CLIENTS} streams: ended {seconds:.2f} s after SIGTERM; {refused} times a client was refused")
    assert refused == 0, "all who come at once wait for their turn"
    assert [len(client.ends) for client in clients] == [1] * CLIENTS
    assert {event.name for client in clients for event in client.ends} == {"complete"}
    for client in clients:
        versions = [tuple(map(int, event.id.split("-"))) for event in client.got]
        assert versions == sorted(versions), "nothing old"
    assert "Cancel" not in first.log.read_text(), "streams end by themselves, they are not cut off"
    assert seconds < 20, "not until the streams end by themselves"
