"""What is said of a task's result: in answers, callbacks and the CMS."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.generation.links import media_url
from backend.generation.models import Generation, Kind
from backend.videos.models import Video


@dataclass(frozen=True)
class Media:
    """A result as it lies in the storage. Seconds, pixels, bytes."""

    key: str
    content_type: str
    size_bytes: int
    width: int | None
    height: int | None
    duration: float | None

    @property
    def resolution(self) -> str | None:
        return f"{self.width}x{self.height}" if self.width and self.height else None


async def media_of(session: AsyncSession, generations: Sequence[Generation]) -> dict[uuid.UUID, Media]:
    """What came of those that have come to an end; of one that was deleted, or whose video was, there is nothing."""
    ids = [each.video_id for each in generations if each.video_id is not None]
    rows = select(Video).where(Video.id.in_(ids), Video.deleted_at.is_(None))
    videos = {video.id: video for video in await session.scalars(rows)} if ids else {}
    media: dict[uuid.UUID, Media] = {}
    for each in generations:
        source = videos.get(each.video_id) if each.video_id is not None else each
        if each.deleted_at is not None or source is None or not source.s3_key or not source.content_type:
            continue
        if each.kind == Kind.VIDEO and each.video_id is None:  # it was written, but is not a video yet, or no more
            continue
        media[each.id] = Media(
            key=source.s3_key,
            content_type=source.content_type,
            size_bytes=source.size_bytes or 0,
            width=source.width,
            height=source.height,
            duration=source.duration,
        )
    return media


def result_of(generation: Generation, media: Media | None, document_id: str | None) -> dict[str, Any] | None:
    """The contract's `result` of a completed task; None where nothing is left of it."""
    if media is None:
        return None
    return {
        "media_url": media_url(generation.id, Kind(generation.kind)),
        "payload_media_id": document_id,
        "metadata": {
            "duration": media.duration,
            "resolution": media.resolution,
            "file_size": media.size_bytes,
            "content_type": media.content_type,
            "model_used": generation.model_used,
            "seed": generation.seed_used,
            "trial": generation.spec.get("options", {}).get("trial"),
        },
    }
