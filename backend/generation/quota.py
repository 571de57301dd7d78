"""How many generations a person may start in an hour: counted in the transaction that starts one, and told before."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.errors import Conflict
from backend.generation.models import Door, Generation

HOUR = timedelta(hours=1)


class GenerationsExceeded(Conflict):
    """The quota of the hour is used up."""

    code = "quota_exceeded"

    def __init__(self, limit: int, seconds: int) -> None:
        minutes = max(1, -(-seconds // 60))
        words = f"You may start {limit} generations in an hour. The next one is free in {minutes} min."
        super().__init__(words, retry_after_seconds=max(1, seconds))


@dataclass(frozen=True)
class Left:
    """`limit` and `left` are None where there is no limit; `next_at` is None while some are left."""

    limit: int | None
    used: int
    left: int | None
    next_at: datetime | None
    now: datetime


async def left(session: AsyncSession, *, user_id: uuid.UUID) -> Left:
    """What a person may still start. Also what was cancelled, failed or deleted since counts: it was started."""
    theirs = select(func.unnest(Generation.starts).label("at")).where(
        Generation.owner_id == user_id,
        Generation.door == Door.STUDIO,
        Generation.starts[func.array_upper(Generation.starts, 1)] > func.now() - HOUR,
    )
    at = theirs.subquery().c.at
    recent = select(func.array_agg(aggregate_order_by(at, at))).where(at > func.now() - HOUR).scalar_subquery()
    found, now = (await session.execute(select(recent, func.now()))).one()
    times: list[datetime] = found or []
    limit = settings.generations_per_hour or None
    if limit is None:
        return Left(None, len(times), None, None, now)
    over = len(times) - limit
    return Left(limit, len(times), max(0, -over), times[over] + HOUR if over >= 0 else None, now)


async def take(session: AsyncSession, *, user_id: uuid.UUID) -> None:
    """See to it that one more may be started; of several at once each waits for the one before it, until its commit.

    Raises GenerationsExceeded.
    """
    if not settings.generations_per_hour:
        return
    name = f"generations:{user_id}"
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
    found = await left(session, user_id=user_id)
    if found.next_at is not None:
        raise GenerationsExceeded(found.limit or 0, int((found.next_at - found.now).total_seconds()) + 1)
