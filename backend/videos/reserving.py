"""A new upload written down, with its key in the ledger: one statement, since many begin at once."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

from sqlalchemy import Interval, Table, Update, bindparam, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from backend.config import settings
from backend.core.direct import Direct
from backend.videos import ledger
from backend.videos.ledger import ObjectKind
from backend.videos.models import Upload, UploadState

#: What is known of an upload when it begins; the rest is the database's.
_GIVEN = (
    "id",
    "project_id",
    "owner_id",
    "video_id",
    "s3_key",
    "filename",
    "content_type",
    "size_bytes",
    "resumable",
    "part_size",
    "checksum",
    "title",
    "description",
)


async def write(upload: Upload, *, keep: timedelta, writable: timedelta, session: AsyncSession | None = None) -> None:
    """Write the rows, by themselves or in a transaction. `keep`: how long the upload can go on; `writable`: how long an
    address lets others write.

    The upload itself stays out of the session; its `state` and `expires_at` are set.
    """
    given = {name: getattr(upload, name) for name in _GIVEN}
    given |= {"keep": keep, "writable": writable, "unseen": timedelta(seconds=settings.upload_sweep_seconds)}
    rows = (await session.execute(_writing(), given)).all() if session else await _writing_alone().write(given)
    upload.state, upload.expires_at = UploadState.WAITING, rows[0][0]


async def name_parts(session: AsyncSession, upload: Upload) -> None:
    """Write the storage's name for the upload in parts down."""
    await session.execute(_naming(), {"upload_id": upload.id, "name": upload.storage_upload_id})


@cache
def _naming() -> Update:
    table = cast(Table, Upload.__table__)
    return update(table).where(table.c.id == bindparam("upload_id")).values(storage_upload_id=bindparam("name"))


@cache
def _writing_alone() -> Direct:
    return Direct(_writing())


@cache
def _writing() -> ReturningInsert[datetime]:
    table = cast(Table, Upload.__table__)
    given: dict[str, Any] = {name: bindparam(name, type_=table.c[name].type) for name in _GIVEN}
    given["expires_at"] = func.now() + bindparam("keep", type_=Interval())
    given["check_at"] = func.now() + bindparam("unseen", type_=Interval())
    recorded = ledger.recording(
        key=given["s3_key"],
        kind=ObjectKind.ORIGINAL,
        project_id=given["project_id"],
        video_id=given["video_id"],
        writable_until=func.now() + bindparam("writable", type_=Interval()),
    )
    return insert(table).values(given).add_cte(recorded.cte("recorded")).returning(table.c.expires_at)
