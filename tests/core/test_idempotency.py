"""The same request with the same Idempotency-Key is done once and answered alike, whatever dies in between."""

import asyncio
import uuid

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text

from backend.config import settings
from backend.core import idempotency, idempotent_requests
from backend.core.db import transaction
from backend.core.idempotent_requests import IdempotentRequest
from backend.core.redis import redis
from backend.orgs.models import Project
from tests.conftest import Person, http_client

PROJECTS = "/api/projects"


def fresh() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("idempotency-replayed") == "true")


async def make(person: Person, key: dict[str, str], name: str = "Once") -> httpx.Response:
    return await person.client.post(PROJECTS, json={"name": name}, headers=key)


async def named(name: str = "Once") -> int:
    async with transaction() as session:
        return await session.scalar(select(func.count()).select_from(Project).where(Project.name == name)) or 0


async def rows() -> list[IdempotentRequest]:
    async with transaction() as session:
        return list(await session.scalars(select(IdempotentRequest)))


async def lapse(column: str = "lease_until") -> None:
    """Time passes for all rows."""
    async with transaction() as session:
        await session.execute(text(f"UPDATE idempotent_requests SET {column} = now() - interval '1 second'"))


# --- the same again --------------------------------------------------------------------------------------------------


async def test_sent_again_it_is_answered_alike_and_not_done_again(user: Person) -> None:
    key = fresh()
    first, again = await make(user, key), await make(user, key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["content-type"] == again.headers["content-type"]
    assert (replayed(first), replayed(again)) == (False, True)
    assert await named() == 1
    assert (await make(user, fresh())).status_code == 201
    assert await named() == 2


async def test_ten_at_once_over_two_instances_are_one(app: FastAPI, user: Person) -> None:
    from backend.app import create_app

    key = fresh()
    async with http_client(create_app(), Authorization=f"Bearer {user.token}") as second:
        sent = [(user.client, second)[n % 2].post(PROJECTS, json={"name": "Once"}, headers=key) for n in range(10)]
        answers = await asyncio.gather(*sent)
    assert len({answer.content for answer in answers}) == 1
    assert sum(not replayed(answer) for answer in answers) == 1
    assert await named() == 1


async def test_another_request_under_the_same_key_is_a_conflict(user: Person) -> None:
    key = fresh()
    project = (await make(user, key)).json()["id"]
    others = [
        make(user, key, name="Twice"),
        user.client.post(f"{PROJECTS}?a=1", json={"name": "Once"}, headers=key),
        user.client.post("/api/orgs", json={"name": "Once"}, headers=key),
        user.client.patch(f"{PROJECTS}/{project}", json={"name": "Once"}, headers=key),
    ]
    for other in others:
        assert code(await other) == (409, "idempotency_conflict")
    assert replayed(await make(user, key))


async def test_a_key_means_something_to_its_sender_only(app: FastAPI, user: Person, other: Person) -> None:
    key = fresh()
    project = (await make(user, key)).json()["id"]
    theirs = await make(other, key)
    assert (theirs.status_code, replayed(theirs)) == (201, False)
    body = {"name": "k", "scopes": ["admin"]}
    made = (await user.client.post(f"{PROJECTS}/{project}/api-keys", json=body)).json()
    async with http_client(app, **{"X-API-Key": made["key"]}) as program:
        assert code(await program.post(PROJECTS, json={"name": "Once"}, headers=key)) == (403, "forbidden")
    async with http_client(app) as nobody:
        assert code(await nobody.post(PROJECTS, json={"name": "Once"}, headers=key)) == (401, "unauthenticated")
    by_cookie = await user.browser.post(PROJECTS, json={"name": "Once"}, headers={**key, "Accept": "*/*"})
    assert replayed(by_cookie)


async def test_who_can_no_longer_be_recognised_gets_no_old_answers(app: FastAPI, user: Person) -> None:
    project = (await make(user, {})).json()["id"]
    keys, key = f"{PROJECTS}/{project}/api-keys", fresh()
    made = (await user.client.post(keys, json={"name": "k", "scopes": ["admin"]})).json()
    async with http_client(app, **{"X-API-Key": made["key"]}) as program:
        rename = {"url": f"{PROJECTS}/{project}", "json": {"name": "New"}, "headers": key}
        assert (await program.patch(**rename)).status_code == 200  # type: ignore[arg-type]
        assert replayed(await program.patch(**rename))  # type: ignore[arg-type]
        await user.client.delete(f"{keys}/{made['id']}")
        assert code(await program.patch(**rename)) == (401, "unauthenticated")  # type: ignore[arg-type]


async def test_what_ends_its_own_session_can_be_sent_again(user: Person) -> None:
    key = fresh()
    answers = await asyncio.gather(*(user.client.post("/api/auth/logout", headers=key) for _ in range(10)))
    answers.append(await user.client.post("/api/auth/logout", headers=key))
    assert {answer.status_code for answer in answers} == {204}
    assert sum(not replayed(answer) for answer in answers) == 1
    assert code(await user.client.post("/api/auth/logout", headers=fresh())) == (401, "session_revoked")


async def test_a_form_can_be_posted_again(client: httpx.AsyncClient) -> None:
    form = {"email": "form@example.org", "password": "a long enough one"}
    sent = {"url": "/register", "data": form, "headers": {**fresh(), "Accept": "text/html"}}
    first = await client.post(**sent)  # type: ignore[arg-type]
    client.cookies.clear()
    again = await client.post(**sent)  # type: ignore[arg-type]
    assert (first.status_code, again.status_code, replayed(again)) == (303, 303, True)
    assert first.headers["set-cookie"] == again.headers["set-cookie"]


async def test_a_lost_answer_to_a_refresh_is_not_a_stolen_token(client: httpx.AsyncClient, user: Person) -> None:
    sent = {"url": "/api/auth/refresh", "json": {"refresh_token": user.refresh_token}, "headers": fresh()}
    first, again = await client.post(**sent), await client.post(**sent)  # type: ignore[arg-type]
    assert (first.status_code, first.content) == (again.status_code, again.content) == (200, first.content)


# --- what is kept ----------------------------------------------------------------------------------------------------


async def test_without_a_key_nothing_is_written(user: Person) -> None:
    await make(user, {})
    await user.client.get(PROJECTS, headers=fresh())
    assert await rows() == []


async def test_refusals_are_kept_for_whom_we_know_and_found_again_for_others(
    client: httpx.AsyncClient, user: Person
) -> None:
    key = fresh()
    refused = [await make(user, key, name=" ") for _ in range(2)]
    assert [code(answer) for answer in refused] == [(422, "validation_failed")] * 2
    assert replayed(refused[1])
    kept = len(await rows())
    for _ in range(2):
        answer = await client.post("/upload", json={"filename": "none"}, headers=key)
        assert (answer.status_code, replayed(answer)) == (422, False)
    assert len(await rows()) == kept


async def test_throttled_and_unknown_senders_may_try_again_with_the_same_key(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = {"url": "/upload", "json": {"filename": "a.mp4"}, "headers": fresh()}
    monkeypatch.setattr(settings, "public_uploads_per_minute", 1)
    await client.post("/upload", json={"filename": "a.mp4"})
    assert (await client.post(**upload)).status_code == 429  # type: ignore[arg-type]
    monkeypatch.setattr(settings, "public_uploads_per_minute", 60)
    assert (await client.post(**upload)).status_code == 200  # type: ignore[arg-type]

    login = {"url": "/api/auth/login", "json": {"email": "l@example.org", "password": "a long one"}, "headers": fresh()}
    assert (await client.post(**login)).status_code == 401  # type: ignore[arg-type]
    await client.post("/api/auth/register", json=login["json"])
    assert (await client.post(**login)).status_code == 200  # type: ignore[arg-type]


async def test_a_failure_of_ours_may_be_tried_again(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.orgs import service

    key = fresh()
    with monkeypatch.context() as broken:
        broken.setattr(service, "create_project", None)
        assert (await make(user, key)).status_code == 500
    assert await rows() == []
    assert (await make(user, key)).status_code == 201
    assert await named() == 1


async def test_secrets_of_answers_and_bodies_cannot_be_read_in_the_database(user: Person) -> None:
    project = (await make(user, {})).json()["id"]
    key = fresh()
    body = {"name": "k", "scopes": ["read"]}
    shown = await user.client.post(f"{PROJECTS}/{project}/api-keys", json=body, headers=key)
    again = await user.client.post(f"{PROJECTS}/{project}/api-keys", json=body, headers=key)
    assert shown.json()["key"] == again.json()["key"]
    async with transaction() as session:
        stored = (
            await session.execute(text("SELECT t::text, encode(answer, 'escape') FROM idempotent_requests t"))
        ).all()
    assert len(stored) == 1
    for secret in (shown.json()["key"], shown.json()["id"], key["Idempotency-Key"], "read"):
        assert not any(secret in part for part in stored[0])


async def test_after_its_time_a_key_is_new_and_its_row_goes(user: Person) -> None:
    key = fresh()
    await make(user, key)
    await lapse("expires_at")
    assert (await make(user, key, name="Other")).status_code == 201
    await lapse("expires_at")
    assert await idempotent_requests.remove_expired() == 1
    assert await rows() == []


async def test_an_answer_too_long_to_keep_is_not_done_again(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_ANSWER_BYTES", 10)
    key = fresh()
    assert (await make(user, key)).status_code == 201
    assert code(await make(user, key)) == (409, "idempotency_unfinished")
    assert await named() == 1


@pytest.mark.parametrize(
    "key", ["", "x" * 256, "a\tb", "schlüssel".encode(), b"\xff"], ids=["empty", "long", "tab", "utf8", "bytes"]
)
async def test_a_key_of_another_form_is_refused(user: Person, key: str | bytes) -> None:
    raw = key if isinstance(key, bytes) else key.encode()
    answer = await user.client.post(PROJECTS, json={"name": "Once"}, headers={b"Idempotency-Key": raw})
    assert code(answer) == (422, "validation_failed")
    assert "Idempotency-Key" in answer.json()["error"]["fields"]
    assert await named() == 0


async def test_two_keys_are_none(user: Person) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await user.client.post(PROJECTS, json={"name": "Once"}, headers=headers)).status_code == 422


async def test_the_longest_key_will_do(user: Person) -> None:
    key = {"Idempotency-Key": "~ " + "x" * 252 + "!"}
    assert (await make(user, key)).status_code == 201
    assert replayed(await make(user, key))


async def test_redis_is_not_needed(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.core import limits

    key = fresh()
    with monkeypatch.context() as away:
        away.setattr(redis, "_client", None)
        answers = await asyncio.gather(*(make(user, key) for _ in range(10)))
    limits._away_until = 0.0
    assert len({answer.content for answer in answers}) == 1
    assert await named() == 1


async def test_the_reference_names_the_header_and_its_answers(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()["paths"]
    for path, operations in described.items():
        for method, operation in operations.items():
            names = [parameter["name"] for parameter in operation.get("parameters", [])]
            assert ("Idempotency-Key" in names) == (method != "get"), (method, path)
            if method != "get":
                assert {"409", "422", "429", "503"} <= operation["responses"].keys()
