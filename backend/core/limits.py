"""How often something may be asked: counted on Redis, and in this process's memory while Redis is away.

Every request counts for its address, and for its user or its key once this process has seen that its credentials are
theirs. Dear things (signing in, registering, signing addresses for anybody) have limits of their own: `hit`.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, cast

import structlog
from fastapi import Request
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import NoScriptError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.config import settings
from backend.core.errors import RateLimited
from backend.core.middleware import credentials_of
from backend.core.redis import redis
from backend.core.web import add_headers, client_ip, error_response

log = structlog.get_logger(__name__)

#: A Redis that takes longer is away: what it would have counted is counted in memory.
REDIS_SECONDS = 0.5
#: And for so long nobody asks it again.
AWAY_SECONDS = 5.0
_MOST_CREDENTIALS = 10_000
#: What watches over us asks as often as it likes.
NOT_COUNTED = {"/health", "/api/v1/health", "/ready", "/metrics"}
#: The same window as in `limits`: what came in the window before counts for the part of it that is not yet over.
#: Counts for all, or for none: one question, one answer, by the server's clock.
_COUNT = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local seen, answer, allowed = {}, {}, true
for i, key in ipairs(KEYS) do
  local most, seconds = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local window = math.floor(now / seconds)
  local left = (window + 1) * seconds - now
  local kept = redis.call('HMGET', key, 'window', 'count', 'before')
  local age = window - (tonumber(kept[1]) or 0)
  local count, before = tonumber(kept[2]) or 0, tonumber(kept[3]) or 0
  if age == 1 then count, before = 0, count elseif age ~= 0 then count, before = 0, 0 end
  local used, wait = math.floor(before * left / seconds) + count, left
  if used >= most then  -- then `wait` is until it is one less
    allowed = false
    if count < most then wait = left - (most - count) * seconds / before
    else wait = left + seconds - most * seconds / count end
  end
  seen[i] = {window, count, before, seconds}
  answer[i] = {most - used, tostring(wait)}
end
for i, key in ipairs(KEYS) do
  if allowed then
    redis.call('HSET', key, 'window', seen[i][1], 'count', seen[i][2] + 1, 'before', seen[i][3])
    redis.call('EXPIRE', key, 2 * seen[i][4])
    answer[i][1] = answer[i][1] - 1
  end
end
return {allowed and 1 or 0, answer}
"""
#: By this Redis knows the script once it has seen it.
_COUNT_NAME = hashlib.sha1(_COUNT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Quota:
    """So many uses of `name` in so many seconds."""

    name: str
    most: int
    seconds: int = 60


@dataclass(frozen=True)
class Count:
    """A quota after a use was counted, or refused."""

    quota: Quota
    remaining: int
    reset_seconds: int  #: until the window is over; of a quota that is used up and refuses, until it allows one more


@dataclass(frozen=True)
class Standing:
    """What one request left of its quotas."""

    allowed: bool
    counts: Sequence[Count]

    @property
    def headers(self) -> dict[str, str]:
        """Of the quota that ends first, as the IETF's draft names them; the policies of all."""
        tightest = min(self.counts, key=lambda count: (count.remaining, -count.reset_seconds))
        return {
            "RateLimit-Limit": str(tightest.quota.most),
            "RateLimit-Remaining": str(tightest.remaining),
            "RateLimit-Reset": str(tightest.reset_seconds),
            "RateLimit-Policy": ", ".join(f"{count.quota.most};w={count.quota.seconds}" for count in self.counts),
        }

    @property
    def refusal(self) -> RateLimited:
        wait = max(count.reset_seconds for count in self.counts if not count.remaining)
        return RateLimited(retry_after_seconds=wait, headers=self.headers)


async def hit(name: str, key: str, *, per_minute: int | None = None, per_hour: int | None = None) -> None:
    """Count one use of `name` by `key`.

    Raises RateLimited: with the seconds to wait, when the limit is reached.
    """
    if per_minute is not None:
        quota = Quota(f"{name}:{key}", per_minute)
    elif per_hour is not None:
        quota = Quota(f"{name}:{key}", per_hour, 3600)
    else:
        raise ValueError("a limit needs per_minute or per_hour")
    standing = await use([quota])
    if not standing.allowed:
        raise standing.refusal


_away_until = 0.0


async def use(quotas: Sequence[Quota]) -> Standing:
    """Count one use for each of these quotas, or for none when one of them is used up. Asks Redis once."""
    global _away_until
    if (now := time.monotonic()) >= _away_until:
        if _away_until:  # one looks whether it is back, and the others need not wait for what it finds
            _away_until = now + AWAY_SECONDS
        try:
            standing = await _in_time(_on_redis(quotas))
        except Exception as error:  # whatever the client raises when Redis is away: a limit must not take us down
            log.warning("limits.in_memory", error=type(error).__name__, web_processes=settings.web_processes)
            _away_until = time.monotonic() + AWAY_SECONDS
        else:
            _away_until = 0.0
            return standing
    return await _in_memory(quotas)


async def _in_time(asking: Coroutine[Any, Any, Standing]) -> Standing:
    """Raises TimeoutError after `REDIS_SECONDS`, and not later: the client may swallow a cancel, and go on."""
    task = asyncio.create_task(asking)
    try:
        # In two parts: when this process itself stood still for all of one, the answer may have come and waits.
        for _ in range(2):
            done, _pending = await asyncio.wait({task}, timeout=REDIS_SECONDS / 2)
            if done:
                break
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody waits for it any more
    if not done:
        raise TimeoutError
    return task.result()


async def _on_redis(quotas: Sequence[Quota]) -> Standing:
    asked = [f"limits:{quota.name}" for quota in quotas]
    asked += [str(number) for quota in quotas for number in (quota.most, quota.seconds)]
    # redis-py types these for its synchronous client, too.
    try:
        answer = await cast("Awaitable[Any]", redis.client.evalsha(_COUNT_NAME, len(quotas), *asked))
    except NoScriptError:  # it has been restarted
        answer = await cast("Awaitable[Any]", redis.client.eval(_COUNT, len(quotas), *asked))
    allowed, counts = answer
    return Standing(
        allowed=bool(allowed),
        counts=[
            Count(quota, max(0, left), int(float(wait)) + 1) for quota, (left, wait) in zip(quotas, counts, strict=True)
        ],
    )


@cache
def _memory() -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(MemoryStorage())


def forget() -> None:
    """Ask Redis next time, and start anew what is counted in memory: for tests, which share a process."""
    global _away_until
    _away_until = 0.0
    _memory.cache_clear()


async def _in_memory(quotas: Sequence[Quota]) -> Standing:
    """Each web process counts what comes to it, and allows its share of what all may allow together."""
    shares = [replace(quota, most=max(1, quota.most // settings.web_processes)) for quota in quotas]
    items = [RateLimitItemPerSecond(share.most, share.seconds) for share in shares]
    allowed = all([await _memory().test(item, share.name) for item, share in zip(items, shares, strict=True)])
    counts = []
    for item, share in zip(items, shares, strict=True):
        if allowed:
            await _memory().hit(item, share.name)
        window = await _memory().get_window_stats(item, share.name)
        counts.append(Count(share, window.remaining, max(0, int(window.reset_time - time.time())) + 1))
    return Standing(allowed, counts)


# --- every request ---------------------------------------------------------------------------------------------------


class Limited:
    """Counts each request once, when it comes, and says on its answer what is left; refuses it when nothing is.

    `sender_of` tells who a request was found to be from, after a route has found out (`user:…`, `key:…`), else None.
    """

    def __init__(self, app: ASGIApp, sender_of: Callable[[Request], str | None]) -> None:
        self.app = app
        self.sender_of = sender_of
        self._senders: OrderedDict[bytes, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/static/") or scope["path"] in NOT_COUNTED:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        credentials = credentials_of(request)
        standing: Standing | None = None
        if quotas := self._quotas(request, credentials):
            standing = await use(quotas)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if credentials is not None and (sender := self.sender_of(request)):
                    self._remember(credentials, sender)
                if standing is not None:
                    # But for those of an answer that has them: a limit of the route's own has said more.
                    left = standing.headers.items()
                    add_headers(message, [(name.lower().encode(), value.encode()) for name, value in left])
            await send(message)

        if standing is not None and not standing.allowed:
            await error_response(request, standing.refusal)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _quotas(self, request: Request, credentials: bytes | None) -> list[Quota]:
        # Without a look into the database: credentials that nobody has checked yet count for their address alone, so
        # nobody can use up what is another's by sending what is not theirs.
        wanted = [Quota(f"address:{network(client_ip(request))}", settings.address_requests_per_minute)]
        if credentials is not None and (sender := self._senders.get(credentials)):
            self._senders.move_to_end(credentials)
            by_key = sender.startswith("key:")
            wanted.append(
                Quota(sender, settings.key_requests_per_minute if by_key else settings.user_requests_per_minute)
            )
        return [quota for quota in wanted if quota.most]

    def _remember(self, credentials: bytes, sender: str) -> None:
        self._senders[credentials] = sender
        if len(self._senders) > _MOST_CREDENTIALS:
            self._senders.popitem(last=False)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """What one sender's addresses have in common: of IPv6 everybody has 2^64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return address
