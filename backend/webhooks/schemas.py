"""What the API of webhooks takes and answers."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from backend.core.web import Line, Paragraph, StrictModel
from backend.webhooks.models import (
    PATTERNS,
    DeliveryState,
    EventType,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)

MAX_OVERLAP_SECONDS = 7 * 86_400


def _known(pattern: str) -> str:
    if pattern not in PATTERNS:
        raise ValueError(f"must be one of {', '.join(PATTERNS)}")
    return pattern


def _once(patterns: list[str]) -> list[str]:
    return list(dict.fromkeys(patterns))


Url = Annotated[Line, Field(max_length=2000, examples=["https://example.com/hooks"])]
Pattern = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(PATTERNS)})]
Events = Annotated[list[Pattern], Field(min_length=1, max_length=50, examples=[["video.*"]]), AfterValidator(_once)]
Description = Annotated[Paragraph, Field(max_length=200)]


class WebhookIn(StrictModel):
    """An address of the public internet that wants to hear of these events: by name, or all of a kind."""

    url: Url
    events: Events
    description: Description = ""


class WebhookPatch(StrictModel):
    """What may be changed; fields that are not sent stay. Switched off, nothing that waits is sent any more."""

    url: Url = ""
    events: Events = Field(default_factory=list)
    description: Description = ""
    enabled: bool = Field(True, strict=True)


class WebhookOut(BaseModel):
    """A webhook. It was switched off by itself when `disabled_reason` says so."""

    id: uuid.UUID
    project_id: uuid.UUID
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None = Field(description="The first failure since the last success")
    previous_secret_until: datetime | None = Field(description="Until then the secret before this one signs as well")
    created_at: datetime
    updated_at: datetime


class WebhookMade(WebhookOut):
    """A new webhook, and the secret that signs what it is sent. It is shown only here."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class WebhooksOut(BaseModel):
    """The webhooks of a project, oldest first."""

    webhooks: list[WebhookOut]


class SecretIn(StrictModel):
    """How long the present secret signs beside the new one."""

    overlap_seconds: int = Field(86_400, ge=0, le=MAX_OVERLAP_SECONDS, strict=True)


class SecretOut(BaseModel):
    """The new secret, shown only here. Until `previous_secret_until` every delivery is signed with both."""

    secret: str
    previous_secret_until: datetime | None


class AttemptOut(BaseModel):
    """One try: the status and the beginning of the answer, or why there is none."""

    at: datetime
    url: str
    status: int | None
    answer: str | None
    error: str | None
    duration_ms: int


class DeliveryOut(BaseModel):
    """An event for one webhook. `event_id` is its `webhook-id` at every try."""

    id: uuid.UUID
    webhook_id: uuid.UUID
    project_id: uuid.UUID
    event_id: uuid.UUID
    type: str
    state: DeliveryState
    attempt: int = Field(description="Tries since it was last asked for")
    next_try_at: datetime | None
    status: int | None = Field(description="Of the last answer")
    error: str | None = Field(description="Of the last try, or why it was given up")
    created_at: datetime
    finished_at: datetime | None


class DeliveryDetail(DeliveryOut):
    """With what is sent and all tries, oldest first."""

    body: dict[str, Any]
    attempts: list[AttemptOut]


class DeliveryQuery(BaseModel):
    """Which deliveries to list, newest first: by page, or on from a cursor."""

    state: DeliveryState | None = None
    type: EventType | Literal["webhook.test"] | None = None
    page: int = Field(default=1, ge=1, le=100_000)
    cursor: str | None = Field(default=None, max_length=2000)
    limit: int = Field(default=20, ge=1, le=100)


class Pagination(BaseModel):
    """`next_cursor` continues after the last row, and is null on the last page."""

    page: int
    limit: int
    total: int
    total_pages: int
    next_cursor: str | None = None


class DeliveryPage(BaseModel):
    """One page of deliveries."""

    deliveries: list[DeliveryOut]
    pagination: Pagination


def webhook_out(endpoint: WebhookEndpoint) -> WebhookOut:
    return WebhookOut(**_webhook(endpoint))


def webhook_made(endpoint: WebhookEndpoint, secret: str) -> WebhookMade:
    return WebhookMade(**_webhook(endpoint), secret=secret)


def _webhook(endpoint: WebhookEndpoint) -> dict[str, Any]:
    named = {"previous_secret_until": endpoint.previous_until}
    return named | {name: getattr(endpoint, name) for name in WebhookOut.model_fields if name not in named}


def delivery_out(delivery: WebhookDelivery) -> DeliveryOut:
    return DeliveryOut(**_delivery(delivery))


def delivery_detail(delivery: WebhookDelivery, body: dict[str, Any], attempts: list[WebhookAttempt]) -> DeliveryDetail:
    shown = [AttemptOut(**{name: getattr(each, name) for name in AttemptOut.model_fields}) for each in attempts]
    return DeliveryDetail(**_delivery(delivery), body=body, attempts=shown)


def _delivery(delivery: WebhookDelivery) -> dict[str, Any]:
    named = {"webhook_id": delivery.endpoint_id}
    return named | {name: getattr(delivery, name) for name in DeliveryOut.model_fields if name not in named}
