"""The API of webhooks."""

import json
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, status

from backend.core.db import SessionDep, transaction
from backend.core.http import check_url
from backend.core.web import errors
from backend.orgs.access import CurrentActor, Permission, require
from backend.webhooks import service
from backend.webhooks.courier import body_of
from backend.webhooks.schemas import (
    DeliveryDetail,
    DeliveryOut,
    DeliveryPage,
    DeliveryQuery,
    SecretIn,
    SecretOut,
    WebhookIn,
    WebhookMade,
    WebhookOut,
    WebhookPatch,
    WebhooksOut,
    delivery_detail,
    delivery_out,
    webhook_made,
    webhook_out,
)

router = APIRouter(prefix="/api/projects/{project_id}", tags=["webhooks"])

_READ = errors(401, 403, 404, 422, 503)
_WRITE = errors(400, 401, 403, 404, 409, 413, 415, 422, 503)
_ACT = errors(401, 403, 404, 409, 422, 503)


@router.get("/webhooks", responses=_READ, summary="List webhooks")
async def list_webhooks(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> WebhooksOut:
    endpoints = await service.list_endpoints(session, actor=actor, project_id=project_id)
    return WebhooksOut(webhooks=[webhook_out(each) for each in endpoints])


@router.post("/webhooks", status_code=status.HTTP_201_CREATED, responses=_WRITE, summary="Make a webhook")
async def create_webhook(
    project_id: uuid.UUID, body: WebhookIn, actor: CurrentActor, session: SessionDep
) -> WebhookMade:
    """What it is sent is signed as Standard Webhooks has it, with the `secret` that only this answer shows. An address
    that is not of the public internet is 422 `url_not_allowed`."""
    require(actor, Permission.MANAGE, project_id)
    await check_url(body.url)  # asks name servers: before the session is used, so that no transaction is open
    endpoint, secret = await service.create_endpoint(session, actor=actor, project_id=project_id, wanted=body)
    return webhook_made(endpoint, secret)


@router.get("/webhooks/{webhook_id}", responses=_READ, summary="One webhook")
async def get_webhook(
    project_id: uuid.UUID, webhook_id: uuid.UUID, actor: CurrentActor, session: SessionDep
) -> WebhookOut:
    return webhook_out(await service.get_endpoint(session, actor=actor, project_id=project_id, webhook_id=webhook_id))


@router.patch("/webhooks/{webhook_id}", responses=_WRITE, summary="Change a webhook")
async def change_webhook(
    project_id: uuid.UUID, webhook_id: uuid.UUID, body: WebhookPatch, actor: CurrentActor, session: SessionDep
) -> WebhookOut:
    """Fields that are not sent stay. What waits goes to the new address; switched off, it is not sent at all."""
    changes = body.model_dump(exclude_unset=True)
    if "url" in changes:
        async with transaction() as first:
            await service.get_endpoint(first, actor=actor, project_id=project_id, webhook_id=webhook_id)
        await check_url(body.url)
    endpoint = await service.get_endpoint(
        session, actor=actor, project_id=project_id, webhook_id=webhook_id, for_update=True
    )
    return webhook_out(await service.change_endpoint(session, actor=actor, endpoint=endpoint, changes=changes))


@router.delete(
    "/webhooks/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, responses=_READ, summary="Remove a webhook"
)
async def delete_webhook(
    project_id: uuid.UUID, webhook_id: uuid.UUID, actor: CurrentActor, session: SessionDep
) -> None:
    """With its deliveries."""
    endpoint = await service.get_endpoint(
        session, actor=actor, project_id=project_id, webhook_id=webhook_id, for_update=True
    )
    await service.delete_endpoint(session, actor=actor, endpoint=endpoint)


@router.post("/webhooks/{webhook_id}/secret", responses=_WRITE, summary="Make a new secret")
async def rotate_secret(
    project_id: uuid.UUID,
    webhook_id: uuid.UUID,
    actor: CurrentActor,
    session: SessionDep,
    body: SecretIn | None = None,
) -> SecretOut:
    """For `overlap_seconds` (a day unless said otherwise) both secrets sign; with 0 the present one ends at once."""
    overlap = (body or SecretIn()).overlap_seconds
    endpoint = await service.get_endpoint(
        session, actor=actor, project_id=project_id, webhook_id=webhook_id, for_update=True
    )
    secret = await service.rotate_secret(session, actor=actor, endpoint=endpoint, overlap_seconds=overlap)
    return SecretOut(secret=secret, previous_secret_until=endpoint.previous_until)


@router.post(
    "/webhooks/{webhook_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    responses=_ACT,
    summary="Send a test event",
)
async def send_test(
    project_id: uuid.UUID, webhook_id: uuid.UUID, actor: CurrentActor, session: SessionDep
) -> DeliveryOut:
    """Of the type `webhook.test`, whatever the webhook asks for. Look at the delivery to see how it went."""
    endpoint = await service.get_endpoint(
        session, actor=actor, project_id=project_id, webhook_id=webhook_id, for_update=True
    )
    return delivery_out(await service.send_test(session, actor=actor, endpoint=endpoint))


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    responses=errors(400, 401, 403, 404, 422, 503),
    summary="List a webhook's deliveries",
)
async def list_deliveries(
    project_id: uuid.UUID,
    webhook_id: uuid.UUID,
    query: Annotated[DeliveryQuery, Query()],
    actor: CurrentActor,
    session: SessionDep,
) -> DeliveryPage:
    """Newest first, for as long as they are kept. `cursor` continues at any depth at the same speed."""
    endpoint = await service.get_endpoint(session, actor=actor, project_id=project_id, webhook_id=webhook_id)
    found, pagination = await service.list_deliveries(session, actor=actor, endpoint=endpoint, query=query)
    return DeliveryPage(deliveries=[delivery_out(each) for each in found], pagination=pagination)


@router.get("/deliveries/{delivery_id}", responses=_READ, summary="One delivery")
async def get_delivery(
    project_id: uuid.UUID, delivery_id: uuid.UUID, actor: CurrentActor, session: SessionDep
) -> DeliveryDetail:
    """With what is sent, and every try with the beginning of its answer."""
    delivery = await service.get_delivery(session, actor=actor, project_id=project_id, delivery_id=delivery_id)
    attempts = await service.attempts_of(session, actor=actor, delivery=delivery)
    return delivery_detail(delivery, json.loads(body_of(delivery)), attempts)


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    status_code=status.HTTP_202_ACCEPTED,
    responses=_ACT,
    summary="Send a delivery again",
)
async def redeliver(
    project_id: uuid.UUID, delivery_id: uuid.UUID, actor: CurrentActor, session: SessionDep
) -> DeliveryOut:
    """Now, under the same `webhook-id`, to the address the webhook has now. While it is being sent: 409."""
    delivery = await service.get_delivery(
        session, actor=actor, project_id=project_id, delivery_id=delivery_id, for_update=True
    )
    return delivery_out(await service.redeliver(session, actor=actor, delivery=delivery))
