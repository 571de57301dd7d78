"""The same for tasks and for a project's CMS."""

import uuid
from typing import Any

from backend.core.db import transaction
from tests.conftest import Person
from tests.flows.replays import Sending, Stage, scene
from tests.matrix.things import add_generation
from tests.orgs import acting

_CMS = {"url": "http://127.0.0.1/", "collection": "results", "api_key": "a-key"}


async def _task(stage: Stage) -> tuple[Person, str, str]:
    """One that has failed."""
    person = await stage.person()
    project_id, task_id = await acting.personal(person), uuid.uuid4()
    of = {"project_id": uuid.UUID(project_id), "owner_id": uuid.UUID(person.id), "door": "tasks"}
    async with transaction() as session:
        await add_generation(session, task_id, **of)
    return person, project_id, str(task_id)


async def _with_cms(stage: Stage) -> tuple[Person, dict[str, Any]]:
    person = await stage.person()
    project_id = await acting.personal(person)
    await acting.made(await person.client.put(f"/api/projects/{project_id}/cms", json=_CMS), 200)
    return person, {"project_id": project_id}


@scene("POST /api/v1/tasks/submit")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    body = {"task_type": "test_prompt", "task_data": {"prompt": "A boat"}, "callback_url": "http://127.0.0.1/"}
    return Sending(person.client, json={"project_id": await acting.personal(person), **body})


@scene("DELETE /api/v1/tasks/{task_id}/cancel")
async def _(stage: Stage) -> Sending:
    person, _, task_id = await _task(stage)
    await acting.made(await person.client.post(f"/api/v1/tasks/{task_id}/retry"))
    return Sending(person.client, {"task_id": task_id})


@scene("POST /api/v1/tasks/{task_id}/retry")
async def _(stage: Stage) -> Sending:
    person, _, task_id = await _task(stage)
    return Sending(person.client, {"task_id": task_id})


@scene("PUT /api/projects/{project_id}/cms")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.client, {"project_id": await acting.personal(person)}, json=_CMS)


@scene(
    "DELETE /api/projects/{project_id}/cms",
    "POST /api/projects/{project_id}/cms/test",
    "POST /api/projects/{project_id}/cms/syncs/retry",
)
async def _(stage: Stage) -> Sending:
    person, ids = await _with_cms(stage)
    return Sending(person.client, ids)
