"""One place commits, and what follows a commit never undoes it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from backend.core import db
from backend.core.db import after_commit, autocommit, database, transaction, watch_commits
from backend.core.web import install_error_handlers
from tests.conftest import free_port


async def test_hooks_run_after_the_commit_in_order(app: FastAPI) -> None:
    ran: list[str] = []

    async def hook(name: str) -> None:
        async with database.session() as other:
            row = await other.scalar(text("SELECT count(*) FROM pg_tables WHERE tablename = 'hook_probe'"))
        ran.append(f"{name}:{row}")

    try:
        async with transaction() as session:
            await session.execute(text("CREATE TABLE hook_probe ()"))
            after_commit(session, lambda: hook("first"))
            after_commit(session, lambda: hook("second"))
            assert ran == []
        assert ran == ["first:1", "second:1"]
    finally:
        async with transaction() as session:
            await session.execute(text("DROP TABLE hook_probe"))


async def test_a_rollback_drops_its_hooks(app: FastAPI) -> None:
    ran: list[str] = []

    async def hook() -> None:
        ran.append("ran")

    with pytest.raises(LookupError):
        async with transaction() as session:
            after_commit(session, hook)
            raise LookupError
    assert ran == []


async def test_a_failing_hook_does_not_fail_what_is_committed(app: FastAPI) -> None:
    ran: list[str] = []

    async def broken() -> None:
        raise ConnectionError("no bell")

    async def fine() -> None:
        ran.append("ran")

    async with transaction() as session:
        after_commit(session, broken)
        after_commit(session, fine)
    assert ran == ["ran"]


async def test_hooks_that_hang_are_given_up_together(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "HOOKS_SECONDS", 0.2)
    began: list[int] = []

    async def hang() -> None:
        began.append(1)
        await asyncio.sleep(60)

    async with asyncio.timeout(20):
        async with transaction() as session:
            for _ in range(50):
                after_commit(session, hang)
    assert len(began) == 1


def test_only_errors_of_the_database_tell_that_it_is_away() -> None:
    for error in (FileNotFoundError("a file"), ConnectionResetError("a storage"), TimeoutError()):
        assert not db.is_away(error)


async def test_a_database_that_refuses_connections_is_away(app: FastAPI) -> None:
    nobody = create_async_engine(f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the driver's own
        async with nobody.connect():
            pass
    assert db.is_away(caught.value)


@pytest.mark.parametrize(
    ("state", "status"),
    [("57P03", 503), ("57P01", 503), ("53300", 503), ("40P01", 503), ("23505", 500), ("42P01", 500)],
    ids=["starting", "shutdown", "connections", "deadlock", "unique", "no-table"],
)
async def test_a_database_that_is_not_well_is_busy_and_a_mistake_of_ours_is_not(
    app: FastAPI, state: str, status: int
) -> None:
    async def nobody(request: Request) -> None:
        return None

    small = FastAPI()
    install_error_handlers(small, nobody)

    @small.get("/")
    async def ask() -> None:
        async with transaction() as session:
            await session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"))

    transport = httpx.ASGITransport(small, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/")
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_what_a_query_was_given_is_not_in_its_error(app: FastAPI) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with transaction() as session:
            await session.execute(text("SELECT CAST(:words AS text)::int + 'x'::int"), {"words": "a private title"})
    assert "a private title" not in str(caught.value)
    assert "a private title" not in repr(caught.value)


async def test_a_connection_that_the_server_has_ended_is_not_given_out(app: FastAPI) -> None:
    """Used a moment ago it is not asked whether it works; that it has ended is seen all the same."""
    ended: list[int] = []
    for _ in range(3):
        async with transaction() as session:
            await session.execute(text("SELECT 1"))
        async with transaction() as session:
            ours = text(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'dailies' AND pid <> pg_backend_pid()"
            )
            ended += (await session.scalars(ours)).all()
            await session.execute(text(f"SELECT pg_terminate_backend(pid) FROM ({ours.text}) AS others"))
        await asyncio.sleep(0.2)
        pids = set()
        async with database.session() as one, database.session() as two, database.session() as three:
            for each in (one, two, three):
                pids.add(await each.scalar(text("SELECT pg_backend_pid()")))
        assert len(pids) == 3
        assert pids.isdisjoint(ended)
    assert ended


async def test_one_that_lay_idle_is_asked_first(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "ASK_AFTER_SECONDS", -1.0)
    async with transaction() as session:
        await session.execute(text("SELECT 1"))
    async with transaction() as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def test_each_statement_stands_alone_unless_commits_are_watched(app: FastAPI) -> None:
    async def there() -> bool:
        async with autocommit() as session:
            return bool(await session.scalar(text("SELECT to_regclass('alone_probe') IS NOT NULL")))

    async def make_and_fail() -> None:
        with pytest.raises(LookupError):
            async with autocommit() as session:
                await session.execute(text("CREATE TABLE alone_probe ()"))
                raise LookupError

    @asynccontextmanager
    async def watch(session: AsyncSession) -> AsyncIterator[None]:
        yield

    watching = watch_commits.set(watch)
    try:
        await make_and_fail()
        assert not await there()
    finally:
        watch_commits.reset(watching)
    try:
        await make_and_fail()
        assert await there()
    finally:
        async with transaction() as session:
            await session.execute(text("DROP TABLE IF EXISTS alone_probe"))
