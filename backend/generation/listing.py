"""Lists of generations: by words, kind and state, newest first, page by page or on from a cursor."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.paging import Order, Page
from backend.generation.models import Generation, Kind
from backend.generation.schemas import GenerationQuery
from backend.jobs.models import Job, JobState
from backend.orgs.access import Actor, visible
from backend.videos.models import Video
from backend.videos.search import words_query

NEWEST = Order("made", Generation.created_at.expression, Generation.id.expression, datetime, descending=True)

_STATES = {
    "pending": JobState.QUEUED,
    "processing": JobState.RUNNING,
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}


#: Of rows that are joined with `Video`: one whose video was deleted, which takes it off every list.
VIDEO_GONE = and_(
    Generation.kind == Kind.VIDEO,
    Generation.s3_key.is_not(None),
    or_(Generation.video_id.is_(None), Video.deleted_at.is_not(None)),
)


def shown(actor: Actor) -> Select[Generation]:
    """Those that the actor sees, joined with their jobs; not those whose video was deleted."""
    rows = visible(Generation, actor).outerjoin(Job, Job.id == Generation.job_id)
    return rows.outerjoin(Video, Video.id == Generation.video_id).where(~VIDEO_GONE)


def narrowed(rows: Select[Any], query: GenerationQuery) -> Select[Any]:
    """`rows` of `shown` that match words and filters."""
    if query.q:
        rows = rows.where(Generation.search.bool_op("@@")(words_query(query.q)))
    if query.state is not None:
        rows = rows.where(Job.state == _STATES[query.state])
    for column, value in (
        (Generation.kind, query.kind),
        (Generation.door, query.door),
        (Generation.project_id, query.project_id),
    ):
        if value is not None:
            rows = rows.where(column == value)
    return rows


async def find(session: AsyncSession, *, actor: Actor, query: GenerationQuery) -> Page[Generation]:
    """What was asked for. Raises BadCursor."""
    rows = narrowed(shown(actor), query)
    counted = select(func.count()).select_from(rows.with_only_columns(Generation.id).subquery())
    total = await session.scalar(counted) or 0
    page = None if query.cursor is not None else query.page or 1
    chosen = rows.order_by(*NEWEST.terms).limit(query.limit + 1)
    chosen = chosen.where(NEWEST.after(query.cursor or "")) if page is None else chosen.offset((page - 1) * query.limit)
    found = list(await session.scalars(chosen))
    items = found[: query.limit]
    more = len(found) > query.limit
    return Page(items, total, page, query.limit, NEWEST.cursor(items[-1].created_at, items[-1].id) if more else None)
