"""Uploads in parts: how large they are, their signed addresses, and whether what arrived is the whole file.

All parts have the size that was fixed when the upload began; only the last may be shorter. Some storages insist on
that, and it makes what is missing a matter of numbers.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, update

from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import AppError, InvalidState, ValidationFailed
from backend.core.storage import NoSuchMultipart, Part, storage
from backend.orgs.access import Actor, Permission, get_visible
from backend.videos import ledger
from backend.videos.ledger import ObjectKind
from backend.videos.models import Upload, UploadState
from backend.videos.refusals import PartsInvalid, UploadExpired, UploadMissing

_MIB = 1024 * 1024
#: No S3 takes more.
MOST_PARTS = 10_000
#: A file comes in about this many parts, none larger than `UPLOAD_PART_SIZE_MB` as long as 10,000 of them do. Each part
#: costs a request and a write to the end of the disk (16 MiB: 0.69 of `curl -T`, 64 MiB: 0.84). A cut line loses those
#: that are under way, so none is to take long; proxies take only so much in one request, common ones 100 MB.
_AIMED_PARTS = 16
_SMALL_BYTES = 16 * _MIB
_MOST_ON_AN_UNKNOWN_LINE = 32 * _MIB
_LEAST_ON_A_SLOW_LINE = 8 * _MIB
#: What passes in so many seconds on a line whose speed was said is the most for a part.
_PART_SECONDS = 2
_MOST_NAMED = 10


@dataclass(frozen=True)
class SignedPart:
    """Where one part is sent to: a PUT of exactly `size_bytes`."""

    number: int
    url: str
    size_bytes: int


def part_size_for(size_bytes: int, bytes_per_second: int | None = None) -> int:
    """The size of every part but the last, in bytes: whole MiB, more for larger files and on a line that is quick."""
    most = _MOST_ON_AN_UNKNOWN_LINE
    if bytes_per_second is not None:
        most = max(bytes_per_second * _PART_SECONDS, _LEAST_ON_A_SLOW_LINE)
    wanted = min(max(-(-size_bytes // _AIMED_PARTS), _SMALL_BYTES), most, settings.upload_part_size_mb * _MIB)
    needed = -(-size_bytes // MOST_PARTS)
    return -(-max(wanted, needed) // _MIB) * _MIB


def bytes_of(upload: Upload, number: int) -> int:
    """How many bytes a part has. Numbers begin at 1."""
    assert upload.part_size is not None
    assert upload.size_bytes is not None
    return min(upload.part_size, upload.size_bytes - (number - 1) * upload.part_size)


async def sign_parts(*, actor: Actor, upload_id: uuid.UUID, numbers: Sequence[int]) -> tuple[list[SignedPart], int]:
    """Addresses for these parts, and the seconds they are good for. Ask again when they have ended.

    Whoever signs goes on sending: the days for which an upload is kept count from the last part that can arrive.

    Raises NotFound, Forbidden, InvalidState, UploadExpired, ValidationFailed for a number that is no part of the file.
    """
    seconds = settings.presigned_url_expiration
    async with transaction() as session:
        upload = await get_visible(session, Upload, actor, upload_id, permission=Permission.EDIT)
        if not upload.resumable or upload.storage_upload_id is None:
            raise InvalidState("This upload is sent in one request, not in parts.")
        _require_open(upload)
        count = upload.part_count or 0
        if not all(1 <= number <= count for number in numbers):
            message = f"The parts of this file are numbered from 1 to {count}"
            raise ValidationFailed(fields={"part_numbers": message})
        moved = update(Upload).where(
            Upload.id == upload.id, Upload.state.in_((UploadState.WAITING, UploadState.EXPIRED))
        )
        await session.execute(moved.values(state=UploadState.UPLOADING))
        keep = timedelta(days=settings.upload_keep_days, seconds=seconds)
        longer = update(Upload).where(Upload.id == upload.id, Upload.expires_at < func.now() + keep)
        await session.execute(longer.values(expires_at=func.now() + keep))
        await ledger.record(
            session,
            key=upload.s3_key,
            kind=ObjectKind.ORIGINAL,
            project_id=upload.project_id,
            video_id=upload.video_id,
            writable_seconds=seconds,
        )
    parts = []
    for number in sorted(set(numbers)):
        size = bytes_of(upload, number)
        url = await storage.presign_part(
            upload.s3_key, upload.storage_upload_id, number, size_bytes=size, expires_seconds=seconds
        )
        parts.append(SignedPart(number, url, size))
    return parts, seconds


async def arrived(upload: Upload) -> list[Part]:
    """What the storage has of an upload; nothing once it is complete or given up. Raises StorageUnavailable."""
    if upload.storage_upload_id is None or upload.state in (UploadState.COMPLETED, UploadState.CANCELLED):
        return []
    try:
        parts = await storage.list_parts(upload.s3_key, upload.storage_upload_id)
    except NoSuchMultipart:
        parts = []
    if parts or not upload.part_count:
        return parts
    # Put together and then refused, as by a full quota: it takes no part any more, for it has all of them.
    whole = await storage.head(upload.s3_key)
    if whole is None or whole.size_bytes != upload.size_bytes:
        return []
    return [Part(number, bytes_of(upload, number), whole.etag) for number in range(1, upload.part_count + 1)]


def problem_with(upload: Upload, parts: Sequence[Part]) -> AppError | None:
    """What is wrong with the parts that arrived; None when together they are the whole file."""
    if not parts:
        return UploadMissing()
    count = upload.part_count or 0
    sizes = {part.number: part.size_bytes for part in parts}
    if extra := [number for number in sizes if number > count]:
        return PartsInvalid(f"{_named(extra)} not of this file, which has {count}.")
    if wrong := [number for number in sizes if sizes[number] != bytes_of(upload, number)]:
        return PartsInvalid(f"{_named(wrong)} of another size than announced. Send it again, then try again.")
    if len(sizes) < count:
        missing = [number for number in range(1, count + 1) if number not in sizes]
        return PartsInvalid(f"{_named(missing)} missing. Send what is missing, then try again.")
    return None


def _named(numbers: Sequence[int]) -> str:
    words = ", ".join(str(number) for number in numbers[:_MOST_NAMED])
    more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
    return f"Parts {words}{more} are" if len(numbers) > 1 else f"Part {words} is"


def _require_open(upload: Upload) -> None:
    if upload.state == UploadState.CANCELLED:
        raise InvalidState("This upload was given up. Start a new one.")
    if upload.state == UploadState.COMPLETED:
        raise InvalidState("This upload is complete.")
    if upload.check_at is None:  # what had arrived is removed
        raise UploadExpired
