"""Secrets and signatures as Standard Webhooks has them: HMAC-SHA256 over id, timestamp and body."""

import base64
import hmac
import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime

from backend.core.security import seal, unseal
from backend.webhooks.models import WebhookEndpoint

_PREFIX = "whsec_"
_SECRET_BYTES = 32
_PURPOSE = "webhook"


def new_secret(endpoint_id: uuid.UUID) -> tuple[str, bytes]:
    """As its receiver is shown it, once; and as it is stored."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    return _PREFIX + base64.b64encode(secret).decode(), seal(_PURPOSE, secret, about=endpoint_id)


def secrets_of(endpoint: WebhookEndpoint, now: datetime) -> list[bytes]:
    """Those that sign now: the newest first, and until its time is over the one before. Raises Unreadable."""
    stored = [endpoint.secret]
    if endpoint.previous_secret is not None and endpoint.previous_until is not None and endpoint.previous_until > now:
        stored.append(endpoint.previous_secret)
    return [unseal(_PURPOSE, each, about=endpoint.id) for each in stored]


def signed(keys: Sequence[bytes], *, event_id: uuid.UUID, at: datetime, body: bytes) -> dict[str, str]:
    """The headers that prove a body: a signature under each key."""
    timestamp = str(int(at.timestamp()))
    content = f"{event_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    return {
        "webhook-id": str(event_id),
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
