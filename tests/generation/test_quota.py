"""Generations in an hour: counted once however many come together, told before, and not for back ends."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, text

from backend.config import settings
from backend.core.db import transaction
from tests.conftest import MakeUser
from tests.generation.scripted import Studio
from tests.generation.tasking import MakeTasks, Told
from tests.orgs.acting import key, program, project


async def limits(studio: Studio) -> dict[str, object]:
    answer = await studio.person.client.get("/api/generations/limits")
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


@pytest.fixture
def five(monkeypatch: pytest.MonkeyPatch, studio: Studio) -> Studio:
    """Five an hour, as it comes."""
    monkeypatch.setattr(settings, "generations_per_hour", 5)
    return studio


async def test_what_is_left_is_told_before_it_is_used_up(five: Studio) -> None:
    assert await limits(five) == {"limit": 5, "used": 0, "left": 5, "next_at": None}
    for _ in range(5):
        await five.start(kind="image")
    told = await limits(five)
    assert (told["used"], told["left"]) == (5, 0)
    free = datetime.fromisoformat(str(told["next_at"]))
    assert timedelta(minutes=50) < free - datetime.now(UTC) <= timedelta(minutes=61)


async def test_the_sixth_is_refused_and_told_when_the_next_is_free(five: Studio) -> None:
    for _ in range(5):
        await five.start(kind="image")
    answer = await five.person.client.post("/api/generations", json={"prompt": "One more"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "quota_exceeded")
    assert "free in" in answer.json()["error"]["message"]
    assert 0 < int(answer.headers["Retry-After"]) <= 3601


async def test_of_many_at_once_no_more_than_the_quota_are_started(five: Studio) -> None:
    send = five.person.client.post
    answers = await asyncio.gather(*(send("/api/generations", json={"prompt": f"{n}"}) for n in range(12)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(202), codes.count(409)) == (5, 7)


async def test_what_was_deleted_cancelled_or_failed_since_counts_too(five: Studio) -> None:
    made = [await five.start(kind="image") for _ in range(5)]
    await five.post(made[0], "cancel")
    await five.person.client.delete(f"/api/generations/{made[1]['id']}")
    assert (await limits(five))["left"] == 0


async def test_an_hour_later_they_are_free_again(five: Studio) -> None:
    for _ in range(5):
        await five.start(kind="image")
    async with transaction() as session:
        later = "UPDATE generations SET starts = ARRAY[starts[1] - interval '61 minutes']"
        await session.execute(text(f"{later} WHERE id IN (SELECT id FROM generations LIMIT 2)"))
        assert await session.scalar(func.now()) is not None
    assert (await limits(five))["left"] == 2


async def test_a_cancelled_one_that_is_tried_again_counts_again(five: Studio) -> None:
    made = [await five.start(kind="image") for _ in range(4)]
    await five.post(made[0], "cancel")
    assert (await five.post(made[0], "retry")).status_code == 200
    assert (await limits(five))["left"] == 0
    await five.post(made[1], "cancel")
    refused = await five.post(made[1], "retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "quota_exceeded")


async def test_a_persons_key_counts_for_the_person_and_anothers_for_the_other(
    five: Studio, make_user: MakeUser
) -> None:
    place = await project(five.person)
    given = await key(five.person, place, "read", "write")
    async with program(five.person.client._transport.app, given["key"]) as robot:  # type: ignore[attr-defined]
        answer = await robot.post("/api/generations", json={"prompt": "By key", "kind": "image"})
        assert answer.status_code == 202, answer.text
        assert answer.json()["generation"]["project_id"] == place
    assert (await limits(five))["left"] == 4
    assert (await limits(Studio(await make_user())))["left"] == 5


async def test_tasks_of_back_ends_are_not_counted(told: Told, make_tasks: MakeTasks) -> None:
    tasks = await make_tasks()
    for _ in range(7):
        await tasks.submit("test_prompt")
    assert (await limits(Studio(tasks.person)))["used"] == 0


async def test_without_a_limit_any_number_may_be_started(studio: Studio) -> None:
    for _ in range(7):
        await studio.start(kind="image")
    assert await limits(studio) == {"limit": None, "used": 7, "left": None, "next_at": None}
