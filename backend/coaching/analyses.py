"""Analyses: of a file on its way or of a video that is there; again, retry, cancel, delete."""

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from backend.coaching import access, bell
from backend.coaching.models import Analysis, AnalysisStatus, CoachSession
from backend.coaching.options import AnalysisOptions
from backend.coaching.schemas import AnalysisDetailOut, AnalysisOut, AnalysisSettings, Point
from backend.config import settings
from backend.core.db import after_commit
from backend.core.errors import InvalidState, ValidationFailed
from backend.jobs import progress
from backend.jobs import service as jobs
from backend.jobs.models import Job, JobState
from backend.orgs.access import Actor, Permission, get_visible, visible
from backend.orgs.models import Project
from backend.videos import ledger, unsized, uploads, verification
from backend.videos import moving as video_moving
from backend.videos.models import Upload, UploadState, Video
from backend.videos.schemas import ErrorOut
from backend.videos.uploads import SESSION_PREFIX, final_key, state_of

log = structlog.get_logger(__name__)

KIND = "analyse_video"
_LIVE = (JobState.QUEUED, JobState.RUNNING)
_ENDED_UPLOADS = (UploadState.CANCELLED, UploadState.EXPIRED, UploadState.FAILED)


# --- begin -----------------------------------------------------------------------------------------------------------


async def initiate(
    session: AsyncSession, *, actor: Actor, session_id: uuid.UUID, wanted: AnalysisSettings
) -> tuple[Analysis, Upload]:
    """Reserve the place of a session's video, of any size, with the analysis that waits for it. Sign it after commit.

    Raises NotFound, Forbidden.
    """
    of = await access.session_of(session, actor, session_id, permission=Permission.EDIT)
    project = (await session.scalars(select(Project).where(Project.id == of.project_id))).one()
    access.require_uploads(actor, project)
    video_id = uuid.uuid4()
    owner = ("org", project.organization_id) if project.organization_id else ("coach", project.owner_id)
    key = f"{SESSION_PREFIX}{owner[0]}/{owner[1]}/{of.id}/{video_id}/original.mp4"
    place = unsized.Place(of.project_id, actor.user_id, video_id, key, of.title)
    upload = await unsized.begin(session, place=place, seconds=settings.s3_upload_url_expires_seconds)
    analysis = await _add(session, actor, of, wanted, upload=upload, key=key)
    return analysis, upload


async def analyse_upload(
    session: AsyncSession, *, actor: Actor, session_id: uuid.UUID, upload_id: uuid.UUID, wanted: AnalysisSettings
) -> Analysis:
    """Wait for an upload of the session's project, or begin if it has arrived. Raises NotFound, Forbidden,
    InvalidState (it was given up), ValidationFailed (it is of another project)."""
    of = await access.session_of(session, actor, session_id, permission=Permission.EDIT)
    project = (await session.scalars(select(Project).where(Project.id == of.project_id))).one()
    access.require_uploads(actor, project)
    # Locked: it arrives before this, and its video is there, or after, and finds the analysis.
    upload = await get_visible(session, Upload, actor, upload_id, permission=Permission.EDIT, for_update=True)
    if upload.project_id != of.project_id:
        raise ValidationFailed(fields={"upload_id": "This upload is of another project than the session"})
    if upload.state == UploadState.COMPLETED:
        return await analyse_video(session, actor=actor, session_id=session_id, video_id=upload.video_id, wanted=wanted)
    if upload.state == UploadState.CANCELLED:
        raise InvalidState("This upload was given up.")
    return await _add(session, actor, of, wanted, upload=upload, key=final_key(upload))


async def analyse_video(
    session: AsyncSession, *, actor: Actor, session_id: uuid.UUID, video_id: uuid.UUID, wanted: AnalysisSettings
) -> Analysis:
    """Analyse a video of the session's project, again and with other settings as often as one likes.

    Raises NotFound, Forbidden, ValidationFailed (it is of another project).
    """
    of = await access.session_of(session, actor, session_id, permission=Permission.EDIT)
    video = await get_visible(session, Video, actor, video_id)
    if video.project_id != of.project_id:
        raise ValidationFailed(fields={"video_id": "This video is of another project than the session"})
    analysis = await _add(session, actor, of, wanted, video=video, key=video.s3_key)
    await start(session, analysis)
    return analysis


async def _add(
    session: AsyncSession,
    actor: Actor,
    of: CoachSession,
    wanted: AnalysisSettings,
    *,
    key: str,
    upload: Upload | None = None,
    video: Video | None = None,
) -> Analysis:
    athlete: Any = wanted.athlete
    options = AnalysisOptions.from_json(
        {
            "sample_fps": wanted.sample_fps,
            "include_frames": wanted.include_frames,
            "view": of.view,
            "discipline": of.discipline,
            "athlete": athlete.model_dump() if isinstance(athlete, Point) else athlete,
        }
    )
    analysis = Analysis(
        project_id=of.project_id,
        session_id=of.id,
        owner_id=actor.user_id,
        upload_id=upload.id if upload else None,
        video_id=video.id if video else None,
        options=options.to_json(),
        s3_bucket=settings.s3_bucket,
        s3_key=key,
    )
    session.add(analysis)
    await session.flush()
    await session.refresh(analysis)
    return analysis


async def start(session: AsyncSession, analysis: Analysis) -> Job:
    """Queue the work: from here on its file is there."""
    job = await jobs.start(
        session,
        kind=KIND,
        project_id=analysis.project_id,
        owner_id=analysis.owner_id,
        video_id=analysis.video_id,
        args={"analysis_id": str(analysis.id)},
        dedupe_key=f"{KIND}:{analysis.id}",
        ring=False,
    )
    analysis.job_id = job.id
    await session.flush()
    after_commit(session, partial(bell.ring, analysis))
    return job


async def _arrived(session: AsyncSession, upload: Upload, video: Video) -> None:
    """A file came: what waited for it begins, in the transaction that made it a video."""
    waiting = select(Analysis).where(Analysis.upload_id == upload.id, Analysis.video_id.is_(None)).with_for_update()
    for analysis in await session.scalars(waiting):
        analysis.video_id, analysis.s3_key = video.id, video.s3_key
        await start(session, analysis)


async def _stays(session: AsyncSession, video: Video) -> None:
    """Raises InvalidState: a video that was analysed stays in the project of its sessions."""
    if await session.scalar(select(Analysis.id).where(Analysis.video_id == video.id).limit(1)) is not None:
        raise InvalidState("This video is part of a practice session, and stays in its project.")


async def _waits(session: AsyncSession, upload: Upload) -> None:
    """Raises InvalidState: an upload that an analysis waits for stays in the project of its session."""
    if await session.scalar(select(Analysis.id).where(Analysis.upload_id == upload.id).limit(1)) is not None:
        raise InvalidState("This upload is for a practice session, and stays in its project.")


verification.on_arrival.append(_arrived)
uploads.on_change_project.append(_waits)
video_moving.on_move.append(_stays)


# --- later -----------------------------------------------------------------------------------------------------------


async def list_analyses(session: AsyncSession, *, actor: Actor, session_id: uuid.UUID) -> list[AnalysisOut]:
    """A session's analyses, newest first. Raises NotFound, Forbidden."""
    of = await access.session_of(session, actor, session_id)
    mine = visible(Analysis, actor).where(Analysis.session_id == of.id)
    found = (await session.scalars(mine.order_by(Analysis.created_at.desc(), Analysis.id.desc()).limit(1000))).all()
    return await shown_many(session, found)


async def latest_videos(
    session: AsyncSession, *, actor: Actor, session_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, Video]:
    """The video that was last added to each of these sessions."""
    newest = (
        visible(Analysis, actor)
        .where(Analysis.session_id.in_(session_ids), Analysis.video_id.is_not(None))
        .with_only_columns(Analysis.session_id, Analysis.video_id)
        .ext(distinct_on(Analysis.session_id))
        .order_by(Analysis.session_id, Analysis.created_at.desc())
        .subquery()
    )
    rows = await session.execute(
        visible(Video, actor).join(newest, newest.c.video_id == Video.id).add_columns(newest.c.session_id)
    )
    return {row[1]: row[0] for row in rows}


async def retry(session: AsyncSession, *, actor: Actor, analysis_id: uuid.UUID) -> Analysis:
    """Queue a failed analysis again; a cancelled one begins anew. Raises NotFound, Forbidden, InvalidState."""
    analysis = await access.analysis_of(session, actor, analysis_id, permission=Permission.EDIT, for_update=True)
    job = await _job_of(session, analysis)
    if analysis.video_id is None:
        raise InvalidState("Its video has not arrived. Send it, or start a new analysis.")
    if job is not None and job.state == JobState.FAILED:
        await jobs.retry_job(session, actor=actor, job=job, ring=False)
        after_commit(session, partial(bell.ring, analysis))
    elif job is None or job.state == JobState.CANCELLED:
        await start(session, analysis)
    else:
        raise InvalidState("Only a failed analysis can be tried again.")
    return analysis


async def cancel(session: AsyncSession, *, actor: Actor, analysis_id: uuid.UUID) -> Analysis:
    """Stop an analysis. Raises NotFound, Forbidden, InvalidState."""
    analysis = await access.analysis_of(session, actor, analysis_id, permission=Permission.EDIT, for_update=True)
    job = await _job_of(session, analysis)
    if job is None or job.state not in _LIVE:
        raise InvalidState("This analysis is not running.")
    await jobs.cancel_job(session, actor=actor, job=job)
    return analysis


async def remove(session: AsyncSession, *, actor: Actor, analysis_id: uuid.UUID) -> None:
    """Delete an analysis and what it wrote; its video stays. Raises NotFound, Forbidden, InvalidState."""
    analysis = await access.analysis_of(session, actor, analysis_id, permission=Permission.EDIT, for_update=True)
    await remove_analyses(session, actor=actor, analyses=[analysis])


async def remove_analyses(session: AsyncSession, *, actor: Actor, analyses: Sequence[Analysis]) -> None:
    """Delete these. Raises InvalidState: one of them is running, and has to be stopped first."""
    for analysis in analyses:
        job = await _job_of(session, analysis)
        if job is not None and job.state in _LIVE:
            job = await jobs.cancel_job(session, actor=actor, job=job)
        if job is not None and job.state == JobState.RUNNING:
            raise InvalidState("An analysis is still running. Stop it first, and delete when it has stopped.")
        await ledger.bury(session, sorted((analysis.files or {}).values()))
        await session.delete(analysis)
    await session.flush()


async def _job_of(session: AsyncSession, analysis: Analysis) -> Job | None:
    return await jobs.find_job(session, analysis.job_id) if analysis.job_id is not None else None


# --- shapes ----------------------------------------------------------------------------------------------------------


async def shown(session: AsyncSession, analysis: Analysis) -> AnalysisOut:
    return (await shown_many(session, [analysis]))[0]


async def shown_whole(session: AsyncSession, *, actor: Actor, analysis_id: uuid.UUID) -> AnalysisDetailOut:
    """With its summary. Raises NotFound, Forbidden."""
    analysis = await access.analysis_of(session, actor, analysis_id)
    out = await shown(session, analysis)
    return AnalysisDetailOut(**out.model_dump(), summary=await summary_of(session, analysis))


async def summary_of(session: AsyncSession, analysis: Analysis) -> dict[str, Any] | None:
    """Its summary, which is not loaded with the row."""
    query = select(Analysis).where(Analysis.id == analysis.id).options(undefer(Analysis.summary))
    found = await session.scalar(query, execution_options={"populate_existing": True})
    return found.summary if found else None


async def shown_many(session: AsyncSession, found: Sequence[Analysis]) -> list[AnalysisOut]:
    """As the API shows them, with how far their jobs are."""
    ids = [each.job_id for each in found if each.job_id is not None]
    rows = {job.id: job for job in await session.scalars(select(Job).where(Job.id.in_(ids)))}
    out = await jobs.public_many(session, list(rows.values()))
    states = await progress.freshen([progress.state_of(rows[job.id], job) for job in out])
    of_job = {state.job.id: state.job for state in states}
    waiting = [each.upload_id for each in found if each.video_id is None and each.upload_id is not None]
    uploads = {row.id: row for row in await session.scalars(select(Upload).where(Upload.id.in_(waiting)))}
    return [
        _out(each, of_job.get(each.job_id) if each.job_id else None, uploads.get(each.upload_id or uuid.UUID(int=0)))
        for each in found
    ]


def _out(analysis: Analysis, job: Any, upload: Upload | None) -> AnalysisOut:
    status, error = _status(analysis, job, upload)
    return AnalysisOut(
        id=analysis.id,
        job_id=analysis.id,
        session_id=analysis.session_id,
        project_id=analysis.project_id,
        video_id=analysis.video_id,
        status=status,
        stage=job.stage if job else None,
        progress=100.0 if status is AnalysisStatus.COMPLETED else (job.progress if job else 0.0),
        sample_fps=analysis.options["sample_fps"],
        include_frames=analysis.options["include_frames"],
        options=analysis.options,
        s3_bucket=analysis.s3_bucket,
        s3_key=analysis.s3_key,
        error=error,
        stream_url=f"/api/jobs/{job.id}/stream" if job else None,
        created_at=analysis.created_at,
        started_at=job.started_at if job else None,
        completed_at=analysis.completed_at,
    )


def _status(analysis: Analysis, job: Any, upload: Upload | None) -> tuple[AnalysisStatus, ErrorOut | None]:
    if job is None and analysis.completed_at is not None:  # its job was cleaned away
        return AnalysisStatus.COMPLETED, None
    if job is None:
        gone = upload is None or state_of(upload) in _ENDED_UPLOADS
        if analysis.video_id is None and gone:
            code = upload.error_code if upload and upload.error_code else "upload_expired"
            message = (upload.error_message if upload else None) or "Its video never arrived."
            return AnalysisStatus.FAILED, ErrorOut(code=code, message=message, retryable=False)
        return AnalysisStatus.QUEUED, None
    if job.status == JobState.COMPLETED:
        return AnalysisStatus.COMPLETED, None
    if job.status in _LIVE:
        return AnalysisStatus.PROCESSING, None
    error = job.error
    if error is None or job.status == JobState.CANCELLED:
        return AnalysisStatus.FAILED, ErrorOut(code="cancelled", message="The analysis was cancelled.", retryable=True)
    return AnalysisStatus.FAILED, ErrorOut(code=error.code, message=error.message, retryable=bool(error.retryable))


async def rewrite(
    session: AsyncSession, analysis: Analysis, *, summary: dict[str, Any], files: dict[str, str], buried: Sequence[str]
) -> None:
    """Keep what was found, in the transaction of whoever found it; what it replaces is buried."""
    values = {metric["name"]: metric["value"] for metric in summary["metrics"] if metric["value"] is not None}
    await session.execute(
        update(Analysis).where(Analysis.id == analysis.id).values(summary=summary, metrics=values, files=files)
    )
    await ledger.bury(session, [key for key in buried if key not in files.values()])
