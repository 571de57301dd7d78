"""Byte quotas: what the videos of a person or an organization take, with what is announced and not yet sent."""

import uuid
from dataclasses import dataclass

from sqlalchemy import BigInteger, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.orgs.access import Actor, require_in
from backend.orgs.models import Project
from backend.orgs.roles import Permission
from backend.videos.models import OPEN_UPLOADS, Upload, VideoCount
from backend.videos.refusals import QuotaExceeded

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Holder:
    """Whose a project is: exactly one of the two."""

    user_id: uuid.UUID | None = None
    organization_id: uuid.UUID | None = None

    @property
    def limit_bytes(self) -> int | None:
        """None where there is no limit."""
        megabytes = settings.user_quota_mb if self.user_id is not None else settings.organization_quota_mb
        return megabytes * _MIB or None


@dataclass(frozen=True)
class Usage:
    """In bytes; `limit_bytes` is None where there is no limit."""

    used_bytes: int
    reserved_bytes: int
    limit_bytes: int | None

    @property
    def left_bytes(self) -> int | None:
        """What may still be announced; None where there is no limit."""
        return None if self.limit_bytes is None else self.limit_bytes - self.used_bytes - self.reserved_bytes


async def usage(session: AsyncSession, *, holder: Holder, without: uuid.UUID | None = None) -> Usage:
    """What counts: all in the projects that are the holder's. `without` names an upload that does not."""
    mine = Project.owner_id == holder.user_id
    if holder.organization_id is not None:
        mine = Project.organization_id == holder.organization_id
    theirs = select(Project.id).where(mine).scalar_subquery()
    used = select(cast(func.coalesce(func.sum(VideoCount.size_bytes), 0), BigInteger)).where(
        VideoCount.project_id.in_(theirs)
    )
    announced = select(cast(func.coalesce(func.sum(Upload.size_bytes), 0), BigInteger)).where(
        Upload.project_id.in_(theirs),
        Upload.state.in_(OPEN_UPLOADS),
        Upload.expires_at > func.now(),
    )
    if without is not None:
        announced = announced.where(Upload.id != without)
    return Usage(await session.scalar(used) or 0, await session.scalar(announced) or 0, holder.limit_bytes)


async def usage_for(session: AsyncSession, *, actor: Actor, organization_id: uuid.UUID | None = None) -> Usage:
    """What counts for the actor, or for an organization of theirs; with a key, for whose project it is for.

    Raises NotFound.
    """
    if organization_id is not None:
        require_in(actor, Permission.VIEW, organization_id)
        return await usage(session, holder=Holder(organization_id=organization_id))
    holder = await _holder(session, actor.personal_project_id)
    return await usage(session, holder=holder or Holder(user_id=actor.user_id))


def are_set() -> bool:
    """Whether anybody has a limit."""
    return bool(settings.user_quota_mb or settings.organization_quota_mb)


async def reserve(
    session: AsyncSession, *, project_id: uuid.UUID, size_bytes: int, without: uuid.UUID | None = None
) -> None:
    """See to it that so many bytes more fit, until the caller's transaction has written them down.

    Of several at once each waits for the one before it. Raises QuotaExceeded.
    """
    if not are_set():
        return
    holder = await _holder(session, project_id)
    if holder is None or holder.limit_bytes is None:
        return
    name = f"quota:{holder.user_id or holder.organization_id}"
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
    found = await usage(session, holder=holder, without=without)
    if found.left_bytes is not None and size_bytes > found.left_bytes:
        raise QuotaExceeded(max(0, found.left_bytes))


async def reserve_move(session: AsyncSession, *, source: uuid.UUID, target: uuid.UUID, size_bytes: int) -> None:
    """The same for what is there and goes to another project; between two of one holder nothing changes."""
    if await _holder(session, source) != await _holder(session, target):
        await reserve(session, project_id=target, size_bytes=size_bytes)


async def _holder(session: AsyncSession, project_id: uuid.UUID) -> Holder | None:
    row = (
        await session.execute(select(Project.owner_id, Project.organization_id).where(Project.id == project_id))
    ).one_or_none()
    return None if row is None else Holder(*row)
