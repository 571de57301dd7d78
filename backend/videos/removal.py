"""The removal of deleted videos, and of deleted projects with all that was in them."""

import uuid

import structlog
from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import InvalidState, StorageUnavailable
from backend.core.queue import task
from backend.jobs import service as jobs
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.running import JobError, Run
from backend.orgs import service as orgs
from backend.orgs.access import Actor
from backend.orgs.models import Project
from backend.videos import ledger
from backend.videos.models import StoredObject, Upload, Video
from backend.videos.service import cancel_processing

log = structlog.get_logger(__name__)

_PURGE_SECONDS = 300
#: Videos that go in one transaction.
_LOT = 200


@task("purge_video", max_attempts=30, timeout_seconds=_PURGE_SECONDS, backoff_seconds=1, backoff_limit_seconds=60)
async def purge_video(run: Run) -> None:
    """Remove a deleted video: its rows, and through the ledger all its objects. Waits until nothing works on it."""
    video_id = uuid.UUID(run.args["video_id"])
    async with transaction() as session:
        video = await session.get(Video, video_id)
        if video is None or video.deleted_at is None:
            return
        busy = await cancel_processing(session, actor=None, video_id=video_id)
    if busy:
        raise JobError("busy", "Waiting for the processing of this video to stop.", retryable=True)
    async with run.finishing() as session:
        await session.execute(delete(Upload).where(Upload.video_id == video_id))
        await session.execute(delete(Video).where(Video.id == video_id))
        keys = await ledger.keys_of_video(session, video_id)
        await ledger.bury(session, keys)
    log.info("video.purged", video_id=str(video_id), objects=len(keys))
    try:
        await ledger.remove_buried(keys)
    except StorageUnavailable as error:  # they are buried: the sweep removes them once the storage is back
        log.info("objects.left", video_id=str(video_id), error=error.code)


async def start_purge(session: AsyncSession, actor: Actor, project: Project) -> None:
    """Queue the removal of a project that was just deleted: a job of the person's own project, which outlives it."""
    await jobs.start(
        session,
        kind="purge_project",
        project_id=actor.personal_project_id,
        owner_id=actor.user_id,
        args={"project_id": str(project.id), "name": project.name},
        dedupe_key=f"purge_project:{project.id}",
    )


orgs.on_deleted.append(start_purge)


@task("purge_project", max_attempts=30, timeout_seconds=3600, backoff_seconds=1, backoff_limit_seconds=60)
async def purge_project(run: Run) -> None:
    """Remove a deleted project: what is in it, and through the ledger all its objects. Waits for what works in it."""
    project_id = uuid.UUID(run.args["project_id"])
    async with transaction() as session:
        if await session.scalar(select(Project.deleted_at).where(Project.id == project_id)) is None:
            return
        busy = await _cancel_all(session, project_id)
    if busy:
        raise JobError("busy", "Waiting for the work in this project to stop.", retryable=True)
    while await _remove_lot(project_id):
        pass
    async with run.finishing() as session:
        await session.execute(select(Project.id).where(Project.id == project_id).with_for_update())
        # Whatever the ledger says of the project: what a video or an upload elsewhere needs stays.
        elsewhere = [
            select(row.id).where(video_id == StoredObject.video_id, row.project_id != project_id).exists()
            for row, video_id in ((Video, Video.id), (Upload, Upload.video_id))
        ]
        keys = select(StoredObject.key).where(
            StoredObject.project_id == project_id, StoredObject.buried_at.is_(None), ~or_(*elsewhere)
        )
        await ledger.bury(session, (await session.scalars(keys)).all())
        await session.execute(delete(Project).where(Project.id == project_id))
    log.info("project.purged", project_id=str(project_id))


async def _cancel_all(session: AsyncSession, project_id: uuid.UUID) -> bool:
    """Cancel what lives in a project; True when something is running that has yet to stop."""
    still_running = False
    live = select(Job).where(Job.project_id == project_id, Job.state.in_(LIVE_STATES)).limit(_LOT)
    found = (await session.scalars(live)).all()
    for job in found:
        try:
            ended = await jobs.cancel_job(session, actor=None, job=job)
        except jobs.InUse:
            raise
        except InvalidState:  # it ended by itself in this moment
            continue
        still_running = still_running or ended.state == JobState.RUNNING
    return still_running or len(found) == _LOT


async def _remove_lot(project_id: uuid.UUID) -> bool:
    """Remove some of a project's videos with all that is stored for them; False when there is none."""
    async with transaction() as session:
        lot = select(Video.id).where(Video.project_id == project_id).order_by(Video.id).limit(_LOT).with_for_update()
        ids = (await session.scalars(lot)).all()
        keys = (await session.scalars(select(StoredObject.key).where(StoredObject.video_id.in_(ids)))).all()
        await session.execute(delete(Upload).where(Upload.video_id.in_(ids)))
        await session.execute(delete(Video).where(Video.id.in_(ids)))
        await ledger.bury(session, keys)
    return bool(ids)
