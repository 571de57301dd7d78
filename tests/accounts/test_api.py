"""Accounts for programs: register and log in; what the operator can do beside."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from backend.accounts import service
from backend.accounts.models import User
from backend.config import settings
from backend.core import security
from backend.core.db import transaction
from tests.conftest import PASSWORD, MakeUser, Person

REGISTER = "/api/auth/register"
LOGIN = "/api/auth/login"
ME = "/api/auth/me"


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
    assert first.json()["user"]["roles"] == ["admin", "coach_pro_plus"]
    assert second.json()["user"]["roles"] == ["coach_pro_plus"]


async def test_of_many_first_accounts_at_once_exactly_one_is_an_admin(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(register(client, f"u{n}@example.org") for n in range(6)))
    assert [answer.status_code for answer in answers] == [201] * 6
    assert sum(answer.json()["user"]["roles"] == ["admin", "coach_pro_plus"] for answer in answers) == 1


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
    costly_passwords: None, client: httpx.AsyncClient, user: Person, path: str, monkeypatch: pytest.MonkeyPatch
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


# --- the operator ----------------------------------------------------------------------------------------------------


async def test_the_operator_makes_an_admin_even_when_registration_is_closed(
    user: Person, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "open_registration", False)
    made = await service.create_admin(email="root@example.org", password=PASSWORD)
    assert made.roles == ["admin", "coach_pro_plus"]
    answer = await client.post(LOGIN, json={"email": "root@example.org", "password": PASSWORD})
    assert answer.json()["user"]["roles"] == ["admin", "coach_pro_plus"]
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
    assert answer.json()["user"]["roles"] == ["admin", "coach_pro_plus"]
