"""Results go into a project's PayloadCMS, once each, and none is lost whatever the CMS does."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from backend.config import settings
from backend.core.db import transaction
from backend.generation.delivery_models import CmsTarget
from backend.generation.providers.base import Failed
from tests.generation.payload_stub import KEY, Stub, payload_stub
from tests.generation.tasking import MakeTasks, Tasks, Told, jobs_of_kind, make_due, run_queue
from tests.orgs.acting import code
from tests.webhooks.conftest import Receiver


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stub]:
    async with payload_stub() as opened:
        monkeypatch.setattr(settings, "outbound_ports", [80, 443, opened.port])
        monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.1/32"])
        yield opened


async def name(tasks: Tasks, stub: Stub, **more: Any) -> httpx.Response:
    body = {"url": stub.url, "collection": "results", "api_key": KEY, **more}
    return await tasks.person.client.put(f"/api/projects/{tasks.project_id}/cms", json=body)


async def cms_of(tasks: Tasks, path: str = "") -> dict[str, Any]:
    answer = await tasks.person.client.get(f"/api/projects/{tasks.project_id}/cms{path}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


# --- what goes there -------------------------------------------------------------------------------------------------


async def test_a_result_becomes_a_document_with_its_link(tasks: Tasks, told: Told, stub: Stub) -> None:
    assert (await name(tasks, stub)).status_code == 200
    task_id = await tasks.submit(metadata={"shot": 12})
    await run_queue()
    assert (await tasks.status(task_id))["cms"]["state"] == "waiting"
    await run_queue("outbound")
    found = await tasks.status(task_id)
    (document,) = stub.documents["results"]
    assert found["result"]["payload_media_id"] == str(document["id"])
    assert (found["cms"]["state"], found["cms"]["document_id"]) == ("synced", str(document["id"]))
    assert (document["task_id"], document["media_url"]) == (task_id, found["result"]["media_url"])
    assert (document["media_kind"], document["metadata"], document["model_used"]) == ("video", {"shot": 12}, "told-1")
    assert (document["file_size"], document["resolution"]) == (found["result"]["metadata"]["file_size"], "64x64")


async def test_in_upload_mode_the_file_itself_goes_there(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub, collection="media", mode="upload")
    task_id = await tasks.submit("process_audio")
    await run_queue("generation", "outbound")
    (document,) = stub.documents["media"]
    assert (document["task_id"], document["filename"]) == (task_id, f"{task_id}.mp3")
    assert (document["mimeType"], document["filesize"]) == ("audio/mpeg", len(document["bytes"]))
    assert document["alt"] == "The sea was quiet."
    async with httpx.AsyncClient(follow_redirects=True) as anybody:
        url = (await tasks.status(task_id))["result"]["media_url"]
        moved = await tasks.client.get(url)
        assert (await anybody.get(moved.headers["location"])).content == document["bytes"]


async def test_the_callback_waits_for_the_cms_and_tells_its_id(
    tasks: Tasks, told: Told, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    await name(tasks, stub)
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(settings, "outbound_ports", [stub.port, receiver.port])
        task_id = await tasks.submit("generate_image", callback_url=receiver.url())
        await run_queue("generation", "outbound")
        (said,) = [json.loads(each.body) for each in receiver.received]
    assert said["result"]["payload_media_id"] == str(stub.documents["results"][0]["id"])
    assert said["task_id"] == task_id


async def test_a_callback_does_not_wait_for_a_cms_that_is_down(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub)
    stub.next = [(503, {})]
    await tasks.submit("generate_image", callback_url=stub.url)
    await run_queue("generation", "outbound")
    (waiting,) = await jobs_of_kind("task_callback")
    assert waiting.state == "queued"
    async with transaction() as session:
        now = (await session.execute(select(func.now()))).scalar_one()
    assert 0 < (waiting.run_at - now).total_seconds() <= 60


async def test_dry_runs_failures_and_the_studios_things_do_not_go_there(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub)
    told.script = [Failed("provider_error", "No.")]
    await tasks.submit("generate_image")
    await run_queue()
    await tasks.submit("test_prompt")
    body = {"prompt": "A boat", "kind": "image", "project_id": tasks.project_id}
    assert (await tasks.person.client.post("/api/generations", json=body)).status_code == 202
    await run_queue("generation", "outbound")
    assert (stub.requests, await jobs_of_kind("cms_sync")) == ([], [])


# --- once each -------------------------------------------------------------------------------------------------------


async def test_the_same_result_sent_again_changes_its_document(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub)
    task_id = await tasks.submit("generate_image")
    # It was made there before, and the answer got lost.
    stub.documents["results"].append({"id": 41, "task_id": task_id, "title": "before"})
    await run_queue("generation", "outbound")
    (document,) = stub.documents["results"]
    assert (document["id"], document["title"]) == (41, "An old sailor Style: ink")
    assert (await tasks.status(task_id))["result"]["payload_media_id"] == "41"


async def test_one_that_somebody_made_in_this_moment_is_changed_too(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub)
    task_id = await tasks.submit("generate_image")
    stub.rival = {"task_id": task_id, "title": "faster"}
    await run_queue("generation", "outbound")
    (document,) = stub.documents["results"]
    assert document["title"] != "faster"
    assert [each.split()[0] for each in stub.requests] == ["GET", "POST", "GET", "PATCH"]


# --- a CMS that is down, or refuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_cms_that_is_down_is_waited_for_and_that_is_shown(
    tasks: Tasks, told: Told, stub: Stub, status: int
) -> None:
    await name(tasks, stub)
    stub.next = [(status, b"<html>down</html>")] * 6
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    found = await tasks.status(task_id)
    assert (found["status"], found["cms"]["state"]) == ("completed", "waiting")
    assert found["cms"]["error"] == f"The CMS answered {status}."
    for _ in range(6):  # more often than it has attempts
        await make_due("cms_sync")
        await run_queue("outbound")
    found = await tasks.status(task_id)
    assert (found["cms"]["state"], found["cms"]["error"]) == ("synced", None)
    assert len(stub.documents["results"]) == 1


async def test_a_cms_that_is_not_there_is_waited_for(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub)
    async with transaction() as session:
        target = await session.get_one(CmsTarget, uuid.UUID(tasks.project_id))
        target.url = "http://127.0.0.1:80"
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    shown = (await tasks.status(task_id))["cms"]
    assert shown["state"] == "waiting"
    assert shown["error"].startswith("No connection")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"api_key": "another"}, "does not let this key"),
        ({"collection": "none"}, "There is nothing at"),
        ({"collection": "bare"}, "needs a text field named task_id"),
        ({"collection": "media"}, "No files were uploaded"),
    ],
)
async def test_what_is_set_up_wrongly_is_said_and_sent_again_once_put_right(
    tasks: Tasks, told: Told, stub: Stub, wrong: dict[str, Any], words: str
) -> None:
    await name(tasks, stub, **wrong)
    tried = await tasks.person.client.post(f"/api/projects/{tasks.project_id}/cms/test")
    assert tried.status_code == 200
    if wrong != {"collection": "media"}:
        assert (tried.json()["ok"], words in tried.json()["message"]) == (False, True)
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    found = await tasks.status(task_id)
    assert (found["status"], found["cms"]["state"], words in found["cms"]["error"]) == ("completed", "failed", True)
    assert (await cms_of(tasks))["failed"] == 1
    (entry,) = (await cms_of(tasks, "/syncs"))["syncs"]
    assert (entry["task_id"], entry["state"]) == (task_id, "failed")
    await name(tasks, stub)
    assert (await tasks.person.client.post(f"/api/projects/{tasks.project_id}/cms/test")).json()["ok"] is True
    again = await tasks.person.client.post(f"/api/projects/{tasks.project_id}/cms/syncs/retry")
    assert again.json() == {"retried": 1}
    await run_queue("outbound")
    assert (await tasks.status(task_id))["cms"]["state"] == "synced"
    state = await cms_of(tasks)
    assert (state["waiting"], state["synced"], state["failed"]) == (0, 1, 0)
    assert (await tasks.person.client.post(f"/api/projects/{tasks.project_id}/cms/syncs/retry")).json()["retried"] == 0


async def test_a_file_that_is_too_large_for_the_cms_is_said(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub, collection="media", mode="upload")
    stub.most_bytes = 100
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    assert "larger than the CMS takes (413)" in (await tasks.status(task_id))["cms"]["error"]


async def test_one_that_hangs_up_on_a_file_is_given_up_in_the_end(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub, collection="media", mode="upload")
    stub.hangs_up = True
    task_id = await tasks.submit("generate_image")
    await run_queue()
    for _ in range(6):
        await make_due("cms_sync")
        await run_queue("outbound")
    found = await tasks.status(task_id)
    assert (found["status"], found["cms"]["state"], found["cms"]["attempts"]) == ("completed", "failed", 4)
    assert "it may be more than the CMS takes" in found["cms"]["error"]


async def test_something_else_at_that_address_is_not_taken_for_a_cms(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub)
    stub.next = [(200, b"<html>Welcome</html>")]
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    assert "does not answer as the API of a PayloadCMS" in (await tasks.status(task_id))["cms"]["error"]


@pytest.mark.parametrize("said", [b"[" * 200_000, b'{"docs": [{"id": "\\u0000"}]}', b'{"docs": [{"id": {"of": 1}}]}'])
async def test_whatever_it_answers_is_said_in_words_and_not_tried_again(
    tasks: Tasks, told: Told, stub: Stub, said: bytes
) -> None:
    await name(tasks, stub)
    stub.next = [(200, said)] * 2
    tried = await tasks.person.client.post(f"/api/projects/{tasks.project_id}/cms/test")
    assert (tried.status_code, tried.json()["ok"]) == (200, False)
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    found = await tasks.status(task_id)
    assert (found["status"], found["cms"]["state"], found["cms"]["attempts"]) == ("completed", "failed", 1)
    assert "API of a PayloadCMS" in found["cms"]["error"]


# --- the settings ----------------------------------------------------------------------------------------------------


async def test_a_key_is_sealed_and_shown_to_nobody(tasks: Tasks, stub: Stub) -> None:
    said = await name(tasks, stub, mode="upload")
    assert KEY not in said.text
    assert set(said.json()) == {"url", "collection", "key_collection", "mode", "created_at", "updated_at"}
    shown = await cms_of(tasks)
    assert (shown["cms"]["mode"], KEY in str(shown)) == ("upload", False)
    async with transaction() as session:
        target = await session.get_one(CmsTarget, uuid.UUID(tasks.project_id))
    assert KEY.encode() not in target.api_key
    # Not sent it stays, but never for another address.
    body = {"url": stub.url, "collection": "media"}
    path = f"/api/projects/{tasks.project_id}/cms"
    assert (await tasks.person.client.put(path, json=body)).status_code == 200
    answer = await tasks.person.client.put(path, json={**body, "url": f"{stub.url}/other"})
    assert (code(answer), "api_key" in answer.json()["error"]["fields"]) == ((422, "validation_failed"), True)


async def test_a_removed_cms_gets_nothing_more(tasks: Tasks, told: Told, stub: Stub) -> None:
    await name(tasks, stub)
    task_id = await tasks.submit("generate_image")
    await run_queue()
    path = f"/api/projects/{tasks.project_id}/cms"
    assert (await tasks.person.client.delete(path)).status_code == 204
    assert code(await tasks.person.client.delete(path)) == (404, "not_found")
    await run_queue("outbound")
    assert (stub.requests, (await tasks.status(task_id))["cms"]["state"]) == ([], "failed")
    assert (await cms_of(tasks))["cms"] is None


async def test_the_cms_is_for_who_manages_the_project(tasks: Tasks, stub: Stub, make_tasks: MakeTasks) -> None:
    path = f"/api/projects/{tasks.project_id}/cms"
    assert code(await tasks.client.get(path)) == (403, "forbidden")
    assert code(await (await make_tasks()).person.client.get(path)) == (404, "not_found")
    wrong = {"url": "http://10.0.0.1", "collection": "results", "api_key": KEY}
    assert code(await tasks.person.client.put(path, json=wrong)) == (422, "url_not_allowed")
