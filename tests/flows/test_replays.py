"""Every unsafe route, walked from the app: ten requests at once with one key are one deed, and get one answer."""

import asyncio
import uuid

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from backend.config import settings
from backend.core import idempotent_requests
from backend.core.db import Base, transaction
from tests.conftest import MakeUser, Person
from tests.flows import replay_coaching, replay_generations, replay_pages, replay_scenes, replay_studio, replay_tasks
from tests.flows.replays import SCENES, Route, Stage, unsafe_routes
from tests.jobs.conftest import Declare, declare

__all__ = [
    "declare",
    "replay_coaching",
    "replay_generations",
    "replay_pages",
    "replay_scenes",
    "replay_studio",
    "replay_tasks",
]

TABLES = sorted(name for name in Base.metadata.tables if name != "idempotent_requests")


@pytest.fixture
def stage(
    user: Person, make_user: MakeUser, client: httpx.AsyncClient, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> Stage:
    monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.1/32"])
    monkeypatch.setattr(settings, "storage_events_token", SecretStr("a token of the storage"))
    monkeypatch.setattr(idempotent_requests, "WAIT_SECONDS", 120)
    return Stage(user, make_user, client, declare())


async def marker() -> int:
    async with transaction() as session:
        return int(await session.scalar(text("SELECT pg_current_xact_id()::text::bigint")) or 0)


async def written(since: int) -> dict[str, tuple[int, int]]:
    """Of each table, how many rows there are, and how many were written since."""
    columns = [
        f"SELECT '{name}', count(*), count(*) FILTER (WHERE xmin::text::bigint >= :since) FROM \"{name}\""
        for name in TABLES
    ]
    async with transaction() as session:
        found = await session.execute(text(" UNION ALL ".join(columns)), {"since": since})
        return {name: (rows, fresh) for name, rows, fresh in found}


async def effect(stage: Stage, route: Route, times: int) -> tuple[list[httpx.Response], dict[str, tuple[int, int]]]:
    """What so many requests at once are answered, and what they leave: rows more or less, rows written."""
    sending = await SCENES[route](stage)
    start = await marker()
    before = await written(start)
    key = str(uuid.uuid4()) if times > 1 else None
    answers = await asyncio.gather(*(sending.send(route, key) for _ in range(times)))
    after = await written(start)
    left = {name: (after[name][0] - before[name][0], after[name][1]) for name in TABLES}
    return answers, {name: change for name, change in left.items() if change != (0, 0)}


def content(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    unlike = ("x-request-id", "idempotency-replayed", "ratelimit-remaining", "ratelimit-reset")
    return answer.status_code, answer.content, [each for each in answer.headers.multi_items() if each[0] not in unlike]


def test_every_unsafe_route_has_a_scene() -> None:
    assert set(unsafe_routes()) == set(SCENES)


@pytest.mark.parametrize("route", unsafe_routes(), ids=" ".join)
async def test_ten_at_once_are_one(stage: Stage, route: Route) -> None:
    (once,), expected = await effect(stage, route, 1)
    assert once.status_code < 400, once.text
    answers, left = await effect(stage, route, 10)
    assert answers[0].status_code == once.status_code, answers[0].text
    assert all(content(answer) == content(answers[0]) for answer in answers)
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", *["true"] * 9]
    assert left == expected
