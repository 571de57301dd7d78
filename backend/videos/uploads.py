"""Uploads: a place is reserved, and the sender puts the bytes straight into the storage.

Every reserved place is an upload in parts, also where one request brings the whole file: that is its only part. So the
object appears when we complete it, of exactly the parts that we looked at, and from then on no address writes it.
What has arrived, and when it is a video, is decided in `verification`.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core import capabilities
from backend.core.db import after_commit, autocommit, transaction
from backend.core.errors import Forbidden, InvalidState, NotFound, StorageUnavailable, ValidationFailed
from backend.core.security import read_claim, sign_claim
from backend.core.storage import storage
from backend.orgs.access import Actor, Permission, get_visible, visible
from backend.videos import ledger, quota, reserving
from backend.videos.announcements import tell_of_upload
from backend.videos.ledger import LATE_ARRIVAL, SLOW_ARRIVAL, ObjectKind
from backend.videos.models import OPEN_UPLOADS, Upload, UploadState, Video
from backend.videos.multipart import part_size_for
from backend.videos.refusals import FileTooLarge, UnsupportedType, UploadMismatch, UploadMissing
from backend.videos.schemas import MAX_TITLE_LENGTH
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)

#: Asked before an upload changes its project, by those above whose rows are of the old one; they raise InvalidState.
on_change_project: list[Callable[[AsyncSession, Upload], Awaitable[None]]] = []

#: The types taken, by extension. Of each the first is what we call it; browsers and systems say the others too.
ALLOWED_TYPES: Mapping[str, tuple[str, ...]] = {
    "mp4": ("video/mp4",),
    "m4v": ("video/mp4", "video/x-m4v", "video/m4v"),
    "mov": ("video/quicktime",),
    "avi": ("video/x-msvideo", "video/avi", "video/msvideo", "video/vnd.avi"),
    "webm": ("video/webm",),
    "mkv": ("video/x-matroska", "video/matroska"),
}

#: Where files sent without an account lie until somebody adopts them.
PUBLIC_PREFIX = "upload/"
#: Where files of practice sessions lie, by an address that takes any size (`unsized`).
SESSION_PREFIX = "coach_plus/"
_CLAIM = "upload"
#: How long an object sent without an account can be adopted.
CLAIM_SECONDS = 7 * 24 * 3600
_MAX_EXTENSION_LENGTH = 16
#: What one request may bring: no S3 takes more.
_MOST_IN_ONE_REQUEST = 5 * 1024**3
_MOST_LISTED = 100


@dataclass(frozen=True)
class PublicUpload:
    """A place for a file from somebody without an account; nothing of it is stored by us."""

    key: str
    url: str
    claim: str
    expires_at: datetime


@dataclass(frozen=True)
class Texts:
    """What the sender typed; None is what was not said."""

    title: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Announced:
    """A file that is about to be sent. `resumable`: in parts that are signed on demand. `bytes_per_second`: what its
    line took the last time."""

    filename: str
    size_bytes: int
    content_type: str
    resumable: bool = False
    checksum: str | None = None
    bytes_per_second: int | None = None
    project_id: uuid.UUID | None = None
    texts: Texts = Texts()


@dataclass(frozen=True)
class Begun:
    """A reserved upload; for one that is not resumable the one request that fills it."""

    upload: Upload
    url: str | None
    headers: dict[str, str]


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
    key = f"{PUBLIC_PREFIX}{uuid.uuid4()}.{extension}"
    seconds = settings.upload_url_expiration
    return PublicUpload(
        key=key,
        url=await storage.presign_put(key, expires_seconds=seconds),
        claim=sign_claim(_CLAIM, {"key": key, "filename": filename}, CLAIM_SECONDS),
        expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
    )


async def begin_adoption(*, actor: Actor, s3_key: str, claim: str, texts: Texts) -> uuid.UUID:
    """Reserve the video that the object under `s3_key` will be, in the actor's personal project; answers the upload.

    Twice by the same person: the same upload. Raises ValidationFailed (a claim that is not for this key), Forbidden,
    UnsupportedType, UploadMissing, FileTooLarge, UploadMismatch (an empty object), and NotFound when somebody else
    adopted it.
    """
    project_id = project_for(actor, None)
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
        await quota.reserve(session, project_id=project_id, size_bytes=found.size_bytes)
        row = insert(Upload).values(
            project_id=project_id,
            owner_id=actor.user_id,
            s3_key=s3_key,
            filename=stated.get("filename") or s3_key.rpartition("/")[2],
            content_type=ALLOWED_TYPES[extension][0],
            size_bytes=found.size_bytes,
            title=texts.title,
            description=texts.description,
            check_at=func.now(),
            # Not known here; by then at the latest the URL it came by is no longer good.
            expires_at=func.now() + timedelta(seconds=settings.upload_url_expiration),
        )
        once = row.on_conflict_do_nothing(index_elements=["s3_key"]).returning(Upload)
        upload: Upload | None = await session.scalar(once)
        if upload is not None:
            for key, seconds in ((s3_key, settings.upload_url_expiration), (final_key(upload), 0)):
                await ledger.record(
                    session,
                    key=key,
                    kind=ObjectKind.ORIGINAL,
                    project_id=upload.project_id,
                    video_id=upload.video_id,
                    writable_seconds=seconds,
                )
            return upload.id
        # Somebody was quicker, perhaps the same person's second click.
        if (earlier := await _adopted(session, actor, s3_key)) is not None:
            return earlier
    raise NotFound


async def _adopted(session: AsyncSession, actor: Actor, s3_key: str) -> uuid.UUID | None:
    upload = await session.scalar(select(Upload).where(Upload.s3_key == s3_key))
    if upload is None:
        return None
    if upload.owner_id != actor.user_id:
        raise NotFound
    return upload.id


def final_key(upload: Upload) -> str:
    """Where the object lies once it is a video: what came by an address that anybody may use again is copied away."""
    if upload.s3_key.startswith(SESSION_PREFIX):
        return f"{upload.s3_key.rpartition('/')[0]}/{upload.id}.{extension_of(upload.s3_key)}"
    if not upload.s3_key.startswith(PUBLIC_PREFIX):
        return upload.s3_key
    return f"videos/{upload.owner_id}/{upload.video_id}/{upload.id}.{extension_of(upload.s3_key)}"


# --- with an account -------------------------------------------------------------------------------------------------


async def begin(*, actor: Actor, file: Announced) -> Begun:
    """Reserve a place for a file, and sign a PUT that takes exactly its size and type unless it comes in parts.

    Raises FileTooLarge; UnsupportedType, also when extension and type disagree; QuotaExceeded; ValidationFailed for a
    project one is not in; StorageUnavailable.
    """
    if file.size_bytes > settings.max_upload_bytes:
        raise FileTooLarge
    if not file.resumable and file.size_bytes > _MOST_IN_ONE_REQUEST:
        raise FileTooLarge("More than 5 GB cannot be sent in one request. Send the file in parts.")
    extension = extension_of(file.filename)
    content_type = file.content_type.lower()
    if content_type not in ALLOWED_TYPES.get(extension, ()):
        raise UnsupportedType
    seconds = settings.presigned_url_expiration
    whole = not file.resumable and tells_of_objects()
    project_id = project_for(actor, file.project_id)
    video_id = uuid.uuid4()
    upload = Upload(
        id=uuid.uuid4(),
        project_id=project_id,
        owner_id=actor.user_id,
        video_id=video_id,
        s3_key=f"videos/{actor.user_id}/{video_id}/{uuid.uuid4()}.{extension}",
        filename=file.filename,
        content_type=content_type,
        size_bytes=file.size_bytes,
        resumable=file.resumable,
        part_size=part_size_for(file.size_bytes, file.bytes_per_second) if file.resumable else file.size_bytes,
        checksum=file.checksum,
        title=file.texts.title,
        description=file.texts.description,
    )
    keep = timedelta(days=settings.upload_keep_days) if file.resumable else timedelta(seconds=seconds)
    writable = timedelta(seconds=seconds)
    if quota.are_set():
        async with transaction() as session:
            await quota.reserve(session, project_id=project_id, size_bytes=file.size_bytes)
            await reserving.write(upload, keep=keep, writable=writable, session=session)
    else:  # one statement, which needs no transaction around it
        await reserving.write(upload, keep=keep, writable=writable)
    if whole:
        url = await storage.presign_put(
            upload.s3_key, expires_seconds=seconds, content_type=content_type, size_bytes=file.size_bytes, only_new=True
        )
        return Begun(upload, url, {"Content-Type": content_type, "If-None-Match": "*"})
    try:
        upload.storage_upload_id = await storage.create_multipart(upload.s3_key, content_type=content_type)
    except StorageUnavailable:
        async with transaction() as session:  # nobody will use this place: it must not count
            await session.execute(update(Upload).where(Upload.id == upload.id).values(_GIVEN_UP))
            await ledger.bury(session, [upload.s3_key])
        raise
    async with autocommit() as session:
        await reserving.name_parts(session, upload)
    if file.resumable:
        return Begun(upload, None, {})
    url = await storage.presign_part(
        upload.s3_key,
        upload.storage_upload_id,
        1,
        size_bytes=file.size_bytes,
        expires_seconds=seconds,
        content_type=content_type,
    )
    # Content-Length is signed as well; a browser sets it by itself and lets nobody else do so.
    return Begun(upload, url, {"Content-Type": content_type})


async def change(session: AsyncSession, *, actor: Actor, upload_id: uuid.UUID, changes: Mapping[str, object]) -> Upload:
    """Keep what was typed (title, description, project_id) with an upload that is not yet a video.

    Raises NotFound, Forbidden, InvalidState, ValidationFailed, QuotaExceeded.
    """
    upload = await get_visible(session, Upload, actor, upload_id, permission=Permission.EDIT, for_update=True)
    if upload.state in (UploadState.COMPLETED, UploadState.CANCELLED):
        raise InvalidState("This upload has ended. Change the video instead.")
    for name in ("title", "description"):
        if name in changes:
            setattr(upload, name, changes[name])
    project_id = changes.get("project_id")
    if isinstance(project_id, uuid.UUID) and project_id != upload.project_id:
        size = upload.size_bytes or 0
        # It is announced in the project that it leaves: of the same owner, it must not count twice.
        await quota.reserve(session, project_id=project_for(actor, project_id), size_bytes=size, without=upload.id)
        for hook in on_change_project:
            await hook(session, upload)
        upload.project_id = project_id
        await ledger.move(session, video_id=upload.video_id, project_id=project_id)
    return upload


async def list_open(session: AsyncSession, *, actor: Actor) -> Sequence[Upload]:
    """One's own uploads that can go on, newest first; at most a hundred."""
    mine = visible(Upload, actor).where(
        Upload.owner_id == actor.user_id,
        Upload.state.in_(OPEN_UPLOADS),
        Upload.expires_at > func.now(),
    )
    return (await session.scalars(mine.order_by(Upload.created_at.desc(), Upload.id).limit(_MOST_LISTED))).all()


async def duplicates(session: AsyncSession, *, actor: Actor, checksum: str) -> Sequence[Video]:
    """The videos one can see whose file had this checksum, newest first."""
    same = visible(Upload, actor).with_only_columns(Upload.video_id).where(Upload.checksum == checksum)
    found = visible(Video, actor).where(Video.id.in_(same.scalar_subquery()))
    return (await session.scalars(found.order_by(Video.created_at.desc()).limit(10))).all()


async def abort(session: AsyncSession, *, actor: Actor, upload_id: uuid.UUID) -> None:
    """Give an upload up and remove what arrived; again is fine. Raises NotFound, InvalidState once it is a video."""
    upload = await get_visible(session, Upload, actor, upload_id, permission=Permission.EDIT, for_update=True)
    if upload.state == UploadState.COMPLETED:
        raise InvalidState("This upload is already a video. Delete the video instead.")
    if upload.state == UploadState.CANCELLED:
        return
    for name, value in _GIVEN_UP.items():
        setattr(upload, name, value)
    await tell_of_upload(session, EventType.UPLOAD_CANCELLED, upload)
    keys = sorted({upload.s3_key, final_key(upload)})
    # What arrives after this, on a URL that is still good, is removed when the URL is not.
    await ledger.bury(session, keys)

    async def remove() -> None:
        await ledger.remove_buried(keys)

    after_commit(session, remove)


_GIVEN_UP: dict[str, object] = {"state": UploadState.CANCELLED, "check_at": None}


def state_of(upload: Upload) -> UploadState:
    """The state to show: an open upload whose time is over is expired, whether or not anybody has noted it."""
    state = UploadState(upload.state)
    over = state in (UploadState.WAITING, UploadState.UPLOADING) and upload.expires_at < datetime.now(UTC)
    return UploadState.EXPIRED if over else state


def kept_until(upload: Upload) -> datetime:
    """When what has arrived of an upload is given up: nothing can be on its way any more."""
    return upload.expires_at + (LATE_ARRIVAL if upload.resumable else SLOW_ARRIVAL)


def tells_of_objects() -> bool:
    """Whether a file in one request is stored as an object of its own: only of those the storage tells us at once.

    Such a PUT must carry `If-None-Match: *`, so it takes a storage that keeps to it.
    """
    return bool(settings.storage_events_token.get_secret_value()) and capabilities.current().if_none_match


def project_for(actor: Actor, project_id: uuid.UUID | None) -> uuid.UUID:
    """The project to put a video into: one's own unless another is named.

    Raises ValidationFailed for one that the actor does not see, Forbidden for one that the actor may not change.
    """
    project_id = project_id or actor.personal_project_id
    if project_id not in actor.project_ids:
        raise ValidationFailed(fields={"project_id": "There is no such project, or you are not in it"})
    if not actor.may(Permission.EDIT, project_id):
        raise Forbidden
    return project_id
