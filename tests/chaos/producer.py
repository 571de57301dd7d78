"""Starts jobs through the service, as a web process would, while everything around it breaks.

python -m tests.chaos.producer PROJECT_ID COUNT SECONDS SEED MEAN_JOB_SECONDS
"""

import asyncio
import random
import sys
import uuid

from sqlalchemy import text

from backend.core.db import database, transaction
from backend.core.queue import doorbell, make_doorbell
from backend.core.redis import redis
from backend.jobs import service
from tests.chaos import worker_under_chaos

#: It waits while so many have not ended: what is left when it becomes quiet then shows whether anything is stuck, and
#: not how busy the machine is.
MOST_LIVE = 36
LIVE = text("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")
KNOWN = text("SELECT 1 FROM jobs WHERE (args ->> 'number')::int = :number")


class Waits(Exception):
    """There are enough for now."""


async def start(project_id: uuid.UUID, number: int, seconds: float) -> None:
    """Once and only once: after a failure it is looked up whether the commit came through."""
    while True:
        try:
            async with transaction() as session:
                if await session.scalar(KNOWN, {"number": number}):
                    return
                if await session.scalar(LIVE) >= MOST_LIVE:
                    raise Waits
                await service.start(
                    session,
                    kind=worker_under_chaos.KIND,
                    project_id=project_id,
                    owner_id=None,
                    priority=1 + number % 3,
                    args={"number": number, "seconds": seconds},
                )
                return
        except Exception:
            await asyncio.sleep(0.3)


async def main(project_id: uuid.UUID, count: int, seconds: float, seed: int, mean: float) -> None:
    database.open()
    redis.open()
    doorbell.hang(make_doorbell())
    chance = random.Random(seed)
    for number in range(count):
        # Most are short, some ten times as long as the others.
        await start(project_id, number, min(chance.expovariate(1 / mean), 10 * mean))
        await asyncio.sleep(seconds / count)
    await doorbell.close()
    await redis.close()
    await database.close()


if __name__ == "__main__":
    project, count, seconds, seed, mean = sys.argv[1:]
    asyncio.run(main(uuid.UUID(project), int(count), float(seconds), int(seed), float(mean)))
