"""Jobs for a GPU that is full: tried again by themselves, later and later, and told as what they are."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from backend.config import settings
from backend.core.db import transaction
from backend.jobs.models import JobAttempt
from tests.conftest import Person
from tests.generation.providers.conftest import Models
from tests.generation.tasking import jobs_of_kind, make_due, run_queue

ALL = ["resident", "offload", "sequential"]


async def made(user: Person) -> str:
    wish = {"prompt": "A fox.", "provider": "diffusers", "kind": "image", "orientation": "square", "seed": 3}
    answer = await user.client.post("/api/generations", json=wish)
    assert answer.status_code == 202, answer.text
    assert answer.json()["job"]["kind"] == "generate_gpu"
    assert answer.json()["job"]["queue"] == "gpu"
    return str(answer.json()["generation"]["id"])


async def see(user: Person, generation_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await user.client.get(f"/api/generations/{generation_id}")).json()
    return found


async def test_a_full_gpu_is_tried_again_later_and_then_makes_it_whole(user: Person, models: Models) -> None:
    models.tell(models.image, oom=ALL)
    generation_id = await made(user)
    assert await run_queue("gpu") == 1
    (job,) = await jobs_of_kind("generate_gpu")
    assert job.state == "queued"
    async with transaction() as session:
        of_attempt = select(JobAttempt.error_code).where(JobAttempt.job_id == job.id)
        assert (await session.scalars(of_attempt)).all() == ["gpu_oom"]
    assert job.run_at > datetime.now(UTC), "at once would be in vain"
    assert (await see(user, generation_id))["status"] == "pending"
    models.tell(models.image, oom=[])
    await make_due("generate_gpu")
    await run_queue("gpu")
    found = await see(user, generation_id)
    assert (found["status"], found["width"], found["height"]) == ("completed", 1024, 1024), found
    assert (found["model_used"], found["seed"], found["content_type"]) == ("image", 3, "image/jpeg")


async def test_a_gpu_that_stays_full_fails_in_the_end_and_may_be_tried_again(user: Person, models: Models) -> None:
    models.tell(models.image, oom=ALL)
    generation_id = await made(user)
    tries = 0
    while (await see(user, generation_id))["status"] == "pending":
        await make_due("generate_gpu")
        assert await run_queue("gpu") == 1
        tries += 1
    assert tries == 4
    found = await see(user, generation_id)
    assert (found["status"], found["error"]["code"], found["error"]["retryable"]) == ("failed", "gpu_oom", True)
    assert "too little memory" in found["error"]["message"]
    models.tell(models.image, oom=[])
    assert (await user.client.post(f"/api/generations/{generation_id}/retry")).status_code == 200
    await run_queue("gpu")
    assert (await see(user, generation_id))["status"] == "completed"


async def test_others_do_not_take_the_work_of_a_gpu(user: Person, models: Models) -> None:
    generation_id = await made(user)
    assert "gpu" not in settings.worker_queues
    assert await run_queue(*settings.worker_queues) == 0
    assert (await see(user, generation_id))["status"] == "pending"


@pytest.mark.parametrize("name", ["diffusers", "chat", "videos"])
async def test_a_provider_that_is_not_switched_on_cannot_be_named(name: str, user: Person) -> None:
    wish = {"prompt": "A fox.", "provider": name}
    answer = await user.client.post("/api/generations", json=wish)
    assert answer.status_code == 422, answer.text
    assert "provider" in answer.json()["error"]["fields"]
