"""The audit log: who did what to what. Written in the transaction of the deed, so that neither is there alone."""

import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.web import sender_ip
from backend.orgs.access import Actor
from backend.orgs.models import AuditEntry


async def record(
    session: AsyncSession,
    *,
    actor: Actor | None,
    action: str,
    object_type: str,
    object_id: object,
    project_id: uuid.UUID | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write one entry. `action` is what was done, as `object.verb`; `detail` is JSON and holds no secrets."""
    session.add(
        AuditEntry(
            actor_id=actor.user_id if actor else None,
            actor_email=actor.user.email if actor else "",
            action=action,
            object_type=object_type,
            object_id=str(object_id)[:200],
            project_id=project_id,
            detail=detail or {},
            ip=sender_ip.get()[:64],
            request_id=str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
        )
    )
    await session.flush()


async def latest(session: AsyncSession, *, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
    """The newest entries; older than the entry `before` when that is given."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return (await session.scalars(statement)).all()


async def about(session: AsyncSession, object_type: str, object_id: object) -> Sequence[AuditEntry]:
    """The newest hundred entries about one thing, oldest first: done to it alone (`job`), or among many (`jobs`)."""
    alone = (AuditEntry.object_type == object_type) & (AuditEntry.object_id == str(object_id))
    among = (AuditEntry.object_type == f"{object_type}s") & AuditEntry.detail.contains({"ids": [str(object_id)]})
    statement = select(AuditEntry).where(alone | among).order_by(AuditEntry.id.desc()).limit(100)
    return (await session.scalars(statement)).all()[::-1]
