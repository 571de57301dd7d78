"""The checks of Redis, against the real one with the settings that do harm."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from backend.admin.doctor import redis as checks
from backend.admin.doctor.findings import Check, State
from backend.config import settings
from backend.core.redis import redis
from tests.admin.doctor.conftest import Examine


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
async def test_the_embedded_server_is_well(check: Check, examine: Examine) -> None:
    found = await examine(check)
    assert (found.state, found.fix) == (State.OK, ""), found


@pytest.fixture
async def careless(examine: Examine) -> AsyncIterator[None]:
    """As many come out of the box."""
    await redis.client.config_set("maxmemory-policy", "allkeys-lru")
    await redis.client.config_set("appendonly", "no")
    yield
    await redis.client.config_set("maxmemory-policy", "noeviction")
    await redis.client.config_set("appendonly", "yes")


async def test_a_server_that_evicts_and_forgets(examine: Examine, careless: None) -> None:
    found = await examine(checks.eviction)
    assert (found.state, "maxmemory-policy noeviction" in found.fix) == (State.FAILED, True)
    found = await examine(checks.persistence)
    assert (found.state, "appendonly yes" in found.fix) == (State.WARNING, True)


async def test_a_server_that_is_away_fails_one_check_and_the_others_say_why(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "redis_url", SecretStr("redis://127.0.0.1:9/0"))
    monkeypatch.setattr(redis, "_client", None)
    redis.open()
    found = await examine(checks.answers)
    assert (found.state, "REDIS_URL" in found.fix) == (State.FAILED, True)
    for check in (checks.eviction, checks.persistence, checks.time_there):
        assert (await examine(check)).state is State.SKIPPED
    await redis.close()


def test_a_server_that_is_too_old_or_cannot_write() -> None:
    assert "6.2" in checks.judge_version({"redis_version": "5.0.14"}).fix
    found = checks.judge_persistence({"aof_enabled": 1, "aof_last_write_status": "err"})
    assert (found.state, "disk" in found.fix) == (State.FAILED, True)
