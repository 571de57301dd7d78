"""Videos: read, change, delete, try again; and their shapes."""

import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import InvalidState, NotFound
from backend.jobs import service as jobs
from backend.jobs import timeline
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.orgs.access import Actor, Permission, get_visible
from backend.videos.announcements import tell_of_video
from backend.videos.listing import VideoPage
from backend.videos.models import Video, VideoStatus
from backend.videos.playback import poster_url, poster_urls
from backend.videos.schemas import Pagination, VideoOut
from backend.videos.shapes import listed, video_out
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)


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
    purge = await jobs.call_off(session, actor=actor, dedupe_key=_purge_key(video_id))
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


def public_page(page: VideoPage) -> dict[str, Any]:
    """A page as the API shows it, as plain values in the shape of VideoListOut."""
    posters = poster_urls(page.items)
    pagination = Pagination(
        page=page.page,
        limit=page.limit,
        total=page.total,
        total_pages=page.total_pages,
        next_cursor=page.next_cursor,
    )
    videos = [listed(row, poster_url=posters.get(row.poster_key)) for row in page.items]
    return {"videos": videos, "pagination": pagination.model_dump()}
