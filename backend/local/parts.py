"""What the supervisor knows of a part: it is launched, becomes ready, may end, and is stopped."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from backend.local.processes import Child, Guard, LocalError

POLL_SECONDS = 0.02
READY_SECONDS = 90.0
SETTLED_SECONDS = 1.0  # a process without a health address counts as up when it lived this long


class Interrupted(Exception):
    """Somebody asked us to stop before everything was up."""


class Part(Protocol):
    """A server of the stack, or a process of ours."""

    name: str
    child: Child | None

    def launch(self) -> None:
        """Begin starting it; returns at once."""

    def is_ready(self) -> bool:
        """Whether it does its work; raises LocalError when it has ended."""

    def stop(self) -> None:
        """End it in its own orderly way. Twice does no harm."""


class Service:
    """A process of ours: `is_ready` asks its health address if it has one, else whether it is still there."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        guard: Guard,
        log: Path,
        env: Mapping[str, str],
        health: tuple[str, int, str] | None = None,
        stop_seconds: float = 15.0,
        settled_seconds: float = SETTLED_SECONDS,
    ) -> None:
        self.name = name
        self.child: Child | None = None
        self._command = command
        self._guard = guard
        self._log = log
        self._env = env
        self._health = health
        self._stop_seconds = stop_seconds
        self._settled_seconds = settled_seconds
        self._launched = 0.0

    def launch(self) -> None:
        """Start the process."""
        self._launched = time.monotonic()
        self.child = Child(self.name, self._command, guard=self._guard, log=self._log, env=self._env)

    def is_ready(self) -> bool:
        """Whether its health address answers 200; raises LocalError when it has ended."""
        if self.child is None or self.child.poll() is not None:
            words = self.child.last_words(1) if self.child else "never started"
            raise LocalError(f"{self.name} ended at once (see {self._log}): {words}")
        if self._health is None:
            return time.monotonic() - self._launched >= self._settled_seconds
        host, port, path = self._health
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """SIGTERM; killed when it takes too long."""
        if self.child is not None:
            self.child.stop(signal.SIGTERM, seconds=self._stop_seconds)
            self.child = None


def start_together(
    parts: Sequence[Part],
    *,
    interrupted: Callable[[], bool] = lambda: False,
    ready: Callable[[str, float], None] = lambda name, seconds: None,
) -> dict[str, float]:
    """Launch all at once and wait until each does its work; answers the seconds each took, and tells `ready` of each.

    Raises LocalError with one line, or Interrupted; the parts that run are then left to the caller to stop.
    """
    began = time.monotonic()
    took: dict[str, float] = {}
    for part in parts:
        part.launch()
    waiting = list(parts)
    while waiting:
        for part in list(waiting):
            if part.is_ready():
                took[part.name] = time.monotonic() - began
                ready(part.name, took[part.name])
                waiting.remove(part)
        if interrupted():
            raise Interrupted
        if time.monotonic() - began > READY_SECONDS:
            names = ", ".join(part.name for part in waiting)
            raise LocalError(f"{names} did not answer within {READY_SECONDS:.0f} s")
        if waiting:
            time.sleep(POLL_SECONDS)
    return took
