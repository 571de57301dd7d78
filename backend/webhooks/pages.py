"""Webhooks in a browser: added, looked at with their deliveries, tested, switched on and off, sent again."""

import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core import web
from backend.core.db import SessionDep, transaction
from backend.core.errors import AppError
from backend.core.forms import Form, checked, read_form, read_lists
from backend.core.http import check_url
from backend.core.web import StrictModel, lenient, redirect, render
from backend.orgs.access import Actor, PageActor, Permission, visible
from backend.orgs.pages import contents
from backend.orgs.pages_frame import PlaceOfPage, base_of, frame_of, problem_of, render_tab
from backend.orgs.places import Place
from backend.orgs.words import counted
from backend.webhooks import service, words
from backend.webhooks.courier import body_of
from backend.webhooks.models import WebhookEndpoint
from backend.webhooks.schemas import MAX_OVERLAP_SECONDS, DeliveryQuery, WebhookIn

router = APIRouter(prefix="/projects/{project_id}", include_in_schema=False)

Address = Annotated[DeliveryQuery, Depends(lenient(DeliveryQuery))]

web.templates().globals.update(event_families=words.FAMILIES)
web.templates().filters.update(delivery_words=words.stands, event_words=words.events)


async def count_webhooks(session: AsyncSession, actor: Actor, project_id: uuid.UUID) -> str:
    """What goes with a project."""
    mine = visible(WebhookEndpoint, actor).where(WebhookEndpoint.project_id == project_id)
    number = await session.scalar(select(func.count()).select_from(mine.subquery())) or 0
    return counted(number, "webhook") if number else ""


contents.append(count_webhooks)


# --- all of a project ------------------------------------------------------------------------------------------------


@router.get("/webhooks")
async def list_webhooks(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Each with how it is."""
    return await _list(request, actor, place)


@router.post("/webhooks")
async def create_webhook(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Add one; its secret is in this answer only."""
    place.require(actor, Permission.MANAGE)
    form, wanted, problems = await _wanted(request)
    if wanted is not None:
        try:
            await check_url(wanted.url)  # asks name servers: not inside a transaction
            async with transaction() as session:
                made, secret = await service.create_endpoint(session, actor=actor, project_id=place.id, wanted=wanted)
            return await _one(request, actor, place, made.id, secret=secret, status=201)
        except AppError as error:
            problems = {"url": problem_of(error)}
    return await _list(request, actor, place, asked="webhook", form=form, problems=problems, status=422)


async def _list(request: Request, actor: Actor, place: Place, **context: Any) -> Response:
    async with transaction() as session:
        frame = await frame_of(session, actor, place, Permission.MANAGE)
        endpoints = await service.list_endpoints(session, actor=actor, project_id=place.id)
    return render_tab(request, "webhooks/index.html", frame, "webhooks", endpoints=endpoints, **context)


# --- one -------------------------------------------------------------------------------------------------------------


@router.get("/webhooks/{webhook_id}")
async def show(
    request: Request, place: PlaceOfPage, webhook_id: uuid.UUID, actor: PageActor, query: Address
) -> Response:
    """One, and what was sent to it."""
    return await _one(request, actor, place, webhook_id, query=query)


@router.post("/webhooks/{webhook_id}")
async def change(request: Request, place: PlaceOfPage, webhook_id: uuid.UUID, actor: PageActor) -> Response:
    """Another address, other events."""
    await _endpoint(actor, place, webhook_id)
    form, wanted, problems = await _wanted(request)
    if wanted is not None:
        try:
            await check_url(wanted.url)
            await _change(actor, place, webhook_id, wanted.model_dump())
            return redirect(request, f"{base_of(place)}/webhooks/{webhook_id}?done=saved")
        except AppError as error:
            problems = {"url": problem_of(error)}
    return await _one(request, actor, place, webhook_id, asked="edit", form=form, problems=problems, status=422)


@router.post("/webhooks/{webhook_id}/on")
async def switch_on(request: Request, place: PlaceOfPage, webhook_id: uuid.UUID, actor: PageActor) -> Response:
    """Send to it again."""
    await _change(actor, place, webhook_id, {"enabled": True})
    return redirect(request, f"{base_of(place)}/webhooks/{webhook_id}?done=on")


@router.post("/webhooks/{webhook_id}/off")
async def switch_off(request: Request, place: PlaceOfPage, webhook_id: uuid.UUID, actor: PageActor) -> Response:
    """Send nothing more; what waits is not sent either."""
    await _change(actor, place, webhook_id, {"enabled": False})
    return redirect(request, f"{base_of(place)}/webhooks/{webhook_id}?done=off")


@router.post("/webhooks/{webhook_id}/test")
async def test(
    request: Request, place: PlaceOfPage, webhook_id: uuid.UUID, actor: PageActor, session: SessionDep
) -> Response:
    """Send an event of no meaning."""
    endpoint = await service.get_endpoint(
        session, actor=actor, project_id=place.id, webhook_id=webhook_id, for_update=True
    )
    await service.send_test(session, actor=actor, endpoint=endpoint)
    return redirect(request, f"{base_of(place)}/webhooks/{webhook_id}?done=tested")


@router.post("/webhooks/{webhook_id}/secret")
async def rotate_secret(request: Request, place: PlaceOfPage, webhook_id: uuid.UUID, actor: PageActor) -> Response:
    """A new secret, in this answer only."""
    await _endpoint(actor, place, webhook_id)
    values, problems = checked(_SecretForm, await read_form(request))
    if values is None:
        problem = problems["overlap_seconds"]
        return await _one(request, actor, place, webhook_id, problem=problem, status=422)
    async with transaction() as session:
        endpoint = await service.get_endpoint(
            session, actor=actor, project_id=place.id, webhook_id=webhook_id, for_update=True
        )
        overlap = values.overlap_seconds
        secret = await service.rotate_secret(session, actor=actor, endpoint=endpoint, overlap_seconds=overlap)
    return await _one(request, actor, place, webhook_id, secret=secret, status=201)


@router.post("/webhooks/{webhook_id}/delete")
async def delete(
    request: Request, place: PlaceOfPage, webhook_id: uuid.UUID, actor: PageActor, session: SessionDep
) -> Response:
    """With all its deliveries."""
    endpoint = await service.get_endpoint(
        session, actor=actor, project_id=place.id, webhook_id=webhook_id, for_update=True
    )
    await service.delete_endpoint(session, actor=actor, endpoint=endpoint)
    return redirect(request, f"{base_of(place)}/webhooks?done=webhook-removed")


class _SecretForm(StrictModel):
    """As the API takes it; the numbers of a form are text."""

    overlap_seconds: int = Field(ge=0, le=MAX_OVERLAP_SECONDS)


async def _endpoint(actor: Actor, place: Place, webhook_id: uuid.UUID) -> WebhookEndpoint:
    async with transaction() as session:
        return await service.get_endpoint(session, actor=actor, project_id=place.id, webhook_id=webhook_id)


async def _change(actor: Actor, place: Place, webhook_id: uuid.UUID, changes: dict[str, Any]) -> None:
    async with transaction() as session:
        endpoint = await service.get_endpoint(
            session, actor=actor, project_id=place.id, webhook_id=webhook_id, for_update=True
        )
        await service.change_endpoint(session, actor=actor, endpoint=endpoint, changes=changes)


async def _wanted(request: Request) -> tuple[dict[str, Any], WebhookIn | None, Form]:
    lists = await read_lists(request)
    form: dict[str, Any] = {name: values[-1] for name, values in lists.items()} | {"events": lists.get("events", [])}
    wanted, problems = checked(WebhookIn, form)
    return form, wanted, problems


async def _one(
    request: Request,
    actor: Actor,
    place: Place,
    webhook_id: uuid.UUID,
    *,
    query: DeliveryQuery | None = None,
    form: dict[str, Any] | None = None,
    secret: str = "",
    **context: Any,
) -> Response:
    query = query or DeliveryQuery()
    async with transaction() as session:
        frame = await frame_of(session, actor, place, Permission.MANAGE)
        endpoint = await service.get_endpoint(session, actor=actor, project_id=place.id, webhook_id=webhook_id)
        query = query.model_copy(update={"cursor": None})
        deliveries, pagination = await service.list_deliveries(session, actor=actor, endpoint=endpoint, query=query)
    now = {"url": endpoint.url, "events": endpoint.events, "description": endpoint.description}
    return render_tab(
        request,
        "webhooks/show.html",
        frame,
        "webhooks",
        address=f"{base_of(place)}/webhooks/{webhook_id}",
        endpoint=endpoint,
        deliveries=deliveries,
        pagination=pagination,
        query=query,
        states=words.STATES,
        by_hand=service.BY_HAND,
        secret=secret,
        form=form or now,
        **context,
    )


# --- deliveries ------------------------------------------------------------------------------------------------------


@router.get("/deliveries/{delivery_id}")
async def delivery(
    request: Request, place: PlaceOfPage, delivery_id: uuid.UUID, actor: PageActor, session: SessionDep
) -> Response:
    """What is sent, and each try with its answer: a page, or for htmx the part that is folded in the list."""
    frame = await frame_of(session, actor, place, Permission.MANAGE)
    found = await service.get_delivery(session, actor=actor, project_id=place.id, delivery_id=delivery_id)
    context: dict[str, Any] = {
        "delivery": found,
        "attempts": await service.attempts_of(session, actor=actor, delivery=found),
        "body": json.dumps(json.loads(body_of(found)), indent=2, ensure_ascii=False),
    }
    if web.is_htmx(request):
        return render(request, "webhooks/_delivery.html", frame=frame, **context)
    return render_tab(request, "webhooks/delivery.html", frame, "webhooks", **context)


@router.get("/deliveries/{delivery_id}/now")
async def delivery_now(
    request: Request, place: PlaceOfPage, delivery_id: uuid.UUID, actor: PageActor, session: SessionDep
) -> Response:
    """How it stands. What the page says of the webhook looks again with it: this may have failed or switched it off."""
    found = await service.get_delivery(session, actor=actor, project_id=place.id, delivery_id=delivery_id)
    answer = render(request, "webhooks/_now.html", delivery=found)
    if not words.stands(found)["soon"]:
        answer.headers["HX-Trigger"] = "live:looked"
    return answer


@router.post("/deliveries/{delivery_id}/redeliver")
async def redeliver(request: Request, place: PlaceOfPage, delivery_id: uuid.UUID, actor: PageActor) -> Response:
    """Send it again, under the same id."""
    webhook_id = None
    try:
        async with transaction() as session:
            found = await service.get_delivery(
                session, actor=actor, project_id=place.id, delivery_id=delivery_id, for_update=True
            )
            webhook_id = found.endpoint_id
            await service.redeliver(session, actor=actor, delivery=found)
    except AppError as error:
        if webhook_id is None:
            raise
        return await _one(request, actor, place, webhook_id, problem=problem_of(error), status=error.status)
    return redirect(request, f"{base_of(place)}/webhooks/{webhook_id}?done=again")
