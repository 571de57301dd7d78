"""What people do with webhooks: make, change, test and remove them, look at deliveries and have them sent again."""

import math
import uuid
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import Conflict, InvalidState
from backend.core.paging import Order
from backend.orgs import audit
from backend.orgs import service as orgs
from backend.orgs.access import Actor, Permission, get_visible, require, visible
from backend.orgs.models import Project
from backend.orgs.places import Place
from backend.webhooks.deliveries import end_pending
from backend.webhooks.events import ring
from backend.webhooks.models import TEST_TYPE, DeliveryState, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from backend.webhooks.schemas import DeliveryQuery, Pagination, WebhookIn
from backend.webhooks.signing import new_secret

log = structlog.get_logger(__name__)

#: Webhooks of one project.
MAX_ENDPOINTS = 20
#: Why a webhook is off that somebody switched off.
BY_HAND = "It was switched off by hand."
NEWEST = Order(
    "created",
    WebhookDelivery.created_at,  # type: ignore[arg-type]
    WebhookDelivery.id,  # type: ignore[arg-type]
    kind=datetime,
    descending=True,
)


class TooMany(Conflict):
    code, message = "quota_exceeded", f"A project may have up to {MAX_ENDPOINTS} webhooks. Remove one first."


# --- endpoints -------------------------------------------------------------------------------------------------------


async def list_endpoints(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> list[WebhookEndpoint]:
    """Oldest first. Raises NotFound, Forbidden."""
    require(actor, Permission.MANAGE, project_id)
    mine = visible(WebhookEndpoint, actor, Permission.MANAGE).where(WebhookEndpoint.project_id == project_id)
    return list(await session.scalars(mine.order_by(WebhookEndpoint.created_at, WebhookEndpoint.id)))


async def get_endpoint(
    session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, webhook_id: uuid.UUID, for_update: bool = False
) -> WebhookEndpoint:
    """Raises NotFound, also when it is of another project; Forbidden."""
    return await get_visible(
        session,
        WebhookEndpoint,
        actor,
        webhook_id,
        permission=Permission.MANAGE,
        for_update=for_update,
        project_id=project_id,
    )


async def create_endpoint(
    session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, wanted: WebhookIn
) -> tuple[WebhookEndpoint, str]:
    """The webhook and its secret, which is not shown again. Its address was looked at before.

    Raises NotFound, Forbidden, TooMany.
    """
    require(actor, Permission.MANAGE, project_id)
    await Place.project(project_id).hold(session)  # of several at once each counts those before it
    if len(await list_endpoints(session, actor=actor, project_id=project_id)) >= MAX_ENDPOINTS:
        raise TooMany
    endpoint_id = uuid.uuid4()
    secret, sealed = new_secret(endpoint_id)
    endpoint = WebhookEndpoint(
        id=endpoint_id,
        project_id=project_id,
        url=wanted.url,
        description=wanted.description,
        events=wanted.events,
        secret=sealed,
    )
    session.add(endpoint)
    await session.flush()
    await session.refresh(endpoint)
    await _note(session, actor, "webhook.created", endpoint, events=endpoint.events)
    return endpoint, secret


async def change_endpoint(
    session: AsyncSession, *, actor: Actor, endpoint: WebhookEndpoint, changes: dict[str, Any]
) -> WebhookEndpoint:
    """Change what is given. Switched on it begins anew; switched off, what waits is not sent."""
    enabled = changes.pop("enabled", endpoint.enabled)
    for name, value in changes.items():
        setattr(endpoint, name, value)
    if enabled and not endpoint.enabled:
        endpoint.enabled, endpoint.disabled_at, endpoint.disabled_reason = True, None, None
        endpoint.failing_since = None
    elif endpoint.enabled and not enabled:
        now = (await session.execute(select(func.now()))).scalar_one()
        endpoint.enabled, endpoint.disabled_at, endpoint.disabled_reason = False, now, BY_HAND
        words = "The webhook was switched off before it was sent."
        await end_pending(session, endpoint, DeliveryState.CANCELLED, words)
    await session.flush()
    await session.refresh(endpoint)
    await _note(session, actor, "webhook.changed", endpoint, **changes, enabled=endpoint.enabled)
    return endpoint


async def delete_endpoint(session: AsyncSession, *, actor: Actor, endpoint: WebhookEndpoint) -> None:
    """With all its deliveries."""
    await _note(session, actor, "webhook.deleted", endpoint)
    await session.delete(endpoint)
    await session.flush()


async def rotate_secret(session: AsyncSession, *, actor: Actor, endpoint: WebhookEndpoint, overlap_seconds: int) -> str:
    """A new secret; the present one signs as well for so long, and any before it no more."""
    secret, sealed = new_secret(endpoint.id)
    now = (await session.execute(select(func.now()))).scalar_one()
    kept = overlap_seconds > 0
    endpoint.previous_secret = endpoint.secret if kept else None
    endpoint.previous_until = now + timedelta(seconds=overlap_seconds) if kept else None
    endpoint.secret = sealed
    await session.flush()
    await _note(session, actor, "webhook.secret_rotated", endpoint, overlap_seconds=overlap_seconds)
    return secret


async def _note(session: AsyncSession, actor: Actor, action: str, endpoint: WebhookEndpoint, **detail: Any) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type="webhook",
        object_id=endpoint.id,
        project_id=endpoint.project_id,
        detail={"url": endpoint.url} | detail,
    )


async def silence(session: AsyncSession, actor: Actor, project: Project) -> None:
    """Send nothing more for a project that was just deleted, whenever its rows go."""
    endpoints = await session.scalars(
        select(WebhookEndpoint)
        .where(WebhookEndpoint.project_id == project.id)
        .order_by(WebhookEndpoint.id)
        .with_for_update()
    )
    words = "The project was deleted before it was sent."
    for endpoint in endpoints.all():
        if endpoint.enabled:
            endpoint.enabled, endpoint.disabled_at, endpoint.disabled_reason = False, func.now(), "Its project is gone."
        await end_pending(session, endpoint, DeliveryState.CANCELLED, words)
    await session.flush()


orgs.on_deleted.append(silence)


# --- deliveries ------------------------------------------------------------------------------------------------------


async def send_test(session: AsyncSession, *, actor: Actor, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Queue an event of no meaning, also for one that is switched off: then it is tried once.

    The caller holds the webhook, which nobody removes meanwhile.
    """
    delivery = WebhookDelivery(
        project_id=endpoint.project_id,
        endpoint_id=endpoint.id,
        event_id=uuid.uuid4(),
        type=TEST_TYPE,
        data={"webhook_id": str(endpoint.id), "project_id": str(endpoint.project_id), "message": "This is a test."},
    )
    session.add(delivery)
    await session.flush()
    await session.refresh(delivery)
    ring(session)
    return delivery


async def list_deliveries(
    session: AsyncSession, *, actor: Actor, endpoint: WebhookEndpoint, query: DeliveryQuery
) -> tuple[list[WebhookDelivery], Pagination]:
    """One page, newest first. Raises BadCursor."""
    chosen = visible(WebhookDelivery, actor, Permission.MANAGE).where(WebhookDelivery.endpoint_id == endpoint.id)
    for column, value in ((WebhookDelivery.state, query.state), (WebhookDelivery.type, query.type)):
        if value is not None:
            chosen = chosen.where(column == value)
    total = await session.scalar(select(func.count()).select_from(chosen.order_by(None).subquery())) or 0
    page = chosen.order_by(*NEWEST.terms).limit(query.limit + 1)
    page = page.where(NEWEST.after(query.cursor)) if query.cursor else page.offset((query.page - 1) * query.limit)
    rows = list(await session.scalars(page))
    shown = rows[: query.limit]
    return shown, Pagination(
        page=query.page,
        limit=query.limit,
        total=total,
        total_pages=math.ceil(total / query.limit),
        next_cursor=NEWEST.cursor(shown[-1].created_at, shown[-1].id) if len(rows) > query.limit else None,
    )


async def get_delivery(
    session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, delivery_id: uuid.UUID, for_update: bool = False
) -> WebhookDelivery:
    """Raises NotFound, also when it is of another project; Forbidden."""
    return await get_visible(
        session,
        WebhookDelivery,
        actor,
        delivery_id,
        permission=Permission.MANAGE,
        for_update=for_update,
        project_id=project_id,
    )


async def attempts_of(session: AsyncSession, *, actor: Actor, delivery: WebhookDelivery) -> list[WebhookAttempt]:
    """Every try, oldest first."""
    tries = visible(WebhookAttempt, actor, Permission.MANAGE).where(WebhookAttempt.delivery_id == delivery.id)
    return list(await session.scalars(tries.order_by(WebhookAttempt.id)))


async def redeliver(session: AsyncSession, *, actor: Actor, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send it now, under the same id, and with a full set of tries. One that waits is sent now.

    The caller holds the row. Raises InvalidState while it is being sent.
    """
    if delivery.state == DeliveryState.DELIVERING:
        raise InvalidState("It is just being sent.")
    delivery.state, delivery.attempt, delivery.finished_at, delivery.error = DeliveryState.PENDING, 0, None, None
    delivery.next_try_at = (await session.execute(select(func.now()))).scalar_one()
    await session.flush()
    await audit.record(
        session,
        actor=actor,
        action="webhook.redelivered",
        object_type="webhook_delivery",
        object_id=delivery.id,
        project_id=delivery.project_id,
        detail={"webhook_id": str(delivery.endpoint_id), "type": delivery.type},
    )
    ring(session)
    return delivery
