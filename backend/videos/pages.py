"""Videos in a browser: the library, uploading, a video's own page. Fragments are parts that the full pages include."""

import json
import math
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Header, Query, Request, Response
from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession
from sse_starlette import EventSourceResponse

from backend.accounts.access import ask_to_sign_in
from backend.config import settings
from backend.core import web
from backend.core.db import SessionDep, autocommit, transaction
from backend.core.errors import Unauthenticated, ValidationFailed
from backend.core.events import event_stream, in_turn
from backend.core.forms import checked, read_form
from backend.core.web import errors, is_htmx, lenient, redirect, render, wants_html
from backend.core.words import filesize
from backend.jobs.models import JobState
from backend.jobs.progress import State
from backend.jobs.words import doing
from backend.orgs.access import Actor, CurrentActor, OptionalActor, PageActor, Permission, visible
from backend.orgs.chosen import choose, chosen_project
from backend.orgs.pages import contents
from backend.orgs.streams import Follower
from backend.orgs.words import counted
from backend.videos import listing, moving, quota, service, words
from backend.videos.history import history
from backend.videos.library import PAGE_SIZE, LibraryQuery
from backend.videos.live import library_events, video_events
from backend.videos.models import Video, VideoStatus
from backend.videos.playback import playback_url, sizes
from backend.videos.schemas import MAX_DESCRIPTION_LENGTH, MAX_TITLE_LENGTH, VideoMove, VideoOut, VideoPatch
from backend.videos.search import VideoQuery
from backend.videos.uploads import ALLOWED_TYPES
from backend.videos.work import look, state_of, states_of

router = APIRouter()

#: Videos in work that the library shows by name.
WORK_SHOWN = 5
RECENT_SHOWN = 3
#: Videos one request asks the progress of.
MOST_FOLLOWED = 100

web.templates().filters["activity"] = words.activity
web.templates().filters["missing_share"] = words.missing_share
web.templates().globals["upload_types"] = ALLOWED_TYPES
web.templates().globals["most_counted"] = listing.MOST_COUNTED


async def count_videos(session: AsyncSession, actor: Actor, project_id: uuid.UUID) -> str:
    """What goes with a project."""
    there = await listing.stats(session, actor=actor.within(project_id))
    return f"{counted(there.total, 'video')} ({filesize(there.size_bytes)})" if there.total else ""


contents.append(count_videos)


@router.get("/", include_in_schema=False)
async def home(request: Request) -> Response:
    """The library is the front page."""
    return redirect(request, "/dashboard")


# --- the library -----------------------------------------------------------------------------------------------------


@router.get("/dashboard", include_in_schema=False)
async def library(
    request: Request,
    actor: PageActor,
    query: Annotated[LibraryQuery, Depends(lenient(LibraryQuery))],
) -> Response:
    """Numbers, what is in work, and the videos as the address asks for them; htmx gets the list alone.

    The project is the one that was chosen last where the address says none; `project=all` forgets it.
    """
    if not is_htmx(request):
        if request.query_params.get("project") == "all":
            forgotten = redirect(request, query.url(project=None))
            choose(forgotten, None)
            return forgotten
        if query.project is None and (last := chosen_project(request, actor)) is not None:
            return redirect(request, query.url(project=last))
    seen = actor if query.project is None else actor.within(query.project)
    async with autocommit() as session:
        page = await _page(session, seen, query)
        if not page.items and page.total:  # the page's last video was deleted: show what is now the last page
            query = query.model_copy(update={"page": page.total_pages})
            page = await _page(session, seen, query)
        context = await _now(session, seen, query, newest=page.items if query.newest else None)
    template = "videos/_library.html" if is_htmx(request) else "videos/index.html"
    shown = service.public_page(page)
    context |= {"library": shown, "exact": page.exact, "uploads": _uploads(seen)}
    response = render(request, template, page="library", query=query, **context)
    if query.project is not None and not is_htmx(request):
        choose(response, query.project)
    return response


@router.get("/dashboard/now", include_in_schema=False)
async def now(request: Request, actor: PageActor, project: uuid.UUID | None = None) -> Response:
    """The part of the library that changes by itself."""
    seen = actor if project is None else actor.within(project)
    async with autocommit() as session:
        context = await _now(session, seen, LibraryQuery())
    return render(request, "videos/_now.html", **context)


@router.get("/dashboard/live", include_in_schema=False, dependencies=[in_turn])
async def live(
    actor: PageActor,
    project: uuid.UUID | None = None,
    since: Annotated[str | None, Query(max_length=200)] = None,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> EventSourceResponse:
    """What changes in the library, as it happens."""
    seen = actor if project is None else actor.within(project)
    return event_stream(library_events(actor=seen, seen=last_event_id or since, project_id=project))


@router.get("/upload", include_in_schema=False)
async def upload_page(request: Request, actor: PageActor) -> Response:
    """Drop or choose files; `POST` to the same path is the public API."""
    return render(request, "videos/upload.html", page="upload", uploads=_uploads(actor))


def _uploads(actor: Actor) -> bool:
    """Whether there is a project among those that are shown into which the actor may upload."""
    return bool(actor.projects(Permission.EDIT))


async def _now(
    session: AsyncSession, actor: Actor, query: LibraryQuery, *, newest: Sequence[Row[Any]] | None = None
) -> dict[str, Any]:
    stats = await listing.stats(session, actor=actor)
    state = await look(session, actor=actor, counts=stats.counts)
    if newest is None:
        newest = (await listing.list_videos(session, actor=actor, query=VideoQuery(limit=RECENT_SHOWN))).items
    return {
        "seen": state.mark,
        "stats": stats,
        "usage": await quota.usage_for(session, actor=actor) if settings.user_quota_mb else None,
        "recent": newest[:RECENT_SHOWN],
        "work": state.work[:WORK_SHOWN],
        "work_total": len(state.work),
        "chips": query.chips(state.counts),
    }


async def _page(session: AsyncSession, actor: Actor, query: LibraryQuery) -> listing.VideoPage:
    wanted = VideoQuery(
        q=query.q,
        status=VideoStatus(query.status) if query.status else None,
        sort=query.sort,
        order=query.direction,
        page=query.page,
        limit=PAGE_SIZE,
    )
    return await listing.list_videos(session, actor=actor, query=wanted)


# --- one video -------------------------------------------------------------------------------------------------------


@router.get("/videos/progress", include_in_schema=False)
async def progress(
    actor: CurrentActor,
    session: SessionDep,
    video_ids: Annotated[list[uuid.UUID], Query(alias="id", max_length=MOST_FOLLOWED)],
) -> list[dict[str, Any]]:
    """How far the processing of these videos is, in the words of the library; a deleted one is left out."""
    videos = (await session.scalars(visible(Video, actor).where(Video.id.in_(video_ids)))).all()
    states = await states_of(session, videos)
    return [_how_far(video, states.get(video.id)) for video in videos]


def _how_far(video: Video, state: State | None) -> dict[str, Any]:
    told: dict[str, Any] = {"id": str(video.id), "status": video.status}
    if state is not None:
        running = state.job.status == JobState.RUNNING
        told |= {"words": doing(state.job), "percent": math.floor(state.job.progress), "running": running}
    return told


@router.get("/videos/{video_id}", response_model=VideoOut, responses=errors(401, 404, 503), tags=["videos"])
async def show(request: Request, video_id: uuid.UUID, actor: OptionalActor, session: SessionDep) -> Any:
    """A page for browsers; JSON, as `/api/videos/{video_id}`, for programs."""
    if not wants_html(request):
        if actor is None:
            raise Unauthenticated
        return await service.public(await service.get_video(session, actor=actor, video_id=video_id))
    if actor is None:
        ask_to_sign_in(request)
    video = await service.get_video(session, actor=actor, video_id=video_id)
    return await _video(request, session, actor, video)


@router.get("/videos/{video_id}/live", include_in_schema=False, dependencies=[in_turn])
async def video_live(
    video_id: uuid.UUID,
    actor: PageActor,
    since: Annotated[str | None, Query(max_length=200)] = None,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> EventSourceResponse:
    """How far a video's processing is, until its page is to be fetched again."""
    async with transaction() as session:
        video = await service.get_video(session, actor=actor, video_id=video_id)
    follower = Follower(actor, video.project_id)
    return event_stream(video_events(video=video, follower=follower, seen=last_event_id or since))


@router.get("/videos/{video_id}/history", include_in_schema=False)
async def timeline(request: Request, video_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """What was done to it, as far as is known now."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    steps = await history(session, actor=actor, video=video)
    return render(request, "videos/_history.html", video=video, history=steps)


@router.get("/videos/{video_id}/download", include_in_schema=False)
async def download(request: Request, video_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """On to the original in the storage, under its own name."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    playback = await playback_url(video, download=True)
    response = redirect(request, playback.url)
    response.headers["Cache-Control"] = "no-store"
    return response


@router.get("/videos/{video_id}/row", include_in_schema=False)
async def row(request: Request, video_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """Its row in the library."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    return render(request, "videos/_row.html", video=await service.public(video))


@router.get("/videos/{video_id}/heading", include_in_schema=False)
async def heading(request: Request, video_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """Title, description and actions on its page."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    return render(request, "videos/_heading.html", video=await service.public(video), saved=False)


@router.post("/videos/{video_id}/retry", include_in_schema=False)
async def retry(request: Request, video_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """Process a failed video again."""
    video = await service.get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT)
    return await _video(request, session, actor, await service.retry_video(session, actor=actor, video=video))


async def _video(request: Request, session: AsyncSession, actor: Actor, video: Video) -> Response:
    state = await state_of(session, video)
    return render(
        request,
        "videos/_video.html" if is_htmx(request) else "videos/show.html",
        page="library",
        video=await service.public(video),
        job=state.job if state else None,
        seen=state.version.moved if state else None,
        playback=await playback_url(video),
        sizes=await sizes(session, video),
        facts=words.facts(video),
        technical=words.technical(video),
        history=await history(session, actor=actor, video=video),
        saved=False,
    )


@router.post("/videos/{video_id}/move", include_in_schema=False)
async def move(request: Request, video_id: uuid.UUID, actor: PageActor) -> Response:
    """Put it into another project."""
    async with transaction() as session:
        await service.get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT)
    values, _ = checked(VideoMove, await read_form(request))
    if values is None:
        raise ValidationFailed("Choose a project.")
    async with transaction() as session:
        video = await moving.move_video(session, actor=actor, video_id=video_id, project_id=values.project_id)
    text = f"Moved to “{actor.names[video.project_id].name}”."
    return _telling(redirect(request, f"/videos/{video.id}"), toast=_toast(text))


# --- changing and deleting -------------------------------------------------------------------------------------------

Place = Literal["dialog", "page"]


@router.get("/videos/{video_id}/edit", include_in_schema=False)
async def editor(
    request: Request, video_id: uuid.UUID, actor: PageActor, session: SessionDep, place: Place = "dialog"
) -> Response:
    """The form for title and description."""
    video = await service.get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT)
    values = {"title": video.title, "description": video.description}
    return render(request, "videos/_edit.html", video=video, place=place, values=values, problems={})


@router.post("/videos/{video_id}/edit", include_in_schema=False)
async def edit(
    request: Request,
    video_id: uuid.UUID,
    actor: PageActor,
    session: SessionDep,
    title: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    place: Annotated[Place, Form()] = "dialog",
) -> Response:
    """Save title and description; the form comes back when something is wrong with them."""
    video = await service.get_video(
        session, actor=actor, video_id=video_id, permission=Permission.EDIT, for_update=True
    )
    try:
        texts = VideoPatch(title=title, description=description)
    except ValidationError as error:
        values = {"title": title, "description": description}
        problems = {str(problem["loc"][0]): _in_words(problem) for problem in error.errors()}
        return render(
            request, "videos/_edit.html", status=422, video=video, place=place, values=values, problems=problems
        )
    video = await service.update_video(session, video=video, title=texts.title, description=texts.description)
    if not is_htmx(request):
        return redirect(request, f"/videos/{video.id}")
    if place == "page":
        response: Response = render(request, "videos/_heading.html", video=await service.public(video), saved=True)
        return _telling(response, toast=_toast("Saved."))
    return _telling(_done(), **{"video:saved": True, "library:changed": True}, toast=_toast("Saved."))


@router.post("/videos/{video_id}/delete", include_in_schema=False)
async def delete(
    request: Request, video_id: uuid.UUID, actor: PageActor, session: SessionDep, leave: bool = False
) -> Response:
    """Out of sight at once, gone when the time for undo is over; `leave` goes on to the library."""
    video = await service.get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT)
    await service.delete_video(session, actor=actor, video=video, grace_seconds=settings.delete_undo_seconds)
    toast = {"message": f"“{video.title}” was deleted."}
    if settings.delete_undo_seconds:
        toast["undo_url"] = f"/videos/{video.id}/restore"
    if leave:
        return _telling(redirect(request, "/dashboard"), toast=toast)
    return _telling(_done(), **{"library:changed": True}, toast=toast)


@router.post("/videos/{video_id}/restore", include_in_schema=False)
async def restore(video_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """Undo a deletion in time."""
    video = await service.restore_video(session, actor=actor, video_id=video_id)
    return _telling(_done(), toast=_toast(f"“{video.title}” is back."))


def _done() -> Response:
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def _telling(response: Response, **events: Any) -> Response:
    """With events for the page. Header values are ASCII: JSON escapes the rest."""
    response.headers["HX-Trigger"] = json.dumps(events)
    return response


def _toast(text: str) -> dict[str, str]:
    return {"message": text, "kind": "good"}


def _in_words(problem: Any) -> str:
    limit = {"title": MAX_TITLE_LENGTH, "description": MAX_DESCRIPTION_LENGTH}[problem["loc"][0]]
    if problem["type"] in ("string_too_short", "too_short"):
        return "Please fill this in."
    if problem["type"] in ("string_too_long", "too_long"):
        return f"Use at most {limit:,} characters."
    text = str(problem["msg"]).removeprefix("Value error, ")
    return text[:1].upper() + text[1:]
