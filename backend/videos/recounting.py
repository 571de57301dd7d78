"""`video_counts` looked at again: triggers keep it (adr 6); once a day each project's videos are counted all the same.

A counter is only wrong when something wrote around the triggers: a restore in parts, a hand in the database. Any
number of workers may recount; each takes the next few projects, in the order of their ids.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.orgs.models import Project
from backend.videos.models import VideoRecount

log = structlog.get_logger(__name__)

#: From the end of one pass over all projects to the beginning of the next.
REST = timedelta(days=1)
#: A worker recounts for about so long, and then lets the database be.
PIECE_SECONDS = 5.0
PAUSE_SECONDS = 60.0
_AT_ONCE = 20
_ONLY = 1
_NONE = uuid.UUID(int=0)

# One statement sees one moment of both tables, and at any moment they must agree. What they differ by is added: what
# others have counted since then stays counted.
_CORRECT = text(
    """
    WITH found AS (
        SELECT status, count(*) AS videos, sum(size_bytes) AS size_bytes
        FROM videos WHERE project_id = :project_id AND deleted_at IS NULL GROUP BY status
    ), kept AS (
        SELECT status, videos, size_bytes FROM video_counts WHERE project_id = :project_id
    ), wrong AS (
        SELECT status, coalesce(found.videos, 0) - coalesce(kept.videos, 0) AS videos,
            coalesce(found.size_bytes, 0) - coalesce(kept.size_bytes, 0) AS size_bytes
        FROM found FULL JOIN kept USING (status)
    ), added AS (
        INSERT INTO video_counts AS counts (project_id, status, videos, size_bytes)
        SELECT projects.id, status, videos, wrong.size_bytes FROM wrong JOIN projects ON projects.id = :project_id
        WHERE videos <> 0 OR wrong.size_bytes <> 0 ORDER BY status
        ON CONFLICT (project_id, status) DO UPDATE
        SET videos = counts.videos + excluded.videos, size_bytes = counts.size_bytes + excluded.size_bytes
        RETURNING status
    )
    SELECT status, videos, CAST(size_bytes AS bigint) FROM wrong JOIN added USING (status) ORDER BY status
    """
)


async def keep_right(closed: Callable[[], bool]) -> None:
    """Recount what is due, until `closed`."""
    while not closed():
        try:
            await recount_due()
        except Exception as error:  # a sweep that dies would leave wrong counters for ever
            log.warning("video_counts.sweep_failed", error=type(error).__name__)
        await asyncio.sleep(PAUSE_SECONDS)


async def recount_due() -> None:
    """Recount the projects that are next; those that are left when the time is over come the next time."""
    until = time.monotonic() + PIECE_SECONDS
    while time.monotonic() < until and (ids := await _take()):
        for project_id in ids:
            await _try(project_id)


async def _try(project_id: uuid.UUID) -> None:
    try:
        await recount(project_id)
    except Exception as error:  # one that cannot be counted must not keep the others from it; it is due again tomorrow
        log.warning("video_counts.not_recounted", project_id=str(project_id), error=repr(error))


async def _take() -> Sequence[uuid.UUID]:
    """The next projects to recount; none while others take some, and until the next pass is due."""
    async with transaction() as session:
        await session.execute(insert(VideoRecount).values(id=_ONLY, after=_NONE).on_conflict_do_nothing())
        due = select(VideoRecount).where(VideoRecount.due_at <= func.now()).with_for_update(skip_locked=True)
        reached = await session.scalar(due)
        if reached is None:
            return []
        following = select(Project.id).where(Project.id > reached.after).order_by(Project.id).limit(_AT_ONCE)
        ids = (await session.scalars(following)).all()
        reached.after = ids[-1] if ids else _NONE
        if not ids:
            reached.due_at = func.now() + REST
        return ids


async def recount(project_id: uuid.UUID) -> int:
    """Count a project's videos, and put right what differs; answers how many counters did. The project may be gone."""
    async with transaction() as session:
        # Two that find the same difference at once would both add it.
        name = f"recount:{project_id}"
        await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
        wrong = (await session.execute(_CORRECT, {"project_id": project_id})).all()
        if wrong:
            more = update(VideoRecount).values(corrected=VideoRecount.corrected + len(wrong))
            await session.execute(more.execution_options(synchronize_session=False))
    for status, videos, size_bytes in wrong:
        log.warning(
            "video_counts.corrected", project_id=str(project_id), status=status, videos=videos, size_bytes=size_bytes
        )
    return len(wrong)


async def corrected(session: AsyncSession) -> int:
    """How many counters were ever put right."""
    return await session.scalar(select(VideoRecount.corrected)) or 0
