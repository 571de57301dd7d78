"""An upload of which only the key is known: one address that takes a file of any size and type, for some time.

What came is looked at when it is confirmed, and copied to a key that no address writes (`uploads.final_key`).
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.storage import storage
from backend.videos import ledger
from backend.videos.models import ObjectKind, Upload
from backend.videos.uploads import ALLOWED_TYPES, extension_of, final_key


@dataclass(frozen=True)
class Place:
    """Where the file goes. `key` holds its video's id, which is new."""

    project_id: uuid.UUID
    owner_id: uuid.UUID
    video_id: uuid.UUID
    key: str
    title: str


async def begin(session: AsyncSession, *, place: Place, seconds: int) -> Upload:
    """Reserve the place in the caller's transaction; sign it (`sign`) once that is committed."""
    upload = Upload(
        id=uuid.uuid4(),
        project_id=place.project_id,
        owner_id=place.owner_id,
        video_id=place.video_id,
        s3_key=place.key,
        filename=place.key.rpartition("/")[2],
        content_type=ALLOWED_TYPES[extension_of(place.key)][0],
        size_bytes=None,
        title=place.title,
        expires_at=func.now() + timedelta(seconds=seconds),
        check_at=func.now() + timedelta(seconds=settings.upload_sweep_seconds),
    )
    session.add(upload)
    await session.flush()
    await session.refresh(upload)
    for key, writable_seconds in ((upload.s3_key, seconds), (final_key(upload), 0)):
        await ledger.record(
            session,
            key=key,
            kind=ObjectKind.ORIGINAL,
            project_id=place.project_id,
            video_id=place.video_id,
            writable_seconds=writable_seconds,
        )
    return upload


async def sign(upload: Upload, *, seconds: int) -> str:
    """The address; nothing but host and key is signed. Raises StorageUnavailable."""
    return await storage.presign_put(upload.s3_key, expires_seconds=seconds)
