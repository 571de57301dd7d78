"""The Python client's tasks, against real processes."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dailies_client import AsyncClient, Client, Forbidden, InvalidState, NotFound, Task, UrlNotAllowed, ValidationFailed
from tests.conftest import Live

SPOKEN = {"text": "The sea was quiet."}


@pytest.fixture
def project_id(person: Client) -> str:
    return person.projects.list()[0].id


@pytest.fixture
def key(person: Client, project_id: str) -> str:
    return person.keys.create(project_id, "Renderer", ["tasks"]).key


@pytest.fixture
def maker(live: Live, key: str) -> Iterator[Client]:
    with Client(live.url, api_key=key) as client:
        yield client


def test_a_task_is_submitted_waited_for_and_fetched(maker: Client, project_id: str, tmp_path: Path) -> None:
    made = maker.tasks.submit(project_id, "test_prompt", {"prompt": "A boat"}, priority=1, metadata={"a": 1})
    assert (made.status, made.project_id) == ("queued", project_id)
    seen: list[Task] = []
    task = maker.tasks.wait(made.task_id, timeout=120, every=0.1, on_progress=seen.append)
    assert (task.status, task.metadata, task.priority, task.progress) == ("completed", {"a": 1}, 1, 1.0)
    assert (seen[-1], task.is_final) == (task, True)
    assert task.result is not None
    assert task.result.metadata["trial"]["task_type"] == "generate_video"
    assert httpx.get(task.result.media_url, follow_redirects=True).content[:3] == b"\xff\xd8\xff"
    assert [each.task_id for each in maker.tasks.list(project_id)] == [made.task_id]
    assert list(maker.tasks.list(project_id, status="failed")) == []
    workers = maker.tasks.workers()
    assert (workers.total_workers, workers.workers[0].has_gpu) == (1, False)


def test_what_cannot_be_done_is_said(maker: Client, person: Client, project_id: str) -> None:
    with pytest.raises(ValidationFailed) as wrong:
        maker.tasks.submit(project_id, "process_audio", {"texts": "A"})
    assert "task_data.text" in (wrong.value.fields or {})
    with pytest.raises(UrlNotAllowed):
        maker.tasks.submit(project_id, "process_audio", SPOKEN, callback_url="http://10.0.0.1/")
    with pytest.raises(NotFound):
        maker.tasks.submit(person.projects.create("Another").id, "process_audio", SPOKEN)
    task_id = maker.tasks.submit(project_id, "test_prompt", {"prompt": "A boat"}).task_id
    maker.tasks.wait(task_id, timeout=120, every=0.1)
    for verb in (maker.tasks.cancel, maker.tasks.retry):
        with pytest.raises(InvalidState):
            verb(task_id)
    reader = person.keys.create(project_id, "Reader", ["read"])
    with Client(str(maker._api.base_url), api_key=reader.key) as looking:
        assert looking.tasks.get(task_id).status == "completed"
        with pytest.raises(Forbidden):
            looking.tasks.submit(project_id, "process_audio", SPOKEN)


async def test_the_same_with_asyncio(live: Live, key: str, project_id: str) -> None:
    async with AsyncClient(live.url, api_key=key) as maker:
        made = await maker.tasks.submit(project_id, "test_prompt", {"prompt": "A boat"})
        task = await maker.tasks.wait(made.task_id, timeout=120, every=0.1)
        assert task.status == "completed"
        assert [each.task_id async for each in maker.tasks.list(project_id)] == [made.task_id]
