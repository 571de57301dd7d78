"""The storage and the ledger, side by side: what is in one and not in the other, and how that is mended.

Both are read in the order of the keys, a page of each at a time, so that memory does not grow with what is stored.
Uploads, jobs and removals go on meanwhile: what seems wrong is looked at once more by itself, what a job works on is
left alone, and what is younger than the longest life of a signed address and a day is only counted, as it may be on its
way.
"""

import re
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import Row, Select, and_, delete, exists, false, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from backend.config import settings
from backend.core import capabilities
from backend.core.db import transaction
from backend.core.storage import ListedObject, NoSuchMultipart, OpenMultipart, PartsChanged, storage
from backend.jobs.models import LIVE_STATES, Job
from backend.videos import ledger
from backend.videos.ledger import IN_PARTS, KEY_COLUMNS, RUNG_KEYS, SLOW_ARRIVAL, ObjectKind
from backend.videos.models import OPEN_UPLOADS, StoredObject, Upload, UploadState, Video, VideoStatus
from backend.videos.refusals import UploadMissing
from backend.videos.uploads import CLAIM_SECONDS, PUBLIC_PREFIX, final_key

log = structlog.get_logger(__name__)

_PAGE = 500
_IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


_BUSY = exists().where(Job.video_id == StoredObject.video_id, Job.state.in_(LIVE_STATES))


def _rows() -> Select[Any]:
    """Records with what they belong to, whether something works on that, and whether another domain keeps them."""
    kept = or_(false(), *(keeper(StoredObject.key.expression).exists() for keeper in ledger.keepers))
    return (
        select(StoredObject, Upload, Video, RUNG_KEYS, _BUSY.label("busy"), kept.label("kept"))
        .outerjoin(Upload, Upload.video_id == StoredObject.video_id)
        .outerjoin(Video, Video.id == StoredObject.video_id)
        .options(load_only(Video.id, Video.status, *KEY_COLUMNS))
    )


class Trouble(StrEnum):
    """What is wrong with a key."""

    STRAY = "stray"  #: an object that was never written down
    UNCLAIMED = "unclaimed"  #: sent without an account and adopted by nobody in time
    UNOWNED = "unowned"  #: written down, and what it belonged to is gone
    ABANDONED = "abandoned"  #: written down for a video that does not use it
    MISSING = "missing"  #: a video uses it, and it is not in the storage
    EMPTY = "empty"  #: written down, not there, and nobody waits for it
    OPEN_PARTS = "open_parts"  #: parts of an upload that is over


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `since` is what its age counts from; a `young` one is never touched."""

    trouble: Trouble
    key: str
    kind: str | None
    size_bytes: int | None
    since: datetime
    young: bool
    mended: str | None = None


@dataclass
class Totals:
    """What was looked at so far; `next_after` is where to go on when the time was over.

    `uploads_by_key`: the storage lists no open uploads, so those of keys that are not in the ledger cannot be seen.
    """

    objects: int = 0
    size_bytes: int = 0
    rows: int = 0
    young: int = 0
    uploads_by_key: bool = False
    next_after: str | None = None


class Reconciliation:
    """One pass over everything below `prefix`, or a part of it: from the key `after`, for at most `seconds`."""

    def __init__(self, *, fix: bool = False, after: str = "", prefix: str = "", seconds: float | None = None) -> None:
        self.totals = Totals()
        self._fix = fix
        self._after = after
        self._prefix = prefix
        self._until = time.monotonic() + seconds if seconds is not None else None

    async def findings(self) -> AsyncIterator[Finding]:
        """What is wrong, in the order of the keys; mended on the way when asked to. Raises StorageUnavailable."""
        listable = (await capabilities.learn(storage)).list_uploads_by_prefix
        self.totals.uploads_by_key = not listable
        if listable and not self._after:
            async for parts in self._over(await storage.list_multiparts(self._prefix)):
                yield await self._mend(parts)
        async for listed, rows in self._pages():
            if not listable:
                async for parts in self._over(await _open_below(row.StoredObject for row in rows)):
                    yield await self._mend(parts)
            for suspect in await _suspects(listed, rows):
                finding = await _looked_at_again(suspect)
                if finding is None:
                    continue
                self.totals.young += finding.young
                yield await self._mend(finding)
            if self._until is not None and time.monotonic() > self._until and (listed or rows):
                self.totals.next_after = max([*listed, *(row.StoredObject.key for row in rows)], key=str.encode)
                return

    async def _pages(self) -> AsyncIterator[tuple[dict[str, ListedObject], Sequence[Row[tuple[StoredObject]]]]]:
        """The objects and the records of the same stretch of keys."""
        objects = storage.list_objects(self._prefix, after=self._after)
        after, waiting = self._after, await anext(objects, None)
        while True:
            listed: dict[str, ListedObject] = {}
            while waiting is not None and len(listed) < _PAGE:
                listed[waiting.key] = waiting
                self.totals.objects += 1
                self.totals.size_bytes += waiting.size_bytes
                waiting = await anext(objects, None)
            # All records up to the last key of this stretch; when they are more than a page, in several pages.
            upto = max(listed, key=str.encode) if waiting is not None else None
            while True:
                async with transaction() as session:
                    rows = await _records(session, prefix=self._prefix, after=after, upto=upto)
                self.totals.rows += len(rows)
                if len(rows) < _PAGE:
                    yield listed, rows
                    break
                last = rows[-1].StoredObject.key
                now = {key: each for key, each in listed.items() if key.encode() <= last.encode()}
                yield now, rows
                listed = {key: each for key, each in listed.items() if key not in now}
                after = last
            if upto is None:
                return
            after = upto

    async def _over(self, opened: Sequence[OpenMultipart]) -> AsyncIterator[Finding]:
        """Those whose upload is over."""
        for each in opened:
            async with transaction() as session:
                upload = await session.scalar(select(Upload).where(Upload.s3_key == each.key))
                row = await _records_of(session, each.key)
            if row is not None and row.StoredObject.buried_at is not None:
                continue  # the sweep removes them, as any object under this key
            if row is not None and row.busy:  # it may be what a worker stores just now
                continue
            if upload is not None and upload.check_at is not None:  # it may go on
                continue
            became = upload.storage_upload_id if upload is not None and upload.state == UploadState.COMPLETED else None
            if became == each.upload_id:
                continue  # the object: the storage died before it forgot the parts, or its listing lags
            try:
                await storage.list_parts(each.key, each.upload_id)
            except NoSuchMultipart:
                continue  # likewise
            young = _is_young(each.key, each.started_at)
            self.totals.young += young
            yield Finding(Trouble.OPEN_PARTS, each.key, ObjectKind.ORIGINAL, None, each.started_at, young)

    async def _mend(self, finding: Finding) -> Finding:
        if not self._fix or finding.young:
            return finding
        mended = await _mend(finding)
        log.info("reconcile.mended", trouble=finding.trouble, key=finding.key, mended=mended)
        return replace(finding, mended=mended)


# --- what seems wrong ------------------------------------------------------------------------------------------------


async def _records(
    session: AsyncSession, *, prefix: str, after: str, upto: str | None
) -> Sequence[Row[tuple[StoredObject]]]:
    """Records with what they belong to, in the order of the keys."""
    query = (
        _rows()
        .where(StoredObject.key > after, StoredObject.key.startswith(prefix, autoescape=True))
        .order_by(StoredObject.key)
        .limit(_PAGE)
    )
    if upto is not None:
        query = query.where(StoredObject.key <= upto)
    rows: Sequence[Row[tuple[StoredObject]]] = (await session.execute(query)).all()
    return rows


async def _open_below(records: Iterable[StoredObject]) -> list[OpenMultipart]:
    """The open uploads of these keys, for a storage that lists none by a prefix: each is asked for by itself."""
    keys = [record.key for record in records if record.buried_at is None and record.kind in IN_PARTS]
    return [each for key in keys for each in await storage.list_multiparts(key) if each.key == key]


async def _suspects(listed: dict[str, ListedObject], rows: Sequence[Row[tuple[StoredObject]]]) -> list[Finding]:
    found: dict[str, Finding] = {}
    recorded = set()
    for row in rows:
        recorded.add(row.StoredObject.key)
        if (finding := _judged(row, listed.get(row.StoredObject.key))) is not None:
            found[finding.key] = finding
    for key, each in listed.items():
        if key not in recorded:
            trouble = Trouble.UNCLAIMED if key.startswith(PUBLIC_PREFIX) else Trouble.STRAY
            young = _is_young(key, each.modified_at)
            found[key] = Finding(trouble, key, None, each.size_bytes, each.modified_at, young)
    return [found[key] for key in sorted(found, key=str.encode)]


def _judged(row: Row[tuple[StoredObject]], listed: ListedObject | None) -> Finding | None:
    """What is wrong with a record; nothing when it is buried (the sweep removes it) or as it should be."""
    record: StoredObject = row.StoredObject
    upload: Upload | None = row.Upload
    video: Video | None = row.Video
    if record.buried_at is not None:
        return None
    used = row.kept or (video is not None and record.key in _used_by(video, row.rung_keys or []))
    size = listed.size_bytes if listed is not None else None
    since = max(record.recorded_at, record.writable_until or record.recorded_at)

    def finding(trouble: Trouble) -> Finding:
        return Finding(trouble, record.key, record.kind, size, since, _is_young(record.key, since))

    if used:
        return None if listed is not None else finding(Trouble.MISSING)
    if upload is not None and upload.check_at is not None and record.key in (upload.s3_key, final_key(upload)):
        return None  # it waits for its object
    if video is None:
        return finding(Trouble.UNOWNED if listed is not None else Trouble.EMPTY)
    if row.busy or video.status == VideoStatus.PROCESSING:
        return None  # about to be used, however long that takes: each attempt has keys of its own
    return finding(Trouble.ABANDONED if listed is not None else Trouble.EMPTY)


def _used_by(video: Video, rungs: Sequence[str]) -> set[str | None]:
    return {*rungs, *(getattr(video, column.key) for column in KEY_COLUMNS)}


def safe_age(key: str) -> timedelta:
    """How old something under this key has to be before it can be no upload that is under way."""
    seconds = max(settings.upload_url_expiration, settings.presigned_url_expiration)
    if key.startswith(PUBLIC_PREFIX):  # it may be adopted for as long as the claim is good
        seconds = max(seconds, CLAIM_SECONDS)
    return timedelta(seconds=seconds) + SLOW_ARRIVAL


def _is_young(key: str, since: datetime) -> bool:
    return datetime.now(UTC) - since < safe_age(key)


async def _looked_at_again(suspect: Finding) -> Finding | None:
    """The same by itself, now: listing and records were not read in one moment."""
    async with transaction() as session:
        row = (await _records_of(session, suspect.key)) if suspect.trouble != Trouble.OPEN_PARTS else None
    found = await storage.head(suspect.key)
    if row is None:
        still = found is not None and suspect.trouble in (Trouble.STRAY, Trouble.UNCLAIMED)
        return suspect if still else None
    listed = ListedObject(suspect.key, found.size_bytes, suspect.since) if found is not None else None
    return _judged(row, listed)


async def _records_of(session: AsyncSession, key: str) -> Row[tuple[StoredObject]] | None:
    found = await session.execute(_rows().where(StoredObject.key == key))
    row: Row[tuple[StoredObject]] | None = found.one_or_none()
    return row


# --- mending ---------------------------------------------------------------------------------------------------------


async def _mend(finding: Finding) -> str | None:
    """Do what can be done, and say in a word what it was; None: nothing can."""
    async with transaction() as session:
        if not await _still_so(session, finding):
            return None
        if finding.trouble in (Trouble.STRAY, Trouble.UNCLAIMED):
            if await _recorded(session, finding.key):
                return "recorded"
        elif finding.trouble == Trouble.EMPTY:
            gone = delete(StoredObject).where(StoredObject.key == finding.key, StoredObject.buried_at.is_(None))
            await session.execute(gone)
            return "forgotten"
        elif finding.trouble == Trouble.MISSING:
            return await _told_of(session, finding)
        if finding.trouble != Trouble.OPEN_PARTS:
            await ledger.bury(session, [finding.key])
    if finding.trouble == Trouble.OPEN_PARTS:
        return await _closed(finding.key)
    await ledger.remove_buried([finding.key])
    return "removed"


async def _still_so(session: AsyncSession, finding: Finding) -> bool:
    """Whether it is as it was found, and stays so: what begins to use a key waits until we are done."""
    of_video = select(StoredObject.video_id).where(StoredObject.key == finding.key).scalar_subquery()
    await session.execute(select(Video.id).where(Video.id == of_video).with_for_update())
    row = await _records_of(session, finding.key)
    if finding.trouble == Trouble.OPEN_PARTS:
        return row is None or not (row.busy or row.StoredObject.buried_at is not None)
    if finding.trouble in (Trouble.STRAY, Trouble.UNCLAIMED):
        return row is None
    listed = None
    if finding.size_bytes is not None:
        listed = ListedObject(finding.key, finding.size_bytes, finding.since)
    judged = _judged(row, listed) if row is not None else None
    return judged is not None and judged.trouble == finding.trouble and not judged.young


async def _closed(key: str) -> str | None:
    """End what is open of a key. Where the object is there, a storage may have died between making it and forgetting
    its parts: to abort would take the parts out of the object, and to complete once more changes nothing."""
    for each in await storage.list_multiparts(key):
        if each.key != key:
            continue
        if await storage.head(key) is None:
            await storage.abort_multipart(key, each.upload_id)
            continue
        try:
            await storage.complete_multipart(key, each.upload_id, await storage.list_parts(key, each.upload_id))
        except NoSuchMultipart:
            continue
        except PartsChanged:
            return None
    return "closed"


async def _recorded(session: AsyncSession, key: str) -> bool:
    """Write a stray down when something refers to it after all, as after a database was brought back."""
    # Our keys name the video in their path; only that of an adopted original may not.
    named = [uuid.UUID(id) for id in _IDS.findall(key)]
    found = select(Video, RUNG_KEYS).where(or_(Video.id.in_(named), Video.s3_key == key))
    for video, rungs in await session.execute(found):
        if key not in _used_by(video, rungs or []):
            continue
        kind = ObjectKind.ORIGINAL if video.s3_key == key else ObjectKind.STRAY
        await ledger.record(session, key=key, kind=kind, project_id=video.project_id, video_id=video.id)
        return True
    waits = or_(Upload.state.in_(OPEN_UPLOADS), and_(Upload.state == UploadState.EXPIRED, Upload.check_at.is_not(None)))
    upload = await session.scalar(select(Upload).where(Upload.s3_key == key, waits))
    if upload is not None:
        kind = ObjectKind.ORIGINAL
        await ledger.record(session, key=key, kind=kind, project_id=upload.project_id, video_id=upload.video_id)
        return True
    for keeper in ledger.keepers:
        project_id = await session.scalar(keeper(literal(key)))
        if project_id is not None:
            await ledger.record(session, key=key, kind=ObjectKind.STRAY, project_id=project_id, video_id=None)
            return True
    return False


async def _told_of(session: AsyncSession, finding: Finding) -> str | None:
    """What is lost cannot be brought back; a video without its file says so."""
    if finding.kind != ObjectKind.ORIGINAL:
        return None
    told = await session.scalar(
        update(Video)
        .where(Video.s3_key == finding.key, Video.status == VideoStatus.COMPLETED)
        .values(
            status=VideoStatus.FAILED,
            error_code=UploadMissing.code,
            error_message="The file is no longer in the storage. Upload it again.",
            error_retryable=False,
        )
        .returning(Video.id)
    )
    return "video failed" if told is not None else None
