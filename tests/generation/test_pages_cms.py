"""The tab of a project's CMS, as a browser asks for it."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.config import settings
from backend.core.db import transaction
from backend.generation.delivery_models import CmsSync
from backend.jobs.models import Job
from tests.conftest import Person
from tests.generation.tasking import MakeTasks, Tasks, Told, run_queue
from tests.orgs import acting

WANTED = {"url": "http://127.0.0.1:9", "collection": "media", "api_key": "k-123", "mode": "upload"}


@pytest.fixture(autouse=True)
def may_call_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "outbound_plain_http", True)
    monkeypatch.setattr(settings, "outbound_ports", [80, 9, 10])
    monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.1/32"])


async def connect(user: Person, project: str, **changes: str) -> Any:
    return await user.browser.post(f"/projects/{project}/cms", data={**WANTED, **changes})


async def page(user: Person, project: str, query: str = "") -> str:
    answer = await user.browser.get(f"/projects/{project}/cms{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_project_without_a_cms_offers_to_connect_one(user: Person) -> None:
    project = await acting.project(user)
    html = await page(user, project)
    assert "No CMS yet" in html
    assert f'href="/projects/{project}/cms" aria-current="page">CMS' in html
    assert "open data-opened" in await page(user, project, "?ask=cms")


async def test_a_cms_is_connected_changed_and_disconnected_and_its_key_never_shown(user: Person) -> None:
    project = await acting.project(user)
    saved = await connect(user, project)
    assert saved.headers["location"] == f"/projects/{project}/cms?done=saved"
    html = await page(user, project)
    assert "http://127.0.0.1:9" in html
    assert "the file itself" in html
    assert "k-123" not in html
    await connect(user, project, api_key="", mode="link")
    assert "the address of the result" in await page(user, project)
    moved = await connect(user, project, api_key="", url="http://127.0.0.1:10")
    assert moved.status_code == 422
    assert "Enter the key: the address is a new one." in moved.text
    gone = await user.browser.post(f"/projects/{project}/cms/delete")
    assert gone.headers["location"] == f"/projects/{project}/cms?done=cms-removed"
    assert "No CMS yet" in await page(user, project)
    deeds = (await user.browser.get(f"/projects/{project}/activity")).text
    assert "Disconnected the CMS http://127.0.0.1:9" in deeds


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"url": ""}, "Please fill this in."), ({"collection": "no way"}, "pattern"), ({"url": "ftp://x"}, "data-error")],
)
async def test_what_is_wrong_is_said_beside_the_field(user: Person, wrong: dict[str, str], words: str) -> None:
    project = await acting.project(user)
    answer = await connect(user, project, **wrong)
    assert answer.status_code == 422
    assert words in answer.text
    assert "open data-opened" in answer.text


async def test_a_try_says_in_words_whether_it_works(user: Person) -> None:
    project = await acting.project(user)
    await connect(user, project)
    answer = await user.browser.post(f"/projects/{project}/cms/test")
    assert answer.status_code == 200
    assert 'data-kind="error"' in answer.text
    unknown = await acting.project(user, "Without")
    assert (await user.browser.post(f"/projects/{unknown}/cms/test")).status_code == 404


async def test_results_are_listed_with_how_far_they_are(user: Person, make_tasks: MakeTasks, told: Told) -> None:
    tasks: Tasks = await make_tasks(user)
    await connect(user, tasks.project_id)
    made = [await tasks.submit("generate_image") for _ in range(3)]
    await run_queue("generation")
    assert "on the way" in await page(user, tasks.project_id)
    async with transaction() as session:
        syncs = [await session.get_one(CmsSync, uuid.UUID(each)) for each in made]
        for sync, state in zip(syncs, ("completed", "failed", "queued"), strict=True):
            job = await session.get_one(Job, sync.job_id)
            job.state = state
            if state != "queued":
                job.finished_at = datetime.now(UTC)
            if state == "failed":
                job.error_code, job.error_message, job.error_retryable = "cms_refused", "Wrong key.", False
                sync.error = "Wrong key."
            if state == "completed":
                sync.document_id, sync.synced_at = "doc-1", datetime.now(UTC)
    html = await page(user, tasks.project_id)
    for words in ("1 there", "1 on the way", "1 refused", "Wrong key.", "doc-1", "Send 1 again", "An old sailor"):
        assert words in html
    fragment = await user.browser.get(f"/projects/{tasks.project_id}/cms", headers={"HX-Request": "true"})
    assert "<html" not in fragment.text
    assert 'hx-trigger="every 2s"' in fragment.text
    again = await user.browser.post(f"/projects/{tasks.project_id}/cms/retry")
    assert again.headers["location"].endswith("?done=cms-again")
    assert "2 on the way" in await page(user, tasks.project_id)


async def test_only_those_who_look_after_a_project_see_its_cms(user: Person, other: Person) -> None:
    project = await acting.project(user)
    await acting.join(user, other, f"/api/projects/{project}", "editor")
    assert (await other.browser.get(f"/projects/{project}/cms")).status_code == 403
    for verb in ("", "/test", "/retry", "/delete"):
        assert (await other.browser.post(f"/projects/{project}/cms{verb}", data=WANTED)).status_code == 403
    assert ">CMS</a>" not in (await other.browser.get(f"/projects/{project}/members")).text
