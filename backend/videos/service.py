"""Videos: list, read, change, play, delete, try again."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import BigInteger, Select, and_, cast, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from backend.core.errors import InvalidState, NotFound
from backend.core.paging import Order
from backend.jobs import service as jobs
from backend.jobs import timeline
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.orgs.access import Actor, Permission, get_visible, require, visible
from backend.videos.announcements import tell_of_video
from backend.videos.models import Video, VideoCount, VideoStatus
from backend.videos.playback import poster_url
from backend.videos.schemas import Pagination, VideoListOut, VideoOut
from backend.videos.search import VideoQuery, narrowed, order_of
from backend.videos.shapes import video_out
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)

#: Up to here whole rows are skipped: cheaper than to look each shown one up again.
_SHALLOW_ROWS = 500
#: Processed videos whose time is averaged for the dashboard.
_MEAN_OF_JOBS = 100
_RECENT = timedelta(days=7)
#: Counted no further: the dashboard stays quick in the week a whole archive is moved in.
_MOST_RECENT = 10_000


@dataclass(frozen=True)
class VideoPage:
    """One page. `page` is None when a cursor led here; `next_cursor` is None at the end."""

    items: list[Video]
    total: int
    page: int | None
    limit: int
    next_cursor: str | None

    @property
    def total_pages(self) -> int:
        return -(-self.total // self.limit)


@dataclass(frozen=True)
class Stats:
    """What the dashboard says of all videos one can see. Sizes in bytes, times in seconds."""

    total: int
    size_bytes: int
    processing: int
    failed: int
    counts: dict[VideoStatus, int]
    mean_processing_seconds: float | None
    added_last_7_days: int
    last_added_at: datetime | None


# --- lists -----------------------------------------------------------------------------------------------------------


async def list_videos(session: AsyncSession, *, actor: Actor, query: VideoQuery) -> VideoPage:
    """The videos one can see that match, in the order asked for. Raises BadCursor."""
    order = order_of(query)
    rows = narrowed(visible(Video, actor), query)
    page = None if query.cursor is not None else query.page or 1
    if page is None:
        found = rows.where(order.after(query.cursor or ""))
        total = await _total(session, actor, query, rows)
        statement: Select[Any] | None = _ordered(found, order).limit(query.limit + 1)
    else:
        total = await _total(session, actor, query, rows)
        statement = _nth_page(rows, order, skip=(page - 1) * query.limit, take=query.limit + 1, total=total)
    items: list[Video] = []
    next_cursor = None
    if statement is not None:
        result = (await session.execute(statement)).all()
        items = [row[0] for row in result[: query.limit]]
        if len(result) > query.limit:
            next_cursor = order.cursor(result[query.limit - 1].place, items[-1].id)
    return VideoPage(items, total, page, query.limit, next_cursor)


async def stats(session: AsyncSession, *, actor: Actor) -> Stats:
    """Counts kept by the database, and how long processing took lately."""
    kept = {
        VideoStatus(row.status): row
        for row in await session.execute(
            select(
                VideoCount.status,
                cast(func.sum(VideoCount.videos), BigInteger).label("videos"),
                cast(func.sum(VideoCount.size_bytes), BigInteger).label("size_bytes"),
            )
            .where(VideoCount.project_id.in_(actor.project_ids))
            .group_by(VideoCount.status)
        )
    }

    latest = (
        visible(Video, actor)
        .with_only_columns((Video.completed_at - Job.started_at).label("took"))
        .join(Job, Job.id == Video.job_id)
        .where(Video.status == VideoStatus.COMPLETED)
        .order_by(Video.created_at.desc(), Video.id.desc())
        .limit(_MEAN_OF_JOBS)
        .subquery()
    )
    mean = await session.scalar(select(func.avg(latest.c.took)))
    mine = visible(Video, actor)
    lately = mine.with_only_columns(Video.id).where(Video.created_at > func.now() - _RECENT).limit(_MOST_RECENT)
    recent = select(func.count()).select_from(lately.subquery())
    last = mine.with_only_columns(Video.created_at).order_by(Video.created_at.desc(), Video.id.desc()).limit(1)
    counts = {status: kept[status].videos if status in kept else 0 for status in VideoStatus}
    return Stats(
        total=sum(counts.values()),
        size_bytes=sum(row.size_bytes for row in kept.values()),
        processing=counts[VideoStatus.PROCESSING],
        failed=counts[VideoStatus.FAILED],
        counts=counts,
        mean_processing_seconds=mean.total_seconds() if mean is not None else None,
        added_last_7_days=await session.scalar(recent) or 0,
        last_added_at=await session.scalar(last),
    )


def _ordered(rows: Select[Any], order: Order) -> Select[Any]:
    # The key travels with the row: what the database compares is what the next cursor must hold.
    light = rows.options(defer(Video.streams, raiseload=True))
    return light.add_columns(order.key.label("place")).order_by(*order.terms)


def _nth_page(rows: Select[Any], order: Order, *, skip: int, take: int, total: int) -> Select[Any] | None:
    take = min(take, total - skip)
    if take <= 0:
        return None
    if skip < _SHALLOW_ROWS:
        return _ordered(rows, order).offset(skip).limit(take)
    # Only ids are skipped, in the index, and from the nearer end.
    from_end = skip > total // 2
    direction = order.reversed() if from_end else order
    ids = (
        rows.with_only_columns(Video.id, order.key.label("place"))
        .order_by(*direction.terms)
        .offset(total - skip - take if from_end else skip)
        .limit(take)
        .subquery()
    )
    place = Order(order.name, ids.c.place, ids.c.id, order.kind, order.descending)
    return (
        select(Video, ids.c.place)
        .join(ids, ids.c.id == Video.id)
        .options(defer(Video.streams, raiseload=True))
        .order_by(*place.terms)
    )


async def _total(session: AsyncSession, actor: Actor, query: VideoQuery, rows: Select[Any]) -> int:
    if not query.only_status:
        return await session.scalar(rows.with_only_columns(func.count())) or 0
    kept = select(cast(func.sum(VideoCount.videos), BigInteger)).where(VideoCount.project_id.in_(actor.project_ids))
    if query.status is not None:
        kept = kept.where(VideoCount.status == query.status)
    return await session.scalar(kept) or 0


# --- one video -------------------------------------------------------------------------------------------------------


async def get_video(
    session: AsyncSession,
    *,
    actor: Actor,
    video_id: uuid.UUID,
    permission: Permission = Permission.VIEW,
    for_update: bool = False,
) -> Video:
    """Raises NotFound: for one that is not there, not visible to `actor`, or deleted; Forbidden."""
    return await get_visible(session, Video, actor, video_id, permission=permission, for_update=for_update)


async def update_video(
    session: AsyncSession, *, video: Video, title: str | None = None, description: str | None = None
) -> Video:
    """Change what is given; None leaves a text as it is."""
    if title is not None:
        video.title = title
    if description is not None:
        video.description = description
    await session.flush()
    await session.refresh(video, ["updated_at"])
    await tell_of_video(session, EventType.VIDEO_UPDATED, project_id=video.project_id, video_id=video.id)
    return video


async def retry_video(session: AsyncSession, *, actor: Actor, video: Video) -> Video:
    """Process a failed video once more: the steps that failed, or all anew after a cancel. Raises InvalidState."""
    # Locks go job first, then video, as in every other place that moves both.
    root = await session.get(Job, video.job_id) if video.job_id is not None else None
    if video.status != VideoStatus.FAILED:
        raise InvalidState("Only a video whose processing failed can be tried again.")
    again: list[Job] = []
    if root is not None:
        steps = [root, *(step for step in (await jobs.family_of(session, root)).children if step.required)]
        again = [step for step in steps if step.state == JobState.FAILED]
        if any(step.state == JobState.CANCELLED for step in steps):  # which is final
            again = []
        if not again and root.state in LIVE_STATES:  # somebody else was quicker, after the video was read
            raise InvalidState("Only a video whose processing failed can be tried again.")
    for step in again:
        await timeline.note_retry(session, actor=actor, job=await jobs.retry_job(session, actor=actor, job=step))
    if not again:
        await start_processing(session, video)
    await session.refresh(video)
    return video


async def start_processing(session: AsyncSession, video: Video) -> Job:
    """Queue the processing of a video that is new or has failed. Raises InvalidState when it has moved on meanwhile."""
    job = await jobs.start(
        session,
        kind="process_video",
        project_id=video.project_id,
        owner_id=video.owner_id,
        video_id=video.id,
        dedupe_key=f"process_video:{video.id}",
    )
    if not await mark_processing(session, video_id=video.id, job_id=job.id):
        raise InvalidState("Only a video whose processing failed can be tried again.")
    return job


async def mark_processing(session: AsyncSession, *, video_id: uuid.UUID, job_id: uuid.UUID) -> bool:
    """Move a video from uploaded or failed to processing by this job; False when it is elsewhere or deleted.

    One that this job's processing has already is there.
    """
    moved = await session.scalar(
        update(Video)
        .where(
            Video.id == video_id,
            or_(
                Video.status.in_((VideoStatus.UPLOADED, VideoStatus.FAILED)),
                and_(Video.status == VideoStatus.PROCESSING, Video.job_id == job_id),
            ),
            Video.deleted_at.is_(None),
        )
        .values(
            status=VideoStatus.PROCESSING,
            phase=None,
            error_code=None,
            error_message=None,
            error_retryable=None,
            job_id=job_id,
        )
        .returning(Video.id),
        execution_options={"synchronize_session": False},
    )
    return moved is not None


async def delete_video(session: AsyncSession, *, actor: Actor, video: Video, grace_seconds: int = 0) -> None:
    """Hide a video at once; its objects and its row go when the grace is over. Until then it can be restored.

    Raises NotFound: when somebody else deleted it meanwhile.
    """
    if grace_seconds == 0:
        await cancel_processing(session, actor=actor, video_id=video.id)
    hidden = await session.scalar(
        update(Video)
        .where(Video.id == video.id, Video.deleted_at.is_(None))
        .values(deleted_at=func.now())
        .returning(Video.id)
    )
    if hidden is None:
        raise NotFound
    await jobs.start(
        session,
        kind="purge_video",
        project_id=video.project_id,
        owner_id=actor.user_id,
        args={"video_id": str(video.id)},
        delay_seconds=grace_seconds,
        dedupe_key=_purge_key(video.id),
    )
    await tell_of_video(session, EventType.VIDEO_DELETED, project_id=video.project_id, video_id=video.id)
    log.info("video.deleted", video_id=str(video.id), grace_seconds=grace_seconds)


async def restore_video(session: AsyncSession, *, actor: Actor, video_id: uuid.UUID) -> Video:
    """Undo a deletion within its grace. Raises NotFound once the removal has begun; Forbidden."""
    purge = await session.scalar(
        select(Job)
        .where(
            Job.project_id.in_(actor.project_ids),
            Job.dedupe_key == _purge_key(video_id),
            Job.state == JobState.QUEUED,
            Job.started_at.is_(None),
        )
        .with_for_update(skip_locked=True)
    )
    if purge is None:
        raise NotFound
    require(actor, Permission.EDIT, purge.project_id)
    await jobs.cancel_job(session, actor=actor, job=purge)
    await session.execute(update(Video).where(Video.id == video_id).values(deleted_at=None))
    await tell_of_video(session, EventType.VIDEO_RESTORED, project_id=purge.project_id, video_id=video_id)
    log.info("video.restored", video_id=str(video_id))
    return await get_video(session, actor=actor, video_id=video_id)


async def cancel_processing(session: AsyncSession, *, actor: Actor | None, video_id: uuid.UUID) -> bool:
    """Cancel what works on a video; True when something is running that has yet to stop."""
    live = select(Job).where(Job.video_id == video_id, Job.state.in_(LIVE_STATES))
    still_running = False
    for job in await session.scalars(live):
        try:
            ended = await jobs.cancel_job(session, actor=actor, job=job)
        except jobs.InUse:
            raise
        except InvalidState:  # it ended by itself in this moment
            continue
        still_running = still_running or ended.state == JobState.RUNNING
    return still_running


def _purge_key(video_id: uuid.UUID) -> str:
    return f"purge_video:{video_id}"


# --- shapes --------------------------------------------------------------------------------------------------------


async def public(video: Video) -> VideoOut:
    """A video as the API shows it."""
    return video_out(video, poster_url=await poster_url(video))


async def public_all(videos: Sequence[Video]) -> list[VideoOut]:
    """Several videos as the API shows them."""
    return [await public(video) for video in videos]


async def public_page(page: VideoPage) -> VideoListOut:
    """A page as the API shows it."""
    return VideoListOut(
        videos=await public_all(page.items),
        pagination=Pagination(
            page=page.page,
            limit=page.limit,
            total=page.total,
            total_pages=page.total_pages,
            next_cursor=page.next_cursor,
        ),
    )
