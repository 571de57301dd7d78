"""The task service as other back ends know it: submit, look, cancel, try again, list."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from sqlalchemy import func

from backend.config import settings
from backend.core.db import transaction
from backend.generation.models import Generation
from backend.generation.providers.base import Failed
from backend.jobs.models import Job
from backend.jobs.running import run_next
from tests.generation.tasking import (
    DATA,
    GPU_FULL,
    MakeTasks,
    Tasks,
    Told,
    job_of,
    jobs_of_kind,
    make_due,
    run_queue,
)
from tests.orgs.acting import code

BOARD = "http://93.184.216.34/board.png"


# --- submit ----------------------------------------------------------------------------------------------------------


async def test_a_storyboard_is_answered_with_an_id_an_estimate_and_its_place(tasks: Tasks, told: Told) -> None:
    data = {
        "storyboard_images": [BOARD],
        "scene_description": "A harbour at dawn",
        "camera_angle": "low",
        "lighting": {"key": "left", "warmth": 0.5},
        "character_positions": [{"name": "Ada", "at": "the pier"}, {"name": "Bob", "at": [1, 2]}],
        "audio_cues": ["gulls", "a bell"],
    }
    answer = await tasks.send("video_generation", data, priority=1, metadata={"shot": 12})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert set(made) == {"task_id", "status", "project_id", "estimated_duration", "queue_position", "created_at"}
    assert (made["status"], made["project_id"], made["queue_position"]) == ("queued", tasks.project_id, 0)
    assert made["estimated_duration"] > 0
    async with transaction() as session:
        row = await session.get_one(Generation, uuid.UUID(made["task_id"]))
    assert (row.door, row.kind, row.task_type, row.task_data) == ("tasks", "video", "video_generation", data)
    assert (row.spec["seconds"], row.spec["fps"], row.spec["images"]) == (7.0, 24, [{"url": BOARD}])
    assert row.prompt.splitlines() == [
        "A harbour at dawn",
        "Camera: low",
        "Lighting: key: left, warmth: 0.5",
        "Characters: name: Ada, at: the pier; name: Bob, at: 1; 2",
        "Sound: gulls; a bell",
    ]
    assert (await job_of(made["task_id"])).priority == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("generate_video", "video"),
        ("video_generation", "video"),
        ("generate_image", "image"),
        ("image_generation", "image"),
        ("process_audio", "audio"),
        ("audio_synthesis", "audio"),
        ("render_animation", "video"),
        ("test_prompt", "image"),
    ],
)
async def test_each_type_is_known_by_all_its_names_and_brings_its_result(
    tasks: Tasks, told: Told, name: str, kind: str
) -> None:
    first = {"video_generation": "generate_video", "image_generation": "generate_image"}
    data = DATA[{**first, "audio_synthesis": "process_audio"}.get(name, name)]
    task_id = await tasks.submit(name, data)
    assert await run_queue() == 1
    found = await tasks.status(task_id)
    assert (found["task_type"], found["status"], found["progress"]) == (name, "completed", 1.0), found
    ending = {"video": "mp4", "image": "jpg", "audio": "mp3"}[kind]
    async with transaction() as session:
        row = await session.get_one(Generation, uuid.UUID(task_id))
    assert row.s3_key == f"projects/{tasks.project_id}/{kind}/{task_id}/output.{ending}"


@pytest.mark.parametrize(
    ("task_type", "data", "field"),
    [
        ("generate_video", {}, "task_data"),
        ("generate_video", {"scene_description": "A", "colour": "red"}, "task_data.colour"),
        ("generate_video", {"scene_description": 7}, "task_data.scene_description"),
        ("generate_video", {"scene_description": "A", "storyboard_images": "http://a/"}, "task_data.storyboard_images"),
        ("generate_video", {"storyboard_images": ["http://a/"] * 25}, "task_data.storyboard_images"),
        ("generate_video", {"scene_description": "A", "lighting": {"a": ["x" * 5000]}}, "task_data.lighting"),
        ("generate_video", {"scene_description": "A", "orientation": "round"}, "task_data.orientation"),
        ("generate_image", {"pose": "sitting"}, "task_data.character_description"),
        ("generate_image", {"character_description": {"hair": " "}}, "task_data.character_description"),
        ("process_audio", {"text": " "}, "task_data.text"),
        ("process_audio", {"text": "A", "pace": 9}, "task_data.pace"),
        ("process_audio", {"text": "A" * 5001}, "task_data.text"),
        ("render_animation", {"scene_description": "A", "duration": 0}, "task_data.duration"),
        ("render_animation", {"scene_description": "A", "duration": True}, "task_data.duration"),
        ("render_animation", {"scene_description": "A", "fps": 1000}, "task_data.fps"),
        ("test_prompt", {"prompt": "A", "task_type": "test_prompt"}, "task_data.task_type"),
        ("generate_video", {"scene_description": "A\u0000B"}, "task_data"),
        ("dance", {}, "task_type"),
    ],
)
async def test_what_a_type_cannot_be_made_of_is_named(tasks: Tasks, task_type: str, data: Any, field: str) -> None:
    answer = await tasks.send(task_type, data)
    assert code(answer) == (422, "validation_failed"), answer.text
    named = answer.json()["error"]["fields"]
    assert any(name == field or name.startswith(f"{field}.") for name in named), named


@pytest.mark.parametrize(
    "more",
    [
        {"priority": 0},
        {"priority": "1"},
        {"metadata": {"a": "x" * 17_000}},
        {"metadata": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}},
        {"callback_url": "x" * 2001},
        {"colour": "red"},
    ],
)
async def test_what_is_wrong_beside_the_data_is_refused(tasks: Tasks, more: dict[str, Any]) -> None:
    assert code(await tasks.send(**more)) == (422, "validation_failed")


@pytest.mark.parametrize("url", ["http://127.0.0.1/a.png", "http://10.0.0.1/", "ftp://example.com/", "http://a:b@c.d/"])
async def test_addresses_that_requests_may_not_go_to_are_refused_at_once(tasks: Tasks, url: str) -> None:
    said = await tasks.send(callback_url=url)
    assert code(said) == (422, "url_not_allowed")
    assert "callback_url" in said.json()["error"]["fields"]
    for task_type, name in (("generate_video", "storyboard_images"), ("generate_image", "reference_images")):
        said = await tasks.send(task_type, {**DATA[task_type], name: [url]})
        assert code(said) == (422, "url_not_allowed")
        assert list(said.json()["error"]["fields"]) == [f"task_data.{name}.0"]
    assert await jobs_of_kind("generate") == []


async def test_a_project_has_only_so_many_tasks_waiting(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "tasks_queued_max", 2)
    await tasks.submit()
    await tasks.submit()
    assert code(await tasks.send()) == (409, "quota_exceeded")
    await run_next(worker="test", queues=["generation"])
    await tasks.submit()


# --- status ----------------------------------------------------------------------------------------------------------


async def test_a_task_tells_percent_and_step_then_its_result(
    tasks: Tasks, told: Told, client: httpx.AsyncClient
) -> None:
    told.go_on.clear()
    task_id = await tasks.submit(metadata={"shot": 12})
    queued = await tasks.status(task_id)
    assert (queued["status"], queued["progress"], queued["started_at"]) == ("queued", 0.0, None)
    working = asyncio.create_task(run_queue())
    running = await tasks.wait_for(task_id, lambda found: found["current_step"] == "painting")
    assert running["status"] == "processing"
    assert 0 < running["progress"] < 1
    assert running["started_at"] is not None
    told.go_on.set()
    await working
    found = await tasks.status(task_id)
    assert {"task_id", "status", "progress", "current_step", "result", "error", "started_at", "completed_at"} < set(
        found
    )
    assert (found["status"], found["progress"], found["error"]) == ("completed", 1.0, None)
    assert (found["current_step"], found["metadata"], found["callback"], found["cms"]) == (
        None,
        {"shot": 12},
        None,
        None,
    )
    result = found["result"]
    assert set(result) == {"media_url", "payload_media_id", "metadata"}
    assert (result["metadata"]["resolution"], result["metadata"]["model_used"]) == ("64x64", "told-1")
    assert result["metadata"]["duration"] == pytest.approx(1, abs=0.1)
    # Whoever has the address reads the file: no key, no session.
    moved = await client.get(result["media_url"])
    assert moved.status_code == 307
    async with httpx.AsyncClient() as anybody:
        media = await anybody.get(moved.headers["location"])
    assert (media.status_code, media.headers["content-type"]) == (200, "video/mp4")
    assert len(media.content) == result["metadata"]["file_size"]


async def test_an_address_of_a_result_cannot_be_made_up_and_ends_with_the_result(
    tasks: Tasks, told: Told, client: httpx.AsyncClient
) -> None:
    task_id = await tasks.submit("generate_image")
    await run_queue()
    url = (await tasks.status(task_id))["result"]["media_url"]
    proof = url.split("/")[-2]
    for wrong in (url.replace(proof, "0" * len(proof)), url.replace(task_id, str(uuid.uuid4())), url[:-12]):
        assert (await client.get(wrong)).status_code in (404, 405)
    assert (await tasks.person.client.delete(f"/api/generations/{task_id}")).status_code < 300
    assert (await client.get(url)).status_code == 404


async def test_a_failed_task_says_why(tasks: Tasks, told: Told) -> None:
    told.script = [Failed("provider_error", "It was refused.")]
    task_id = await tasks.submit()
    await run_queue()
    found = await tasks.status(task_id)
    assert (found["status"], found["result"]) == ("failed", None)
    assert found["error"] == {"code": "provider_error", "message": "It was refused.", "retryable": False}


async def test_want_of_gpu_memory_is_tried_again_by_itself_after_a_while(tasks: Tasks, told: Told) -> None:
    told.script = [GPU_FULL, GPU_FULL]
    task_id = await tasks.submit()
    await run_next(worker="test", queues=["generation"])
    waiting = await tasks.status(task_id)
    assert (waiting["status"], waiting["attempt"], waiting["error"]) == ("queued", 1, None)
    async with transaction() as session:
        job = await session.get_one(Job, (await job_of(task_id)).id)
        assert job.run_at > (await session.execute(func.now().select())).scalar_one()
    for _ in range(2):
        await make_due("generate")
        await run_queue()
    found = await tasks.status(task_id)
    assert (found["status"], found["attempt"], len(told.specs)) == ("completed", 3, 3)


async def test_memory_that_never_suffices_fails_in_the_end(tasks: Tasks, told: Told) -> None:
    told.script = [GPU_FULL] * 10
    task_id = await tasks.submit()
    for _ in range(6):
        await make_due("generate")
        await run_queue()
    found = await tasks.status(task_id)
    assert (found["status"], found["error"]["code"], found["attempt"]) == ("failed", "gpu_oom", 4)


# --- cancel and retry ------------------------------------------------------------------------------------------------


async def test_a_waiting_task_is_cancelled_at_once_and_never_runs(tasks: Tasks, told: Told) -> None:
    task_id = await tasks.submit()
    answer = await tasks.cancel(task_id)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert await run_queue() == 0
    assert (await tasks.status(task_id))["status"] == "cancelled"
    assert code(await tasks.cancel(task_id)) == (400, "invalid_state")
    assert code(await tasks.retry(task_id)) == (400, "invalid_state")


async def test_a_running_task_is_really_stopped(tasks: Tasks, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "job_lease_seconds", 3)  # here a cancel is heard of with the heartbeat
    told.go_on.clear()
    task_id = await tasks.submit()
    working = asyncio.create_task(run_queue())
    await tasks.wait_for(task_id, lambda found: found["current_step"] == "painting")
    answer = await tasks.cancel(task_id)
    assert (answer.status_code, answer.json()["status"]) == (200, "processing")
    await working
    assert ((await tasks.status(task_id))["status"], told.stopped) == ("cancelled", 1)


async def test_a_failed_task_is_tried_again_under_its_id(tasks: Tasks, told: Told) -> None:
    told.script = [Failed("provider_error", "No.")]
    task_id = await tasks.submit()
    await run_queue()
    answer = await tasks.retry(task_id)
    assert (answer.status_code, answer.json()["task_id"], answer.json()["status"]) == (201, task_id, "queued")
    await run_queue()
    assert (await tasks.status(task_id))["status"] == "completed"
    assert code(await tasks.retry(task_id)) == (400, "invalid_state")
    assert code(await tasks.cancel(task_id)) == (400, "invalid_state")


# --- others ----------------------------------------------------------------------------------------------------------


async def test_a_project_has_nothing_to_do_with_anothers_tasks(tasks: Tasks, make_tasks: MakeTasks) -> None:
    task_id, stranger = await tasks.submit(), await make_tasks()
    for answer in (
        await stranger.client.get(f"/api/v1/tasks/{task_id}/status"),
        await stranger.cancel(task_id),
        await stranger.retry(task_id),
        await stranger.client.get(f"/api/v1/projects/{tasks.project_id}/tasks"),
        await stranger.client.post("/api/v1/tasks/submit", json=tasks.body()),
        await tasks.client.get(f"/api/v1/tasks/{uuid.uuid4()}/status"),
    ):
        assert code(answer) == (404, "not_found")
    assert (await tasks.status(task_id))["status"] == "queued"
    # Another project of the same person is another project: its key is bound to one.
    beside = await make_tasks(tasks.person)
    assert code(await beside.client.get(f"/api/v1/tasks/{task_id}/status")) == (404, "not_found")


async def test_a_key_to_read_sees_tasks_and_starts_none(tasks: Tasks, make_tasks: MakeTasks) -> None:
    task_id = await tasks.submit()
    made = await tasks.person.client.post(
        f"/api/projects/{tasks.project_id}/api-keys", json={"name": "Reader", "scopes": ["read"]}
    )
    headers = {"X-API-Key": made.json()["key"]}
    seen = await tasks.client.get(f"/api/v1/tasks/{task_id}/status", headers=headers)
    assert seen.status_code == 200
    refused = await tasks.client.post("/api/v1/tasks/submit", json=tasks.body(), headers=headers)
    assert code(refused) == (403, "forbidden")
    assert code(await tasks.client.delete(f"/api/v1/tasks/{task_id}/cancel", headers=headers)) == (403, "forbidden")


async def test_tasks_are_listed_by_state_and_type_in_pages(tasks: Tasks, told: Told) -> None:
    ids = [await tasks.submit(name) for name in ("generate_video", "generate_image", "process_audio")]
    ids.append(await tasks.submit("video_generation", DATA["generate_video"]))
    await tasks.cancel(ids[1])
    page = await tasks.list()
    assert set(page) == {"tasks", "page", "limit", "total", "total_pages"}
    assert [each["task_id"] for each in page["tasks"]] == ids[::-1]
    assert (page["total"], page["total_pages"], page["limit"]) == (4, 1, 20)
    assert [each["task_id"] for each in (await tasks.list(status="cancelled"))["tasks"]] == [ids[1]]
    for name in ("generate_video", "video_generation"):
        assert [each["task_id"] for each in (await tasks.list(task_type=name))["tasks"]] == [ids[3], ids[0]]
    second = await tasks.list(page=2, limit=3)
    assert ([each["task_id"] for each in second["tasks"]], second["total_pages"]) == ([ids[0]], 2)
    assert (await tasks.client.get(f"/api/v1/projects/{tasks.project_id}/tasks?limit=101")).status_code == 422


async def test_what_the_studio_makes_is_no_task(tasks: Tasks, told: Told) -> None:
    body = {"prompt": "A boat", "kind": "image", "project_id": tasks.project_id}
    made = await tasks.person.client.post("/api/generations", json=body)
    assert made.status_code == 202, made.text
    generation_id = made.json()["generation"]["id"]
    assert (await tasks.list())["total"] == 0
    assert code(await tasks.client.get(f"/api/v1/tasks/{generation_id}/status")) == (404, "not_found")


async def test_workers_are_counted_and_nothing_is_said_of_whose_tasks_they_have(tasks: Tasks) -> None:
    answer = await tasks.client.get("/api/v1/workers/status")
    assert answer.status_code == 200
    assert answer.json() == {"workers": [], "total_workers": 0, "active_workers": 0, "gpu_utilization": None}


async def test_health_is_open_to_all(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/health")).json()["status"] == "healthy"
