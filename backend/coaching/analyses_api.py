"""The API of analysis jobs."""

import uuid

from fastapi import APIRouter

from backend.coaching import access, analyses, results
from backend.coaching.schemas import (
    AnalyseIn,
    AnalysisDetailOut,
    AnalysisListOut,
    AnalysisOut,
    FilesOut,
    PhasesIn,
)
from backend.core.db import SessionDep, transaction
from backend.core.web import errors
from backend.orgs.access import CurrentActor

router = APIRouter(prefix="/api/coaches/plus", tags=["coach"])


@router.get("/sessions/{session_id}/analysis-jobs", responses=errors(401, 403, 404, 422, 503))
async def list_analyses(session_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> AnalysisListOut:
    """A session's analyses, newest first."""
    return AnalysisListOut(analysis_jobs=await analyses.list_analyses(session, actor=actor, session_id=session_id))


@router.post(
    "/sessions/{session_id}/analysis-jobs",
    status_code=201,
    responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def analyse(session_id: uuid.UUID, body: AnalyseIn, actor: CurrentActor, session: SessionDep) -> AnalysisOut:
    """Analyse a video of the session's project, or an upload into it as soon as it has arrived."""
    if body.upload_id is not None:
        made = await analyses.analyse_upload(
            session, actor=actor, session_id=session_id, upload_id=body.upload_id, wanted=body
        )
    else:
        assert body.video_id is not None
        made = await analyses.analyse_video(
            session, actor=actor, session_id=session_id, video_id=body.video_id, wanted=body
        )
    return await analyses.shown(session, made)


@router.get("/analysis-jobs/{job_id}", responses=errors(401, 403, 404, 422, 503))
async def get_analysis(job_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> AnalysisDetailOut:
    """With its summary, once there is one."""
    return await analyses.shown_whole(session, actor=actor, analysis_id=job_id)


@router.post("/analysis-jobs/{job_id}/retry", responses=errors(401, 403, 404, 409, 422, 503))
async def retry_analysis(job_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> AnalysisOut:
    return await analyses.shown(session, await analyses.retry(session, actor=actor, analysis_id=job_id))


@router.post("/analysis-jobs/{job_id}/cancel", responses=errors(401, 403, 404, 409, 422, 503))
async def cancel_analysis(job_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> AnalysisOut:
    """A queued one ends at once, a running one within seconds."""
    return await analyses.shown(session, await analyses.cancel(session, actor=actor, analysis_id=job_id))


@router.delete("/analysis-jobs/{job_id}", status_code=204, responses=errors(401, 403, 404, 409, 422, 503))
async def delete_analysis(job_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> None:
    """With what it wrote; its video stays in the library."""
    await analyses.remove(session, actor=actor, analysis_id=job_id)


@router.get("/analysis-jobs/{job_id}/files", responses=errors(401, 403, 404, 409, 422, 503))
async def get_files(job_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> FilesOut:
    """Poses, angles, pictures and the overlay video, by the names in the summary."""
    return await results.files_of(await access.analysis_of(session, actor, job_id))


@router.patch("/analysis-jobs/{job_id}/phases", responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503))
async def change_phases(job_id: uuid.UUID, body: PhasesIn, actor: CurrentActor) -> AnalysisDetailOut:
    """Say when phases begin; metrics and findings are worked out anew from the poses that were found."""
    moments = {name: value for name, value in body.model_dump().items() if value is not None}
    await results.change_phases(actor=actor, analysis_id=job_id, moments=moments)
    async with transaction() as session:
        return await analyses.shown_whole(session, actor=actor, analysis_id=job_id)
