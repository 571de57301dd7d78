"""`/ready`: what the platform cannot do without."""

import httpx
import pytest

from backend.core.redis import redis
from backend.core.storage import storage


async def gone(*args: object) -> None:
    raise ConnectionError("nobody answers")


async def test_without_redis_alone_a_process_is_ready_and_says_so(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.get("/ready")).json()["status"] == "ready"
    monkeypatch.setattr(redis.client, "ping", gone)
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"] == {"database": "ok", "redis": "failed", "storage": "ok"}


async def test_without_storage_it_is_not(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "ping", gone)
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    assert "retry-after" in answer.headers
