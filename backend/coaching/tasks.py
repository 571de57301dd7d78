"""The job that analyses a video: fetch, look, store, finish."""

import uuid
from pathlib import Path

import structlog
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.coaching import analyses
from backend.coaching.child import run_analysis
from backend.coaching.models import Analysis
from backend.coaching.options import AnalysisOptions, CoachError
from backend.coaching.results import CONTENT_TYPES
from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.core.queue import task
from backend.core.storage import storage
from backend.jobs.models import Job, JobState
from backend.jobs.running import JobError, Run
from backend.videos import ledger
from backend.videos.ledger import ObjectKind, folder_of
from backend.videos.models import Video
from backend.videos.processing import check_original, in_job_words, original_of, video_of
from backend.videos.workspace import temp_folder

log = structlog.get_logger(__name__)

#: Of the whole job, the share that looking takes; the rest is storing.
_LOOKING = 0.95


async def _ended(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """It failed or was cancelled: what its attempts wrote is of no use."""
    analysis = await session.get(Analysis, uuid.UUID(job.args["analysis_id"]))
    kept = set((analysis.files or {}).values()) if analysis else set()
    await _bury_written(session, uuid.UUID(job.args["analysis_id"]), job.video_id, kept)


async def _queued(session: AsyncSession, job: Job) -> None:
    """It is to be done again, by this job or as this new one: that is the one to look at. Raises InvalidState."""
    again = update(Analysis).where(Analysis.id == uuid.UUID(job.args["analysis_id"])).values(job_id=job.id)
    if await session.scalar(again.returning(Analysis.id)) is None:
        raise InvalidState("This analysis is deleted.")


@task(
    analyses.KIND,
    queue="analysis",
    timeout_seconds=settings.analysis_timeout_seconds,
    backoff_seconds=5,
    on_end=_ended,
    on_queued=_queued,
)
async def analyse_video(run: Run) -> None:
    """Find the athlete in the frames, measure, and keep what was found."""
    analysis_id = uuid.UUID(run.args["analysis_id"])
    async with transaction() as session:
        analysis = await session.get(Analysis, analysis_id)
    video = await video_of(run)
    if analysis is None or video is None:
        async with run.finishing():
            return
    options = AnalysisOptions.from_json(analysis.options)

    async def told(stage: str, percent: float) -> None:
        await run.report(stage, percent * _LOOKING)

    with in_job_words(run, video):
        source = await original_of(video, seconds=settings.analysis_timeout_seconds)
        async with temp_folder(options.most_bytes(video.duration)) as folder:
            try:
                summary = await run_analysis(
                    source, folder, options, timeout_seconds=settings.analysis_timeout_seconds, on_progress=told
                )
            except CoachError as error:
                if error.detail:
                    run.note(error.detail)
                raise JobError(error.code, error.message, retryable=error.retryable) from error
            await run.report("storing", 100 * _LOOKING)
            files = await _store(run, analysis, video, folder)
        await check_original(video)
    async with run.finishing() as session:
        await analyses.rewrite(session, analysis, summary=summary, files=files, buried=[])
        await session.execute(update(Analysis).where(Analysis.id == analysis_id).values(completed_at=func.now()))
        await _bury_written(session, analysis_id, video.id, set(files.values()))


async def _store(run: Run, analysis: Analysis, video: Video, folder: Path) -> dict[str, str]:
    """Put the folder's files into the storage; their keys by their names. Each attempt has keys of its own."""
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    prefix = f"{_folder(video, analysis.id)}{run.token}/"
    files = {name: prefix + name for name in paths}
    async with transaction() as session:
        for key in files.values():
            await ledger.record(
                session, key=key, kind=ObjectKind.ANALYSIS, project_id=run.project_id, video_id=video.id
            )
    for number, (name, path) in enumerate(paths.items(), start=1):
        await storage.put_file(
            files[name], path, content_type=CONTENT_TYPES.get(path.suffix, "application/octet-stream")
        )
        await run.report("storing", 100 * (_LOOKING + (1 - _LOOKING) * number / len(paths)))
    return files


def _folder(video: Video, analysis_id: uuid.UUID) -> str:
    return f"{folder_of(video)}analysis/{analysis_id}/"


async def _bury_written(
    session: AsyncSession, analysis_id: uuid.UUID, video_id: uuid.UUID | None, kept: set[str]
) -> None:
    """Bury what attempts have written for an analysis, but for what is kept."""
    if video_id is None:  # the video is gone, and all that was stored for it with it
        return
    written = [key for key in await ledger.keys_of_video(session, video_id) if f"/analysis/{analysis_id}/" in key]
    await ledger.bury(session, [key for key in written if key not in kept])
