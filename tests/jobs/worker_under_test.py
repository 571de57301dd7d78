"""A worker process with one kind of its own, started by test_worker.py; otherwise the worker of production.

With CLOCK_AHEAD_SECONDS its wall clock is wrong by that much, as on a host whose time was never set.
"""

import asyncio
import datetime
import os
import sys
import time
from pathlib import Path

if _ahead := float(os.environ.get("CLOCK_AHEAD_SECONDS") or 0):
    _time = time.time

    class _Wrong(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "_Wrong":
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: _time() + _ahead
    datetime.datetime = _Wrong  # type: ignore[misc]

import worker
from backend.core.queue import registry, task
from backend.jobs.running import Run

KIND = "test_in_worker"
WorkerSettings = worker.WorkerSettings


@task(KIND, queue="test", max_attempts=3)
async def work(run: Run) -> None:
    """Notes its begin and its end in `args.notes`, and ends when `args.go` exists."""
    notes, go = Path(run.args["notes"]), Path(run.args["go"])

    def note(what: str) -> None:
        with notes.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    note("begin")
    while not go.exists():
        await run.report("waiting", 50)
        await asyncio.sleep(0.05)
    note("end")


TASK = registry.get(KIND)
if "pytest" in sys.modules:  # imported by tests: each makes it known for as long as it needs it
    registry.remove(KIND)


if __name__ == "__main__":
    worker.main()
