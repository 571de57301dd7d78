"""A worker process with kinds that do harm, started by test_poison.py; otherwise the worker of production."""

import asyncio
import os
import signal
import sys

import worker
from backend.core.queue import registry, task
from backend.jobs.running import Run

KINDS = ("test_poison", "test_innocent", "test_frozen")


@task("test_poison", queue="test")
async def poison(run: Run) -> None:
    """Ends its process, and all that runs in it."""
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


@task("test_innocent", queue="test")
async def innocent(run: Run) -> None:
    """Takes longer than the other lets it."""
    await asyncio.sleep(2)


@task("test_frozen", queue="test")
async def frozen(run: Run) -> None:
    """Stops its process inside the transaction that ends it, the first time."""
    async with run.finishing():
        if run.attempt == 1:
            os.kill(os.getpid(), signal.SIGSTOP)


TASKS = [registry.get(kind) for kind in KINDS]
if "pytest" in sys.modules:  # imported by tests: each makes them known for as long as it needs them
    for kind in KINDS:
        registry.remove(kind)


if __name__ == "__main__":
    worker.main()
