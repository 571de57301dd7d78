"""Whether what arrived is the whole file, and what becomes of it: asked by the sender, by the sweep and by events.

The storage is asked with no transaction open; what it said is then weighed under a lock on the upload's row. Whoever
looks says so by the state `verifying`, so that of many at once one does the work and the others wait for its outcome.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, extract, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import AppError, Busy, InvalidState, NotFound
from backend.core.storage import NoSuchMultipart, ObjectInfo, PartsChanged, storage
from backend.orgs.access import Actor, Permission, get_visible, require, visible
from backend.videos import ledger, quota
from backend.videos.announcements import tell_of_upload, tell_of_video
from backend.videos.models import Upload, UploadState, Video, VideoStatus
from backend.videos.multipart import problem_with
from backend.videos.refusals import (
    FileTooLarge,
    PartsInvalid,
    QuotaExceeded,
    UploadExpired,
    UploadMismatch,
    UploadMissing,
)
from backend.videos.service import start_processing
from backend.videos.uploads import (
    ALLOWED_TYPES,
    SESSION_PREFIX,
    Texts,
    begin_adoption,
    extension_of,
    final_key,
    kept_until,
    project_for,
    title_of,
)
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)

#: Who verifies has this long; then another may look as well, which does no harm.
_LEASE = timedelta(seconds=20)
_WAIT_SECONDS = 25.0
_POLL_SECONDS = 0.1
#: Looks become rarer as an upload grows old, but not rarer than this.
_RAREST = timedelta(minutes=10)
_TRIES = 3

#: Called in the transaction in which a file has arrived and become a video, by those above who waited for it.
on_arrival: list[Callable[[AsyncSession, Upload, Video], Awaitable[None]]] = []


@dataclass(frozen=True)
class Confirmed:
    """The video of an upload; `created` is False when its sender had confirmed it before."""

    video: Video
    created: bool


@dataclass(frozen=True)
class _Taken:
    """An upload that is ours to look at, and the state it goes back to when nothing comes of it."""

    upload: Upload
    before: UploadState


class _AtWork(Exception):
    """Somebody else is looking at this upload."""


async def confirm(*, actor: Actor, video_id: uuid.UUID, texts: Texts) -> Confirmed:
    """The bytes are said to be there: look, and make the video and its job. Again: the same video.

    Raises NotFound, Forbidden, UploadMissing, UploadMismatch, PartsInvalid, UploadExpired, QuotaExceeded, InvalidState
    (given up before), Busy, StorageUnavailable.
    """
    async with transaction() as session:
        upload = await session.scalar(visible(Upload, actor).where(Upload.video_id == video_id))
    if upload is None:
        raise NotFound
    require(actor, Permission.EDIT, upload.project_id)
    return await verify(upload.id, texts=texts)


async def complete(
    *, actor: Actor, upload_id: uuid.UUID, texts: Texts, project_id: uuid.UUID | None = None
) -> Confirmed:
    """As `confirm`, by the upload's id; a `project_id` counts unless it is a video already. Raises ValidationFailed."""
    async with transaction() as session:
        upload = await get_visible(session, Upload, actor, upload_id, permission=Permission.EDIT, for_update=True)
        if project_id is not None and upload.state not in (UploadState.COMPLETED, UploadState.CANCELLED):
            upload.project_id = project_for(actor, project_id)
            try:
                await session.flush()
            except IntegrityError as error:  # something of its project waits for it
                raise InvalidState("A practice session waits for this upload: it stays in its project.") from error
            await ledger.move(session, video_id=upload.video_id, project_id=upload.project_id)
    return await verify(upload_id, texts=texts)


async def adopt(*, actor: Actor, s3_key: str, claim: str, texts: Texts) -> Confirmed:
    """Make the object under `s3_key`, sent without an account, a video. Twice by the same person: the same video.

    Raises as `begin_adoption` and `confirm` do.
    """
    upload_id = await begin_adoption(actor=actor, s3_key=s3_key, claim=claim, texts=texts)
    return await verify(upload_id, texts=texts)


async def verify(upload_id: uuid.UUID, *, texts: Texts | None = None) -> Confirmed:
    """Look at what arrived of an upload and settle it. `texts` come from its sender; None: nobody asked but us.

    Raises as `confirm` does.
    """
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while True:
        try:
            async with transaction() as session:
                taken = await _take(session, upload_id, texts)
            break
        except _AtWork:
            if texts is None or asyncio.get_running_loop().time() > deadline:
                raise Busy(retry_after_seconds=2) from None
            await asyncio.sleep(_POLL_SECONDS)
    if isinstance(taken, AppError):
        raise taken
    if isinstance(taken, Confirmed):
        return taken
    try:
        found = await _look(taken.upload)
    except BaseException:  # cancelled or failed, the next who looks must not wait for the lease
        await asyncio.shield(_put_back(taken))
        raise
    async with transaction() as session:
        outcome = await _settle(session, taken, found, by_sender=texts is not None)
    if isinstance(outcome, AppError):
        raise outcome
    return outcome


async def _take(session: AsyncSession, upload_id: uuid.UUID, texts: Texts | None) -> _Taken | Confirmed | AppError:
    upload = await session.get(Upload, upload_id, with_for_update=True)
    if upload is None:
        return NotFound()
    if upload.state == UploadState.COMPLETED:
        return await _confirmed_before(session, upload, texts)
    if upload.state == UploadState.CANCELLED:
        return InvalidState("This upload was given up. Start a new one.")
    if upload.check_at is None:  # what had arrived is removed
        return UploadExpired()
    now = await session.scalar(select(func.now()))
    assert now is not None
    if upload.state == UploadState.VERIFYING and upload.check_at > now:
        raise _AtWork
    if texts is not None:  # kept, so that they are not lost when we are
        upload.title = texts.title or upload.title
        upload.description = upload.description if texts.description is None else texts.description
    before = UploadState(upload.state)
    upload.state, upload.check_at = UploadState.VERIFYING, now + _LEASE
    if before == UploadState.VERIFYING:
        before = UploadState.UPLOADING if upload.resumable else UploadState.WAITING
    return _Taken(upload, before)


async def _put_back(taken: _Taken) -> None:
    async with transaction() as session:
        upload = await session.get(Upload, taken.upload.id, with_for_update=True)
        if upload is not None and upload.state == UploadState.VERIFYING:
            upload.state, upload.check_at = taken.before, _later()


# --- in the storage --------------------------------------------------------------------------------------------------


async def _look(upload: Upload) -> ObjectInfo | AppError | None:
    """The object, put together or copied to its place if that was still to be done; or what is wrong with it."""
    key = final_key(upload)
    if key != upload.s3_key:
        return await storage.head(key) or await _copied(upload, key)
    if upload.storage_upload_id is None:
        return await storage.head(key)
    for _ in range(_TRIES):
        try:
            parts = await storage.list_parts(key, upload.storage_upload_id)
            if (problem := problem_with(upload, parts)) is not None:
                # A storage that answers with no parts may mean that the object is put together already.
                return await storage.head(key) or problem
            if (refusal := await _weighed(upload)) is not None:
                return refusal
            await storage.complete_multipart(key, upload.storage_upload_id, parts)
        except NoSuchMultipart:
            pass
        except PartsChanged:  # one was sent again in this moment
            continue
        return await storage.head(key)
    return PartsInvalid()


async def _copied(upload: Upload, key: str) -> ObjectInfo | AppError | None:
    found = await storage.head(upload.s3_key)
    if upload.size_bytes is None and found is not None:
        if (refusal := _too_much(found)) is not None:
            return refusal
        upload.size_bytes = found.size_bytes
    if found is None or found.size_bytes != upload.size_bytes:
        return found
    if (refusal := await _weighed(upload)) is not None:
        return refusal
    if not await storage.copy(upload.s3_key, key, etag=found.etag, content_type=upload.content_type):
        return UploadMismatch("The file was replaced while it was looked at. Confirm it again.")
    return await storage.head(key)


def _too_much(found: ObjectInfo) -> AppError | None:
    """What is wrong with a file of which nothing was announced."""
    if found.size_bytes == 0:
        return UploadMismatch("The file that arrived is empty.")
    return FileTooLarge() if found.size_bytes > settings.max_upload_bytes else None


async def _weighed(upload: Upload) -> QuotaExceeded | None:
    """Nothing is put together that will be refused: what is only parts is removed as such, and can be sent on."""
    async with transaction() as session:
        try:
            await _reserve(session, upload)
        except QuotaExceeded as refusal:
            return refusal
    return None


# --- in the database -------------------------------------------------------------------------------------------------


async def _settle(
    session: AsyncSession, taken: _Taken, found: ObjectInfo | AppError | None, *, by_sender: bool
) -> Confirmed | AppError:
    # Answers an error instead of raising it, so that what it says of the upload is committed.
    upload = await session.get(Upload, taken.upload.id, with_for_update=True, populate_existing=True)
    if upload is None:
        return NotFound()
    if upload.state == UploadState.COMPLETED:
        return await _confirmed_before(session, upload, Texts() if by_sender else None)
    if upload.state == UploadState.CANCELLED:
        return InvalidState("This upload was given up. Start a new one.")
    if upload.check_at is None:
        return UploadExpired()
    if isinstance(found, FileTooLarge | UploadMismatch):
        return await _not_yet(session, taken, upload, UploadState.FAILED, found)
    if isinstance(found, ObjectInfo):
        if upload.size_bytes is None and _too_much(found) is None:
            upload.size_bytes = found.size_bytes
        if found.size_bytes != upload.size_bytes:
            log.info("upload.mismatch", upload_id=str(upload.id), announced=upload.size_bytes, found=found.size_bytes)
            return await _not_yet(session, taken, upload, UploadState.FAILED, UploadMismatch())
        try:
            await _reserve(session, upload)
        except AppError as refusal:
            return await _not_yet(session, taken, upload, taken.before, refusal)
        return await _make_video(session, upload, found, by_sender=by_sender)
    if isinstance(found, QuotaExceeded):
        return await _not_yet(session, taken, upload, taken.before, found)
    now = await session.scalar(select(func.now()))
    assert now is not None
    if upload.expires_at < now:
        return await _not_yet(session, taken, upload, UploadState.EXPIRED, UploadExpired())
    return await _not_yet(session, taken, upload, taken.before, found or UploadMissing())


async def _reserve(session: AsyncSession, upload: Upload) -> None:
    size = upload.size_bytes or 0
    await quota.reserve(session, project_id=upload.project_id, size_bytes=size, without=upload.id)


async def _not_yet(
    session: AsyncSession, taken: _Taken, upload: Upload, state: UploadState, refusal: AppError
) -> AppError:
    """Nothing came of it this time. When nothing can come any more, what arrived is removed."""
    upload.state = state
    if state == UploadState.FAILED:
        upload.error_code, upload.error_message = refusal.code, refusal.message
    now = await session.scalar(select(func.now()))
    assert now is not None
    if kept_until(upload) < now:
        if state != UploadState.FAILED:
            upload.state = UploadState.EXPIRED
        upload.check_at = None
        await ledger.bury(session, sorted({upload.s3_key, final_key(upload)}))
        log.info("upload.expired", upload_id=str(upload.id))
        refusal = refusal if state == UploadState.FAILED else UploadExpired()
    else:
        upload.check_at = _later()
    if upload.state != taken.before:
        event = EventType.UPLOAD_FAILED if upload.state == UploadState.FAILED else EventType.UPLOAD_EXPIRED
        await tell_of_upload(session, event, upload)
    return refusal


def _later() -> ColumnElement[datetime]:
    """When to look again: soon while it is new."""
    soonest = timedelta(seconds=settings.upload_sweep_seconds)
    quarter = func.make_interval(0, 0, 0, 0, 0, 0, extract("epoch", func.now() - Upload.created_at) / 4)
    return func.now() + func.least(func.greatest(quarter, soonest), _RAREST)


async def _make_video(session: AsyncSession, upload: Upload, found: ObjectInfo, *, by_sender: bool) -> Confirmed:
    upload.state, upload.completed_at, upload.check_at = UploadState.COMPLETED, func.now(), None
    upload.confirmed_at = func.now() if by_sender else None
    upload.error_code = upload.error_message = None
    video = Video(
        id=upload.video_id,
        project_id=upload.project_id,
        owner_id=upload.owner_id,
        title=upload.title or title_of(upload.filename),
        description=upload.description or "",
        status=VideoStatus.UPLOADED,
        filename=upload.filename,
        content_type=ALLOWED_TYPES[extension_of(upload.s3_key)][0],
        size_bytes=found.size_bytes,
        s3_key=final_key(upload),
        etag=found.etag,
        source="session" if upload.s3_key.startswith(SESSION_PREFIX) else "upload",
    )
    session.add(video)
    await session.flush()
    job = await start_processing(session, video)
    await session.refresh(video)
    for hook in on_arrival:
        await hook(session, upload, video)
    if upload.s3_key != video.s3_key:
        await ledger.bury(session, [upload.s3_key])
    await tell_of_upload(session, EventType.UPLOAD_COMPLETED, upload)
    await tell_of_video(session, EventType.VIDEO_CREATED, project_id=video.project_id, video_id=video.id)
    log.info("video.created", video_id=str(video.id), job_id=str(job.id), size_bytes=video.size_bytes)
    return Confirmed(video, created=by_sender)


async def _confirmed_before(session: AsyncSession, upload: Upload, texts: Texts | None) -> Confirmed | AppError:
    """The video that is there. If it was made with nobody asking, the first who confirms says what it is called."""
    video = await session.get(Video, upload.video_id, with_for_update=texts is not None)
    if video is None or video.deleted_at is not None:
        return NotFound()
    if texts is None or upload.confirmed_at is not None:
        return Confirmed(video, created=False)
    upload.confirmed_at = func.now()
    before = (video.title, video.description)
    video.title = texts.title or video.title
    if texts.description is not None:
        video.description = texts.description
    await session.flush()
    await session.refresh(video)
    if before != (video.title, video.description):
        await tell_of_video(session, EventType.VIDEO_UPDATED, project_id=video.project_id, video_id=video.id)
    return Confirmed(video, created=True)
