"""Accounts for programs: register, login, refresh, logout, me."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import func, select, update

from backend.accounts import service
from backend.accounts.models import LoginSession, RefreshToken, User
from backend.config import settings
from backend.core import security
from backend.core.db import transaction
from tests.conftest import PASSWORD, MakeUser, Person

REGISTER, LOGIN, REFRESH, LOGOUT, ME = (
    "/api/auth/register",
    "/api/auth/login",
    "/api/auth/refresh",
    "/api/auth/logout",
    "/api/auth/me",
)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def register(client: httpx.AsyncClient, email: str = "ada@example.org", **more: Any) -> httpx.Response:
    return await client.post(REGISTER, json={"email": email, "password": PASSWORD, **more})


# --- register --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [REGISTER, "/register"])
async def test_registering_gives_the_user_and_tokens(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, json={"email": "Ada@Example.org", "password": PASSWORD, "name": " Ada "})
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"user", "token", "refresh_token", "expires_in", "token_type"}
    assert (body["expires_in"], body["token_type"]) == (600, "bearer")
    assert (body["user"]["email"], body["user"]["name"]) == ("Ada@example.org", "Ada")
    assert "password" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    me = await client.get(ME, headers=bearer(body["token"]))
    assert me.json() == body["user"]


@pytest.mark.parametrize(
    "again", ["ada@example.org", "ADA@EXAMPLE.ORG", " ada@example.org ", "ａｄａ@example.org", "ada@EXAMPLE。org"]
)
async def test_an_address_has_one_account_however_it_is_written(client: httpx.AsyncClient, again: str) -> None:
    await register(client)
    answer = await register(client, again)
    assert code(answer) == (409, "email_taken")
    assert "email" in answer.json()["error"]["fields"]


async def test_of_two_that_register_one_address_at_once_one_gets_it(client: httpx.AsyncClient) -> None:
    await register(client, "first@example.org")
    answers = await asyncio.gather(*(register(client) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "1234567",
        "password",
        "PASSWORD1",
        "p@ssw0rd",
        "Passw0rd!",
        "password2024",
        "qwertyuiop",
        "12345678",
        "87654321",
        "23456789",
        "aaaaaaaa",
        "abababab",
        "        ",
        "iloveyou!!",
        "dailies123",
        "ada@example.org",
        "Ada Lovelace",
        "",
        "x" * 1025,
        "eight\x00chars",
        "eight\nchars",
        None,
        12345678901,
    ],
)
async def test_a_password_that_is_not_good_enough_is_refused_in_words(
    client: httpx.AsyncClient, password: object
) -> None:
    body = {"email": "ada@example.org", "name": "Ada Lovelace", "password": password}
    answer = await client.post(REGISTER, json=body)
    assert code(answer) == (422, "validation_failed")
    assert list(answer.json()["error"]["fields"]) == ["password"]
    assert len(answer.json()["error"]["fields"]["password"]) > 10


@pytest.mark.parametrize("password", ["correct horse battery", "kx7#Lw2q", "пароль-от-почты-7", "x" * 4 + "y1!z" * 20])
async def test_a_good_password_is_taken(client: httpx.AsyncClient, password: str) -> None:
    assert (await register(client, password=password)).status_code == 201
    assert (await client.post(LOGIN, json={"email": "ada@example.org", "password": password})).status_code == 200


async def test_the_least_length_is_a_setting(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "password_min_length", 12)
    answer = await register(client, password="kx7#Lw2q")
    assert answer.json()["error"]["fields"]["password"] == "Use at least 12 characters."


@pytest.mark.parametrize(
    "email",
    [
        "",
        " ",
        "ada",
        "ada@",
        "@example.org",
        "ada@example",
        "ada@@example.org",
        "ada@exa mple.org",
        "ada@example..org",
        "ada@-example.org",
        "Ada <ada@example.org>",
        "ada\x00@example.org",
        "ada\n@example.org",
        "x" * 65 + "@example.org",
        "ada@" + "x" * 300 + ".org",
        "\ufdfa" * 60 + "@example.org",
        None,
        7,
        ["ada@example.org"],
    ],
)
async def test_what_is_no_address_is_refused_in_words(client: httpx.AsyncClient, email: object) -> None:
    answer = await client.post(REGISTER, json={"email": email, "password": PASSWORD})
    assert code(answer) == (422, "validation_failed")
    assert list(answer.json()["error"]["fields"]) == ["email"]


@pytest.mark.parametrize("email", ["ada@nas.local", "admin@localhost", "ünï@straße.de", "a+b@example.co.uk"])
async def test_addresses_of_private_networks_and_other_scripts_are_taken(client: httpx.AsyncClient, email: str) -> None:
    assert (await register(client, email)).status_code == 201
    assert (await client.post(LOGIN, json={"email": email.upper(), "password": PASSWORD})).status_code == 200


async def test_unknown_fields_and_bad_names_are_refused(client: httpx.AsyncClient) -> None:
    assert code(await register(client, roles=["admin"])) == (422, "validation_failed")
    assert code(await register(client, name="a\x07")) == (422, "validation_failed")
    assert code(await register(client, name="x" * 201)) == (422, "validation_failed")


async def test_only_the_first_account_is_an_admin(client: httpx.AsyncClient) -> None:
    first, second = await register(client), await register(client, "bob@example.org")
    assert first.json()["user"]["roles"] == ["admin"]
    assert second.json()["user"]["roles"] == []


async def test_of_many_first_accounts_at_once_exactly_one_is_an_admin(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(register(client, f"u{n}@example.org") for n in range(6)))
    assert [answer.status_code for answer in answers] == [201] * 6
    assert sum(answer.json()["user"]["roles"] == ["admin"] for answer in answers) == 1


async def test_closed_registration_lets_the_first_account_in_and_no_other(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "open_registration", False)
    answers = await asyncio.gather(*(register(client, f"u{n}@example.org") for n in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 403, 403]
    assert code(await register(client)) == (403, "registration_closed")


async def test_an_account_comes_with_its_personal_project(user: Person) -> None:
    projects = (await user.client.get("/api/projects")).json()["projects"]
    assert [(project["name"], project["personal"]) for project in projects] == [("Personal", True)]


async def test_registering_is_throttled_per_address(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "registrations_per_hour", 2)
    answers = [await register(client, f"u{n}@example.org") for n in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert code(answers[2]) == (429, "rate_limited")
    assert 0 < int(answers[2].headers["retry-after"]) <= 3601


# --- login -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LOGIN, "/login"])
async def test_login_gives_the_same_user_and_fresh_tokens(client: httpx.AsyncClient, user: Person, path: str) -> None:
    answer = await client.post(path, json={"email": user.email.upper(), "password": user.password})
    assert answer.status_code == 200
    assert answer.json()["user"]["id"] == user.id
    assert answer.json()["token"] != user.token
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [LOGIN, "/login"])
async def test_every_wrong_login_gets_the_same_answer_for_the_same_work(
    client: httpx.AsyncClient, user: Person, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    real = security._context.verify

    def verify(password: str, password_hash: str) -> bool:
        verified.append(password_hash)
        return bool(real(password, password_hash))

    monkeypatch.setattr(security._context, "verify", verify)
    bodies = []
    for email, password in [
        (user.email, "wrong horse battery"),
        (user.email, "x"),
        ("nobody@example.org", user.password),
        ("no address", user.password),
    ]:
        answer = await client.post(path, json={"email": email, "password": password})
        assert code(answer) == (401, "invalid_credentials")
        body = answer.json()["error"]
        del body["request_id"]
        bodies.append(body)
    assert all(body == bodies[0] for body in bodies)
    assert len(verified) == 4
    assert all(kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for kept in verified)
    assert verified[2] != verified[0], "an unknown user is checked against the stand-in"


async def test_login_is_throttled_per_account_from_wherever_it_is_tried(
    client: httpx.AsyncClient, user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "login_attempts_per_minute", 3)
    wrong = {"email": f" {user.email.upper()}", "password": "wrong horse"}
    statuses = [(await client.post(LOGIN, json=wrong)).status_code for _ in range(4)]
    assert statuses[-1] == 429
    right = await client.post(LOGIN, json={"email": user.email, "password": user.password})
    assert code(right) == (429, "rate_limited")
    assert 0 < int(right.headers["retry-after"]) <= 61
    another = await client.post(LOGIN, json={"email": "bob@example.org", "password": "wrong horse"})
    assert code(another) == (401, "invalid_credentials")


async def test_login_is_throttled_per_address(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "login_attempts_per_minute", 1)
    statuses = []
    for n in range(service._ADDRESS_FACTOR + 1):
        answer = await client.post(LOGIN, json={"email": f"u{n}@example.org", "password": "wrong horse"})
        statuses.append(answer.status_code)
    assert statuses == [401] * service._ADDRESS_FACTOR + [429]


async def test_an_old_hash_is_renewed_at_login(client: httpx.AsyncClient, user: Person) -> None:
    old = security._context.using(argon2__time_cost=1).hash(user.password)
    async with transaction() as session:
        await session.execute(update(User).values(password_hash=old))
    assert (await client.post(LOGIN, json={"email": user.email, "password": user.password})).status_code == 200
    async with transaction() as session:
        kept = await session.scalar(select(User.password_hash))
    assert kept is not None
    assert kept != old
    assert not security.needs_rehash(kept)


async def test_a_login_that_crosses_a_change_of_password_fails(
    client: httpx.AsyncClient, user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = security.verify_password

    async def verify(password: str, password_hash: str | None) -> bool:
        right = await real(password, password_hash)
        async with transaction() as session:
            await session.execute(update(User).values(password_hash="another"))
        return right

    monkeypatch.setattr("backend.accounts.service.verify_password", verify)
    answer = await client.post(LOGIN, json={"email": user.email, "password": user.password})
    assert code(answer) == (401, "invalid_credentials")


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


# --- the operator ----------------------------------------------------------------------------------------------------


async def test_the_operator_makes_an_admin_even_when_registration_is_closed(
    user: Person, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "open_registration", False)
    made = await service.create_admin(email="root@example.org", password=PASSWORD)
    assert made.roles == ["admin"]
    answer = await client.post(LOGIN, json={"email": "root@example.org", "password": PASSWORD})
    assert answer.json()["user"]["roles"] == ["admin"]
    projects = await client.get("/api/projects", headers=bearer(answer.json()["token"]))
    assert len(projects.json()["projects"]) == 1


async def test_the_operator_gives_an_existing_account_the_role_and_a_new_password(
    make_user: MakeUser, client: httpx.AsyncClient
) -> None:
    await make_user()
    bob = await make_user("bob@example.org")
    await service.create_admin(email="BOB@example.org", password="another good password")
    assert code(await bob.client.get(ME)) == (401, "session_revoked")
    answer = await client.post(LOGIN, json={"email": bob.email, "password": "another good password"})
    assert answer.json()["user"]["id"] == bob.id
    assert answer.json()["user"]["roles"] == ["admin"]
