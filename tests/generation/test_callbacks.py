"""Whoever asked for a task is told how it ended, by a job of its own that does not give up soon."""

import asyncio
import json
from typing import Any

import pytest

from backend.config import settings
from backend.core.http import NoAnswer
from backend.generation import callbacks
from backend.generation.providers.base import Failed
from tests.generation.tasking import GPU_FULL, Tasks, Told, jobs_of_kind, make_due, run_queue
from tests.orgs.acting import code, project
from tests.webhooks.conftest import Received, Receiver, answer, receiver

__all__ = ["receiver"]  # a fixture


def told_of(receiver: Receiver, path: str = "/hook") -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in receiver.at(path)]


async def test_the_end_of_a_task_is_posted_to_who_asked(tasks: Tasks, told: Told, receiver: Receiver) -> None:
    task_id = await tasks.submit("generate_image", callback_url=receiver.url(), metadata={"shot": 12})
    await run_queue()
    assert (await tasks.status(task_id))["callback"]["state"] == "waiting"
    assert await run_queue("outbound") == 1
    (body,) = told_of(receiver)
    assert set(body) == {
        "task_id", "project_id", "status", "result", "processing_time", "completed_at", "metadata"
    }  # fmt: skip
    found = await tasks.status(task_id)
    assert (body["task_id"], body["project_id"], body["status"]) == (task_id, tasks.project_id, "completed")
    assert (body["metadata"], body["result"]) == ({"shot": 12}, found["result"])
    assert body["processing_time"] > 0
    assert body["completed_at"].endswith("Z")
    said = found["callback"]
    assert (said["state"], said["status"], said["error"], said["attempts"]) == ("delivered", 204, None, 1)
    assert said["delivered_at"] is not None


async def test_a_failure_is_told_once_nothing_more_is_tried(tasks: Tasks, told: Told, receiver: Receiver) -> None:
    told.script = [GPU_FULL, Failed("provider_error", "It was refused.")]
    task_id = await tasks.submit(callback_url=receiver.url())
    await run_queue()
    assert await jobs_of_kind("task_callback") == []
    await make_due("generate")
    await run_queue("generation", "outbound")
    (body,) = told_of(receiver)
    assert set(body) == {"task_id", "project_id", "status", "error", "processing_time", "failed_at", "metadata"}
    assert body["error"] == {"code": "provider_error", "message": "It was refused.", "retryable": False}
    # Tried again by hand and completed, there is something new to tell.
    assert (await tasks.retry(task_id)).status_code == 201
    await run_queue("generation", "outbound")
    assert [each["status"] for each in told_of(receiver)] == ["failed", "completed"]
    assert len({each.headers["idempotency-key"] for each in receiver.at()}) == 2


async def test_a_cancelled_task_is_told_too(tasks: Tasks, told: Told, receiver: Receiver) -> None:
    task_id = await tasks.submit(callback_url=receiver.url())
    await tasks.cancel(task_id)
    await run_queue("outbound")
    (body,) = told_of(receiver)
    assert (body["status"], body["error"]["code"]) == ("cancelled", "cancelled")


async def test_without_an_address_nobody_is_told(tasks: Tasks, told: Told) -> None:
    task_id = await tasks.submit("generate_image")
    await run_queue()
    assert await jobs_of_kind("task_callback") == []
    assert (await tasks.status(task_id))["callback"] is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(500), "It answered 500."),
        (answer(404), "It answered 404."),
        (answer(302, location="http://127.0.0.1/"), "It answered 302, and redirects are not followed."),
        (None, "The connection broke"),
    ],
)
async def test_a_receiver_that_does_not_take_it_is_asked_again_later_and_that_is_shown(
    tasks: Tasks, told: Told, receiver: Receiver, said: bytes | None, words: str
) -> None:
    receiver.says(said, answer(200))
    task_id = await tasks.submit("generate_image", callback_url=receiver.url())
    await run_queue("generation", "outbound")
    shown = (await tasks.status(task_id))["callback"]
    assert (shown["state"], shown["attempts"]) == ("waiting", 1)
    assert shown["error"].startswith(words)
    assert shown["next_try_at"] is not None
    assert (await tasks.status(task_id))["status"] == "completed", "what came of the task does not depend on it"
    await make_due("task_callback")
    await run_queue("outbound")
    first, second = receiver.at()
    assert (first.body, first.headers["idempotency-key"]) == (second.body, second.headers["idempotency-key"])
    assert (await tasks.status(task_id))["callback"]["state"] == "delivered"


async def test_one_that_never_takes_it_is_given_up_and_shown(tasks: Tasks, told: Told, receiver: Receiver) -> None:
    receiver.says(answer(503))
    task_id = await tasks.submit("generate_image", callback_url=receiver.url())
    await run_queue()
    for _ in range(16):
        await make_due("task_callback")
        await run_queue("outbound")
    shown = (await tasks.status(task_id))["callback"]
    assert (shown["state"], shown["status"], shown["error"]) == ("failed", 503, "It answered 503.")
    assert len(receiver.at()) == shown["attempts"] == 14
    # Once it is there again, a person has it sent once more.
    receiver.says(answer(204))
    again = await tasks.person.client.post(f"/api/jobs/{shown['job_id']}/retry")
    assert again.status_code == 200, again.text
    await run_queue("outbound")
    assert (await tasks.status(task_id))["callback"]["state"] == "delivered"


async def test_a_receiver_has_thirty_seconds(
    tasks: Tasks, told: Told, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callbacks.TIMEOUT_SECONDS == 30
    monkeypatch.setattr(callbacks, "TIMEOUT_SECONDS", 0.3)

    async def hang(request: Received) -> bytes | None:
        await asyncio.sleep(5)
        return None

    receiver.scripts["/hook"] = hang
    task_id = await tasks.submit("generate_image", callback_url=receiver.url())
    await run_queue("generation", "outbound")
    assert (await tasks.status(task_id))["callback"]["error"] == str(NoAnswer("No answer within 0.3 s."))


async def test_an_address_that_became_private_is_not_gone_to(
    tasks: Tasks, told: Told, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await tasks.submit("generate_image", callback_url=receiver.url())
    monkeypatch.setattr(settings, "allowed_private_targets", [])
    await run_queue("generation", "outbound")
    assert receiver.received == []
    assert "not an address of the public internet" in (await tasks.status(task_id))["callback"]["error"]
    assert code(await tasks.send(callback_url=receiver.url())) == (422, "url_not_allowed")


async def test_a_video_that_is_moved_takes_its_task_and_its_callback_along(
    tasks: Tasks, told: Told, receiver: Receiver
) -> None:
    receiver.says(answer(500), answer(204))
    task_id = await tasks.submit(callback_url=receiver.url())
    await run_queue("generation", "outbound", "media", "media_long", "default")
    other = await project(tasks.person)
    moved = await tasks.person.client.post(f"/api/videos/{task_id}/move", json={"project_id": other})
    assert moved.status_code == 200, moved.text
    assert code(await tasks.client.get(f"/api/v1/tasks/{task_id}/status")) == (404, "not_found")
    await make_due("task_callback")
    await run_queue("outbound")
    seen = await tasks.person.client.get(f"/api/v1/tasks/{task_id}/status")
    assert (seen.json()["project_id"], seen.json()["callback"]["state"]) == (other, "delivered")
