"""Moving a video to another project: with its jobs, its upload and its records of objects, or not at all.

The objects stay where they are, and so does what the audit log and webhooks told of it in the project before.
"""

import uuid
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import InvalidState, ValidationFailed
from backend.jobs.models import LIVE_STATES, Job
from backend.orgs import audit
from backend.orgs.access import Actor, Permission
from backend.orgs.models import Project
from backend.videos import ledger, quota
from backend.videos.announcements import tell_of_video
from backend.videos.models import Upload, Video, VideoStatus
from backend.videos.service import get_video
from backend.videos.uploads import project_for
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)

#: Asked before a video is moved, by those above whose rows would be left behind; they raise InvalidState.
on_move: list[Callable[[AsyncSession, Video], Awaitable[None]]] = []


async def move_video(session: AsyncSession, *, actor: Actor, video_id: uuid.UUID, project_id: uuid.UUID) -> Video:
    """Put a video into another project, where what it takes counts from then on; where it is already: nothing is done.

    Raises NotFound, Forbidden (one needs to edit in both), ValidationFailed for a project the actor does not see,
    InvalidState while it is worked on, QuotaExceeded.
    """
    await get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT)
    project_id = project_for(actor, project_id)
    # Locks go jobs first, then the video, as in every other place that moves both; jobs that are started meanwhile
    # wait for the video, and those that were just before are seen by the second look.
    await session.execute(select(Job.id).where(Job.video_id == video_id).order_by(Job.id).with_for_update())
    video = await get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT, for_update=True)
    if video.project_id == project_id:
        return video
    for hook in on_move:
        await hook(session, video)
    live = select(Job.id).where(Job.video_id == video_id, Job.state.in_(LIVE_STATES) | Job.unsettled).limit(1)
    if video.status == VideoStatus.PROCESSING or await session.scalar(live) is not None:
        raise InvalidState("This video is being processed. Move it when that is done.")
    before = video.project_id
    # Held, so that nobody deletes it meanwhile: what is moved into a deleted project goes with it.
    there = select(Project.id).where(Project.id == project_id, Project.deleted_at.is_(None))
    if await session.scalar(there.with_for_update(read=True, key_share=True)) is None:
        raise ValidationFailed(fields={"project_id": "This project was just deleted"})
    await quota.reserve_move(session, source=before, target=project_id, size_bytes=video.size_bytes)
    video.project_id = project_id
    await session.flush()  # the foreign key takes its jobs along
    await session.execute(update(Upload).where(Upload.video_id == video_id).values(project_id=project_id))
    await ledger.move(session, video_id=video_id, project_id=project_id)
    await session.refresh(video)
    for place in (before, project_id):  # in the log of both, and told to both
        await audit.record(
            session,
            actor=actor,
            action="video.move",
            object_type="video",
            object_id=video_id,
            project_id=place,
            detail={"title": video.title, "from": str(before), "to": str(project_id)},
        )
        await tell_of_video(session, EventType.VIDEO_MOVED, project_id=place, video_id=video_id)
    log.info("video.moved", video_id=str(video_id), before=str(before), after=str(project_id))
    return video
