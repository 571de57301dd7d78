"""API keys in a browser: made, shown once, replaced and revoked."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from backend.core.db import SessionDep, transaction
from backend.core.errors import AppError
from backend.core.forms import checked, read_form, read_lists
from backend.core.web import StrictModel, redirect
from backend.orgs import keys
from backend.orgs.access import Actor, PageActor, Permission
from backend.orgs.keys import Made
from backend.orgs.pages_frame import PlaceOfPage, base_of, frame_of, problem_of, render_tab
from backend.orgs.places import Place
from backend.orgs.roles import Scope
from backend.orgs.schemas import Name, RotateForm

router = APIRouter(prefix="/projects/{project_id}/keys", include_in_schema=False)


class KeyForm(StrictModel):
    """What the page asks for."""

    name: Name
    scopes: list[Scope] = Field(min_length=1)
    days: Literal["30", "90", "365", ""] = ""


@router.get("")
async def list_keys(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """All keys, also those that have ended."""
    return await _page(request, actor, place)


@router.post("")
async def create_key(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Make one; its text is in this answer only."""
    place.require(actor, Permission.MANAGE)
    lists = await read_lists(request)
    form: dict[str, Any] = {name: values[-1] for name, values in lists.items()} | {"scopes": lists.get("scopes", [])}
    values, problems = checked(KeyForm, form)
    if values is None:
        return await _page(request, actor, place, asked="key", form=form, problems=problems, status=422)
    ends = datetime.now(UTC) + timedelta(days=int(values.days)) if values.days else None
    async with transaction() as session:
        made = await keys.create_key(
            session, actor=actor, project_id=place.id, name=values.name, scopes=values.scopes, expires_at=ends
        )
    return await _page(request, actor, place, made=made, status=201)


@router.post("/{key_id}/rotate")
async def rotate_key(request: Request, place: PlaceOfPage, key_id: uuid.UUID, actor: PageActor) -> Response:
    """Make one in its place; for a while both work, if so chosen."""
    place.require(actor, Permission.MANAGE)
    values, problems = checked(RotateForm, await read_form(request))
    if values is None:
        return await _page(request, actor, place, problem=problems["overlap_seconds"], status=422)
    overlap = values.overlap_seconds
    try:
        async with transaction() as session:
            made = await keys.rotate_key(
                session, actor=actor, project_id=place.id, key_id=key_id, overlap_seconds=overlap
            )
    except AppError as error:
        return await _page(request, actor, place, problem=problem_of(error), status=error.status)
    return await _page(request, actor, place, made=made, status=201)


@router.post("/{key_id}/revoke")
async def revoke_key(
    request: Request, place: PlaceOfPage, key_id: uuid.UUID, actor: PageActor, session: SessionDep
) -> Response:
    """End one at once."""
    await keys.revoke_key(session, actor=actor, project_id=place.id, key_id=key_id)
    return redirect(request, f"{base_of(place)}/keys?done=revoked")


async def _page(
    request: Request,
    actor: Actor,
    place: Place,
    *,
    made: Made | None = None,
    problem: str = "",
    status: int = 200,
    **context: object,
) -> Response:
    async with transaction() as session:
        frame = await frame_of(session, actor, place, Permission.MANAGE)
        found = await keys.list_keys(session, actor=actor, project_id=place.id)
    replaced = {key.replaces_id for key, _ in found}
    rows = [(key, user, keys.state_of(key), keys.prefix_of(key), key.id in replaced) for key, user in found]
    return render_tab(
        request, "orgs/keys.html", frame, "keys", status=status, problem=problem, rows=rows, made=made, **context
    )
