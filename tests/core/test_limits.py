"""Limits count on Redis and go on counting in memory while Redis is away."""

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisAway

from backend.core import limits
from backend.core.errors import RateLimited


async def test_the_limit_is_reached_and_says_how_long_to_wait(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await limits.hit("test", "a", per_minute=3)
    with pytest.raises(RateLimited) as refused:
        await limits.hit("test", "a", per_minute=3)
    assert 1 <= (refused.value.retry_after_seconds or 0) <= 61
    await limits.hit("test", "b", per_minute=3)


async def test_without_redis_the_limit_holds_in_memory(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        async def hit(self, *args: object) -> bool:
            raise RedisAway

    monkeypatch.setattr(limits, "_shared", lambda: Away())
    for _ in range(2):
        await limits.hit("away", "a", per_hour=2)
    with pytest.raises(RateLimited):
        await limits.hit("away", "a", per_hour=2)
