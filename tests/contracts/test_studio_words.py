"""The studio's routes beside the usual flow: what they refuse, and in which words they tell of jobs."""

import secrets
from typing import Any

import httpx
import pytest

from backend.generation.providers.base import Failed
from backend.jobs.running import run_next
from tests.conftest import Person
from tests.contracts.studio_client import Client
from tests.generation.scripted import SENT, Scripted, Studio
from tests.generation.tasking import run_queue

PROMPT = "A paper boat crosses a puddle."


@pytest.mark.parametrize("path", ["/api/videos", "/videos"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": None},
        {"prompt": ""},
        {"prompt": "x" * 1001},
        {"prompt": "x", "orientation": "sideways"},
        {"prompt": "x", "video_id": "00000000-0000-4000-8000-000000000000"},
        {"prompt": "x", "title": "y"},
        {"orientation": "portrait"},
        {"video_id": "00000000-0000-4000-8000-000000000000", "orientation": "portrait"},
        {"s3_key": "a"},
        {"claim": "a"},
        {"title": "a"},
    ],
)
async def test_both_halves_or_neither_are_refused(user: Person, path: str, body: dict[str, Any]) -> None:
    answer = await user.client.post(path, json=body, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_failed")


async def test_the_other_half_still_confirms_uploads(user: Person) -> None:
    for path in ("/api/videos", "/videos"):
        answer = await user.client.post(path, json={"video_id": "00000000-0000-4000-8000-000000000000"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_portrait_is_usual_and_the_quota_is_five_an_hour(user: Person, client: httpx.AsyncClient) -> None:
    for _ in range(5):
        answer = await user.client.post("/api/videos", json={"prompt": PROMPT})
        assert answer.status_code == 202
    generation = await user.client.get(f"/api/generations/{answer.json()['generationId']}")
    assert generation.json()["orientation"] == "portrait"
    sixth = await user.client.post("/api/videos", json={"prompt": PROMPT})
    assert (sixth.status_code, sixth.json()["error"]["code"]) == (409, "quota_exceeded")


async def test_the_same_request_sent_again_starts_one(user: Person) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = [await user.client.post("/api/videos", json={"prompt": PROMPT}, headers=key) for _ in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert (await user.client.get("/api/generations/limits")).json()["used"] == 1


async def test_failed_and_cancelled_are_both_failed_to_them(studio: Studio, scripted: Scripted) -> None:
    scripted.scripts.append([*SENT, Failed("provider_error", "The prompt was refused.")])
    send = studio.person.client.post
    bodies = [(await send("/api/videos", json={"prompt": PROMPT})).json() for _ in range(2)]
    assert await run_next(worker="test", queues=["generation"])
    await studio.person.client.post(f"/api/generations/{bodies[1]['generation_id']}/cancel")
    said = []
    for body in bodies:
        job = (await studio.person.client.get(f"/api/videos/jobs/{body['job']['id']}")).json()
        assert (job["status"], job["progress"] <= 100) == ("failed", True)
        said += [each async for each in Client(studio.person.client).events(body["streamUrl"])]
    assert [(kind, data["error"]) for kind, data in said] == [
        ("error", "The prompt was refused."),
        ("error", "It was cancelled."),
    ]
    await run_queue("generation")


async def test_other_jobs_are_shown_there_in_their_own_words(studio: Studio) -> None:
    made = await studio.make()
    video = (await studio.person.client.get(f"/api/videos/{made['video_id']}")).json()
    job = (await studio.person.client.get(f"/api/videos/jobs/{video['job_id']}")).json()
    assert (job["kind"], job["status"]) == ("process_video", "queued")
