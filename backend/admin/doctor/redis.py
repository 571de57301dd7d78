"""Checks of Redis (or Valkey): it answers, evicts nothing, keeps what it is told, and its clock is right."""

import time
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from backend.admin.doctor.findings import Finding, check, clock, failed, ok, warning
from backend.admin.doctor.visit import NotTried, Visit
from backend.core.redis import redis

GROUP = "Redis"
OLDEST = (6, 2)


async def _ask() -> dict[str, Any] | str:
    try:
        return dict(await redis.client.info("everything"))
    except (RedisError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:300]


async def reached(visit: Visit) -> dict[str, Any]:
    """What it tells of itself. Raises NotTried when it does not answer."""
    found = await visit.shared("redis", _ask)
    if isinstance(found, str):
        raise NotTried("Not tried: Redis does not answer.")
    return found


@check(GROUP, "Redis answers")
async def answers(visit: Visit) -> Finding:
    found = await visit.shared("redis", _ask)
    if isinstance(found, str):
        fix = (
            "Start Redis or Valkey, or set REDIS_URL to its address and password (compose: docker compose logs valkey)."
        )
        return failed(
            "Redis does not answer: bells and live progress are away, jobs start about a second late.", fix, found
        )
    return judge_version(found)


def judge_version(info: Mapping[str, Any]) -> Finding:
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    if numbers < OLDEST:
        return failed(f"{name} is too old.", "Upgrade to Redis 6.2 or later, or to Valkey.")
    return ok(f"{name}.")


@check(GROUP, "Nothing is evicted")
async def eviction(visit: Visit) -> Finding:
    return judge_eviction(await reached(visit))


def judge_eviction(info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return ok("maxmemory-policy is noeviction.")
    words = f"maxmemory-policy is {policy}: when memory runs short, bells and limits vanish without a word."
    return failed(
        words, "Set maxmemory-policy noeviction in Redis (CONFIG SET maxmemory-policy noeviction, and its file)."
    )


@check(GROUP, "It outlives a restart (AOF)")
async def persistence(visit: Visit) -> Finding:
    return judge_persistence(await reached(visit))


def judge_persistence(info: Mapping[str, Any]) -> Finding:
    if int(info.get("aof_enabled", 0)):
        if info.get("aof_last_write_status", "ok") != "ok":
            fix = "Look at the free disk of Redis and at its log, then restart it."
            return failed("Redis cannot write its append-only file.", fix, str(info.get("aof_last_write_status")))
        return ok("appendonly is on.")
    words = "appendonly is off: a restart forgets limits and bells. No job is lost by it."
    return warning(words, "Set appendonly yes in Redis (CONFIG SET appendonly yes, and its file).")


@check(GROUP, "Its clock")
async def time_there(visit: Visit) -> Finding:
    await reached(visit)
    before = time.time()
    seconds, micros = await redis.client.time()
    return clock(seconds + micros / 1e6 - (before + time.time()) / 2, "Redis")


CHECKS = (answers, eviction, persistence, time_there)
