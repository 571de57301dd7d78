"""The ledger of objects: each key is written down before it is signed or written, and stays until its object is gone.

A key that no row refers to any more is buried. Its object is removed at once, and once more when every address by
which somebody may still write it has long ended: what arrives late cannot stay.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, DateTime, Select, case, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.storage import storage
from backend.videos.models import ObjectKind, StoredObject, Video

__all__ = [
    "IN_PARTS",
    "KEY_COLUMNS",
    "LATE_ARRIVAL",
    "RUNG_KEYS",
    "SLOW_ARRIVAL",
    "ObjectKind",
    "bury",
    "bury_others",
    "bury_unused",
    "folder_of",
    "keepers",
    "keys_of_video",
    "move",
    "record",
    "recording",
    "remove_buried",
]

log = structlog.get_logger(__name__)

#: A transfer that began just before its address ended may still be running for a while: of a part, or our own, so long,
LATE_ARRIVAL = timedelta(minutes=15)
#: and of a whole file in one request so long, for a slow line takes hours.
SLOW_ARRIVAL = timedelta(days=1)
#: Whoever takes a buried key to remove it has this long; then another may.
_REMOVE_AGAIN = timedelta(seconds=30)
#: The last removal: when nobody can write the object any more, by an address or, without one, by ourselves.
_LAST_LOOK = case(
    (StoredObject.writable_until.is_(None), StoredObject.buried_at + LATE_ARRIVAL),
    else_=func.greatest(StoredObject.buried_at, StoredObject.writable_until) + SLOW_ARRIVAL,
)
#: What may have come in parts, as far as it can be told from what an object is for.
IN_PARTS = (ObjectKind.ORIGINAL, ObjectKind.RENDITION, ObjectKind.LADDER, ObjectKind.STRAY)
#: Of so many keys in a row that could not be removed the storage is to blame, and not the keys.
_MOST_FAILURES = 3
#: Keys in one statement; Postgres takes 32767 values.
_LOT = 5000

#: Where other domains look whether a key is theirs: each is given a key and answers a query for its project.
keepers: list[Callable[[ColumnElement[str]], Select[uuid.UUID]]] = []

#: What of a video names an object of it.
KEY_COLUMNS = [getattr(Video, column.name) for column in Video.__table__.columns if column.name.endswith("_key")]
RUNG_KEYS = func.jsonb_path_query_array(Video.ladder, text("'$[*].key'"), type_=JSONB).label("rung_keys")


def folder_of(video: Video) -> str:
    """The prefix, with its slash, of everything stored for a video."""
    own = f"/{video.id}/"
    head, found, _ = video.s3_key.partition(own)
    return head + own if found else f"videos/{video.owner_id or video.project_id}{own}"


async def record(
    session: AsyncSession,
    *,
    key: str,
    kind: ObjectKind,
    project_id: uuid.UUID,
    video_id: uuid.UUID | None,
    writable_seconds: int = 0,
) -> None:
    """Write a key down. To be committed before the key is signed or written; again is fine.

    `writable_seconds`: how long an address that is about to be signed lets others write it.
    """
    until = func.now() + timedelta(seconds=writable_seconds) if writable_seconds else None
    await session.execute(recording(key=key, kind=kind, project_id=project_id, video_id=video_id, writable_until=until))


def recording(**values: object) -> Insert:
    """The same as a statement, which may be part of another; `writable_until` is of the database's clock."""
    row = insert(StoredObject).values(values)
    later = func.greatest(StoredObject.writable_until, row.excluded.writable_until)
    return row.on_conflict_do_update(index_elements=["key"], set_={"writable_until": later})


async def bury(session: AsyncSession, keys: Sequence[str]) -> None:
    """Nothing refers to these keys any more: their objects are removed soon after the commit, and looked for again."""
    # In one order, so that two who bury the same keys wait for each other instead of dead-locking.
    ordered = sorted(set(keys))
    for begin in range(0, len(ordered), _LOT):
        rows = insert(StoredObject).values(
            [
                {"key": key, "kind": ObjectKind.STRAY, "buried_at": func.now(), "due_at": func.now()}
                for key in ordered[begin : begin + _LOT]
            ]
        )
        await session.execute(
            rows.on_conflict_do_update(
                index_elements=["key"],
                set_={"buried_at": func.coalesce(StoredObject.buried_at, func.now()), "due_at": func.now()},
            )
        )


async def bury_others(session: AsyncSession, *, video_id: uuid.UUID, kind: ObjectKind, kept: Sequence[str]) -> None:
    """Bury what attempts that were given up have written down, or written: all of a kind but what is `kept`."""
    written = select(StoredObject.key).where(
        StoredObject.video_id == video_id,
        StoredObject.kind == kind,
        StoredObject.buried_at.is_(None),
        StoredObject.key.not_in(kept),
    )
    await bury(session, list(await session.scalars(written)))


async def bury_unused(session: AsyncSession, *, video_id: uuid.UUID, kinds: Sequence[ObjectKind]) -> None:
    """Bury what a step that failed for good has written down: all of these kinds that the video does not use."""
    row = (await session.execute(select(*KEY_COLUMNS, RUNG_KEYS).where(Video.id == video_id))).one_or_none()
    if row is not None:  # a video that is gone took its keys with it
        kept = [*(key for key in row[:-1] if key), *(row[-1] or [])]
        for kind in kinds:
            await bury_others(session, video_id=video_id, kind=kind, kept=kept)


async def move(session: AsyncSession, *, video_id: uuid.UUID, project_id: uuid.UUID) -> None:
    """What is stored for a video, or on its way, belongs to another project from now on."""
    moved = update(StoredObject).where(StoredObject.video_id == video_id).values(project_id=project_id)
    await session.execute(moved.execution_options(synchronize_session=False))


async def keys_of_video(session: AsyncSession, video_id: uuid.UUID) -> list[str]:
    """Every key that was recorded for a video and is not buried."""
    recorded = select(StoredObject.key).where(StoredObject.video_id == video_id, StoredObject.buried_at.is_(None))
    return list(await session.scalars(recorded))


async def remove_buried(keys: Sequence[str] | None = None, *, at_once: int = 50) -> int:
    """Remove the objects of buried keys that are due, or of these `keys` now; answers how many were removed.

    Any number of workers may do it at once: each takes other keys. Raises StorageUnavailable when one could not be
    removed; it is then due again soon, and the others are settled all the same.
    """
    if keys is not None and len(keys) > _LOT:
        return sum([await remove_buried(keys[begin : begin + _LOT]) for begin in range(0, len(keys), _LOT)])
    due = StoredObject.due_at <= func.now() if keys is None else StoredObject.key.in_(keys)
    taken = (
        select(StoredObject.key)
        .where(StoredObject.buried_at.is_not(None), due)
        .order_by(StoredObject.due_at)
        .limit(at_once if keys is None else len(keys))
        .with_for_update(skip_locked=True)
    )
    async with transaction() as session:
        claimed = await session.execute(
            update(StoredObject)
            .where(StoredObject.key.in_(taken.scalar_subquery()))
            .values(due_at=func.now() + _REMOVE_AGAIN)
            .returning(StoredObject.key, StoredObject.kind, func.now().label("at")),
            execution_options={"synchronize_session": False},
        )
        rows = claimed.all()
    removed: list[str] = []
    failures: list[StorageUnavailable] = []
    in_a_row = 0
    for row in rows:
        try:
            if row.kind in IN_PARTS:
                await storage.abort_multiparts(row.key)
            await storage.delete([row.key])
        except StorageUnavailable as error:
            failures.append(error)
            in_a_row += 1
            if in_a_row == _MOST_FAILURES:
                break
        else:
            removed.append(row.key)
            in_a_row = 0
    if removed:
        buried = (StoredObject.key.in_(removed), StoredObject.buried_at.is_not(None))
        async with transaction() as session:
            # What was removed after the last moment at which it could be written is gone for good.
            await session.execute(
                delete(StoredObject).where(*buried, literal(rows[0].at, DateTime(timezone=True)) >= _LAST_LOOK)
            )
            await session.execute(update(StoredObject).where(*buried).values(due_at=_LAST_LOOK))
        log.info("objects.removed", count=len(removed))
    if failures:
        raise failures[0]
    return len(removed)
