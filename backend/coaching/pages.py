"""Practice sessions in a browser: the list, one session, and what is done there by forms."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import or_
from sqlalchemy.ext.asyncio import AsyncSession

from backend.coaching import access, analyses, service, words
from backend.coaching.models import AnalysisStatus
from backend.coaching.schemas import MOST_NAME, AnalysisOut, AnalysisSettings, SessionIn, SessionQuery
from backend.core.db import SessionDep, transaction
from backend.core.errors import AppError, NotFound
from backend.core.forms import checked, read_form
from backend.core.web import lenient, redirect, render
from backend.orgs.access import Actor, PageActor, Permission, visible
from backend.orgs.models import Project
from backend.orgs.pages_frame import problem_of
from backend.videos.models import Video, VideoStatus
from backend.videos.service import public_all

router = APIRouter(include_in_schema=False)

Address = Annotated[SessionQuery, Depends(lenient(SessionQuery))]
#: Of the project's videos, as many are offered to be analysed.
_OFFERED = 50

_DONE = {
    "made": "The session is there. Add its first video.",
    "saved": "Saved.",
    "deleted": "The session is deleted. Its videos are still in the library.",
    "queued": "The analysis is queued.",
    "again": "It is tried again.",
    "cancelled": "It was stopped.",
    "removed": "The analysis is deleted.",
}


@router.get("/sessions")
async def list_sessions(request: Request, actor: PageActor, session: SessionDep, query: Address) -> Response:
    """Newest first."""
    return await _list(request, session, actor, query)


@router.post("/sessions")
async def create_session(request: Request, actor: PageActor) -> Response:
    """A new session."""
    form = await read_form(request)
    wanted, problems = _read(form)
    if wanted is not None:
        try:
            async with transaction() as session:
                made = await service.create_session(session, actor=actor, wanted=wanted)
            return redirect(request, f"/sessions/{made.id}?done=made")
        except AppError as error:
            problems = error.fields or {"title": problem_of(error)}
    async with transaction() as session:
        return await _list(request, session, actor, SessionQuery(), form=form, problems=problems, status=422)


async def _list(
    request: Request,
    session: AsyncSession,
    actor: Actor,
    query: SessionQuery,
    *,
    form: dict[str, str] | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    found, pagination = await service.list_sessions(session, actor=actor, query=query)
    projects = (await session.scalars(access.reached(actor, Permission.EDIT))).all()
    return render(
        request,
        "coaching/index.html",
        status=status,
        page="sessions",
        query=query,
        sessions=found,
        pagination=pagination,
        posters=await _posters(session, actor, [each.id for each in found]),
        players=await service.list_players(session, actor=actor),
        projects=[(id, actor.names[id]) for id in projects if id in actor.names],
        asked="session" if problems else request.query_params.get("ask", ""),
        form=form or {},
        problems=problems or {},
        message=_DONE.get(request.query_params.get("done", "")),
    )


async def _posters(session: AsyncSession, actor: Actor, ids: list[uuid.UUID]) -> dict[uuid.UUID, str | None]:
    """The poster of each session's latest video."""
    videos = await analyses.latest_videos(session, actor=actor, session_ids=ids)
    shown = {video.id: video.poster_url for video in await public_all(list(videos.values()))}
    return {session_id: shown.get(video.id) for session_id, video in videos.items()}


# --- one -------------------------------------------------------------------------------------------------------------


@router.get("/sessions/{session_id}")
async def show(
    request: Request,
    session_id: uuid.UUID,
    actor: PageActor,
    analysis: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """A session with its analyses; one of them is open."""
    async with transaction() as session:
        return await _show(request, session, actor, session_id, chosen=analysis)


async def _show(
    request: Request,
    session: AsyncSession,
    actor: Actor,
    session_id: uuid.UUID,
    *,
    chosen: str = "",
    status: int = 200,
    **context: Any,
) -> Response:
    found = await access.session_of(session, actor, session_id)
    listed = await analyses.list_analyses(session, actor=actor, session_id=session_id)
    chosen_one = _chosen(listed, chosen)
    # What failed before anything was known of it is no video: an analysis would say the same.
    readable = or_(Video.status != VideoStatus.FAILED, Video.width.is_not(None))
    mine = visible(Video, actor).where(Video.project_id == found.project_id, readable)
    offered = (await session.scalars(mine.order_by(Video.created_at.desc(), Video.id.desc()).limit(_OFFERED))).all()
    project = await session.get_one(Project, found.project_id)
    opened = None
    if chosen_one is not None:
        opened = await analyses.shown_whole(session, actor=actor, analysis_id=chosen_one.id)
    return render(
        request,
        "coaching/show.html",
        status=status,
        page="sessions",
        session=await service.public(session, actor=actor, found=found),
        may_edit=actor.may(Permission.EDIT, found.project_id),
        may_send=access.may_upload(actor, project),
        analyses=listed,
        opened=opened,
        titles=await _titles(session, actor, listed),
        offered=offered,
        problem=context.pop("problem", ""),
        asked=context.pop("asked", request.query_params.get("ask", "")),
        form=context.pop("form", {}),
        problems=context.pop("problems", {}),
        message=_DONE.get(request.query_params.get("done", "")),
        **context,
    )


def _chosen(listed: list[AnalysisOut], chosen: str) -> AnalysisOut | None:
    """The one that is asked for; else the newest that has something to show; else the newest."""
    asked = [each for each in listed if str(each.id) == chosen]
    done = [each for each in listed if each.status == AnalysisStatus.COMPLETED]
    return next(iter([*asked, *done, *listed]), None)


async def _titles(session: AsyncSession, actor: Actor, listed: list[AnalysisOut]) -> dict[uuid.UUID, str]:
    """What the videos of these analyses are called."""
    named = visible(Video, actor).where(Video.id.in_({each.video_id for each in listed if each.video_id}))
    return {video.id: video.title for video in await session.scalars(named)}


@router.get("/sessions/{session_id}/analyses")
async def list_analyses(
    request: Request,
    session_id: uuid.UUID,
    actor: PageActor,
    session: SessionDep,
    analysis: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """The list of its analyses alone, for a page that follows them."""
    found = await access.session_of(session, actor, session_id)
    listed = await analyses.list_analyses(session, actor=actor, session_id=session_id)
    return render(
        request,
        "coaching/_analyses.html",
        session=found,
        may_edit=actor.may(Permission.EDIT, found.project_id),
        analyses=listed,
        opened=next((each for each in listed if str(each.id) == analysis), None),
        titles=await _titles(session, actor, listed),
    )


@router.post("/sessions/{session_id}")
async def change(request: Request, session_id: uuid.UUID, actor: PageActor) -> Response:
    """Another title, other players, notes."""
    form = await read_form(request)
    wanted, problems = _read(form)
    async with transaction() as session:
        if wanted is None:
            context: dict[str, Any] = {"asked": "edit", "form": form, "problems": problems}
            return await _show(request, session, actor, session_id, status=422, **context)
        changes = wanted.model_dump(exclude={"project_id"}) | {"notes": wanted.notes or ""}
        await service.change_session(session, actor=actor, session_id=session_id, changes=changes)
    return redirect(request, f"/sessions/{session_id}?done=saved")


@router.post("/sessions/{session_id}/delete")
async def delete(request: Request, session_id: uuid.UUID, actor: PageActor) -> Response:
    """The session and its analyses; the videos stay."""
    try:
        async with transaction() as session:
            await service.delete_session(session, actor=actor, session_id=session_id)
    except AppError as error:
        return await _refused(request, actor, session_id, error)
    return redirect(request, "/sessions?done=deleted")


@router.post("/sessions/{session_id}/analyses")
async def analyse(request: Request, session_id: uuid.UUID, actor: PageActor) -> Response:
    """Analyse a video of the library, again or for the first time."""
    form = await read_form(request)
    values = {**form, "include_frames": "include_frames" in form}
    wanted, problems = checked(AnalysisSettings, values, optional=["sample_fps", "athlete"])
    try:
        video_id = uuid.UUID(form.get("video_id", ""))
    except ValueError:
        wanted, problems = None, {"video_id": "Choose a video."}
    try:
        async with transaction() as session:
            if wanted is None:
                context: dict[str, Any] = {"asked": "analyse", "form": form, "problems": problems}
                return await _show(request, session, actor, session_id, status=422, **context)
            made = await analyses.analyse_video(
                session, actor=actor, session_id=session_id, video_id=video_id, wanted=wanted
            )
    except AppError as error:
        return await _refused(request, actor, session_id, error)
    return redirect(request, f"/sessions/{session_id}?analysis={made.id}&done=queued")


@router.post("/sessions/{session_id}/analyses/{analysis_id}/{verb}")
async def act(request: Request, session_id: uuid.UUID, analysis_id: uuid.UUID, verb: str, actor: PageActor) -> Response:
    """Try again, stop, delete."""
    verbs: dict[str, tuple[Any, str]] = {
        "retry": (analyses.retry, "again"),
        "cancel": (analyses.cancel, "cancelled"),
        "delete": (analyses.remove, "removed"),
    }
    do, done = verbs.get(verb, (None, ""))
    try:
        async with transaction() as session:
            await access.session_of(session, actor, session_id, permission=Permission.EDIT)
            analysis = await access.analysis_of(session, actor, analysis_id)
            if do is None or analysis.session_id != session_id:
                raise NotFound(access.NO_ANALYSIS)
            await do(session, actor=actor, analysis_id=analysis_id)
    except AppError as error:
        return await _refused(request, actor, session_id, error, chosen=str(analysis_id))
    kept = "" if verb == "delete" else f"analysis={analysis_id}&"
    return redirect(request, f"/sessions/{session_id}?{kept}done={done}")


async def _refused(
    request: Request, actor: Actor, session_id: uuid.UUID, error: AppError, *, chosen: str = ""
) -> Response:
    problem = problem_of(error)
    async with transaction() as session:
        return await _show(request, session, actor, session_id, chosen=chosen, problem=problem, status=error.status)


def _read(form: dict[str, str]) -> tuple[SessionIn | None, dict[str, str]]:
    players = [each.strip() for each in form.get("player_ids", "").split(",")]
    values: dict[str, Any] = {**form, "player_ids": [each for each in players if each]}
    return checked(SessionIn, values, optional=["project_id", "notes"])


# --- players ---------------------------------------------------------------------------------------------------------


@router.get("/players/{player_id:path}")
async def player(
    request: Request,
    player_id: str,
    actor: PageActor,
    session: SessionDep,
    metric: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """A player's metric over the sessions."""
    if len(player_id) > MOST_NAME:
        raise NotFound
    available, _ = await service.player_metrics(session, actor=actor, player_id=player_id, metric=None)
    metric = metric if metric in available else (available[0] if available else "")
    _, points = await service.player_metrics(session, actor=actor, player_id=player_id, metric=metric)
    named = await _named(session, actor, points[-1].analysis_id) if points else {}
    label, unit = named.get(metric, (words.metric_word(metric), ""))
    found, _ = await service.list_sessions(session, actor=actor, query=SessionQuery(player_id=player_id, limit=100))
    return render(
        request,
        "coaching/player.html",
        page="sessions",
        player_id=player_id,
        metric=metric,
        label=label,
        unit=words.after_number(unit),
        given_unit=unit,
        available=[(name, named[name][0] if name in named else words.metric_word(name)) for name in available],
        points=points,
        sessions=found,
    )


async def _named(session: AsyncSession, actor: Actor, analysis_id: uuid.UUID) -> dict[str, tuple[str, str]]:
    """Labels and units of metrics by name, as an analysis gave them."""
    analysis = await access.analysis_of(session, actor, analysis_id)
    summary = await analyses.summary_of(session, analysis) or {}
    return {metric["name"]: (metric["label"], metric["unit"]) for metric in summary.get("metrics", [])}
