"""Who works: a row for each worker process, renewed each few seconds, and read by the database's clock."""

import asyncio
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend import __version__
from backend.core import gpus
from backend.core.db import transaction
from backend.core.queue import registry
from backend.jobs.models import WorkerRow
from backend.jobs.neighbours import is_gone
from backend.jobs.running import Runner

log = structlog.get_logger(__name__)

BEAT_SECONDS = 5.0
#: A worker not heard of for this long is lost.
ALIVE_SECONDS = 3 * BEAT_SECONDS
#: The queues that living workers listen to.
SERVED = (
    select(func.unnest(WorkerRow.queues).label("queue"))
    .where(
        WorkerRow.last_seen_at > func.now() - timedelta(seconds=ALIVE_SECONDS),
        WorkerRow.stopped_at.is_(None),
    )
    .distinct()
    .subquery("served")
)
LISTED = timedelta(days=1)
KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process: `alive`, `stopped` when it was asked to, or `lost`. `load` is its host's over one minute."""

    id: uuid.UUID
    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    kinds: list[str]
    slots: int
    running: int
    load: float
    memory_bytes: int
    gpus: list[dict[str, Any]]
    started_at: datetime
    last_seen_at: datetime
    stopped_at: datetime | None
    state: Literal["alive", "stopped", "lost"]


async def list_workers(session: AsyncSession) -> list[Worker]:
    """The workers of the last day, newest first."""
    seen = WorkerRow.last_seen_at > func.now() - timedelta(seconds=ALIVE_SECONDS)
    rows = await session.execute(
        select(WorkerRow, seen)
        .where(WorkerRow.last_seen_at > func.now() - LISTED)
        .order_by(WorkerRow.started_at.desc(), WorkerRow.name)
    )
    columns = [column.name for column in WorkerRow.__table__.columns]
    return [
        Worker(
            **{name: getattr(row, name) for name in columns},
            state="stopped" if row.stopped_at is not None else "alive" if alive else "lost",
        )
        for row, alive in rows
    ]


async def served(session: AsyncSession) -> frozenset[str]:
    """The queues that living workers listen to."""
    return frozenset(await session.scalars(select(SERVED.c.queue)))


async def mark_lost(session: AsyncSession) -> None:
    """Workers of this place whose process is gone are lost at once: their jobs went to others, too."""
    seen = WorkerRow.last_seen_at > func.now() - timedelta(seconds=ALIVE_SECONDS)
    alive = await session.scalars(select(WorkerRow.name).where(seen, WorkerRow.stopped_at.is_(None)))
    gone = [name for name in alive if is_gone(name)]
    if gone:
        long_ago = func.now() - timedelta(seconds=ALIVE_SECONDS)
        await session.execute(update(WorkerRow).where(WorkerRow.name.in_(gone), seen).values(last_seen_at=long_ago))


class Registration:
    """This process's row."""

    def __init__(self, runner: Runner) -> None:
        self.id = uuid.uuid4()
        self._runner = runner

    async def keep(self) -> None:
        """Write the row and renew it until cancelled; a database that is away is waited for."""
        failing = False
        first = True
        while True:
            try:
                await self.beat()
                if first:
                    await forget_old()
                first = failing = False
            except Exception as error:
                if not failing:
                    log.warning("worker.not_registered", error=repr(error))
                failing = True
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Say that this process is here, and what it does."""
        now = {
            "running": len(self._runner.job_ids),
            "load": os.getloadavg()[0],
            "memory_bytes": resident_bytes(),
            "gpus": await gpus.read(),
            "kinds": registry.kinds(),
        }
        fixed = {
            "id": self.id,
            "name": self._runner.worker,
            "host": socket.gethostname()[:255],
            "pid": os.getpid(),
            "version": __version__,
            "queues": self._runner.queues,
            "slots": self._runner.slots,
        }
        statement = insert(WorkerRow).values(**fixed, **now)
        async with transaction() as session:
            await session.execute(
                statement.on_conflict_do_update(index_elements=["id"], set_={**now, "last_seen_at": func.now()})
            )

    async def stop(self) -> None:
        """Say that this process ends as it was asked to. Never raises: the row then counts as lost."""
        try:
            async with transaction() as session:
                await session.execute(
                    update(WorkerRow)
                    .where(WorkerRow.id == self.id)
                    .values(stopped_at=func.now(), last_seen_at=func.now(), running=0)
                )
        except Exception as error:
            log.warning("worker.stop_not_written", error=repr(error))


async def forget_old() -> None:
    """Remove the rows of workers that ended long ago."""
    async with transaction() as session:
        await session.execute(delete(WorkerRow).where(WorkerRow.last_seen_at < func.now() - KEPT))


def resident_bytes() -> int:
    """Memory this process holds, without its children."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
