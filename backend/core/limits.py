"""How often something may be asked: counted on Redis, and in this process's memory while Redis is away."""

import asyncio
import time
from functools import cache

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from backend.config import settings
from backend.core.errors import RateLimited

log = structlog.get_logger(__name__)


@cache
def _memory() -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(MemoryStorage())


_shared_limiter: tuple[asyncio.AbstractEventLoop, SlidingWindowCounterRateLimiter] | None = None


def _shared() -> SlidingWindowCounterRateLimiter:
    global _shared_limiter
    loop = asyncio.get_running_loop()
    if _shared_limiter is None or _shared_limiter[0] is not loop:
        url = f"async+{settings.redis_url.get_secret_value()}"
        store = RedisStorage(url, implementation="redispy", socket_timeout=1.0, socket_connect_timeout=1.0)
        _shared_limiter = (loop, SlidingWindowCounterRateLimiter(store))
    return _shared_limiter[1]


async def hit(name: str, key: str, *, per_minute: int | None = None, per_hour: int | None = None) -> None:
    """Count one use of `name` by `key`.

    Raises RateLimited: with the seconds to wait, when the limit is reached.
    """
    if per_minute is not None:
        item: RateLimitItem = RateLimitItemPerMinute(per_minute)
    elif per_hour is not None:
        item = RateLimitItemPerHour(per_hour)
    else:
        raise ValueError("a limit needs per_minute or per_hour")
    try:
        limiter = _shared()
        allowed = await limiter.hit(item, name, key)
    except Exception as error:  # whatever the client raises when Redis is away: a limit must not take us down
        log.warning("limits.fallback", error=type(error).__name__)
        limiter = _memory()
        allowed = await limiter.hit(item, name, key)
    if not allowed:
        window = await limiter.get_window_stats(item, name, key)
        raise RateLimited(retry_after_seconds=max(1, int(window.reset_time - time.time()) + 1))
