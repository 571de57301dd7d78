"""The removal of deleted videos."""

import uuid

import structlog
from sqlalchemy import delete

from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.queue import task
from backend.jobs.running import JobError, Run
from backend.videos import ledger
from backend.videos.models import Upload, Video
from backend.videos.service import cancel_processing

log = structlog.get_logger(__name__)

_PURGE_SECONDS = 300


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
