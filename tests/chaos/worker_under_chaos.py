"""A worker as in production with one kind of job, whose only effect is a row in its finishing transaction."""

import asyncio

from sqlalchemy import text

import worker
from backend.core.queue import task
from backend.jobs.running import Run

KIND = "chaos"
QUEUE = "chaos"
EFFECT = text("INSERT INTO chaos_effects (number, job_id, token) VALUES (:number, :job_id, :token)")


# Attempts enough: a worker that was killed spends one, and here that happens all the time.
@task(KIND, queue=QUEUE, max_attempts=100, timeout_seconds=600, backoff_seconds=0.2)
async def work(run: Run) -> None:
    """Takes `args.seconds`, reporting as it goes."""
    steps = 5
    for step in range(steps):
        await run.report("working", 100 * step / steps)
        await asyncio.sleep(run.args["seconds"] / steps)
    async with run.finishing() as session:
        await session.execute(EFFECT, {"number": run.args["number"], "job_id": run.job_id, "token": run.token})


if __name__ == "__main__":
    worker.main()
