"""Webhooks are told what happens in their project, as the API shows it, when and only when it happened."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.jobs import claims, leases
from backend.jobs.models import JobState
from backend.jobs.moves import JobError
from backend.jobs.schemas import JobOut
from backend.videos import sweep
from backend.videos.models import Upload
from backend.webhooks.events import emit
from backend.webhooks.models import EventType, WebhookDelivery
from tests.conftest import Person
from tests.jobs.conftest import Declare, Jobs, declare  # noqa: F401
from tests.videos.sending import BYTES, RunJobs, presign, put, send
from tests.webhooks.conftest import Hooks, project_of

URL = "https://93.184.216.34/"


async def told(hooks: Hooks) -> list[tuple[str, dict[str, Any]]]:
    return [(row.type, row.data) for row in await hooks.rows()]


async def types(hooks: Hooks) -> list[str]:
    return [row.type for row in await hooks.rows()]


# --- rows ------------------------------------------------------------------------------------------------------------


async def test_each_webhook_hears_what_it_asked_for(hooks: Hooks) -> None:
    video = await hooks.make(URL, "video.*")
    completed = await hooks.make(URL, "video.completed", "job.failed")
    off = await hooks.make(URL, "video.*")
    await hooks.person.client.patch(f"{hooks.base}/webhooks/{off['id']}", json={"enabled": False})
    assert await hooks.emit(EventType.VIDEO_COMPLETED) == 2
    assert await hooks.emit(EventType.VIDEO_FAILED) == 1
    assert await hooks.emit(EventType.JOB_FAILED) == 1
    assert await hooks.emit(EventType.UPLOAD_COMPLETED) == 0
    rows = await hooks.rows()
    heard = {(row.type, str(row.endpoint_id)) for row in rows}
    assert heard == {
        ("video.completed", video["id"]),
        ("video.completed", completed["id"]),
        ("video.failed", video["id"]),
        ("job.failed", completed["id"]),
    }
    assert len({row.event_id for row in rows}) == 3, "one event has one id for all that hear it"


async def test_another_project_hears_nothing(hooks: Hooks, other: Person) -> None:
    theirs = Hooks(other, uuid.UUID(await project_of(other)))
    await theirs.make(URL, "video.*", "job.*", "upload.*")
    await send(hooks.person)
    assert await theirs.rows() == []


async def test_what_is_rolled_back_was_never_told(hooks: Hooks) -> None:
    await hooks.make(URL)
    with pytest.raises(RuntimeError):
        async with transaction() as session:

            async def data() -> dict[str, object]:
                return {}

            assert await emit(session, project_id=hooks.project_id, type=EventType.VIDEO_CREATED, data=data) == 1
            raise RuntimeError
    assert await hooks.rows() == []


async def test_data_nobody_wants_is_not_made(hooks: Hooks) -> None:
    async def data() -> dict[str, object]:
        raise AssertionError

    async with transaction() as session:
        assert await emit(session, project_id=hooks.project_id, type=EventType.VIDEO_CREATED, data=data) == 0


async def test_a_webhook_that_is_being_deleted_fails_nothing(hooks: Hooks) -> None:
    made = await hooks.make(URL)
    async with transaction() as session:
        await session.execute(select(func.now()))
        removed = await hooks.person.client.delete(f"{hooks.base}/webhooks/{made['id']}")
        assert removed.status_code == 204
    assert await hooks.emit() == 0


# --- jobs ------------------------------------------------------------------------------------------------------------


async def test_a_job_tells_its_beginning_and_its_end(hooks: Hooks, declare: Declare, run_jobs: RunJobs) -> None:  # noqa: F811
    await hooks.make(URL, "job.*")
    jobs = Jobs(hooks.project_id, uuid.UUID(hooks.person.id))
    job = await jobs.start(declare())
    await run_jobs()
    assert await types(hooks) == ["job.started", "job.completed"]
    [(_, started), (_, completed)] = await told(hooks)
    shown = (await hooks.person.client.get(f"/api/jobs/{job.id}")).json()
    for data in (started, completed):
        assert set(data) == set(shown)
        assert data["id"] == str(job.id)
    assert (started["status"], completed["status"]) == ("running", "completed")
    assert {**completed, "estimated_seconds": None} == {**shown, "estimated_seconds": None}


async def test_a_job_that_has_begun_is_told_as_the_api_shows_it(hooks: Hooks, declare: Declare) -> None:  # noqa: F811
    await hooks.make(URL, "job.started")
    await hooks.make(URL, "job.*")
    jobs = Jobs(hooks.project_id, uuid.UUID(hooks.person.id))
    started = await jobs.start(declare())
    job = await claims.take_one(worker="tester", queues=["test"])
    assert job is not None
    rows = await hooks.rows()
    assert (len(rows), len({row.event_id for row in rows})) == (2, 1)
    shown = (await hooks.person.client.get(f"/api/jobs/{started.id}")).json()
    assert JobOut.model_validate(rows[0].data) == JobOut.model_validate({**shown, "estimated_seconds": None})


async def test_failing_and_cancelling_are_told_when_nothing_more_is_tried(hooks: Hooks, declare: Declare) -> None:  # noqa: F811
    await hooks.make(URL, "job.failed", "job.cancelled")
    jobs = Jobs(hooks.project_id, uuid.UUID(hooks.person.id))
    await jobs.start(declare(max_attempts=2, backoff_seconds=0))
    for expected in ([], ["job.failed"]):
        job = await jobs.claimed()
        assert job.lease_token is not None
        error = JobError("corrupt_media", "It is broken.", retryable=True)
        async with transaction() as session:
            await leases.fail(session, job_id=job.id, token=job.lease_token, error=error)
        assert await types(hooks) == expected
    [(_, data)] = await told(hooks)
    assert (data["status"], data["error"]["code"]) == (JobState.FAILED, "corrupt_media")
    waiting = await jobs.start(declare())
    assert (await hooks.person.client.post(f"/api/jobs/{waiting.id}/cancel")).status_code == 200
    assert await types(hooks) == ["job.failed", "job.cancelled"]


# --- uploads and videos ----------------------------------------------------------------------------------------------


async def test_a_video_is_told_from_its_upload_to_its_removal(hooks: Hooks, run_jobs: RunJobs) -> None:
    await hooks.make(URL, "upload.*", "video.*")
    video = await send(hooks.person, title="A film")
    assert await types(hooks) == ["upload.completed", "video.created"]
    [(_, upload), (_, created)] = await told(hooks)
    shown = (await hooks.person.client.get(f"/api/videos/{video['id']}")).json()
    assert created == {name: value for name, value in shown.items() if name != "poster_url"}
    of_api = (await hooks.person.client.get(f"/api/uploads/{upload['id']}")).json()
    assert upload == {name: value for name, value in of_api.items() if name != "parts"}
    await hooks.person.client.patch(f"/api/videos/{video['id']}", json={"title": "Another"})
    await run_jobs()  # its bytes are no video
    await hooks.person.client.delete(f"/api/videos/{video['id']}")
    assert (await types(hooks))[2:] == ["video.updated", "video.failed", "video.deleted"]
    updated, failed, deleted = (data for _, data in (await told(hooks))[2:])
    assert updated["title"] == deleted["title"] == "Another"
    assert (failed["status"], bool(failed["error"]["code"])) == ("failed", True)
    assert "X-Amz" not in str(await told(hooks)), "no signed address is kept"


async def test_an_upload_tells_once_how_it_ended(hooks: Hooks) -> None:
    await hooks.make(URL, "upload.*")
    given_up = await presign(hooks.person)
    await hooks.person.client.delete(f"/api/uploads/{given_up['upload_id']}")
    await hooks.person.client.delete(f"/api/uploads/{given_up['upload_id']}")
    assert await types(hooks) == ["upload.cancelled"]
    late = await presign(hooks.person)
    for _ in range(3):  # looked at again and again, it has expired once
        async with transaction() as session:
            mine = update(Upload).where(Upload.id == uuid.UUID(late["upload_id"]))
            await session.execute(mine.values(expires_at=func.now() - timedelta(minutes=1), check_at=func.now()))
        await sweep.settle_uploads()
    assert await types(hooks) == ["upload.cancelled", "upload.expired"]
    stored = await put(late["upload_url"], BYTES, late["headers"])
    assert stored.status_code == 200
    confirmed = await hooks.person.client.post("/api/videos", json={"video_id": late["video_id"]})
    assert confirmed.status_code == 201
    assert await types(hooks) == ["upload.cancelled", "upload.expired", "upload.completed"]
    async with transaction() as session:
        states = select(WebhookDelivery.data["state"].astext).order_by(WebhookDelivery.created_at)
        assert list(await session.scalars(states)) == ["cancelled", "expired", "completed"]


async def test_a_move_to_another_project_is_told_in_both(hooks: Hooks, run_jobs: RunJobs) -> None:
    video = await send(hooks.person)
    await run_jobs()
    made = await hooks.person.client.post("/api/projects", json={"name": "Another"})
    there = Hooks(hooks.person, uuid.UUID(made.json()["id"]))
    for each in (hooks, there):
        await each.make(URL, "video.*")
    body = {"project_id": str(there.project_id)}
    moved = await hooks.person.client.post(f"/api/videos/{video['id']}/move", json=body)
    assert moved.status_code == 200, moved.text
    for each in (hooks, there):
        [(type, data)] = await told(each)
        assert (type, data["id"], data["project_id"]) == ("video.moved", video["id"], str(there.project_id))
