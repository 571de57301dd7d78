"""While the first of a key is running the others wait; after it died nothing is done twice and nothing is hidden."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core import idempotency, idempotent_requests
from backend.core.db import transaction
from backend.core.idempotent_requests import Run
from tests.conftest import PASSWORD, Person
from tests.core.test_idempotency import code, fresh, lapse, make, named, replayed, rows


@contextlib.asynccontextmanager
async def nobody_makes_projects() -> AsyncIterator[None]:
    """Until the end of the block, whoever wants to waits in the middle of it."""
    async with transaction() as session:
        await session.execute(text("LOCK TABLE projects IN SHARE ROW EXCLUSIVE MODE"))
        yield


async def running(count: int = 1) -> None:
    """Wait until so many stand at the lock."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT%projects%'"
    )
    async with asyncio.timeout(10):
        while True:
            async with transaction() as session:
                if (await session.scalar(query) or 0) >= count:
                    return
            await asyncio.sleep(0.02)


async def test_while_the_first_is_running_the_second_waits_for_its_answer(user: Person) -> None:
    key = fresh()
    async with nobody_makes_projects():
        sent = [asyncio.create_task(make(user, key)) for _ in range(3)]
        await running()
    answers = await asyncio.gather(*sent)
    assert len({answer.content for answer in answers}) == 1
    assert await named() == 1


async def test_the_wait_is_bounded(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotent_requests, "WAIT_SECONDS", 0.2)
    key = fresh()
    async with nobody_makes_projects():
        first = asyncio.create_task(make(user, key))
        await running()
        early = await make(user, key)
        assert code(early) == (409, "idempotency_in_progress")
        assert int(early.headers["retry-after"]) > 0
    assert (await first).status_code == 201
    assert (await make(user, key)).content == (await first).content


async def test_a_first_that_lives_keeps_its_lease(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotent_requests, "LEASE_SECONDS", 0.6)
    key = fresh()
    async with nobody_makes_projects():
        sent = [asyncio.create_task(make(user, key)) for _ in range(2)]
        await running()
        await asyncio.sleep(1.5)
    assert sorted(replayed(answer) for answer in await asyncio.gather(*sent)) == [False, True]
    assert await named() == 1


async def test_after_a_first_that_died_before_it_changed_anything_the_key_is_free(user: Person) -> None:
    key = fresh()
    async with nobody_makes_projects():
        first = asyncio.create_task(make(user, key))
        await running()
        first.cancel()
        await asyncio.wait([first])
    assert len(await rows()) == 1
    await lapse()
    answer = await make(user, key)
    assert (answer.status_code, replayed(answer)) == (201, False)
    assert await named() == 1


async def test_a_first_that_was_only_thought_dead_changes_nothing_any_more(user: Person) -> None:
    key = fresh()
    async with nobody_makes_projects():
        first = asyncio.create_task(make(user, key))
        await running()
        await lapse()
        second = asyncio.create_task(make(user, key))
        await running(2)
    outcomes = [(await task).status_code for task in (first, second)]
    assert outcomes == [409, 201]
    assert await named() == 1
    assert (await make(user, key)).content == (await second).content


async def dies(self: Run, *args: object, **given: object) -> None:
    raise asyncio.CancelledError


async def test_a_first_that_died_after_its_change_has_left_its_answer(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = fresh()
    with monkeypatch.context() as dying:
        dying.setattr(Run, "settle", dies)
        with pytest.raises(asyncio.CancelledError):
            await make(user, key)
    await lapse()
    answer = await make(user, key)
    assert (answer.status_code, replayed(answer)) == (201, True)
    assert await named() == 1


@pytest.mark.parametrize("path", ["webhooks", "api/auth/register", "api/auth/login", "register", "login"])
async def test_routes_that_look_first_leave_their_answer_with_what_they_change(
    user: Person, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.1/32"])
    if path == "webhooks":
        project = (await user.client.get("/api/projects")).json()["projects"][0]["id"]
        url, body = f"/api/projects/{project}/webhooks", {"url": "http://127.0.0.1/", "events": ["video.*"]}
    else:
        email = user.email if path.endswith("login") else "new@example.com"
        url, body = f"/{path}", {"email": email, "password": PASSWORD}
        del user.client.headers["Authorization"]
    sent = {"url": url, "json": body, "headers": fresh()}
    with monkeypatch.context() as dying:
        dying.setattr(Run, "settle", dies)
        with pytest.raises(asyncio.CancelledError):
            await user.client.post(**sent)  # type: ignore[arg-type]
    await lapse()
    answers = [await user.client.post(**sent) for _ in range(2)]  # type: ignore[arg-type]
    assert [(answer.is_success, replayed(answer)) for answer in answers] == [(True, True)] * 2
    assert answers[0].content == answers[1].content


async def test_where_a_route_commits_by_itself_a_lost_answer_is_said_to_be_lost(
    client: httpx.AsyncClient, user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = {"filename": "a.mp4", "size": 1000, "content_type": "video/mp4"}
    sent = {"url": "/api/upload/presigned-url", "json": upload, "headers": fresh()}
    with monkeypatch.context() as dying:
        dying.setattr(Run, "settle", dies)
        with pytest.raises(asyncio.CancelledError):
            await user.client.post(**sent)  # type: ignore[arg-type]
    await lapse()
    for _ in range(2):
        assert code(await user.client.post(**sent)) == (409, "idempotency_unfinished")  # type: ignore[arg-type]
    sent["json"] = {**upload, "size": 1001}
    assert code(await user.client.post(**sent)) == (409, "idempotency_conflict")  # type: ignore[arg-type]
    async with transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM uploads")) == 1


async def test_a_commit_whose_end_nobody_saw_is_not_made_again(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    key, commit = fresh(), AsyncSession.commit

    async def cut(self: AsyncSession) -> None:
        changed = bool(
            await self.scalar(
                text(
                    "SELECT pg_current_xact_id_if_assigned() IS NOT NULL AND EXISTS "
                    "(SELECT FROM projects WHERE name = 'Once')"
                )
            )
        )
        await commit(self)
        if changed:
            raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(AsyncSession, "commit", cut)
        assert (await make(user, key)).status_code == 503
    assert await named() == 1
    again = await make(user, key)
    assert (again.status_code, replayed(again)) == (201, True)
    assert await named() == 1


async def test_a_commit_that_failed_may_be_tried_again(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    key, commit = fresh(), AsyncSession.commit

    async def fail(self: AsyncSession) -> None:
        if await self.scalar(text("SELECT EXISTS (SELECT FROM projects WHERE name = 'Once')")):
            await self.rollback()
            raise ConnectionResetError
        await commit(self)

    with monkeypatch.context() as broken:
        broken.setattr(AsyncSession, "commit", fail)
        assert (await make(user, key)).status_code == 503
    assert await named() == 0
    assert (await make(user, key)).status_code == 201
    assert await named() == 1


async def test_an_absent_database_is_busy(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*args: object) -> None:
        raise ConnectionRefusedError(secrets.token_hex(2))

    monkeypatch.setattr(idempotency, "begin", away)
    answer = await make(user, fresh())
    assert code(answer) == (503, "busy")
    assert answer.headers["retry-after"]
