"""Generating in a browser: the composer with what is being made beside it, the gallery, and one thing's own page."""

import json
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Header, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession
from sse_starlette import EventSourceResponse

from backend.config import settings
from backend.core.db import SessionDep, transaction
from backend.core.errors import NotFound
from backend.core.events import event_stream, in_turn
from backend.core.web import is_htmx, lenient, redirect, render
from backend.generation import pages_words, preview, service, shapes
from backend.generation.models import Generation
from backend.generation.pages_live import gallery_events, look
from backend.generation.pages_wall import WallQuery, count, find, show
from backend.orgs.access import Actor, PageActor, Permission
from backend.orgs.chosen import chosen_project

router = APIRouter(include_in_schema=False)

#: Where on the site a button was pressed: what is answered takes the place of what is there.
Place = Literal["wall", "page", "alone"]
Pressed = Annotated[Place, Form()]


# --- the wall --------------------------------------------------------------------------------------------------------


@router.get("/gallery")
async def gallery(
    request: Request,
    actor: PageActor,
    session: SessionDep,
    query: Annotated[WallQuery, Depends(lenient(WallQuery))],
    deleted: uuid.UUID | None = None,
) -> Response:
    """What was made and is being made, as the address asks for it; htmx gets the wall alone."""
    project_id = query.project or chosen_project(request, actor)
    seen = actor if project_id is None else actor.within(project_id)
    query = query.model_copy(update={"project": project_id})
    found = await find(session, actor=seen, query=query)
    if not found.items and found.total:  # the page's last one was deleted: show what is now the last page
        query = query.model_copy(update={"page": found.total_pages})
        found = await find(session, actor=seen, query=query)
    return render(
        request,
        "generation/_gallery.html" if is_htmx(request) else "generation/gallery.html",
        page="gallery",
        query=query,
        found=found,
        counts=await count(session, actor=seen),
        seen=(await look(seen)).mark,
        may_make=bool(seen.projects(Permission.EDIT)),
        deleted=deleted,
    )


@router.get("/gallery/live", dependencies=[in_turn])
async def live(
    actor: PageActor,
    project: uuid.UUID | None = None,
    since: Annotated[str | None, Query(max_length=200)] = None,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> EventSourceResponse:
    """What is being made, as it goes."""
    seen = actor if project is None else actor.within(project)
    return event_stream(gallery_events(actor=seen, seen=last_event_id or since, project_id=project))


# --- one thing -------------------------------------------------------------------------------------------------------


@router.get("/gallery/{generation_id}")
async def one(request: Request, generation_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """It large, what it was made from, and what to do with it."""
    made = await show(session, await service.get_generation(session, actor=actor, generation_id=generation_id))
    if made.look == "ready" and made.url is None:  # its video was deleted, and with it this
        raise NotFound
    return render(request, "generation/show.html", page="gallery", made=made, facts=pages_words.facts(made))


@router.get("/gallery/{generation_id}/tile")
async def tile(request: Request, generation_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """Its tile on the wall."""
    made = await show(session, await service.get_generation(session, actor=actor, generation_id=generation_id))
    return render(request, "generation/_tile.html", made=made)


@router.get("/gallery/{generation_id}/making")
async def making(
    request: Request, generation_id: uuid.UUID, actor: PageActor, session: SessionDep, alone: bool = False
) -> Response:
    """It large, as the composer's page and its own have it."""
    generation = await service.get_generation(session, actor=actor, generation_id=generation_id)
    return render(request, "generation/_making.html", made=await show(session, generation), alone=alone)


@router.get("/gallery/{generation_id}/file")
async def file(
    request: Request, generation_id: uuid.UUID, actor: PageActor, session: SessionDep, download: bool = False
) -> Response:
    """On to the result in the storage; this address stays good when the one there has ended."""
    generation = await service.get_generation(session, actor=actor, generation_id=generation_id)
    there = await shapes.file_of(session, generation, download=download)
    response = redirect(request, there.url)
    response.headers["Cache-Control"] = "no-store"
    return response


@router.get("/gallery/{generation_id}/preview")
async def newest_look(generation_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """What there is to see of it while it is being made; nothing (204) when it just ended."""
    generation = await service.get_generation(session, actor=actor, generation_id=generation_id)
    picture = await preview.get(generation.id)
    if picture is None:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


# --- buttons ---------------------------------------------------------------------------------------------------------


@router.post("/gallery/{generation_id}/cancel")
async def cancel(request: Request, generation_id: uuid.UUID, actor: PageActor, place: Pressed = "page") -> Response:
    """Stop making it."""
    async with transaction() as session:
        generation = await _mine(session, actor, generation_id)
        await service.cancel(session, actor=actor, generation=generation)
    return await _shown_again(request, actor, generation_id, place)


@router.post("/gallery/{generation_id}/retry")
async def retry(request: Request, generation_id: uuid.UUID, actor: PageActor, place: Pressed = "page") -> Response:
    """Try once more what has failed or was cancelled."""
    async with transaction() as session:
        generation = await _mine(session, actor, generation_id)
        await service.retry(session, actor=actor, generation=generation)
    return await _shown_again(request, actor, generation_id, place)


@router.post("/gallery/{generation_id}/resubmit")
async def resubmit(request: Request, generation_id: uuid.UUID, actor: PageActor, place: Pressed = "page") -> Response:
    """Send once more what was sent and never answered."""
    async with transaction() as session:
        generation = await _mine(session, actor, generation_id)
        await service.resubmit(session, actor=actor, generation=generation)
    return await _shown_again(request, actor, generation_id, place)


@router.post("/gallery/{generation_id}/delete")
async def delete(request: Request, generation_id: uuid.UUID, actor: PageActor) -> Response:
    """Off the wall at once, gone when the time for undo is over."""
    async with transaction() as session:
        generation = await _mine(session, actor, generation_id)
        await service.delete(session, actor=actor, generation=generation, grace_seconds=settings.delete_undo_seconds)
    undo = f"/gallery/{generation_id}/restore" if settings.delete_undo_seconds else None
    if is_htmx(request):
        return _telling("It was deleted.", **({"undo_url": undo} if undo else {}))
    return redirect(request, f"/gallery?deleted={generation_id}" if undo else "/gallery")


@router.post("/gallery/{generation_id}/restore")
async def restore(request: Request, generation_id: uuid.UUID, actor: PageActor) -> Response:
    """Undo a deletion in time."""
    async with transaction() as session:
        await service.restore(session, actor=actor, generation_id=generation_id)
    if is_htmx(request):
        return _telling("It is back.", kind="good")
    return redirect(request, f"/gallery/{generation_id}")


async def _mine(session: AsyncSession, actor: Actor, generation_id: uuid.UUID) -> Generation:
    """Raises NotFound, Forbidden."""
    return await service.get_generation(session, actor=actor, generation_id=generation_id, permission=Permission.EDIT)


async def _shown_again(request: Request, actor: Actor, generation_id: uuid.UUID, place: Place) -> Response:
    if not is_htmx(request):
        return redirect(request, f"/gallery/{generation_id}")
    async with transaction() as session:
        made = await show(session, await service.get_generation(session, actor=actor, generation_id=generation_id))
    if place == "wall":
        return render(request, "generation/_tile.html", made=made)
    return render(request, "generation/_making.html", made=made, alone=place == "alone")


def _telling(text: str, **more: Any) -> Response:
    """With a message for the page. Header values are ASCII: JSON escapes the rest."""
    toast = json.dumps({"toast": {"message": text, **more}})
    return Response(status_code=204, headers={"Cache-Control": "no-store", "HX-Trigger": toast})
