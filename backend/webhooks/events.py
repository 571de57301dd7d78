"""Telling what happened: a row for each endpoint that wants to hear it, in the transaction in which it happens."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, insert, literal, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import after_commit
from backend.core.redis import redis
from backend.webhooks.models import EventType, WebhookDelivery, WebhookEndpoint

#: A list that holds at most one ring; whoever takes it looks for what is due.
BELL = "dailies:webhooks"
_RINGS = "webhooks_ring"

Data = Mapping[str, Any]


async def emit(
    session: AsyncSession, *, project_id: uuid.UUID, type: EventType, data: Callable[[], Awaitable[Data]]
) -> int:
    """Write the deliveries of an event; answers how many. `data` is asked for only when somebody wants it.

    Rolled back with the transaction, they never were. The courier is rung after the commit.
    """
    # Held until the commit, so that an endpoint that is just being deleted cannot fail what is being told of; in an
    # order, as others hold several, too.
    wanting = select(WebhookEndpoint.id).where(wants(project_id, type)).order_by(WebhookEndpoint.id)
    endpoints = (await session.scalars(wanting.with_for_update(read=True, key_share=True))).all()
    if endpoints:
        event = {"project_id": project_id, "event_id": uuid.uuid4(), "type": type.value, "data": dict(await data())}
        rows = [{"id": uuid.uuid4(), "endpoint_id": endpoint, **event} for endpoint in endpoints]
        await session.execute(insert(WebhookDelivery), rows)
        ring(session)
    return len(endpoints)


def wants(project_id: uuid.UUID | SQLColumnExpression[uuid.UUID], type: EventType) -> ColumnElement[bool]:
    """Of endpoints: that they are of this project and want to hear of this."""
    asked = WebhookEndpoint.events.overlap(array([literal(type.value), literal(type.family)]))
    return and_(WebhookEndpoint.project_id == project_id, WebhookEndpoint.enabled, asked)


def is_wanted(project_id: SQLColumnExpression[uuid.UUID], type: EventType) -> ColumnElement[bool]:
    """Whether any endpoint does: a hint that a statement brings along, so that nobody has to ask separately."""
    return select(WebhookEndpoint.id).where(wants(project_id, type)).exists()


def ring(session: AsyncSession) -> None:
    """Ring the courier after the commit, once."""
    if not session.info.get(_RINGS):
        session.info[_RINGS] = True
        after_commit(session, _ring)


async def _ring() -> None:
    async with redis.client.pipeline() as pipe:
        pipe.lpush(BELL, "")
        pipe.ltrim(BELL, 0, 0)
        await pipe.execute()
