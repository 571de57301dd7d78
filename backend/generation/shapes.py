"""Generations as the API and pages show them: the row, its job, and where the result is read."""

import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.errors import NotFound
from backend.core.storage import storage
from backend.generation import estimates
from backend.generation.keeping import filename_of
from backend.generation.models import Door, Generation, Kind
from backend.generation.schemas import FileOut, GenerationOut, Status
from backend.generation.spec import wish_of
from backend.jobs import progress
from backend.jobs.models import Job, JobState
from backend.jobs.queries import find_jobs
from backend.jobs.queries import public_many as jobs_public
from backend.jobs.schemas import JobErrorOut, JobOut
from backend.videos.models import Video
from backend.videos.playback import playback_url, poster_url

_STATUS: dict[JobState, Status] = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


async def public(session: AsyncSession, generation: Generation) -> GenerationOut:
    """The contract's shape of one."""
    return (await public_many(session, [generation]))[0]


async def public_many(session: AsyncSession, generations: Sequence[Generation]) -> list[GenerationOut]:
    """The same for several that the caller may see, with progress as Redis knows it."""
    jobs = await _jobs(session, [each.job_id for each in generations if each.job_id is not None])
    ended = {each.id for each in jobs.values() if each.status == JobState.COMPLETED}
    await caught_up(session, generations, ended)
    videos = await _videos(session, [each.video_id for each in generations if each.video_id is not None])
    return [
        await _shown(session, each, jobs.get(each.job_id or each.id), videos.get(each.video_id or each.id))
        for each in generations
    ]


async def caught_up(session: AsyncSession, generations: Sequence[Generation], completed: Collection[uuid.UUID]) -> None:
    """Read those again that were read before their result was there, but whose job after: one of `completed`."""
    for each in generations:
        if each.job_id in completed and each.s3_key is None:
            await session.refresh(each)


async def file_of(session: AsyncSession, generation: Generation, *, download: bool = False) -> FileOut:
    """Where the result is read. Raises NotFound while there is none."""
    if generation.video_id is not None:
        video = await session.get(Video, generation.video_id)
        if video is None or video.deleted_at is not None:
            raise NotFound
        found = await playback_url(video, download=download)
        return FileOut(
            url=found.url,
            content_type=found.content_type,
            filename=video.filename,
            expires_in=found.expires_in,
            expires_at=found.expires_at,
        )
    if generation.s3_key is None or generation.content_type is None or generation.kind == Kind.VIDEO:
        raise NotFound
    seconds = settings.playback_url_expiration
    return FileOut(
        url=await _address(generation, seconds, download=download),
        content_type=generation.content_type,
        filename=filename_of(generation),
        expires_in=seconds,
        expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
    )


def status_of(job: JobOut | None, generation: Generation) -> Status:
    """In the words of this domain; of one whose job is no longer on record, by what came of it."""
    if job is not None:
        return _STATUS[job.status]
    return "completed" if generation.s3_key is not None else "failed"


async def _shown(
    session: AsyncSession, generation: Generation, job: JobOut | None, video: Video | None
) -> GenerationOut:
    kind = Kind(generation.kind)
    wish = wish_of(generation)
    status = status_of(job, generation)
    url = None
    if video is not None and video.deleted_at is None:
        url = (await playback_url(video)).url
    elif generation.s3_key is not None and kind != Kind.VIDEO:
        url = await _address(generation, settings.playback_url_expiration)
    error = job.error if job is not None and status in ("failed", "cancelled") else None
    estimate = None
    if job is not None:
        estimate = await estimates.estimated_seconds(
            session, job_kind=job.kind, kind=kind, provider=generation.provider, seconds=wish.seconds
        )
    return GenerationOut(
        id=generation.id,
        project_id=generation.project_id,
        door=Door(generation.door),
        kind=kind,
        task_type=generation.task_type,
        prompt=generation.prompt,
        orientation=None if kind == Kind.AUDIO else wish.orientation,
        seconds=wish.seconds if kind == Kind.VIDEO else None,
        spec=generation.spec,
        provider=generation.provider,
        model_used=generation.model_used,
        seed=generation.seed_used if generation.seed_used is not None else wish.seed,
        status=status,
        stage=job.stage if job is not None else None,
        progress=job.progress if job is not None else 100.0 if status == "completed" else 0.0,
        queue_position=job.queue_position if job is not None else None,
        estimated_seconds=estimate,
        needs_review=generation.needs_review,
        error=error or (_LOST if job is None and status == "failed" else None),
        notes=[str(each) for each in (generation.external_detail or {}).get("notes", [])],
        job_id=generation.job_id,
        video_id=generation.video_id,
        content_type=generation.content_type,
        size_bytes=generation.size_bytes,
        width=generation.width,
        height=generation.height,
        duration=generation.duration,
        url=url,
        poster_url=await poster_url(video) if video is not None else None,
        created_at=generation.created_at,
        started_at=job.started_at if job is not None else None,
        completed_at=job.finished_at if job is not None and status == "completed" else None,
    )


_LOST = JobErrorOut(code="internal_error", message="The work of this is no longer on record.", retryable=False)


async def _address(generation: Generation, seconds: int, *, download: bool = False) -> str:
    return await storage.presign_get(
        generation.s3_key or "",
        expires_seconds=seconds,
        content_type=generation.content_type,
        filename=filename_of(generation),
        download=download,
    )


async def _jobs(session: AsyncSession, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, JobOut]:
    if not job_ids:
        return {}
    rows: Sequence[Job] = await find_jobs(session, job_ids)
    shown = await jobs_public(session, rows)
    states = await progress.freshen([progress.state_of(row, out) for row, out in zip(rows, shown, strict=True)])
    return {state.job.id: state.job for state in states}


async def _videos(session: AsyncSession, video_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Video]:
    if not video_ids:
        return {}
    return {video.id: video for video in await session.scalars(select(Video).where(Video.id.in_(video_ids)))}
