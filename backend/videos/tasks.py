"""The work on videos that is done in the background."""

import asyncio
import shlex
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import InvalidState, StorageUnavailable
from backend.core.queue import task
from backend.core.storage import storage
from backend.jobs import service as jobs
from backend.jobs.models import Job, JobState
from backend.jobs.running import JobError, Run
from backend.videos import media
from backend.videos.media_info import MediaInfo
from backend.videos.models import Upload, Video, VideoStatus
from backend.videos.sandbox import on_command
from backend.videos.service import cancel_processing, mark_processing
from backend.videos.uploads import LATE_ARRIVAL

log = structlog.get_logger(__name__)

_PROCESS_SECONDS = 900
_PURGE_SECONDS = 300

#: What the file says of itself, by the same names in both.
_FACTS = (
    "container",
    "duration",
    "width",
    "height",
    "coded_width",
    "coded_height",
    "rotation",
    "fps",
    "vfr",
    "bit_depth",
    "hdr",
    "video_codec",
    "audio_codec",
    "has_audio",
    "streams",
    "playable",
    "not_playable_reason",
)


# --- processing ------------------------------------------------------------------------------------------------------


async def processing_ended(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """The job failed or was cancelled, and with it the processing of its video."""
    await session.execute(
        update(Video)
        .where(Video.id == job.video_id, Video.status == VideoStatus.PROCESSING)
        .values(
            status=VideoStatus.FAILED,
            phase=None,
            error_code=error.code,
            error_message=error.message,
            error_retryable=error.retryable,
        )
    )
    log.info("video.failed", video_id=str(job.video_id), code=error.code)


async def processing_queued(session: AsyncSession, job: Job) -> None:
    """The failed job is to run again. Raises InvalidState: when its video has moved on or is deleted."""
    if job.video_id is None or not await mark_processing(session, video_id=job.video_id, job_id=job.id):
        raise InvalidState("Only a video whose processing failed can be tried again.")


@task(
    "process_video",
    queue="media",
    timeout_seconds=_PROCESS_SECONDS,
    on_end=processing_ended,
    on_queued=processing_queued,
)
async def process_video(run: Run) -> None:
    """Read what the file is, make its poster, and show both with the video."""
    async with transaction() as session:
        video = await session.get(Video, run.video_id)
    if video is None:
        return
    on_command.set(lambda command: run.command(shlex.join(command)))
    # A hidden video is processed too: its deletion may yet be undone.
    try:
        info, poster_key = await _examine(run, video)
    except media.MediaError as error:
        log.info("video.media_error", video_id=str(video.id), code=error.code, detail=error.detail)
        run.note(f"{error.code}: {error.detail or error.message}")
        away = error.code == StorageUnavailable.code
        raise JobError(error.code, error.message, retryable=error.retryable, spends_attempt=not away) from error
    except StorageUnavailable as error:
        raise JobError(error.code, error.message, retryable=True, spends_attempt=False) from error
    async with run.finishing() as session:
        facts = {name: getattr(info, name) for name in _FACTS}
        ended = {"status": VideoStatus.COMPLETED, "phase": None, "completed_at": func.now()}
        cleared = {"error_code": None, "error_message": None, "error_retryable": None}
        await session.execute(
            update(Video).where(Video.id == video.id).values({**facts, **ended, **cleared, "poster_key": poster_key})
        )
    log.info("video.completed", video_id=str(video.id))


async def _examine(run: Run, video: Video) -> tuple[MediaInfo, str]:
    await _check_object(video)
    # The address must outlive the slowest reader.
    source = await storage.presign_get(video.s3_key, expires_seconds=2 * _PROCESS_SECONDS, internal=True)
    limits = media.Limits(max_duration_seconds=settings.max_duration_seconds)
    await _enter(run, "probe", 5)
    info = await media.probe(source, timeout_seconds=settings.probe_timeout_seconds, limits=limits)
    await _enter(run, "poster", 50)
    # A name of its own for each attempt: one that was given up may still be writing.
    poster_key = f"{folder_of(video)}poster-{uuid.uuid4().hex}.jpg"
    with tempfile.TemporaryDirectory(prefix="dailies-") as folder:
        still = Path(folder, "poster.jpg")
        await media.poster(source, still, info, timeout_seconds=settings.poster_timeout_seconds, limits=limits)
        await run.report("poster", 90)
        await _store_poster(poster_key, still)
    await _check_object(video)
    return info, poster_key


async def _check_object(video: Video) -> None:
    # The URL it came by may still be good: what is shown must be what was confirmed.
    found = await storage.head(video.s3_key)
    if found is None:
        raise JobError("upload_missing", "The file is no longer in the storage. Upload it again.")
    if video.etag is not None and found.etag != video.etag:
        raise JobError("upload_mismatch", "The file was replaced after it had been confirmed. Upload it again.")


async def _enter(run: Run, phase: str, percent: float) -> None:
    await run.report(phase, percent)
    async with transaction() as session:
        await session.execute(
            update(Video)
            .where(Video.id == run.video_id, Video.job_id == run.job_id, Video.status == VideoStatus.PROCESSING)
            .values(phase=phase)
        )


async def _store_poster(key: str, still: Path) -> None:
    storing = asyncio.ensure_future(storage.put_file(key, still, content_type="image/jpeg"))
    try:
        await asyncio.shield(storing)
    except asyncio.CancelledError:
        # The thread that sends cannot be stopped. Wait for it: what it writes after a purge would stay for ever.
        await asyncio.wait({storing})
        raise


def folder_of(video: Video) -> str:
    """The prefix, with its slash, of everything stored for a video; only an adopted original lies elsewhere."""
    own = f"/{video.id}/"
    for key in (video.s3_key, video.poster_key or ""):
        head, found, _ = key.partition(own)
        if found:
            return head + own
    return f"videos/{video.owner_id or video.project_id}{own}"


# --- removal ---------------------------------------------------------------------------------------------------------


@task("purge_video", max_attempts=30, timeout_seconds=_PURGE_SECONDS, backoff_seconds=1, backoff_limit_seconds=60)
async def purge_video(run: Run) -> None:
    """Remove a deleted video: its objects first, then its row. Waits until nothing works on it any more."""
    video_id = uuid.UUID(run.args["video_id"])
    async with transaction() as session:
        video = await session.get(Video, video_id)
        if video is None or video.deleted_at is None:
            return
        upload = await session.scalar(select(Upload).where(Upload.video_id == video_id))
        busy = await cancel_processing(session, actor=None, video_id=video_id)
    if busy:
        raise JobError("busy", "Waiting for the processing of this video to stop.", retryable=True)
    folder = folder_of(video)
    await _remove([key for key in (video.s3_key, video.poster_key) if key], folder)
    async with run.finishing() as session:
        await session.execute(delete(Video).where(Video.id == video_id))
        await session.execute(delete(Upload).where(Upload.video_id == video_id))
        if upload is not None and upload.expires_at + LATE_ARRIVAL > datetime.now(UTC):
            # The URL it came by still works: look once more when it does not.
            await jobs.start(
                session,
                kind="purge_objects",
                project_id=run.project_id,
                owner_id=run.owner_id,
                args={"keys": [video.s3_key], "prefix": folder},
                run_at=upload.expires_at + LATE_ARRIVAL,
            )
    log.info("video.purged", video_id=str(video_id))


@task("purge_objects", max_attempts=30, timeout_seconds=_PURGE_SECONDS, backoff_seconds=1, backoff_limit_seconds=60)
async def purge_objects(run: Run) -> None:
    """Remove objects that belong to nothing: `args.keys`, and all below `args.prefix`."""
    await _remove(run.args["keys"], run.args.get("prefix"))


async def _remove(keys: list[str], prefix: str | None) -> None:
    try:
        below = await storage.list_keys(prefix) if prefix else []
        await storage.delete(sorted({*keys, *below}))
    except StorageUnavailable as error:
        raise JobError(error.code, error.message, retryable=True, spends_attempt=False) from error
