"""Bulk orders beside workers that end the same jobs."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.jobs import leases
from backend.jobs.models import Job
from backend.jobs.moves import JobError
from tests.admin.conftest import People
from tests.jobs.conftest import Declare, Jobs, reached, rename


async def test_a_bulk_cancel_and_a_worker_that_ends_one_of_the_jobs_do_not_wait_for_each_other(
    people: People, jobs: Jobs, declare: Declare
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def on_end(session: AsyncSession, job: Job, state: str, error: JobError) -> None:
        await rename(session, job.project_id, "cancelled")
        entered.set()
        await go_on.wait()

    kind = declare(on_end=on_end)
    older, newer = await jobs.start(kind), await jobs.start(kind)  # the newer one is cancelled first
    running = await jobs.claimed()
    assert running.id == older.id
    assert running.lease_token is not None
    token = running.lease_token

    async def finish() -> None:
        async with transaction() as session:
            await leases.complete(session, job_id=older.id, token=token)
            await rename(session, older.project_id, "finished")

    order = {"action": "cancel", "ids": [str(older.id), str(newer.id)]}
    ordering = asyncio.create_task(people.admin.client.post("/api/admin/jobs/bulk", json=order))
    await reached(entered)
    finishing = asyncio.create_task(finish())
    await asyncio.sleep(0.3)
    go_on.set()
    async with asyncio.timeout(60):
        answer, _ = await asyncio.gather(ordering, finishing)
    assert (answer.status_code, answer.json()["done"]) == (200, 2)
    assert [(await jobs.read(job.id)).state for job in (older, newer)] == ["completed", "cancelled"]


async def test_a_job_that_a_worker_is_just_ending_is_left_to_it(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    await jobs.start(kind)
    other = await jobs.start(kind)
    running = await jobs.claimed()
    assert running.lease_token is not None
    async with transaction() as session:
        await leases.complete(session, job_id=running.id, token=running.lease_token)
        order = {"action": "cancel", "ids": [str(running.id), str(other.id)]}
        answer = await people.admin.client.post("/api/admin/jobs/bulk", json=order)
    said = answer.json()
    assert (said["done"], said["skipped"]) == (1, 1)
