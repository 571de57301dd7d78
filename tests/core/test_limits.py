"""Limits count on Redis, for address, user and key, and go on counting in memory while Redis is away."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from backend.config import settings
from backend.core import limits
from backend.core.errors import RateLimited
from backend.core.limits import Quota
from backend.core.redis import redis
from tests.conftest import Person, http_client


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody listens where Redis should be."""

    class Away:
        async def evalsha(self, *asked: object) -> object:
            raise ConnectionRefusedError

    monkeypatch.setattr(redis, "_client", Away())
    yield
    limits.forget()


def counted(answer: httpx.Response) -> tuple[int, int]:
    return int(answer.headers["ratelimit-limit"]), int(answer.headers["ratelimit-remaining"])


async def refused(quota: Quota) -> bool:
    return not (await limits.use([quota])).allowed


async def test_the_limit_is_reached_and_says_how_long_to_wait(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await limits.hit("test", "a", per_minute=3)
    with pytest.raises(RateLimited) as refusal:
        await limits.hit("test", "a", per_minute=3)
    assert 1 <= (refusal.value.retry_after_seconds or 0) <= 120
    assert refusal.value.headers["RateLimit-Remaining"] == "0"
    await limits.hit("test", "b", per_minute=3)


async def test_who_waits_as_long_as_told_gets_one_more(client: httpx.AsyncClient) -> None:
    quota = Quota("short", most=5, seconds=2)
    for _ in range(3):
        while (standing := await limits.use([quota])).allowed:
            pass
        await asyncio.sleep(standing.refusal.retry_after_seconds or 0)
        assert (await limits.use([quota])).allowed


async def test_no_burst_at_the_turn_of_a_window_passes_twice_the_limit(client: httpx.AsyncClient) -> None:
    quota, window = Quota("turn", most=20, seconds=2), asyncio.get_running_loop()
    passed: list[float] = []
    until = window.time() + 5
    while window.time() < until:
        if (await limits.use([quota])).allowed:
            passed.append(window.time())
        await asyncio.sleep(0.01)
    busiest = max(sum(start <= at < start + 2 for at in passed) for start in passed)
    assert len(passed) >= 20
    assert busiest <= 33  # the window slides by an estimate; a fixed one would let 40 pass


async def test_a_use_counts_for_all_quotas_or_for_none(client: httpx.AsyncClient) -> None:
    narrow, wide = Quota("narrow", 2), Quota("wide", 5)
    for _ in range(4):
        await limits.use([wide, narrow])
    left = [count.remaining for count in (await limits.use([wide, narrow])).counts]
    assert left == [3, 0]


async def test_a_hundred_at_once_get_no_more_than_there_is(client: httpx.AsyncClient) -> None:
    standings = await asyncio.gather(*(limits.use([Quota("crowd", 30)]) for _ in range(100)))
    assert sum(standing.allowed for standing in standings) == 30


async def test_one_request_asks_redis_once(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    await user.client.get("/api/projects")

    async def commands() -> int:
        seen = await redis.client.info("commandstats")
        return sum(seen[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in seen)

    before = await commands()
    await user.client.get("/api/projects")
    assert await commands() - before == 1


async def test_answers_say_what_is_left_and_refusals_when_to_come_back(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "address_requests_per_minute", 3)
    left = [counted(await client.get("/api/projects")) for _ in range(3)]
    assert left == [(3, 2), (3, 1), (3, 0)]
    answer = await client.get("/api/projects")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) == int(answer.headers["ratelimit-reset"]) > 0
    assert answer.headers["ratelimit-policy"] == "3;w=60"
    page = await client.get("/login", headers={"Accept": "text/html"})
    assert page.status_code == 429
    assert "<html" in page.text


async def test_what_watches_and_what_is_built_is_not_counted(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "address_requests_per_minute", 1)
    for path in ("/health", "/ready", "/static/nothing.css", "/health"):
        answer = await client.get(path)
        assert answer.status_code != 429
        assert "ratelimit-limit" not in answer.headers
    assert counted(await client.get("/api/projects")) == (1, 0)


async def test_a_limit_of_nought_is_none(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "address_requests_per_minute", 0)
    assert "ratelimit-limit" not in (await client.get("/api/projects")).headers


async def test_a_person_is_counted_over_all_their_addresses_and_sessions(
    app: FastAPI, user: Person, other: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (user.client, user.browser, other.client):
        await each.get("/api/projects")  # from now on it is known whose they are
    monkeypatch.setattr(settings, "user_requests_per_minute", 4)
    assert [counted(await each.get("/api/projects"))[1] for each in (user.client, user.browser) * 2] == [3, 2, 1, 0]
    elsewhere = httpx.ASGITransport(app, client=("198.51.100.9", 1))
    authorization = {"Authorization": f"Bearer {user.token}"}
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://127.0.0.1:8000", headers=authorization) as away:
        assert (await away.get("/api/projects")).status_code == 429
    assert (await other.client.get("/api/projects")).status_code == 200


async def test_a_key_has_a_limit_of_its_own_that_wrong_ones_do_not_use_up(
    app: FastAPI, user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = (await user.client.get("/api/projects")).json()["projects"][0]["id"]
    made = await user.client.post(f"/api/projects/{project}/api-keys", json={"name": "k", "scopes": ["read"]})
    key = made.json()["key"]
    wrong = key[: -len("x" * 8)] + secrets.token_hex(4)
    async with http_client(app, **{"X-API-Key": key}) as program, http_client(app, **{"X-API-Key": wrong}) as stranger:
        assert (await program.get("/api/videos")).status_code == 200
        monkeypatch.setattr(settings, "key_requests_per_minute", 2)
        for _ in range(5):
            assert (await stranger.get("/api/videos")).status_code == 401
        assert [(await program.get("/api/videos")).status_code for _ in range(3)] == [200, 200, 429]
    assert (await user.client.get("/api/videos")).status_code == 200


async def test_an_ipv6_sender_is_a_network() -> None:
    assert limits.network("2a00:1450:4001:81c::200e") == limits.network("2a00:1450:4001:81c:ffff::1")
    assert limits.network("2a00:1450:4001:81c::1") != limits.network("2a00:1450:4001:81d::1")
    assert limits.network("::ffff:198.51.100.9") == limits.network("198.51.100.9") == "198.51.100.9"


async def test_a_limit_of_its_own_speaks_in_the_headers_when_it_refuses(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "public_uploads_per_minute", 1)
    asked = [await client.post("/upload", json={"filename": "a.mp4"}) for _ in range(2)]
    assert [answer.status_code for answer in asked] == [200, 429]
    assert counted(asked[0])[0] == settings.address_requests_per_minute
    assert counted(asked[1]) == (1, 0)
    assert asked[1].headers["retry-after"] == asked[1].headers["ratelimit-reset"]


async def test_without_redis_the_limit_holds_in_memory(client: httpx.AsyncClient, redis_away: None) -> None:
    quota = Quota(secrets.token_hex(4), 2)
    assert [await refused(quota) for _ in range(3)] == [False, False, True]


async def test_without_redis_several_processes_allow_together_what_one_would(
    client: httpx.AsyncClient, redis_away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "web_processes", 4)
    quota = Quota(secrets.token_hex(4), 12)
    assert sum([not await refused(quota) for _ in range(12)]) == 3


async def test_a_redis_that_hangs_is_waited_for_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    class Hangs:
        async def evalsha(self, *given: object) -> None:
            nonlocal asked
            asked += 1
            await asyncio.sleep(60)

    monkeypatch.setattr(limits, "REDIS_SECONDS", 0.05)
    limits.forget()
    with monkeypatch.context() as away:
        away.setattr(redis, "_client", Hangs())
        for _ in range(5):
            assert (await client.get("/api/projects")).headers["ratelimit-limit"]
    limits.forget()
    assert asked == 1


async def test_an_answer_that_came_while_this_process_stood_still_is_read(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answers:
        async def evalsha(self, *asked: object) -> tuple[int, list[tuple[int, str]]]:
            await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251  # all of this process stands still
            for _ in range(5):
                await asyncio.sleep(0)
            return 1, [(41, "60")]

    monkeypatch.setattr(limits, "REDIS_SECONDS", 0.2)
    monkeypatch.setattr(redis, "_client", Answers())
    [count] = (await limits.use([Quota("test", 50)])).counts
    assert count.remaining == 41
    monkeypatch.undo()


async def test_a_redis_that_was_restarted_is_told_how_to_count_again(client: httpx.AsyncClient) -> None:
    await redis.client.script_flush()
    quota = Quota(secrets.token_hex(4), 2)
    assert [await refused(quota) for _ in range(3)] == [False, False, True]


async def test_a_redis_client_that_swallows_cancels_keeps_nobody_waiting(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = asyncio.Event()

    class Deaf:
        async def evalsha(self, *asked: object) -> None:
            while not let_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await let_go.wait()

    monkeypatch.setattr(limits, "REDIS_SECONDS", 0.05)
    with monkeypatch.context() as away:
        away.setattr(redis, "_client", Deaf())
        async with asyncio.timeout(30):
            assert not await refused(Quota(secrets.token_hex(4), 2))
    let_go.set()
    limits.forget()


async def test_while_redis_is_away_one_looks_whether_it_is_back_and_the_others_do_not_wait(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    class Hangs:
        async def evalsha(self, *given: object) -> None:
            nonlocal asked
            asked += 1
            await asyncio.sleep(60)

    monkeypatch.setattr(limits, "REDIS_SECONDS", 0.2)
    quota = Quota(secrets.token_hex(4), 100)
    with monkeypatch.context() as away:
        away.setattr(redis, "_client", Hangs())
        await limits.use([quota])
        limits._away_until -= limits.AWAY_SECONDS  # that time is over
        await asyncio.gather(*(limits.use([quota]) for _ in range(20)))
        assert asked == 2
    limits._away_until -= limits.AWAY_SECONDS
    await limits.use([quota])  # it is back: from now on everybody asks it again
    assert limits._away_until == 0
