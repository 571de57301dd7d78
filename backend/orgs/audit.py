"""The audit log: who did what to what. Written in the transaction of the deed, so that neither is there alone."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.core.web import sender_ip
from backend.orgs.access import Actor
from backend.orgs.models import AuditEntry, Project
from backend.orgs.places import Place
from backend.orgs.roles import Permission


async def record(
    session: AsyncSession,
    *,
    actor: Actor | None,
    action: str,
    object_type: str,
    object_id: object,
    project_id: uuid.UUID | None = None,
    organization_id: uuid.UUID | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write one entry. `action` is what was done, as `object.verb`; `detail` is JSON and holds no secrets.

    What is done in an organization's project is in the organization's log by itself.
    """
    its = select(Project.organization_id).where(Project.id == project_id).scalar_subquery()
    if actor is not None and actor.key is not None:
        detail = {**(detail or {}), "key_id": str(actor.key.id)}
    session.add(
        AuditEntry(
            actor_id=actor.user_id if actor else None,
            actor_email=actor.user.email if actor else "",
            action=action,
            object_type=object_type,
            object_id=str(object_id)[:200],
            project_id=project_id,
            organization_id=organization_id if project_id is None else its,
            detail=detail or {},
            ip=sender_ip.get()[:64],
            request_id=str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
        )
    )
    await session.flush()


@dataclass(frozen=True)
class Deed:
    """What somebody did: an entry, or the newest of those that one order made, with the sum of their numbers."""

    entry: AuditEntry
    number: int


async def deeds(
    session: AsyncSession, *, limit: int, before: int | None = None, action: str = "", email: str = ""
) -> list[Deed]:
    """What was done, newest first, an order of many lots as one; older than the entry `before` when that is given."""
    lot = aliased(AuditEntry)
    of_order = (lot.object_type == "jobs") & (lot.object_id == AuditEntry.object_id)
    many = (AuditEntry.object_type == "jobs") & (AuditEntry.object_id != "many")  # of before orders had ids
    total = select(func.sum(lot.detail["number"].as_integer())).where(of_order).scalar_subquery()
    goes_on = select(lot.id).where(of_order, lot.id > AuditEntry.id).exists()
    statement = (
        select(AuditEntry, func.coalesce(case((many, total), else_=AuditEntry.detail["number"].as_integer()), 0))
        .where(~(many & goes_on))
        .order_by(AuditEntry.id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    if action:
        statement = statement.where(AuditEntry.action == action)
    if email:
        statement = statement.where(AuditEntry.actor_email == email)
    return [Deed(entry, number) for entry, number in await session.execute(statement)]


async def latest(session: AsyncSession, *, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
    """The newest entries; older than the entry `before` when that is given."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return (await session.scalars(statement)).all()


async def of_place(
    session: AsyncSession, *, actor: Actor, place: Place, limit: int, before: int | None = None
) -> Sequence[AuditEntry]:
    """What was done in a place, newest first, for those who manage it. Raises NotFound, Forbidden."""
    place.require(actor, Permission.MANAGE)
    here = getattr(AuditEntry, f"{place.kind}_id") == place.id
    statement = select(AuditEntry).where(here).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return (await session.scalars(statement)).all()


async def about(session: AsyncSession, object_type: str, object_id: object) -> Sequence[AuditEntry]:
    """The newest hundred entries about one thing, oldest first: done to it alone (`job`), or among many (`jobs`)."""
    alone = (AuditEntry.object_type == object_type) & (AuditEntry.object_id == str(object_id))
    among = (AuditEntry.object_type == f"{object_type}s") & AuditEntry.detail.contains({"ids": [str(object_id)]})
    statement = select(AuditEntry).where(alone | among).order_by(AuditEntry.id.desc()).limit(100)
    return (await session.scalars(statement)).all()[::-1]
