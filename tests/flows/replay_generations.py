"""One good request for every unsafe route of generations."""

import uuid
from typing import Any

from sqlalchemy import update

from backend.core.db import transaction
from backend.generation.models import Generation
from backend.jobs.models import Job
from tests.conftest import Person
from tests.flows.replays import FAILED, Sending, Stage, scene
from tests.orgs import acting

WISH = {"prompt": "A harbour at dawn", "kind": "image"}


async def _started(stage: Stage, *, job: dict[str, Any] | None = None, **values: Any) -> tuple[Person, str]:
    person = await stage.person()
    body = await acting.made(await person.client.post("/api/generations", json=WISH), 202)
    async with transaction() as session:
        if job:
            await session.execute(update(Job).where(Job.id == uuid.UUID(body["job"]["id"])).values(job))
        if values:
            mine = update(Generation).where(Generation.id == uuid.UUID(body["generation"]["id"]))
            await session.execute(mine.values(values))
    return person, body["generation"]["id"]


@scene("POST /api/generations")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).client, json=WISH)


@scene("POST /api/generations/images")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).client, json={"content_type": "image/png", "size": 9})


@scene("DELETE /api/generations/{generation_id}", "POST /api/generations/{generation_id}/cancel")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage)
    return Sending(person.client, {"generation_id": generation_id})


@scene("POST /api/generations/{generation_id}/retry")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage, job=FAILED)
    return Sending(person.client, {"generation_id": generation_id})


@scene("POST /api/generations/{generation_id}/resubmit")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage, job=FAILED, needs_review=True)
    return Sending(person.client, {"generation_id": generation_id})


@scene("POST /api/generations/{generation_id}/again")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage)
    return Sending(person.client, {"generation_id": generation_id}, json={"prompt": "The same at dusk"})
