"""Verifying webhooks, compared with the library that Standard Webhooks gives out."""

import base64
import json
import secrets
import time
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from dailies_client import SignatureError, verify_webhook

BODY = json.dumps({"type": "video.completed", "timestamp": "2026-01-02T03:04:05Z", "data": {"title": "Café"}})


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def signed(*signers: str, body: str = BODY, at: datetime | None = None) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": " ".join(Webhook(each).sign("msg_1", at, body) for each in signers),
    }


def test_what_the_library_signs_is_right_in_bytes_and_in_text() -> None:
    secret = new_secret()
    for body in (BODY, BODY.encode()):
        event = verify_webhook(body, signed(secret), secret)
        assert (event.id, event.type, event.data) == ("msg_1", "video.completed", {"title": "Café"})
        assert event.timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_while_a_secret_is_replaced_either_is_right_on_either_side() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    for mine in (old, new, [other, old], [new, old]):
        assert verify_webhook(BODY, signed(new, old), mine).id == "msg_1"
    assert verify_webhook(BODY, signed(old), [new, old]).id == "msg_1"
    with pytest.raises(SignatureError):
        verify_webhook(BODY, signed(new, old), other)


def test_whatever_is_not_right_is_refused_here_and_by_the_library() -> None:
    secret = new_secret()
    good = signed(secret)
    signature = good["Webhook-Signature"]
    for body, changed in (
        (BODY + " ", good),
        (BODY, {**good, "Webhook-Id": "msg_2"}),
        (BODY, {**good, "Webhook-Timestamp": str(int(good["Webhook-Timestamp"]) + 1)}),
        (BODY, {**good, "Webhook-Timestamp": "soon"}),
        (BODY, {**good, "Webhook-Signature": signature.replace("v1,", "v2,")}),
        (BODY, {**good, "Webhook-Signature": "v1,"}),
        (BODY, {**good, "Webhook-Signature": "v1,AAAA" + signature[7:]}),
        (BODY, {"Webhook-Id": "msg_1", "Webhook-Timestamp": "1"}),
        (BODY, signed(new_secret())),
        (BODY, signed(secret, at=datetime.now(UTC) - timedelta(minutes=6))),
        (BODY, signed(secret, at=datetime.now(UTC) + timedelta(minutes=6))),
    ):
        with pytest.raises(SignatureError):
            verify_webhook(body, changed, secret)
        with pytest.raises((WebhookVerificationError, ValueError)):
            Webhook(secret).verify(body, changed)


def test_what_no_signer_sends_is_refused_in_our_own_words() -> None:
    secret = new_secret()
    good = signed(secret)
    for changed in (
        {"Webhook-Signature": "v1"},
        {"Webhook-Signature": "v1,not base64 at all"},
        {"Webhook-Signature": "v1,é"},
        {"Webhook-Timestamp": "9" * 5000},
        {"Webhook-Timestamp": "²"},
        {"Webhook-Timestamp": "-1"},
        {"Webhook-Timestamp": "nan"},
    ):
        with pytest.raises(SignatureError):
            verify_webhook(BODY, {**good, **changed}, secret)
    for body in ("[]", "{}", "no json", '{"type": "x", "timestamp": "yesterday", "data": 1}'):
        with pytest.raises(SignatureError):
            verify_webhook(body, signed(secret, body=body), secret)
    nothing: list[str | list[str]] = ["", "whsec_", "whsec_é", []]
    for each in nothing:
        with pytest.raises(ValueError, match="secret"):
            verify_webhook(BODY, good, each)


def test_the_time_is_the_clocks_unless_it_is_given() -> None:
    secret = new_secret()
    old = signed(secret, at=datetime.now(UTC) - timedelta(hours=1))
    assert verify_webhook(BODY, old, secret, now=time.time() - 3600).id == "msg_1"
    assert verify_webhook(BODY, old, secret, tolerance_seconds=7200).id == "msg_1"
    with pytest.raises(SignatureError):
        verify_webhook(BODY, signed(secret), secret, tolerance_seconds=0, now=time.time() + 2)
