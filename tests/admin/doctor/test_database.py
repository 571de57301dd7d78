"""The checks of Postgres, against the real one and a copy that nobody migrated."""

import time
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from backend.admin.doctor import database as checks
from backend.admin.doctor.findings import Check, State
from backend.config import settings
from backend.core.db import database, transaction
from tests.admin.doctor.conftest import Examine


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
async def test_the_embedded_database_is_well(check: Check, examine: Examine) -> None:
    found = await examine(check)
    assert (found.state, found.fix) == (State.OK, ""), found


async def test_a_database_that_is_away_fails_one_check_and_the_others_say_why(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "database_url", SecretStr("postgresql+asyncpg://dailies:x@127.0.0.1:9/dailies"))
    for name in ("_engine", "_sessions", "_single"):
        monkeypatch.setattr(database, name, None)
    database.open()
    found = await examine(checks.answers)
    assert (found.state, "DATABASE_URL" in found.fix) == (State.FAILED, True)
    for check in (checks.migrations, checks.connections, checks.time_there):
        assert (await examine(check)).state is State.SKIPPED
    await database.close()


@pytest.mark.parametrize(("revision", "fix"), [("0001", "dailies migrate"), ("9999", "newer version")])
async def test_a_schema_of_another_version(revision: str, fix: str, examine: Examine) -> None:
    async with transaction() as session:
        here = await session.scalar(text("SELECT version_num FROM alembic_version"))
        await session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    try:
        found = await examine(checks.migrations)
    finally:
        async with transaction() as session:
            await session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": here})
    assert found.state is State.FAILED
    assert fix in found.fix
    assert revision in found.words


def test_a_database_nobody_migrated_is_told_the_command() -> None:
    found = checks.judge_schema([], {"0001"}, ["0001"])
    assert (found.state, "docker compose run --rm migrate" in found.fix) == (State.FAILED, True)


@pytest.mark.parametrize(
    ("limit", "used", "processes", "state"),
    [(97, 12, 3, State.OK), (97, 12, 12, State.WARNING), (20, 19, 1, State.FAILED)],
)
def test_connections_that_do_not_suffice(limit: int, used: int, processes: int, state: State) -> None:
    found = checks.judge_connections(limit=limit, used=used, processes=processes)
    assert found.state is state
    assert (state is State.OK) != ("DATABASE_POOL_SIZE" in found.fix and "max_connections" in found.fix)


async def test_a_database_whose_clock_is_wrong(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "time", SimpleNamespace(time=lambda: time.time() - 900))
    found = await examine(checks.time_there)
    assert (found.state, "900.0 s ahead" in found.words, "chrony" in found.fix) == (State.FAILED, True, True), found
