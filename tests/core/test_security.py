"""Passwords, secrets and tokens."""

import asyncio
import base64
import hmac
import json
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from pydantic import SecretStr

from backend.config import settings
from backend.core import security
from backend.core.errors import Busy, Unauthenticated, ValidationFailed

USER, SESSION = uuid.uuid4(), uuid.uuid4()


@pytest.fixture(autouse=True)
def secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "secret_key", SecretStr("k" * 32))


def forged(*, key: bytes | None = None, algorithm: str = "HS256", without: str = "", **changes: Any) -> str:
    """An access token made as ours is, but for what the test changes; by hand, as libraries refuse to make some."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": str(USER),
        "sid": str(SESSION),
        "iss": "dailies",
        "aud": "dailies:access",
        "iat": now,
        "exp": now + 300,
        "jti": "x",
        **changes,
    }
    claims.pop(without, None)
    head = {"alg": algorithm, "typ": "JWT"}
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims))
    digest = {"HS384": "sha384", "HS512": "sha512"}.get(algorithm, "sha256")
    signature = hmac.digest(security._key("access") if key is None else key, signed, digest)
    written = base64.urlsafe_b64encode(signature).rstrip(b"=") if algorithm.lower() != "none" else b""
    return b".".join((signed, written)).decode()


def test_an_access_token_names_its_user_and_session() -> None:
    claims = security.read_access_token(security.issue_access_token(USER, SESSION))
    assert (claims.user_id, claims.session_id) == (USER, SESSION)
    life = claims.expires_at - datetime.now(UTC)
    assert timedelta(minutes=9) < life <= timedelta(minutes=settings.access_token_minutes)


def test_the_forgery_of_these_tests_is_accepted_when_nothing_is_wrong_with_it() -> None:
    assert security.read_access_token(forged()).user_id == USER


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "jti", "aud", "iss", "sid"])
def test_a_token_without_a_required_claim_is_refused(claim: str) -> None:
    with pytest.raises(Unauthenticated):
        security.read_access_token(forged(without=claim))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_600_000_000},
        {"iat": 9_000_000_000},
        {"nbf": 9_000_000_000},
        {"aud": "dailies:upload"},
        {"aud": "dailies"},
        {"iss": "somebody"},
        {"sub": "1 OR 1=1"},
        {"sub": 7},
        {"sid": None},
        {"sid": ["x"]},
        {"exp": 10**400},
        {"exp": "soon"},
        {"key": b"z" * 32},
        {"algorithm": "HS384"},
        {"algorithm": "HS512"},
        {"algorithm": "RS256"},
        {"algorithm": "none"},
        {"algorithm": "None"},
    ],
    ids=str,
)
def test_a_token_that_differs_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        security.read_access_token(forged(**changes))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.ü.ö", "\ud800", "x" * 10_000, "Bearer x"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated):
        security.read_access_token(token)


def test_every_changed_character_of_a_token_is_noticed() -> None:
    token = security.issue_access_token(USER, SESSION)
    head, body, signature = token.split(".")
    for index in range(len(body)):
        other = "A" if body[index] != "A" else "B"
        with pytest.raises(Unauthenticated):
            security.read_access_token(f"{head}.{body[:index]}{other}{body[index + 1 :]}.{signature}")


def test_a_token_that_was_right_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    token = security.issue_access_token(uuid.uuid4(), uuid.uuid4())
    ends = security.read_access_token(token).expires_at

    clock = mock.Mock()
    clock.now.return_value = ends
    monkeypatch.setattr(security, "datetime", clock)
    assert security.read_access_token(token).expires_at == ends, "clocks differ by some seconds"
    clock.now.return_value = ends + timedelta(seconds=5)
    with pytest.raises(Unauthenticated):
        security.read_access_token(token)


def test_another_installations_key_does_not_open_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    token = security.issue_access_token(USER, SESSION)
    monkeypatch.setattr(settings, "secret_key", SecretStr("o" * 32))
    with pytest.raises(Unauthenticated):
        security.read_access_token(token)


def test_a_claim_serves_its_purpose_only() -> None:
    claim = security.sign_claim("upload", {"s3_key": "a"}, expires_seconds=60)
    assert security.read_claim("upload", claim) == {"s3_key": "a"}
    with pytest.raises(ValidationFailed):
        security.read_claim("access", claim)
    with pytest.raises(Unauthenticated):
        security.read_access_token(claim)
    with pytest.raises(ValidationFailed):
        security.read_claim("upload", security.issue_access_token(USER, SESSION))


def test_a_claim_ends() -> None:
    claim = security.sign_claim("upload", {}, expires_seconds=-60)
    with pytest.raises(ValidationFailed):
        security.read_claim("upload", claim)


async def test_a_password_is_kept_as_argon2id_and_recognised(costly_passwords: None) -> None:
    kept = await security.hash_password("ein gutes Paßwort")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await security.verify_password("ein gutes Paßwort", kept)
    assert not await security.verify_password("ein gutes Passwort", kept)
    assert not security.needs_rehash(kept)
    assert security.needs_rehash(kept.replace("t=2", "t=1"))


async def test_a_password_is_the_same_however_the_keyboard_sends_its_accents() -> None:
    assert await security.verify_password("cafe\u0301 au lait", await security.hash_password("café au lait"))


async def test_the_longest_password_of_the_widest_characters_can_be_kept() -> None:
    longest = "𝒳" * security.MAX_PASSWORD_LENGTH
    assert await security.verify_password(longest, await security.hash_password(longest))


async def test_an_unknown_user_is_verified_against_a_stand_in_and_never_right(
    costly_passwords: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = security._context.verify

    def verify(password: str, password_hash: str) -> bool:
        seen.append(password_hash)
        return bool(real(password, password_hash))

    monkeypatch.setattr(security._context, "verify", verify)
    assert not await security.verify_password("whatever", None)
    assert [kept.split("$")[3] for kept in seen] == ["m=19456,t=2,p=1"]
    monkeypatch.setattr(security._context, "verify", lambda *_: True)
    assert not await security.verify_password("whatever", None)


async def test_two_passwords_are_hashed_at_once_and_the_loop_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(_: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        return "hash"

    monkeypatch.setattr(security, "_hash", slow)
    work = asyncio.gather(*(security.hash_password("x") for _ in range(8)))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert most == 2
    assert turns > 10


async def test_too_many_waiting_passwords_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "_MAX_WAITING", 3)
    answers = await asyncio.gather(*(security.hash_password("x") for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(answer, Busy) for answer in answers) == 3
    assert security._waiting == 0


def test_secrets_are_long_different_and_kept_as_digests() -> None:
    made = {security.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) >= 43 for secret in made)
    assert len(security.digest("a")) == 32
    assert security.digest("a") != security.digest("b")
