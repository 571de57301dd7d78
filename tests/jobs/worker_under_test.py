"""A worker process with one kind of its own, started by test_worker.py; otherwise the worker of production."""

import asyncio
import os
import sys
from pathlib import Path

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
