"""Uploads: a place is reserved, the sender puts the bytes straight into the storage, and what arrived is confirmed.

The storage is asked with no transaction open; what it said is then weighed under a lock on the upload's row, so that of
many confirmations at once exactly one makes the video and its job.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.db import after_commit, transaction
from backend.core.errors import AppError, Conflict, Gone, InvalidState, NotFound, ValidationFailed
from backend.core.security import read_claim, sign_claim
from backend.core.storage import ObjectInfo, storage
from backend.jobs import service as jobs
from backend.orgs.access import Actor, get_visible, visible
from backend.videos.models import Upload, UploadState, Video, VideoStatus
from backend.videos.schemas import MAX_TITLE_LENGTH
from backend.videos.service import start_processing

log = structlog.get_logger(__name__)

#: The types taken, by extension. Of each the first is what we call it; browsers and systems say the others too.
ALLOWED_TYPES: Mapping[str, tuple[str, ...]] = {
    "mp4": ("video/mp4",),
    "m4v": ("video/mp4", "video/x-m4v", "video/m4v"),
    "mov": ("video/quicktime",),
    "avi": ("video/x-msvideo", "video/avi", "video/msvideo", "video/vnd.avi"),
    "webm": ("video/webm",),
    "mkv": ("video/x-matroska", "video/matroska"),
}

_CLAIM = "upload"
#: How long an object sent without an account can be adopted.
_CLAIM_SECONDS = 7 * 24 * 3600
_MAX_EXTENSION_LENGTH = 16
#: An upload that began just before its URL expired may still be running for a while.
LATE_ARRIVAL = timedelta(minutes=15)


class FileTooLarge(AppError):
    status, code = 413, "file_too_large"

    def __init__(self) -> None:
        super().__init__(f"Files may be at most {settings.max_upload_size_mb} MB.")


class UnsupportedType(AppError):
    status, code = 415, "unsupported_type"
    message = "Only MP4, MOV, AVI, WebM and MKV files are taken, and the type must agree with the file's extension."


class UploadMissing(Conflict):
    code, message = "upload_missing", "The file has not arrived in the storage. Upload it, then confirm again."


class UploadMismatch(Conflict):
    code, message = "upload_mismatch", "What arrived has another size than was announced. Upload the file again."


class UploadExpired(Gone):
    code, message = "upload_expired", "The time for this upload is over and no file arrived. Start a new upload."


@dataclass(frozen=True)
class PublicUpload:
    """A place for a file from somebody without an account; nothing of it is stored by us."""

    key: str
    url: str
    claim: str
    expires_at: datetime


@dataclass(frozen=True)
class Begun:
    """A reserved upload, and the one request that fills it."""

    upload: Upload
    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Confirmed:
    """The video of an upload; `created` is False when it had been confirmed before."""

    video: Video
    created: bool


def extension_of(filename: str) -> str:
    """The extension of a name or path: lower case, ASCII letters and digits only, cut short; "" when it has none."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    stem, _, extension = name.rpartition(".")
    kept = "".join(c for c in extension.lower() if c.isascii() and c.isalnum())
    return kept[:_MAX_EXTENSION_LENGTH] if stem.strip(". ") else ""


def title_of(filename: str) -> str:
    """The title a video has when nobody gave one: its file's name without folder and extension."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    stem = name.rpartition(".")[0].strip()
    return (stem or name.strip() or "Untitled")[:MAX_TITLE_LENGTH].strip()


# --- without an account ----------------------------------------------------------------------------------------------


async def sign_public(filename: str) -> PublicUpload:
    """A URL good for `UPLOAD_URL_EXPIRATION` seconds. Any type and size: they are looked at when it is adopted.

    Raises ValidationFailed: when the name has no extension.
    """
    extension = extension_of(filename)
    if not extension:
        message = "The file's name needs an extension, like holiday.mp4."
        raise ValidationFailed(message, fields={"filename": message})
    key = f"upload/{uuid.uuid4()}.{extension}"
    seconds = settings.upload_url_expiration
    return PublicUpload(
        key=key,
        url=await storage.presign_put(key, expires_seconds=seconds),
        claim=sign_claim(_CLAIM, {"key": key, "filename": filename}, _CLAIM_SECONDS),
        expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
    )


async def adopt(*, actor: Actor, s3_key: str, claim: str, title: str | None, description: str) -> Confirmed:
    """Make the object under `s3_key` a video in the actor's personal project. Twice by the same person: the same video.

    Raises ValidationFailed (a claim that is not for this key), UnsupportedType, UploadMissing, FileTooLarge,
    UploadMismatch (an empty object), and NotFound when somebody else adopted it.
    """
    stated = read_claim(_CLAIM, claim)
    if stated.get("key") != s3_key:
        raise ValidationFailed("This claim is for another object.", fields={"claim": "For another object"})
    extension = extension_of(s3_key)
    if extension not in ALLOWED_TYPES:
        raise UnsupportedType
    async with transaction() as session:
        if (earlier := await _adopted(session, actor, s3_key)) is not None:
            return earlier
    found = await storage.head(s3_key)
    if found is None:
        raise UploadMissing
    if found.size_bytes > settings.max_upload_bytes:
        raise FileTooLarge
    if found.size_bytes == 0:
        raise UploadMismatch("The file that arrived is empty.")
    async with transaction() as session:
        row = insert(Upload).values(
            project_id=actor.personal_project_id,
            owner_id=actor.user_id,
            s3_key=s3_key,
            filename=stated.get("filename") or s3_key.rpartition("/")[2],
            content_type=ALLOWED_TYPES[extension][0],
            size_bytes=found.size_bytes,
            # Not known here; by then at the latest the URL it came by is no longer good.
            expires_at=func.now() + timedelta(seconds=settings.upload_url_expiration),
        )
        upload = await session.scalar(row.on_conflict_do_nothing(index_elements=["s3_key"]).returning(Upload))
        if upload is not None:
            return await _make_video(session, upload, found, title, description)
        # Somebody was quicker, perhaps the same person's second click.
        if (earlier := await _adopted(session, actor, s3_key)) is not None:
            return earlier
    raise NotFound


async def _adopted(session: AsyncSession, actor: Actor, s3_key: str) -> Confirmed | None:
    row = (await session.execute(select(Upload.owner_id, Upload.video_id).where(Upload.s3_key == s3_key))).one_or_none()
    if row is None:
        return None
    if row.owner_id != actor.user_id:
        raise NotFound
    return await _confirmed_before(session, actor, row.video_id)


# --- with an account -------------------------------------------------------------------------------------------------


async def begin(session: AsyncSession, *, actor: Actor, filename: str, size: int, content_type: str) -> Begun:
    """Reserve a place for `size` bytes, and sign a PUT that takes exactly this size and type.

    Raises FileTooLarge; UnsupportedType, also when extension and type disagree.
    """
    if size > settings.max_upload_bytes:
        raise FileTooLarge
    extension = extension_of(filename)
    content_type = content_type.lower()
    if content_type not in ALLOWED_TYPES.get(extension, ()):
        raise UnsupportedType
    seconds = settings.presigned_url_expiration
    video_id = uuid.uuid4()
    upload = Upload(
        id=uuid.uuid4(),
        project_id=actor.personal_project_id,
        owner_id=actor.user_id,
        video_id=video_id,
        s3_key=f"videos/{actor.user_id}/{video_id}/{uuid.uuid4()}.{extension}",
        filename=filename,
        content_type=content_type,
        size_bytes=size,
        expires_at=func.now() + timedelta(seconds=seconds),
    )
    session.add(upload)
    await session.flush()
    await session.refresh(upload)
    url = await storage.presign_put(upload.s3_key, expires_seconds=seconds, content_type=content_type, size_bytes=size)
    # Content-Length is signed as well; a browser sets it by itself and lets nobody else do so.
    return Begun(upload, url, {"Content-Type": content_type})


async def confirm(*, actor: Actor, video_id: uuid.UUID, title: str | None, description: str) -> Confirmed:
    """The bytes are said to be there: look, and make the video and its job. Again: the same video.

    Raises NotFound, UploadMissing, UploadMismatch, UploadExpired, InvalidState (given up before), StorageUnavailable.
    """
    async with transaction() as session:
        upload = await _reserved(session, actor, video_id)
        if upload.state == UploadState.COMPLETED:
            return await _confirmed_before(session, actor, video_id)
    found = await storage.head(upload.s3_key)
    async with transaction() as session:
        outcome = await _settle(session, actor, video_id, found, title, description)
    if isinstance(outcome, AppError):
        raise outcome
    return outcome


async def abort(session: AsyncSession, *, actor: Actor, upload_id: uuid.UUID) -> None:
    """Give an upload up and remove what arrived; again is fine. Raises NotFound, InvalidState once it is a video."""
    upload = await get_visible(session, Upload, actor, upload_id, for_update=True)
    if upload.state == UploadState.COMPLETED:
        raise InvalidState("This upload is already a video. Delete the video instead.")
    if upload.state == UploadState.CANCELLED:
        return
    upload.state = UploadState.CANCELLED
    key = upload.s3_key
    # What arrives after this, on the URL that is still good, is removed when the URL is not.
    await jobs.start(
        session,
        kind="purge_objects",
        project_id=upload.project_id,
        owner_id=upload.owner_id,
        args={"keys": [key]},
        run_at=upload.expires_at + LATE_ARRIVAL,
    )

    async def remove() -> None:
        await storage.delete([key])

    after_commit(session, remove)


def state_of(upload: Upload) -> UploadState:
    """The state to show: an open upload whose time is over is expired, whether or not anybody has noted it."""
    state = UploadState(upload.state)
    return UploadState.EXPIRED if state == UploadState.WAITING and upload.expires_at < datetime.now(UTC) else state


async def _reserved(session: AsyncSession, actor: Actor, video_id: uuid.UUID, *, for_update: bool = False) -> Upload:
    query = visible(Upload, actor).where(Upload.video_id == video_id)
    upload = await session.scalar(query.with_for_update() if for_update else query)
    if upload is None:
        raise NotFound
    return upload


async def _settle(
    session: AsyncSession,
    actor: Actor,
    video_id: uuid.UUID,
    found: ObjectInfo | None,
    title: str | None,
    description: str,
) -> Confirmed | AppError:
    # Answers an error instead of raising it, so that what it says of the upload is committed.
    upload = await _reserved(session, actor, video_id, for_update=True)
    if upload.state == UploadState.COMPLETED:
        return await _confirmed_before(session, actor, video_id)
    if upload.state == UploadState.CANCELLED:
        return InvalidState("This upload was given up. Start a new one.")
    if found is None:
        if not await session.scalar(select(Upload.expires_at < func.now()).where(Upload.id == upload.id)):
            return UploadMissing()
        upload.state = UploadState.EXPIRED
        return UploadExpired()
    if found.size_bytes != upload.size_bytes:
        upload.state, upload.error_code, upload.error_message = (
            UploadState.FAILED,
            UploadMismatch.code,
            UploadMismatch.message,
        )
        log.info("upload.mismatch", upload_id=str(upload.id), announced=upload.size_bytes, found=found.size_bytes)
        return UploadMismatch()
    return await _make_video(session, upload, found, title, description)


async def _make_video(
    session: AsyncSession, upload: Upload, found: ObjectInfo, title: str | None, description: str
) -> Confirmed:
    upload.state, upload.completed_at = UploadState.COMPLETED, func.now()
    upload.error_code = upload.error_message = None
    video = Video(
        id=upload.video_id,
        project_id=upload.project_id,
        owner_id=upload.owner_id,
        title=title or title_of(upload.filename),
        description=description,
        status=VideoStatus.UPLOADED,
        filename=upload.filename,
        content_type=ALLOWED_TYPES[extension_of(upload.s3_key)][0],
        size_bytes=found.size_bytes,
        s3_key=upload.s3_key,
        etag=found.etag,
    )
    session.add(video)
    await session.flush()
    job = await start_processing(session, video)
    await session.refresh(video)
    log.info("video.created", video_id=str(video.id), job_id=str(job.id), size_bytes=video.size_bytes)
    return Confirmed(video, created=True)


async def _confirmed_before(session: AsyncSession, actor: Actor, video_id: uuid.UUID) -> Confirmed:
    return Confirmed(await get_visible(session, Video, actor, video_id), created=False)
