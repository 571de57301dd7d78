"""Sessions as programs and browsers hold them: refreshed, ended, recognised, and refused when they should be."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import func, select, update

from backend.accounts.models import LoginSession, RefreshToken, User
from backend.config import settings
from backend.core import security
from backend.core.db import transaction
from tests.conftest import Person

LOGIN = "/api/auth/login"
REFRESH = "/api/auth/refresh"
LOGOUT = "/api/auth/logout"
ME = "/api/auth/me"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- refresh ---------------------------------------------------------------------------------------------------------


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post(REFRESH, json={"refresh_token": token})


async def test_a_refresh_gives_new_tokens_of_the_same_session(client: httpx.AsyncClient, user: Person) -> None:
    answer = await refresh(client, user.refresh_token)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"user", "token", "refresh_token", "expires_in", "token_type"}
    assert body["refresh_token"] != user.refresh_token
    was, now = (security.read_access_token(token) for token in (user.token, body["token"]))
    assert was.session_id == now.session_id
    assert (await client.get(ME, headers=bearer(body["token"]))).status_code == 200
    again = await refresh(client, body["refresh_token"])
    assert again.status_code == 200


async def test_a_refresh_token_that_comes_twice_ends_the_whole_session(client: httpx.AsyncClient, user: Person) -> None:
    newest = (await refresh(client, user.refresh_token)).json()
    assert code(await refresh(client, user.refresh_token)) == (401, "refresh_reused")
    assert code(await client.get(ME, headers=bearer(newest["token"]))) == (401, "session_revoked")
    assert code(await refresh(client, newest["refresh_token"])) == (401, "session_revoked")
    assert code(await refresh(client, user.refresh_token)) == (401, "refresh_reused")


async def test_reuse_ends_no_other_session(client: httpx.AsyncClient, user: Person) -> None:
    await refresh(client, user.refresh_token)
    await refresh(client, user.refresh_token)
    assert (await user.browser.get(ME)).status_code == 200
    assert (await client.post(LOGIN, json={"email": user.email, "password": user.password})).status_code == 200


async def test_of_refreshes_at_once_one_wins_and_the_session_ends(client: httpx.AsyncClient, user: Person) -> None:
    answers = await asyncio.gather(*(refresh(client, user.refresh_token) for _ in range(4)))
    won = [answer for answer in answers if answer.status_code == 200]
    lost = [code(answer) for answer in answers if answer.status_code != 200]
    assert len(won) == 1
    assert lost == [(401, "refresh_reused")] * 3
    assert code(await client.get(ME, headers=bearer(won[0].json()["token"]))) == (401, "session_revoked")
    async with transaction() as session:
        assert await session.scalar(select(func.count()).select_from(RefreshToken)) == 2


@pytest.mark.parametrize("token", ["x", "ü" * 50, "\u2028", "x" * 200])
async def test_an_unknown_refresh_token_is_refused(client: httpx.AsyncClient, token: str) -> None:
    assert code(await refresh(client, token)) == (401, "unauthenticated")


@pytest.mark.parametrize("body", [{}, {"refresh_token": ""}, {"refresh_token": None}, {"refresh_token": "x" * 201}])
async def test_what_cannot_be_a_refresh_token_is_said_so(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert code(await client.post(REFRESH, json=body)) == (422, "validation_failed")


async def test_an_access_token_does_not_refresh(client: httpx.AsyncClient, user: Person) -> None:
    answer = await refresh(client, user.token[:200])
    assert code(answer) == (401, "unauthenticated")


async def test_an_expired_refresh_token_is_refused_and_ends_nothing(client: httpx.AsyncClient, user: Person) -> None:
    async with transaction() as session:
        await session.execute(update(RefreshToken).values(expires_at=func.now() - timedelta(seconds=1)))
    assert code(await refresh(client, user.refresh_token)) == (401, "unauthenticated")
    assert (await user.client.get(ME)).status_code == 200


async def test_what_is_long_over_is_swept_up(client: httpx.AsyncClient, user: Person) -> None:
    async def kept() -> tuple[int | None, int | None]:
        async with transaction() as session:
            return (
                await session.scalar(select(func.count()).select_from(LoginSession)),
                await session.scalar(select(func.count()).select_from(RefreshToken)),
            )

    newest = (await refresh(client, user.refresh_token)).json()["refresh_token"]
    assert await kept() == (2, 2)
    async with transaction() as session:
        past = func.now() - timedelta(days=31)
        await session.execute(update(RefreshToken).where(RefreshToken.used_at.is_not(None)).values(expires_at=past))
        await session.execute(update(LoginSession).where(LoginSession.cookie_hash.is_not(None)).values(expires_at=past))
    assert (await refresh(client, newest)).status_code == 200
    assert await kept() == (2, 2)
    await client.post(LOGIN, json={"email": user.email, "password": user.password})
    assert await kept() == (2, 3)


# --- logout and me ---------------------------------------------------------------------------------------------------


async def test_logging_out_ends_the_session_at_once(client: httpx.AsyncClient, user: Person) -> None:
    assert (await user.client.post(LOGOUT)).status_code == 204
    assert code(await user.client.get(ME)) == (401, "session_revoked")
    assert code(await refresh(client, user.refresh_token)) == (401, "session_revoked")
    assert code(await user.client.post(LOGOUT)) == (401, "session_revoked")
    assert (await user.browser.get(ME)).status_code == 200, "the browser is another session"


async def test_logging_out_takes_the_browsers_cookie(user: Person) -> None:
    cookie = user.browser.cookies["dailies"]
    assert (await user.browser.post(LOGOUT)).status_code == 204
    assert "dailies" not in user.browser.cookies
    user.browser.cookies.set("dailies", cookie)
    assert code(await user.browser.get(ME, headers={"Accept": "*/*"})) == (401, "session_revoked")


@pytest.mark.parametrize("path", [ME, "/me"])
async def test_me_says_who_is_signed_in_by_token_and_by_cookie(user: Person, path: str) -> None:
    by_token, by_cookie = await user.client.get(path), await user.browser.get(path)
    assert by_token.json() == by_cookie.json()
    assert by_token.json()["email"] == user.email
    assert by_token.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer x", "bearer a.b.c", "Basic YTpi", "Token x"])
async def test_without_a_valid_token_nobody_is_signed_in(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get(ME, headers={"Authorization": header} if header else {})
    assert code(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_expired_tampered_and_foreign_tokens_are_refused(client: httpx.AsyncClient, user: Person) -> None:
    claims = jwt.decode(user.token, options={"verify_signature": False})
    key = security._key("access")
    past = datetime.now(UTC) - timedelta(minutes=1)
    head, body, signature = user.token.split(".")
    refused = {
        "expired": jwt.encode({**claims, "exp": past}, key, "HS256"),
        "unsigned": f"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.",
        "other key": jwt.encode(claims, b"x" * 32, "HS256"),
        "other audience": jwt.encode({**claims, "aud": "dailies:upload"}, key, "HS256"),
        "no jti": jwt.encode({name: value for name, value in claims.items() if name != "jti"}, key, "HS256"),
        "unknown session": jwt.encode({**claims, "sid": str(uuid.uuid4())}, key, "HS256"),
        "another user": jwt.encode({**claims, "sub": str(uuid.uuid4())}, key, "HS256"),
        "tampered": f"{head}.{body[:-2]}{'AA' if body[-2:] != 'AA' else 'BB'}.{signature}",
        "cut": user.token[:-1],
    }
    assert (await client.get(ME, headers=bearer(jwt.encode(claims, key, "HS256")))).status_code == 200
    for why, token in refused.items():
        answer = await client.get(ME, headers=bearer(token))
        assert code(answer) == (401, "unauthenticated"), why


async def test_a_bad_token_is_not_made_good_by_a_cookie(user: Person) -> None:
    answer = await user.browser.get(ME, headers={"Authorization": "Bearer x", "Accept": "*/*"})
    assert code(answer) == (401, "unauthenticated")


async def test_a_session_ends_with_its_time(user: Person) -> None:
    async with transaction() as session:
        await session.execute(update(LoginSession).values(expires_at=func.now() - timedelta(seconds=1)))
    assert code(await user.client.get(ME)) == (401, "unauthenticated")
    assert code(await user.browser.get(ME)) == (401, "unauthenticated")


async def test_last_seen_is_written_once_a_minute_and_keeps_a_browser_signed_in(user: Person) -> None:
    async def seen() -> list[Any]:
        async with transaction() as session:
            rows = await session.execute(
                select(LoginSession.last_seen_at, LoginSession.expires_at).where(LoginSession.cookie_hash.is_not(None))
            )
            return list(rows.one())

    fresh = await seen()
    await user.browser.get(ME)
    assert await seen() == fresh
    async with transaction() as session:
        await session.execute(
            update(LoginSession).values(
                last_seen_at=func.now() - timedelta(minutes=2), expires_at=func.now() + timedelta(hours=1)
            )
        )
    await user.browser.get(ME)
    last_seen_at, expires_at = await seen()
    assert last_seen_at > fresh[0]
    assert expires_at > datetime.now(UTC) + timedelta(days=settings.session_days - 1)


async def test_no_secret_is_stored_as_it_is(user: Person) -> None:
    async with transaction() as session:
        cookies = list(await session.scalars(select(LoginSession.cookie_hash)))
        links = list(await session.scalars(select(RefreshToken.token_hash)))
        kept = await session.scalar(select(User.password_hash))
    assert security.digest(user.browser.cookies["dailies"]) in cookies
    assert security.digest(user.refresh_token) in links
    assert kept is not None
    assert user.password not in kept
