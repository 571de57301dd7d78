"""Pictures that people send to have something made from them: a place in the storage, and the end of those not used."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.errors import AppError
from backend.core.storage import storage
from backend.generation.models import Generation, SourceImage
from backend.generation.schemas import SourceImageIn
from backend.orgs.access import Actor, visible
from backend.videos import ledger
from backend.videos.models import ObjectKind
from backend.videos.uploads import project_for

MAX_BYTES = settings.source_image_max_mb * 1024 * 1024

_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
#: A picture that nothing is made from is kept for so long.
_UNUSED = timedelta(days=1)
_AT_ONCE = 50
_SHOWN_SECONDS = 3600


class PictureTooLarge(AppError):
    """What is announced is larger than a picture may be."""

    status, code = 413, "file_too_large"

    def __init__(self) -> None:
        super().__init__(f"Pictures may be at most {settings.source_image_max_mb} MB.")


@dataclass(frozen=True)
class Place:
    """Where one picture is to be put, and how."""

    image_id: uuid.UUID
    url: str
    headers: dict[str, str]


async def reserve(session: AsyncSession, *, actor: Actor, body: SourceImageIn) -> Place:
    """Make room for one picture; the address is good for PRESIGNED_URL_EXPIRATION seconds.

    Raises PictureTooLarge, ValidationFailed, Forbidden.
    """
    if body.size > settings.source_image_max_mb * 1024 * 1024:
        raise PictureTooLarge
    project_id = project_for(actor, body.project_id)
    await remove_unused(session)
    image_id = uuid.uuid4()
    key = f"projects/{project_id}/sources/{image_id}.{_ENDINGS[body.content_type]}"
    seconds = settings.presigned_url_expiration
    session.add(
        SourceImage(
            id=image_id,
            project_id=project_id,
            owner_id=actor.user_id,
            s3_key=key,
            content_type=body.content_type,
            size_bytes=body.size,
        )
    )
    await ledger.record(
        session,
        key=key,
        kind=ObjectKind.SOURCE_IMAGE,
        project_id=project_id,
        video_id=None,
        writable_seconds=seconds,
    )
    url = await storage.presign_put(key, expires_seconds=seconds, content_type=body.content_type, size_bytes=body.size)
    # Content-Length is signed as well; a browser sets it by itself and lets nobody else do so.
    return Place(image_id, url, {"Content-Type": body.content_type})


async def addresses(session: AsyncSession, *, actor: Actor, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Where those of these pictures that the actor may see are shown from."""
    if not ids:
        return {}
    found = await session.scalars(visible(SourceImage, actor).where(SourceImage.id.in_(ids)))
    return {
        image.id: await storage.presign_get(
            image.s3_key, expires_seconds=_SHOWN_SECONDS, content_type=image.content_type
        )
        for image in found
    }


async def remove_unused(session: AsyncSession) -> int:
    """Forget pictures of long ago that no generation names, and bury their objects; answers how many."""
    named = select(Generation.id).where(
        Generation.project_id == SourceImage.project_id,
        Generation.spec.contains(
            func.jsonb_build_object(
                "images", func.jsonb_build_array(func.jsonb_build_object("image_id", SourceImage.id)), type_=JSONB
            )
        ),
    )
    old = (
        select(SourceImage.id)
        .where(SourceImage.created_at < func.now() - _UNUSED, ~named.exists())
        .order_by(SourceImage.created_at)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    gone = delete(SourceImage).where(SourceImage.id.in_(old.scalar_subquery())).returning(SourceImage.s3_key)
    keys = (await session.scalars(gone, execution_options={"synchronize_session": False})).all()
    await ledger.bury(session, keys)
    return len(keys)
