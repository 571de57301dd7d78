"""The process that runs `diffusers_child.py`: started, asked, and killed for sure."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import structlog

from backend.config import settings
from backend.generation.providers.endpoint import after, shown

log = structlog.get_logger(__name__)

_PROGRAM = Path(__file__).with_name("diffusers_child.py")
_LINE_BYTES = 1024 * 1024
_KEPT_BYTES = 4096


class Died(Exception):
    """The process ended without an answer; the message is for people."""


class Child:
    """One process, for one model held in one way. It dies with this one."""

    def __init__(self, process: asyncio.subprocess.Process, model: str, rung: str) -> None:
        self.model = model
        self.rung = rung
        self._process = process
        self._said = bytearray()
        self._reading = asyncio.create_task(self._read_errors())

    @classmethod
    async def start(cls, python: str, model: str, rung: str) -> Self:
        """Raises OSError, when it cannot be started."""
        launcher = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--"]
        found = shutil.which(python or sys.executable)
        if found is None:
            raise FileNotFoundError(2, f"{python} is no program")
        process = await asyncio.create_subprocess_exec(
            *launcher,
            found,
            "-u",
            "-P",  # our own modules beside it are none of its libraries
            str(_PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_LINE_BYTES,
            env=_environment(),
        )
        log.info("diffusers.started", pid=process.pid, model=model, held=rung)
        return cls(process, model, rung)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """What it tells of this request, until it ends. Raises Died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(ConnectionError):  # it is gone: reading says so
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        while line := await self._process.stdout.readline():
            yield json.loads(line)
        raise Died(await self._why())

    def kill(self) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it and wait until its memory is free, even if the waiting task is cancelled again meanwhile."""
        self.kill()
        waiting = asyncio.ensure_future(self._process.wait())
        while not waiting.done():
            try:
                await asyncio.shield(waiting)
            except asyncio.CancelledError:
                continue
        self._reading.cancel()

    async def _why(self) -> str:
        code = await self._process.wait()
        await asyncio.wait({self._reading}, timeout=5)
        tail = self._said.decode(errors="replace").strip().splitlines()
        log.warning("diffusers.ended", code=code, said=tail[-5:])
        if code == -signal.SIGKILL:
            return "The process that generates was killed by the system, most likely for want of memory."
        return f"The process that generates ended{after(shown(tail[-1] if tail else f'status {code}'))}"

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(65536):
            self._said = (self._said + chunk)[-_KEPT_BYTES:]


def _environment() -> dict[str, str]:
    """None of our settings, some of which are secrets."""
    ours = {name.upper() for name in type(settings).model_fields}
    return {name: value for name, value in os.environ.items() if name.upper() not in ours}
