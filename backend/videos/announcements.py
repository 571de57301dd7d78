"""What webhooks are told of uploads and videos: as the API shows them, in the transaction of the change.

Without addresses that are signed: a delivery is kept for weeks, and may be sent days later.
"""

import uuid
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from backend.videos.models import Upload, UploadState, Video
from backend.videos.shapes import upload_out, video_out
from backend.webhooks.events import emit
from backend.webhooks.models import EventType


async def tell_of_video(session: AsyncSession, type: EventType, *, project_id: uuid.UUID, video_id: uuid.UUID) -> None:
    """The row is read again, so that what statements have changed is told, too."""

    async def described() -> dict[str, Any]:
        await session.flush()
        video = await session.get_one(Video, video_id, populate_existing=True)
        return video_out(video, poster_url=None).model_dump(mode="json", exclude={"poster_url"})

    await emit(session, project_id=project_id, type=type, data=described)


async def tell_of_upload(session: AsyncSession, type: EventType, upload: Upload) -> None:
    """In the state in which its row stands."""

    async def described() -> dict[str, Any]:
        await session.flush()
        await session.refresh(upload)
        return upload_out(upload, state=UploadState(upload.state)).model_dump(mode="json", exclude={"parts"})

    await emit(session, project_id=upload.project_id, type=type, data=described)
