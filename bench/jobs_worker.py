"""The worker processes that bench/jobs.py measures: ours, or plain ARQ. Both do nothing but note when a job began."""

import asyncio
import os
import sys
import time
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Worker
from arq.worker import func as arq_function

NOTES = os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(asked_at: float) -> None:
    os.write(NOTES, f"{asked_at!r} {time.time()!r}\n".encode())


async def arq_noop(ctx: dict[Any, Any], asked_at: float) -> None:
    note(asked_at)


def ours() -> None:
    import worker
    from backend.core.queue import task
    from backend.jobs.running import Run

    @task("bench", queue="bench")
    async def noop(run: Run) -> None:
        note(run.args["asked_at"])

    worker.main()


def arq(queue: str, poll_delay: float) -> None:
    """As it is shipped, but for the poll delay if that is another."""

    async def run() -> None:
        working = Worker(
            functions=[arq_function(arq_noop, name="noop")],
            queue_name=queue,
            redis_settings=RedisSettings.from_dsn(os.environ["REDIS_URL"]),
            poll_delay=poll_delay,
            handle_signals=False,
        )
        await working.main()

    asyncio.run(run())


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        ours()
    else:
        arq(sys.argv[1], float(sys.argv[2]))
