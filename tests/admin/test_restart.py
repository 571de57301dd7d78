"""A cancelled job is final: its work is started again as a new job, once."""

import uuid
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.jobs.models import Job, JobState
from backend.orgs import audit
from backend.videos.models import Video, VideoStatus
from tests.admin.conftest import People, many
from tests.jobs.conftest import Declare, Jobs
from tests.videos.sending import RunJobs, send


async def restart(people: People, job_id: uuid.UUID | str) -> int:
    return (await people.admin.client.post(f"/api/admin/jobs/{job_id}/restart")).status_code


async def cancelled(people: People, jobs: Jobs, kind: str, **options: Any) -> Job:
    job = await jobs.start(kind, **options)
    assert (await people.admin.client.post(f"/api/admin/jobs/{job.id}/cancel")).status_code == 204
    return await jobs.read(job.id)


async def others(job: Job) -> list[Job]:
    async with transaction() as session:
        return list(await session.scalars(select(Job).where(Job.kind == job.kind, Job.id != job.id)))


async def test_a_cancelled_job_is_started_again_once_as_a_new_job(people: People, jobs: Jobs, declare: Declare) -> None:
    old = await cancelled(people, jobs, declare(), args={"shot": 4}, priority=1, dedupe_key="the same work")
    assert await restart(people, old.id) == 204
    (new,) = await others(old)
    assert (new.state, new.args, new.priority, new.dedupe_key) == ("queued", {"shot": 4}, 1, "the same work")
    assert (new.owner_id, new.project_id, new.queue) == (old.owner_id, old.project_id, old.queue)
    after = await jobs.read(old.id)
    assert (after.state, after.error_code) == (JobState.CANCELLED, "started_again")
    assert await restart(people, old.id) == 409
    async with transaction() as session:
        deed = (await audit.deeds(session, limit=1))[0].entry
    assert (deed.action, deed.object_id, deed.detail["new_job_id"]) == ("job.restart", str(old.id), str(new.id))
    page = (await people.admin.browser.get(f"/admin/jobs/{old.id}")).text
    assert f'href="/admin/jobs/{new.id}"' in page
    assert "trying again gives the same answer" not in page


async def test_what_is_queued_anew_already_is_not_started_again(people: People, jobs: Jobs, declare: Declare) -> None:
    old = await cancelled(people, jobs, declare(), dedupe_key="the same work")
    await jobs.start(old.kind, dedupe_key="the same work")
    assert await restart(people, old.id) == 409
    assert (await jobs.read(old.id)).error_code == "cancelled", "it can be started when the other has ended"


@pytest.mark.parametrize("state", ["queued", "failed", "completed"])
async def test_only_a_cancelled_job_is_started_again(state: str, people: People, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    await jobs.change(job.id, state=state)
    assert await restart(people, job.id) == 409
    assert await others(job) == []


async def test_a_kind_that_refuses_leaves_everything_as_it_was(people: People, jobs: Jobs, declare: Declare) -> None:
    async def refuse(session: AsyncSession, job: Job) -> None:
        raise InvalidState("What it worked on has moved on.")

    old = await cancelled(people, jobs, declare(on_queued=refuse))
    answer = await people.admin.client.post(f"/api/admin/jobs/{old.id}/restart")
    assert (answer.status_code, answer.json()["error"]["message"]) == (409, "What it worked on has moved on.")
    assert await others(old) == []
    assert (await jobs.read(old.id)).error_code == "cancelled"


async def test_all_cancelled_jobs_that_match_are_started_again_and_a_second_order_finds_none(
    people: People, jobs: Jobs, declare: Declare
) -> None:
    kind = declare()
    await many(jobs, 1000, kind=kind)
    order = {"action": "restart", "filter": {"kind": kind}}
    first = (await people.admin.client.post("/api/admin/jobs/bulk", json=order)).json()
    again = (await people.admin.client.post("/api/admin/jobs/bulk", json=order)).json()
    assert (first["done"], first["skipped"], again["done"], again["skipped"]) == (100, 0, 0, 0)
    async with transaction() as session:
        waiting = await session.scalar(text("SELECT count(*) FROM jobs WHERE state = 'queued'"))
    assert waiting == 200


async def test_a_video_whose_processing_was_cancelled_is_processed_after_all(people: People, run_jobs: RunJobs) -> None:
    sent = await send(people.user)
    assert (await people.admin.client.post(f"/api/admin/jobs/{sent['job_id']}/cancel")).status_code == 204
    assert (await people.user.client.get(f"/api/videos/{sent['id']}")).json()["status"] == "failed"
    assert await restart(people, sent["job_id"]) == 204
    async with transaction() as session:
        video = await session.get_one(Video, uuid.UUID(sent["id"]))
        assert (video.status, str(video.job_id) != sent["job_id"]) == (VideoStatus.PROCESSING, True)
    await run_jobs()
    shown = (await people.user.client.get(f"/api/videos/{sent['id']}")).json()
    assert shown["status"] in ("completed", "failed")
    assert (shown.get("error") or {}).get("code") != "cancelled"


async def test_a_step_of_a_cancelled_processing_is_refused_and_the_processing_brings_it_back(
    people: People, jobs: Jobs, declare: Declare
) -> None:
    parent = await jobs.start(declare())
    child = await jobs.start(declare(), parent_id=parent.id, required=True)
    assert (await people.admin.client.post(f"/api/admin/jobs/{parent.id}/cancel")).status_code == 204
    assert (await jobs.read(child.id)).state == JobState.CANCELLED
    assert await restart(people, child.id) == 409
    assert await restart(people, parent.id) == 204
