"""The end of a web process that has streams open."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from backend.local.stack import Stack
from tests.conftest import ROOT, Person, environment, free_port
from tests.jobs.conftest import Declare, Jobs


async def test_a_web_process_ends_in_time_with_streams_open(
    stack: Stack, user: Person, jobs: Jobs, declare: Declare, tmp_path: Path
) -> None:
    job = await jobs.start(declare())
    port = free_port()
    log = tmp_path / "web.log"
    with log.open("wb") as sink:
        web = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "web"],
            cwd=ROOT,
            env={**environment(stack), "PORT": str(port), "PATH": os.environ["PATH"]},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await answers(client)

            async def stream() -> None:
                headers = {"Authorization": f"Bearer {user.token}"}
                async with client.stream("GET", f"/api/jobs/{job.id}/stream", headers=headers) as response:
                    assert response.status_code == 200
                    opened.release()
                    async for _ in response.aiter_lines():
                        pass

            opened = asyncio.Semaphore(0)
            streams = [asyncio.create_task(stream()) for _ in range(20)]
            async with asyncio.timeout(30):
                for _ in streams:
                    await opened.acquire()
            web.send_signal(signal.SIGTERM)
            # uvicorn would wait five seconds for requests and then cut them off: streams end by themselves.
            assert await asyncio.to_thread(web.wait, 20) in (0, -signal.SIGTERM)
            await asyncio.gather(*streams, return_exceptions=True)
        assert "Cancel" not in log.read_text()
    finally:
        if web.poll() is None:
            web.kill()
            web.wait()


async def answers(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                if (await client.get("/health")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
