"""The end of a web process that has streams open, and what their readers get from the next one."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.jobs.running import run_next
from backend.local.stack import Stack
from tests.conftest import ROOT, Person, environment, free_port
from tests.jobs.conftest import Declare, Jobs

STREAMS = 500


class Web:
    """One web process after the other, on one port."""

    def __init__(self, stack: Stack, log: Path) -> None:
        self.port, self.log = free_port(), log
        self._env = {**environment(stack), "PORT": str(self.port), "PATH": os.environ["PATH"]}
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, client: httpx.AsyncClient) -> None:
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "web"], cwd=ROOT, env=self._env, stdout=sink, stderr=sink
            )
        async with asyncio.timeout(30):
            while True:
                try:
                    if (await client.get("/health")).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 20)


@pytest.fixture
def web(stack: Stack, tmp_path: Path) -> Iterator[Web]:
    made = Web(stack, tmp_path / "web.log")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


class Reader:
    """A browser's EventSource: it comes back with the id of the last event it got."""

    def __init__(self, client: httpx.AsyncClient, user: Person, job_id: uuid.UUID) -> None:
        self._client, self._path = client, f"/api/jobs/{job_id}/stream"
        self._headers = {"Authorization": f"Bearer {user.token}"}
        self.events: list[str] = []
        self.last_id: str | None = None
        self.connections = 0
        self.open = asyncio.Event()

    async def read(self) -> None:
        """Until the job's end was seen, over as many connections as that takes."""
        while "complete" not in self.events:
            try:
                await self._connect()
            except httpx.TransportError:
                await asyncio.sleep(0.3)

    async def _connect(self) -> None:
        headers = {**self._headers, **({"Last-Event-ID": self.last_id} if self.last_id else {})}
        async with self._client.stream("GET", self._path, headers=headers) as response:
            assert response.status_code == 200, (await response.aread(), response.status_code)
            self.connections += 1
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    self.events.append(value)
                elif name == "data":
                    assert json.loads(value)["id"] in self._path
                    self.open.set()


async def test_500_streams_end_with_their_process_and_none_misses_the_end_of_its_job(
    user: Person, jobs: Jobs, declare: Declare, web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    job = await jobs.start(declare())
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    address = f"http://127.0.0.1:{web.port}"
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
        await web.start(client)
        readers = [Reader(client, user, job.id) for _ in range(STREAMS)]
        reading = [asyncio.create_task(reader.read()) for reader in readers]
        async with asyncio.timeout(60):
            await asyncio.gather(*(reader.open.wait() for reader in readers))
        began = time.monotonic()
        # uvicorn would wait five seconds for requests and then cut them off: streams end by themselves.
        assert await web.end() in (0, -signal.SIGTERM)
        took = time.monotonic() - began
        assert "Cancel" not in web.log.read_text()
        assert await run_next(worker="tester", queues=["test"])  # while nobody listens
        await web.start(client)
        async with asyncio.timeout(60):
            await asyncio.gather(*reading)
    assert all(reader.connections == 2 and reader.events == ["progress", "complete"] for reader in readers)
    with capsys.disabled():
        print(f"\nshutdown: {STREAMS} streams open, the process ended {took:.2f} s after SIGTERM; none missed the end")
