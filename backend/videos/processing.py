"""What every step of processing does alike: look at the original, name what it writes, say how far it is, end well."""

import shlex
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import InvalidState, StorageUnavailable
from backend.core.storage import storage
from backend.jobs.models import Job, JobState
from backend.jobs.running import JobError, Run
from backend.videos import ledger
from backend.videos.announcements import tell_of_video
from backend.videos.ledger import ObjectKind, folder_of
from backend.videos.media_info import Limits, MediaError, MediaInfo
from backend.videos.models import Video, VideoStatus
from backend.videos.sandbox import on_command
from backend.videos.service import mark_processing
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)

#: No step takes longer, whatever its own limit; addresses are signed for so long.
MOST_SECONDS = 3 * 86_400


# --- the family ------------------------------------------------------------------------------------------------------


#: What each step writes.
_WRITES = {
    "make_poster": (ObjectKind.POSTER,),
    "make_preview": (ObjectKind.PREVIEW, ObjectKind.PREVIEW_TRACK),
    "make_rendition": (ObjectKind.RENDITION,),
    "make_ladder": (ObjectKind.LADDER,),
}


async def step_over(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """A step failed or was cancelled: what its attempts have written is of no use to anybody."""
    if job.video_id is not None:
        await ledger.bury_unused(session, video_id=job.video_id, kinds=_WRITES.get(job.kind, ()))


async def step_ended(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """A required step failed or was cancelled, and with it the processing that it is of."""
    await step_over(session, job, state, error)
    ended = await session.scalar(
        update(Video)
        .where(
            Video.id == job.video_id,
            Video.status == VideoStatus.PROCESSING,
            # A step that was slow to stop must not end the processing that was begun anew.
            Video.job_id.in_([job.id, job.parent_id]),
        )
        .values(
            status=VideoStatus.FAILED,
            phase=None,
            error_code=error.code,
            error_message=error.message,
            error_retryable=error.retryable,
        )
        .returning(Video.id)
    )
    if ended is not None:
        await tell_of_video(session, EventType.VIDEO_FAILED, project_id=job.project_id, video_id=ended)
        log.info("video.failed", video_id=str(job.video_id), step=job.kind, code=error.code)


async def step_queued(session: AsyncSession, job: Job) -> None:
    """A failed step is to run again. Raises InvalidState: when its video has moved on or is deleted."""
    root = job.parent_id or job.id
    if job.video_id is None or not await mark_processing(session, video_id=job.video_id, job_id=root):
        raise InvalidState("Only a video whose processing failed can be tried again.")


async def all_done(session: AsyncSession, job: Job) -> None:
    """The first job and all required steps are completed."""
    done = await session.scalar(
        update(Video)
        .where(Video.id == job.video_id, Video.job_id == job.id, Video.status == VideoStatus.PROCESSING)
        .values(
            status=VideoStatus.COMPLETED,
            phase=None,
            completed_at=func.now(),
            error_code=None,
            error_message=None,
            error_retryable=None,
        )
        .returning(Video.id)
    )
    if done is not None:
        await tell_of_video(session, EventType.VIDEO_COMPLETED, project_id=job.project_id, video_id=done)
        log.info("video.completed", video_id=str(job.video_id))


# --- one step --------------------------------------------------------------------------------------------------------


async def video_of(run: Run) -> Video | None:
    """The video a step works on; None when it is gone. A hidden one is processed too: it may yet be restored."""
    on_command.set(lambda command: run.command(shlex.join(command)))
    async with transaction() as session:
        return await session.get(Video, run.video_id)


def handed_on(info: MediaInfo) -> dict[str, Any]:
    """What a step is told of the file, so that it need not be looked at again."""
    return {"info": asdict(info)}


def info_of(run: Run) -> MediaInfo:
    return MediaInfo(**run.args["info"])


def limits() -> Limits:
    return Limits(max_duration_seconds=settings.max_duration_seconds)


@contextmanager
def in_job_words(run: Run, video: Video) -> Iterator[None]:
    """What went wrong with the file or the storage, as the error of the job."""
    try:
        yield
    except MediaError as error:
        log.info("video.media_error", video_id=str(video.id), step=run.kind, code=error.code, detail=error.detail)
        run.note(f"{error.code}: {error.detail or error.message}")
        away = error.code == StorageUnavailable.code
        raise JobError(error.code, error.message, retryable=error.retryable, spends_attempt=not away) from error
    except StorageUnavailable as error:
        raise JobError(error.code, error.message, retryable=True, spends_attempt=False) from error


async def original_of(video: Video, *, seconds: float) -> str:
    """An address of the original that outlives so long a work. Raises JobError when it is not what was confirmed."""
    await check_original(video)
    return await storage.presign_get(video.s3_key, expires_seconds=min(MOST_SECONDS, int(2 * seconds)), internal=True)


async def check_original(video: Video) -> None:
    """Raises JobError: the URL it came by may still be good, and what is shown must be what was confirmed."""
    found = await storage.head(video.s3_key)
    if found is None:
        raise JobError("upload_missing", "The file is no longer in the storage. Upload it again.")
    if video.etag is not None and found.etag != video.etag:
        raise JobError("upload_mismatch", "The file was replaced after it had been confirmed. Upload it again.")


async def enter(run: Run, phase: str, percent: float) -> None:
    """Say what is being done, to those who watch and on the video."""
    await run.report(phase, percent)
    async with transaction() as session:
        await session.execute(
            update(Video).where(Video.id == run.video_id, Video.status == VideoStatus.PROCESSING).values(phase=phase)
        )


async def new_keys(video: Video, kind: ObjectKind, *names: str, kept: Sequence[str | None]) -> list[str]:
    """Keys to write now, each of this attempt alone: one that was given up may still be writing its own.

    What earlier attempts wrote down is buried, but for what is `kept` until this one has ended well.
    """
    own = uuid.uuid4().hex
    keys = [f"{folder_of(video)}{kind}-{own}{name}" for name in names]
    async with transaction() as session:
        await ledger.bury_others(session, video_id=video.id, kind=kind, kept=[key for key in kept if key])
        for key in keys:
            await ledger.record(session, key=key, kind=kind, project_id=video.project_id, video_id=video.id)
    return keys


async def store(key: str, path: Path, content_type: str) -> None:
    """Raises StorageUnavailable."""
    await storage.put_file(key, path, content_type=content_type)
