"""Queues that are paused give out no jobs; what runs already goes on."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import func, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs import workers
from backend.jobs.models import QueueState
from backend.jobs.schemas import WaitingFor

log = structlog.get_logger(__name__)

_OBSTACLES = union_all(
    select(QueueState.name, literal(True)).where(QueueState.paused_at.is_not(None)),
    select(workers.SERVED.c.queue, literal(False)),
)


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Queues that are paused, and those that a living worker serves."""

    paused: frozenset[str]
    served: frozenset[str]

    def of(self, queue: str) -> WaitingFor | None:
        """Why jobs of this queue do not begin; None: nothing keeps them."""
        return "paused" if queue in self.paused else None if queue in self.served else "worker"


async def pause(session: AsyncSession, name: str, *, by: str | None) -> QueueState:
    """Give out no more jobs of this queue; it stays paused since the first time. `by` is who did it, for people."""
    return await _set(session, name, paused=True, by=by)


async def resume(session: AsyncSession, name: str) -> QueueState:
    """Give out jobs again; workers notice within about a second."""
    return await _set(session, name, paused=False, by=None)


async def list_queues(session: AsyncSession) -> Sequence[QueueState]:
    """Queues that are or were paused, by name; others have no row."""
    return (await session.scalars(select(QueueState).order_by(QueueState.name))).all()


async def obstacles(session: AsyncSession) -> Obstacles:
    """What keeps queues from giving out jobs now, by what workers said last."""
    rows = (await session.execute(_OBSTACLES)).all()
    return Obstacles(
        paused=frozenset(name for name, is_paused in rows if is_paused),
        served=frozenset(name for name, is_paused in rows if not is_paused),
    )


async def _set(session: AsyncSession, name: str, *, paused: bool, by: str | None) -> QueueState:
    statement = insert(QueueState).values(name=name, paused_at=func.now() if paused else None, paused_by=by)
    update = {
        "paused_at": func.coalesce(QueueState.paused_at, func.now()) if paused else None,
        "paused_by": func.coalesce(QueueState.paused_by, by) if paused else None,
    }
    row: QueueState | None = await session.scalar(
        statement.on_conflict_do_update(index_elements=["name"], set_=update).returning(QueueState),
        execution_options={"populate_existing": True},
    )
    assert row is not None
    log.info("queue.paused" if paused else "queue.resumed", queue=name, by=by)
    return row
