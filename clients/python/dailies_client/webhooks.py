"""For whoever receives webhooks: is this from the platform, as it was sent, and new?

The rules are those of Standard Webhooks: HMAC-SHA256 over id, timestamp and body, in base64, under the name `v1`.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dailies_client.errors import SignatureError

TOLERANCE_SECONDS = 300
_PREFIX = "whsec_"
_LONGEST_NUMBER = 12


@dataclass(frozen=True)
class Event:
    """Something that happened. `id` is the same each time it is sent: by it you know that you had it already."""

    id: str
    type: str
    timestamp: datetime
    data: Any


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Event:
    """What was sent, when one of its signatures is right under the secret, or under one of several.

    `body` is the request's as it came, not read as JSON and written again. `now` is in seconds since 1970, the clock's
    unless given. Raises SignatureError: a header is missing or unreadable, no signature is right, or it was signed
    longer ago, or further ahead, than `tolerance_seconds`. Raises ValueError: for a secret that is none.
    """
    raw = body.encode() if isinstance(body, str) else body
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp, sent = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise SignatureError(f"the header {missing.args[0]} is missing") from None
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= _LONGEST_NUMBER):
        raise SignatureError("the timestamp is no number")
    signatures = [base for version, _, base in (each.partition(",") for each in sent.split()) if version == "v1"]
    content = f"{message_id}.{timestamp}.".encode() + raw
    keys = [_key(each) for each in ([secret] if isinstance(secret, str) else secret)]
    if not keys:
        raise ValueError("there is no secret to verify with")
    right = [
        hmac.compare_digest(hmac.digest(key, content, hashlib.sha256), _decoded(each))
        for key in keys
        for each in signatures
    ]
    if not any(right):
        raise SignatureError("no signature is right")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_seconds:
        raise SignatureError("it was signed too long ago, or in the future")
    try:
        said = json.loads(raw)
        return Event(message_id, said["type"], datetime.fromisoformat(said["timestamp"]), said["data"])
    except (ValueError, TypeError, LookupError) as error:
        raise SignatureError("it is signed, and not an event") from error


def _key(secret: str) -> bytes:
    text = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not key:
        raise ValueError("the secret is not one: it begins with whsec_, and base64 follows")
    return key


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        return b""
