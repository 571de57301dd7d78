"""Keeps the parts running: a part that ends is started again after a growing pause, and each time it is said."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.local.parts import READY_SECONDS, Part
from backend.local.processes import LocalError

TICK_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
CALM_SECONDS = 60.0  # a part that ran this long has recovered: its next pause is the first again
LOG_LIMIT_BYTES = 50 * 1024 * 1024


@dataclass
class Watched:
    """A part and what its past says about its next start."""

    part: Part
    pause: float = FIRST_PAUSE_SECONDS
    began: float = 0.0  # when it was last launched; monotonic seconds
    again: float | None = None  # when to launch it; None while it runs
    ready: bool = True


class Supervisor:
    """Watches parts that were started in this order, and stops them in the reverse one."""

    def __init__(self, parts: Sequence[Part], *, say: Callable[[str], None], logs: Path | None = None) -> None:
        self._watched = [Watched(part, began=time.monotonic()) for part in parts]
        self._say = say
        self._logs = logs

    def run(self, stopping: Callable[[], bool]) -> None:
        """Watch until `stopping` answers yes."""
        while not stopping():
            self.tick()
            time.sleep(TICK_SECONDS)

    def tick(self) -> None:
        """Look at each part once, and do what is due."""
        now = time.monotonic()
        for watched in self._watched:
            if watched.again is None:
                self._look_at(watched, now)
            elif now >= watched.again:
                self._launch(watched, now)
        self._trim_logs()

    def stop(self) -> None:
        """Stop all, last started first; a part that makes trouble does not save the others."""
        for watched in reversed(self._watched):
            began = time.monotonic()
            try:
                watched.part.stop()
            except OSError as error:
                self._say(f"{watched.part.name} did not stop: {error}")
            else:
                self._say(f"{watched.part.name} stopped ({time.monotonic() - began:.1f} s)")

    def _look_at(self, watched: Watched, now: float) -> None:
        child = watched.part.child
        if child is not None and child.poll() is not None:
            self._plan(watched, f"ended ({outcome(child.poll() or 0)})", now)
            return
        if watched.ready:
            if now - watched.began > CALM_SECONDS:
                watched.pause = FIRST_PAUSE_SECONDS
            return
        try:
            watched.ready = watched.part.is_ready()
        except LocalError as error:
            self._plan(watched, str(error), now)
            return
        if watched.ready:
            self._say(f"{watched.part.name} is back ({time.monotonic() - watched.began:.1f} s)")
        elif now - watched.began > READY_SECONDS:
            watched.part.stop()
            self._plan(watched, f"did not answer within {READY_SECONDS:.0f} s", now)

    def _plan(self, watched: Watched, what: str, now: float) -> None:
        name = watched.part.name
        lead = what if what.startswith(name) else f"{name} {what}"
        self._say(f"{lead}; starting it again in {watched.pause:g} s")
        watched.again = now + watched.pause
        watched.pause = min(watched.pause * 2, LONGEST_PAUSE_SECONDS)

    def _launch(self, watched: Watched, now: float) -> None:
        watched.again, watched.began, watched.ready = None, now, False
        try:
            watched.part.launch()
        except (OSError, LocalError) as error:
            self._plan(watched, f"{watched.part.name} did not start: {error}", now)

    def _trim_logs(self) -> None:
        """Keep a log that grew too large as `.1` and go on with an empty one (they are open for appending)."""
        if self._logs is None:
            return
        for log in self._logs.glob("*.log"):
            try:
                if log.stat().st_size > LOG_LIMIT_BYTES:
                    shutil.copyfile(log, log.with_name(log.name + ".1"))
                    os.truncate(log, 0)
            except OSError:
                continue  # a full disk, say; the next tick tries again


def outcome(code: int) -> str:
    """An exit code in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
