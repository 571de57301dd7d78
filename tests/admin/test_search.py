"""What the words of a search find."""

import uuid

import pytest
from sqlalchemy import text, update

from backend.admin.filters import JobFilter
from backend.admin.service import list_jobs
from backend.core.db import transaction
from backend.jobs import leases
from backend.jobs.models import Job
from backend.jobs.running import JobError, Runner
from backend.jobs.workers import Registration
from tests.admin.conftest import People, many
from tests.admin.test_jobs import counted, listed
from tests.jobs.conftest import Declare, Jobs


async def found(people: People, words: str) -> list[str]:
    return [job["id"] for job in await listed(people, text=words)]


async def test_a_job_is_found_by_its_id_and_by_its_beginning(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    job, _ = await jobs.start(kind), await jobs.start(kind)
    id = str(job.id)
    for words in (id, id.upper(), id[:8], id[:13], id[:13].upper(), id.replace("-", "")):
        assert await found(people, words) == [id], words
    assert await found(people, f"{id[:-1]}{'0' if id[-1] != '0' else '1'}") == []


async def test_jobs_are_found_by_what_they_belong_to(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    parent = await jobs.start(kind)
    child = await jobs.start(kind, parent_id=parent.id)
    assert set(await found(people, str(parent.id))) == {str(parent.id), str(child.id)}
    for words in (str(jobs.project_id), str(jobs.owner_id), people.user.email, people.user.email[:9].upper()):
        assert len(await found(people, words)) == 2, words


async def test_jobs_are_found_by_the_request_that_queued_them(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    by_us, by_them = await jobs.start(kind), await jobs.start(kind)
    ids = (uuid.uuid4().hex, "their-proxy.0001")
    async with transaction() as session:
        for job, request_id in zip((by_us, by_them), ids, strict=True):
            await session.execute(update(Job).where(Job.id == job.id).values(request_id=request_id))
    assert [await found(people, id) for id in ids] == [[str(by_us.id)], [str(by_them.id)]]


async def test_a_kind_is_found_as_people_read_it(people: People, jobs: Jobs) -> None:
    await many(jobs, 10, kind="purge_objects")
    for words in ("purge_objects", "purge objects", "Purge obj"):
        assert await counted(people, text=words) == 10, words


async def test_jobs_are_found_by_their_worker_while_it_is_known(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    running, over = await jobs.start(kind), await jobs.start(kind)
    taken = await jobs.claimed(kind)
    assert await found(people, "TESTER") == [str(running.id)], "it runs"
    assert await found(people, "teste") == [str(running.id)]
    async with transaction() as session:
        assert taken.lease_token
        await leases.fail(session, job_id=taken.id, token=taken.lease_token, error=JobError("broken", "It broke."))
        await session.execute(text("UPDATE jobs SET worker = 'tester'"))
    await Registration(Runner(worker="tester", queues=["test"], slots=1)).beat()
    assert set(await found(people, "teste")) == {str(running.id), str(over.id)}


@pytest.mark.parametrize("words", ["damaged: NUMBER 12", "corrupt_m"])
async def test_jobs_are_found_by_their_error(people: People, jobs: Jobs, words: str) -> None:
    await many(jobs, 100, kind="purge_objects")
    messages = [job["error"]["message"] for job in await listed(people, text=words)]
    assert len(messages) == (1 if "12" in words else 20)


async def test_words_that_name_nothing_read_no_jobs(people: People, jobs: Jobs) -> None:
    await many(jobs, 3000, kind="purge_objects")
    async with transaction() as session:
        await session.execute(text("ANALYZE jobs"))
        before = (await session.execute(text("SELECT pg_stat_get_xact_numscans('jobs'::regclass)"))).scalar_one()
        page = await list_jobs(session, filter=JobFilter(text="nothing like this"))
        after = (await session.execute(text("SELECT pg_stat_get_xact_numscans('jobs'::regclass)"))).scalar_one()
    assert page.rows == []
    assert after == before, "no look at the whole table"
