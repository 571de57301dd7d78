"""The API of practice sessions: sessions, and the sending of their videos."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Query

from backend.coaching import access, analyses, service
from backend.coaching.schemas import (
    MOST_NAME,
    AnalysisSettings,
    CompleteIn,
    CompleteOut,
    InitiateIn,
    InitiateOut,
    PlayerMetricsOut,
    PlayersOut,
    SessionChange,
    SessionIn,
    SessionListOut,
    SessionOut,
    SessionQuery,
)
from backend.config import settings
from backend.core.db import SessionDep, transaction
from backend.core.errors import InvalidState
from backend.core.web import errors
from backend.orgs.access import CurrentActor, Permission
from backend.videos import unsized, verification
from backend.videos.uploads import Texts

router = APIRouter(prefix="/api/coaches/plus", tags=["coach"])


@router.post("/sessions", status_code=201, responses=errors(400, 401, 403, 413, 415, 422, 503))
async def create_session(body: SessionIn, actor: CurrentActor, session: SessionDep) -> SessionOut:
    """A practice session. `id` and `session_id` are the same."""
    return service.session_out(await service.create_session(session, actor=actor, wanted=body), 0)


@router.get("/sessions", responses=errors(401, 403, 422, 503))
async def list_sessions(
    query: Annotated[SessionQuery, Query()], actor: CurrentActor, session: SessionDep
) -> SessionListOut:
    """Newest first."""
    found, pagination = await service.list_sessions(session, actor=actor, query=query)
    return SessionListOut(sessions=found, pagination=pagination)


@router.get("/sessions/{session_id}", responses=errors(401, 403, 404, 422, 503))
async def get_session(session_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> SessionOut:
    found = await access.session_of(session, actor, session_id)
    return await service.public(session, actor=actor, found=found)


@router.patch("/sessions/{session_id}", responses=errors(400, 401, 403, 404, 413, 415, 422, 503))
async def change_session(
    session_id: uuid.UUID, body: SessionChange, actor: CurrentActor, session: SessionDep
) -> SessionOut:
    """Fields that are not sent stay. Analyses that were made keep the view and discipline they were made with."""
    changes = body.model_dump(exclude_unset=True)
    found = await service.change_session(session, actor=actor, session_id=session_id, changes=changes)
    return await service.public(session, actor=actor, found=found)


@router.delete("/sessions/{session_id}", status_code=204, responses=errors(401, 403, 404, 409, 422, 503))
async def delete_session(session_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> None:
    """With its analyses; the videos stay in the library."""
    await service.delete_session(session, actor=actor, session_id=session_id)


@router.post("/videos/upload/initiate", status_code=201, responses=errors(400, 401, 403, 404, 413, 415, 422, 503))
async def initiate_upload(body: InitiateIn, actor: CurrentActor) -> InitiateOut:
    """An address for one video of the session, and its analysis job, which begins when the file is there."""
    seconds = settings.s3_upload_url_expires_seconds
    wanted = AnalysisSettings(sample_fps=body.sample_fps, include_frames=body.include_frames)
    async with transaction() as session:
        analysis, upload = await analyses.initiate(session, actor=actor, session_id=body.session_id, wanted=wanted)
    return InitiateOut(
        job_id=analysis.id,
        session_id=analysis.session_id,
        presigned_url=await unsized.sign(upload, seconds=seconds),
        expires_in=seconds,
        s3_bucket=analysis.s3_bucket,
        s3_key=analysis.s3_key,
    )


@router.post("/videos/upload/complete", responses=errors(400, 401, 403, 404, 409, 410, 413, 415, 422, 503))
async def complete_upload(body: CompleteIn, actor: CurrentActor) -> CompleteOut:
    """The storage is asked whether the file is there; then its analysis is queued. Again: the same answer."""
    async with transaction() as session:
        analysis = await access.analysis_of(session, actor, body.job_id, permission=Permission.EDIT)
    if analysis.video_id is None:
        if analysis.upload_id is None:
            raise InvalidState("The video of this analysis was given up.")
        await verification.verify(analysis.upload_id, texts=Texts())
        async with transaction() as session:
            analysis = await access.analysis_of(session, actor, body.job_id)
    return CompleteOut(
        job_id=analysis.id,
        status="processing",
        sqs_message_id=analysis.sqs_message_id,
        message="The video has arrived. Its analysis is queued.",
    )


@router.get("/players", responses=errors(401, 403, 503))
async def list_players(actor: CurrentActor, session: SessionDep) -> PlayersOut:
    """Everybody who is named in a session, the latest first."""
    return PlayersOut(players=await service.list_players(session, actor=actor))


@router.get("/players/{player_id:path}/metrics", responses=errors(401, 403, 422, 503))
async def player_metrics(
    player_id: Annotated[str, Path(max_length=MOST_NAME, description="As sessions name the player")],
    actor: CurrentActor,
    session: SessionDep,
    metric: Annotated[str | None, Query(max_length=100)] = None,
) -> PlayerMetricsOut:
    """How a metric went over the sessions in which this player was alone."""
    available, points = await service.player_metrics(session, actor=actor, player_id=player_id, metric=metric)
    return PlayerMetricsOut(player_id=player_id, metric=metric, available=available, points=points)
