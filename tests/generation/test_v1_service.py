"""How tasks are worked on: in turns, by priority, from pictures that are fetched, and what is foretold of them."""

import asyncio
import uuid
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import func, select, update

import backend.kinds  # noqa: F401
from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import registry
from backend.generation import shapes, v1_service
from backend.generation.models import Generation, Kind
from backend.jobs.models import Job
from backend.jobs.running import run_next
from tests.generation.tasking import MakeTasks, Tasks, Told, asset_bytes, job_of, run_queue
from tests.webhooks.conftest import Receiver, answer, receiver

__all__ = ["receiver"]  # a fixture


# --- turns -----------------------------------------------------------------------------------------------------------


async def test_one_task_beside_a_thousand_of_another_project_starts_within_one_tasks_length(
    tasks: Tasks, told: Told, make_tasks: MakeTasks
) -> None:
    small = await make_tasks()
    many = asyncio.Semaphore(8)

    async def submit() -> None:
        async with many:
            await tasks.submit("generate_image")

    await asyncio.gather(*(submit() for _ in range(1000)))
    said = await small.send("generate_image")
    assert said.status_code == 201
    # One may be ahead of it in its turn, and not a thousand.
    assert said.json()["queue_position"] <= 1
    assert (await tasks.send("generate_image")).json()["queue_position"] == 1000
    ended: list[str] = []
    for _ in range(2):
        assert await run_next(worker="test", queues=["generation"])
        async with transaction() as session:
            ended = [
                str(each) for each in await session.scalars(select(Job.project_id).where(Job.state == "completed"))
            ]
    assert Counter(ended) == {tasks.project_id: 1, small.project_id: 1}


async def test_a_dry_run_asks_nobody_who_costs_something(tasks: Tasks, told: Told) -> None:
    data = {"prompt": "A harbour at dawn", "task_type": "render_animation"}
    task_id = await tasks.submit("test_prompt", data)
    await run_queue()
    found = await tasks.status(task_id)
    assert (found["status"], told.specs) == ("completed", [])
    said = found["result"]["metadata"]
    assert (said["model_used"], said["resolution"]) == ("animatic", "256x256")
    assert (said["trial"]["task_type"], said["trial"]["provider"]) == ("render_animation", "told")
    assert said["trial"]["estimated_duration"] > 0


async def test_the_estimate_comes_from_what_such_tasks_took(
    tasks: Tasks, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, task_type in ((30, "generate_video"), (50, "generate_video"), (9, "generate_image")):
        task_id = await tasks.submit(task_type)
        await run_queue()
        job = await job_of(task_id)
        assert job.finished_at is not None
        async with transaction() as session:
            took = func.make_interval(0, 0, 0, 0, 0, 0, float(seconds))
            await session.execute(update(Job).where(Job.id == job.id).values(started_at=Job.finished_at - took))
    monkeypatch.setattr("backend.generation.estimates._known", {})
    assert (await tasks.send("generate_video")).json()["estimated_duration"] == pytest.approx(40, abs=0.2)
    assert (await tasks.send("generate_image")).json()["estimated_duration"] == pytest.approx(9, abs=0.2)
    longer = await tasks.send("render_animation", {"scene_description": "A", "duration": 14})
    assert longer.json()["estimated_duration"] == pytest.approx(80, abs=0.4)


async def test_what_is_completed_while_it_is_looked_at_has_its_result(tasks: Tasks, told: Told) -> None:
    for task_type in ("generate_image", "generate_video"):
        task_id = uuid.UUID(await tasks.submit(task_type))
        async with transaction() as reader, transaction() as other:
            read_before = [await reader.get_one(Generation, task_id)]
            read_by_another = await other.get_one(Generation, task_id)
            await run_queue()
            (seen,) = await v1_service.shown(reader, read_before)
            shown = await shapes.public(other, read_by_another)
        assert (seen.status, shown.status) == ("completed", "completed")
        assert seen.result is not None
        assert shown.url is not None


async def test_descriptions_may_be_lists_and_names_with_values(tasks: Tasks, told: Told) -> None:
    who = {"name": "Ada", "hair_colour": "grey"}
    await tasks.submit("generate_image", {"character_description": who, "style_guide": ["ink", "sepia"]})
    await run_queue()
    assert told.specs[0].prompt == "name: Ada, hair colour: grey\nStyle: ink; sepia"


async def test_better_priorities_go_first(tasks: Tasks, told: Told) -> None:
    last, usual, first = [await tasks.submit(priority=priority) for priority in (3, 2, 1)]
    places = {each["task_id"]: each["queue_position"] for each in (await tasks.list())["tasks"]}
    assert places == {first: 0, usual: 1, last: 2}
    await run_next(worker="test", queues=["generation"])
    assert (await tasks.status(first))["status"] == "completed"
    assert (await tasks.status(usual))["status"] == "queued"


@pytest.mark.parametrize("kind", ["generate", "generate_gpu"])
def test_a_task_may_run_for_three_hundred_minutes(kind: str) -> None:
    assert registry.get(kind).timeout_seconds == 300 * 60


async def test_one_that_takes_longer_is_stopped_and_says_so(
    tasks: Tasks, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._tasks, "generate", replace(registry.get("generate"), timeout_seconds=0.5))
    told.go_on.clear()
    task_id = await tasks.submit()
    await run_queue()
    found = await tasks.status(task_id)
    assert (found["status"], found["error"]["code"], told.stopped) == ("failed", "resource_limit", 1)


# --- pictures --------------------------------------------------------------------------------------------------------


async def test_pictures_of_a_storyboard_are_fetched_and_seen_by_the_provider(
    tasks: Tasks, told: Told, receiver: Receiver
) -> None:
    picture = asset_bytes(Kind.IMAGE)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\nConnection: close\r\n\r\n"
    receiver.says(head.encode() + picture, path="/board.jpg")
    task_id = await tasks.submit(data={"storyboard_images": [receiver.url("/board.jpg"), receiver.url("/board.jpg")]})
    await run_queue()
    assert (await tasks.status(task_id))["status"] == "completed"
    (pictures,) = told.pictures
    assert [each[:8] for each in pictures] == [b"\x89PNG\r\n\x1a\n"] * 2


async def test_a_picture_that_is_none_or_too_large_fails_the_task_with_its_number(
    tasks: Tasks, told: Told, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.says(answer(200, "<html>no picture</html>"), path="/page")
    receiver.says(answer(200, "x" * 1_500_000), path="/large")
    monkeypatch.setattr(settings, "source_image_max_mb", 1)
    for path in ("/page", "/large"):
        task_id = await tasks.submit(data={"storyboard_images": [receiver.url(path)]})
        await run_queue()
        found = await tasks.status(task_id)
        assert (found["status"], told.specs) == ("failed", []), found
