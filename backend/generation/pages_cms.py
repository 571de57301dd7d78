"""A project's CMS in a browser: named, tried, taken away, and what goes there."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import AppError
from backend.core.forms import Form, checked, read_form
from backend.core.http import check_url
from backend.core.web import is_htmx, lenient, redirect, render
from backend.generation import cms_service
from backend.generation.cms_schemas import CmsIn, CmsSyncEntry, CmsSyncQuery
from backend.generation.models import Generation
from backend.orgs.access import Actor, PageActor, Permission, visible
from backend.orgs.pages_frame import PlaceOfPage, base_of, frame_of, problem_of, render_tab
from backend.orgs.places import Place

router = APIRouter(prefix="/projects/{project_id}/cms", include_in_schema=False)

Address = Annotated[CmsSyncQuery, Depends(lenient(CmsSyncQuery))]


@router.get("")
async def show(request: Request, place: PlaceOfPage, actor: PageActor, query: Address) -> Response:
    """Where results go, and how far they are; htmx gets the list alone."""
    if not is_htmx(request):
        return await _page(request, actor, place, query=query)
    async with transaction() as session:
        frame = await frame_of(session, actor, place, Permission.MANAGE)
        return render(request, "generation/_syncs.html", frame=frame, **await _state(session, actor, place, query))


@router.post("")
async def name(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """From now on results go there."""
    place.require(actor, Permission.MANAGE)
    form = await read_form(request)
    wanted, problems = checked(CmsIn, form, optional=["api_key", "key_collection"])
    if wanted is not None:
        try:
            await check_url(wanted.url)  # asks name servers: not inside a transaction
            async with transaction() as session:
                await cms_service.name_target(session, actor=actor, project_id=place.id, wanted=wanted)
            return redirect(request, f"{base_of(place)}/cms?done=saved")
        except AppError as error:
            problems = error.fields or {"url": problem_of(error)}
            if "api_key" in problems:
                problems["api_key"] = "Enter the key: the address is a new one."
    return await _page(request, actor, place, asked="cms", form=form, problems=problems, status=422)


@router.post("/test")
async def test(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Say in words whether it works; nothing is changed there."""
    async with transaction() as session:
        target = await cms_service.get_target(session, actor=actor, project_id=place.id)
    return await _page(request, actor, place, tried=await cms_service.try_target(target))


@router.post("/retry")
async def retry(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Send all that was refused once more."""
    async with transaction() as session:
        await cms_service.send_again(session, actor=actor, project_id=place.id)
    return redirect(request, f"{base_of(place)}/cms?done=cms-again")


@router.post("/delete")
async def remove(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Results go there no more; what is there stays."""
    async with transaction() as session:
        await cms_service.remove_target(session, actor=actor, project_id=place.id)
    return redirect(request, f"{base_of(place)}/cms?done=cms-removed")


async def _page(
    request: Request,
    actor: Actor,
    place: Place,
    *,
    query: CmsSyncQuery | None = None,
    form: Form | None = None,
    **context: Any,
) -> Response:
    async with transaction() as session:
        frame = await frame_of(session, actor, place, Permission.MANAGE)
        state = await _state(session, actor, place, query or CmsSyncQuery())
    known = state["cms"].cms
    there = {"url": known.url, "collection": known.collection, "key_collection": known.key_collection} if known else {}
    mode = {"mode": str(known.mode)} if known else {}
    context.setdefault("tried", None)
    return render_tab(
        request, "generation/cms.html", frame, "cms", form={**there, **mode, **(form or {})}, **state, **context
    )


async def _state(session: AsyncSession, actor: Actor, place: Place, query: CmsSyncQuery) -> dict[str, Any]:
    syncs = await cms_service.list_syncs(session, actor=actor, project_id=place.id, query=query)
    return {
        "cms": await cms_service.state_of(session, actor=actor, project_id=place.id),
        "syncs": syncs,
        "prompts": await _prompts(session, actor, syncs.syncs),
    }


async def _prompts(session: AsyncSession, actor: Actor, entries: Sequence[CmsSyncEntry]) -> dict[uuid.UUID, str]:
    """What was asked for, of those that are not deleted."""
    rows = visible(Generation, actor).where(Generation.id.in_([each.task_id for each in entries]))
    found = await session.execute(rows.with_only_columns(Generation.id, Generation.prompt))
    return {row.id: row.prompt for row in found}
