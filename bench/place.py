"""Where benchmarks run: one stack for all of them, and processes of ours on it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.local.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Process:
    """One of our processes while it runs. `url` is empty for those that do not listen."""

    pid: int
    url: str = ""

    def cpu_seconds(self) -> float:
        """What it has computed so far, its children that ended included (Linux)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """What it alone holds of the machine's memory, and its share of what it holds with others (PSS)."""
        return self._memory("Pss")

    def resident_mb(self) -> float:
        """The same with all that it holds with others, as `ps` tells (RSS)."""
        return self._memory("Rss")

    def _memory(self, kind: str) -> float:
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the kernel does not tell")


class Place:
    """A stack with the newest schema, how many rounds are wanted, and whether they are only to be seen to run."""

    def __init__(self, stack: Stack, folder: Path, *, rounds: int, tiny: bool, say: Callable[[str], None]) -> None:
        self.stack, self.folder, self.rounds, self.tiny, self.say = stack, folder, rounds, tiny, say
        # The product whole, its line in the log for each request included.
        self.env = {**os.environ, **stack.env(), "ENVIRONMENT": "local", "LOG_LEVEL": "INFO"}

    def size(self, whole: int, tiny: int) -> int:
        """How much of something: `tiny` where it is only to be seen that the benchmark runs."""
        return tiny if self.tiny else whole

    @asynccontextmanager
    async def web(self, **settings: str) -> AsyncIterator[Process]:
        """A web process of the whole product, ready. Rate limits stay on, too high to be met, unless named."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        limits = {f"{who}_REQUESTS_PER_MINUTE": "1000000" for who in ("ADDRESS", "USER", "KEY")}
        async with self._process(_ours("web"), {"PORT": str(port), "PUBLIC_URL": url, **limits, **settings}) as pid:
            await _until_ready(f"{url}/ready")
            yield Process(pid, url)

    @asynccontextmanager
    async def peer(self, command: Sequence[str], *, ready: str = "/", cwd: Path = ROOT) -> AsyncIterator[Process]:
        """A web process of somebody else's making; it listens on PORT, and answers 200 at `ready`."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        async with self._process(command, {"PORT": str(port)}, cwd=cwd) as pid:
            await _until_ready(f"{url}{ready}")
            yield Process(pid, url)

    @asynccontextmanager
    async def worker(self, **settings: str) -> AsyncIterator[Process]:
        """A worker process; it may not have registered yet."""
        async with self._process(_ours("worker"), settings) as pid:
            yield Process(pid)

    @asynccontextmanager
    async def _process(
        self, command: Sequence[str], settings: dict[str, str], *, cwd: Path = ROOT
    ) -> AsyncIterator[int]:
        with (self.folder / f"{Path(command[-1]).name}.log").open("ab") as sink:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**self.env, **settings},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        try:
            yield process.pid
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 60)


def _ours(name: str) -> list[str]:
    return [sys.executable, "-m", "backend.cli", name]


async def _until_ready(address: str) -> None:
    async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient() as client:
        while not await _ready(client, address):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _ready(client: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await client.get(address)).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
