"""Byte quotas: what the videos in a person's own projects take, with what they have announced and not yet sent."""

import uuid
from dataclasses import dataclass

from sqlalchemy import BigInteger, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.orgs.models import Project
from backend.videos.models import OPEN_UPLOADS, Upload, VideoCount
from backend.videos.refusals import QuotaExceeded

_MIB = 1024 * 1024


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


async def usage(session: AsyncSession, *, owner_id: uuid.UUID, without: uuid.UUID | None = None) -> Usage:
    """What counts for a person: all in the projects that are theirs. `without` names an upload that does not."""
    theirs = select(Project.id).where(Project.owner_id == owner_id).scalar_subquery()
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
    limit = settings.user_quota_mb * _MIB or None
    return Usage(await session.scalar(used) or 0, await session.scalar(announced) or 0, limit)


async def reserve(
    session: AsyncSession, *, project_id: uuid.UUID, size_bytes: int, without: uuid.UUID | None = None
) -> None:
    """See to it that so many bytes more fit, until the caller's transaction has written them down.

    Of several at once each waits for the one before it. Raises QuotaExceeded.
    """
    if not settings.user_quota_mb:
        return
    owner_id = await session.scalar(select(Project.owner_id).where(Project.id == project_id))
    if owner_id is None:
        return
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"quota:{owner_id}"}
    )
    found = await usage(session, owner_id=owner_id, without=without)
    if found.left_bytes is not None and size_bytes > found.left_bytes:
        raise QuotaExceeded(max(0, found.left_bytes))
