"""Whose job is next: turns between projects by weight, and queues that are paused."""

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from backend.core.db import transaction
from backend.jobs import claims, leases, queues
from backend.jobs.claims import Turns
from backend.jobs.models import Job
from backend.orgs.models import Project
from tests.jobs.conftest import AGO, Declare, Jobs


async def make_projects(jobs: Jobs, *weights: float) -> list[uuid.UUID]:
    made = [uuid.uuid4() for _ in weights]
    rows = [
        {"id": id_, "name": "p", "owner_id": jobs.owner_id, "weight": weight}
        for id_, weight in zip(made, weights, strict=True)
    ]
    async with transaction() as session:
        await session.execute(insert(Project), rows)
    return made


async def fill(kind: str, project_id: uuid.UUID, count: int, **values: object) -> None:
    rows = [{"kind": kind, "queue": "test", "project_id": project_id, **values} for _ in range(count)]
    async with transaction() as session:
        await session.execute(insert(Job), rows)


async def take(turns: Turns, kind: str, queues: tuple[str, ...] = ("test",)) -> Job | None:
    async with transaction() as session:
        return await claims.claim(session, worker="tester", queues=queues, kinds=[kind], turns=turns)


async def test_a_long_queue_of_one_project_delays_the_first_job_of_another_by_one_job(
    jobs: Jobs, declare: Declare
) -> None:
    kind = declare()
    for _ in range(5):  # ids, and with them the way round, are random
        first, second = await make_projects(jobs, 1, 1)
        turns = Turns()
        await fill(kind, first, 200)
        before = [await take(turns, kind) for _ in range(20)]
        assert {job.project_id for job in before if job} == {first}
        await fill(kind, second, 1)
        taken = [await take(turns, kind) for _ in range(2)]
        assert second in [job.project_id for job in taken if job]
        async with transaction() as session:
            await session.execute(update(Job).values(state="cancelled", lease_token=None))


async def test_a_heavy_project_does_not_keep_a_new_one_waiting_either(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    heavy, new = await make_projects(jobs, 10, 1)
    turns = Turns()
    await fill(kind, heavy, 50)
    for _ in range(15):
        await take(turns, kind)
    await fill(kind, new, 1)
    taken = [await take(turns, kind) for _ in range(2)]
    assert new in [job.project_id for job in taken if job]


@pytest.mark.parametrize("weights", [(1, 1), (1, 3), (0.5, 2, 1)])
async def test_projects_share_a_queue_by_weight(jobs: Jobs, declare: Declare, weights: tuple[float, ...]) -> None:
    kind = declare()
    projects = await make_projects(jobs, *weights)
    for project in projects:
        await fill(kind, project, 60)
    turns = Turns()
    taken = Counter([job.project_id for _ in range(56) if (job := await take(turns, kind))])
    for project, weight in zip(projects, weights, strict=True):
        assert taken[project] == pytest.approx(56 * weight / sum(weights), abs=2)


async def test_many_projects_with_one_job_each_are_all_served_beside_a_long_queue(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    long, *short = await make_projects(jobs, *[1] * 31)
    await fill(kind, long, 100)
    for project in short:
        await fill(kind, project, 1)
    turns = Turns()
    taken = [job.project_id for _ in range(34) if (job := await take(turns, kind))]
    assert set(short) <= set(taken)


async def test_priority_goes_before_turns_and_inside_a_project_the_oldest_is_first(
    jobs: Jobs, declare: Declare
) -> None:
    kind = declare()
    first, second = await make_projects(jobs, 1, 1)
    await fill(kind, first, 3, priority=1)
    await fill(kind, second, 3, priority=2)
    turns = Turns()
    taken = [job for _ in range(6) if (job := await take(turns, kind))]
    assert [job.project_id for job in taken] == [first] * 3 + [second] * 3


async def test_a_project_whose_jobs_are_all_being_claimed_is_passed_over(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    projects = await make_projects(jobs, 1, 1, 1)
    for project in projects:
        await fill(kind, project, 1)
    async with transaction() as session:
        held = (await session.execute(select(Job.id).limit(2).with_for_update())).scalars().all()
        job = await take(Turns(), kind)
        assert job is not None
        assert job.id not in held
        assert await take(Turns(), kind) is None


async def test_a_job_for_later_does_not_give_its_project_a_turn(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    first, second = await make_projects(jobs, 1, 1)
    await fill(kind, first, 5, run_at=datetime.now(UTC) + timedelta(hours=1))
    await fill(kind, second, 1)
    turns = Turns()
    job = await take(turns, kind)
    assert job is not None
    assert job.project_id == second
    assert await take(turns, kind) is None


async def test_leads_are_forgotten_as_time_goes_on() -> None:
    turns = Turns()
    some = [uuid.uuid4() for _ in range(1000)]
    for _ in range(3):
        for project in some:
            turns.note("q", 2, project, 1)
    assert len(turns._places["q/2"].ahead) <= claims.MAX_REMEMBERED


async def test_a_paused_queue_gives_no_jobs_and_what_runs_goes_on(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    other = declare(queue="other")
    running, waiting = await jobs.start(kind), await jobs.start(kind)
    elsewhere = await jobs.start(other)
    held = await jobs.claimed()
    assert held.id == running.id
    async with transaction() as session:
        await queues.pause(session, "test", by="a@example.org")
        again = await queues.pause(session, "test", by="b@example.org")
        assert again.paused_by == "a@example.org"
    job = await jobs.claim(queues=("test", "other"))
    assert job is not None
    assert job.id == elsewhere.id
    assert await jobs.claim() is None
    async with transaction() as session:
        assert [queue.name for queue in await queues.list_queues(session) if queue.paused_at] == ["test"]
        assert (await queues.resume(session, "test")).paused_at is None
    assert (await jobs.claimed()).id == waiting.id


# --- by priority and age ----------------------------------------------------------------------------------------------


async def test_jobs_are_claimed_by_priority_then_by_time(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    now = datetime.now(UTC)
    late = await jobs.start(kind, run_at=now - timedelta(minutes=1))
    low = await jobs.start(kind, priority=3, run_at=now - timedelta(hours=2))
    early = await jobs.start(kind, run_at=now - timedelta(minutes=2))
    high = await jobs.start(kind, priority=1, run_at=now)
    claimed = [(await jobs.claimed()).id for _ in range(4)]
    assert claimed == [high.id, early.id, late.id, low.id]


async def test_the_best_job_is_taken_across_queues(jobs: Jobs, declare: Declare) -> None:
    slow, quick = declare(queue="slow"), declare(queue="quick")
    await jobs.start(slow, priority=3)
    best = await jobs.start(quick, priority=1)
    other = await jobs.start(declare(queue="other"), priority=1)
    first = await jobs.claim(queues=("slow", "quick"))
    assert first is not None
    assert first.id == best.id
    assert await jobs.claim(queues=("slow", "quick")) is not None
    assert await jobs.claim(queues=("slow", "quick")) is None
    assert (await jobs.read(other.id)).state == "queued"


async def test_a_job_is_not_claimed_before_its_time(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare(), delay_seconds=60)
    assert await jobs.claim() is None
    await jobs.change(job.id, run_at=AGO)
    assert (await jobs.claimed()).id == job.id


async def test_an_unknown_kind_stays_queued(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    assert await jobs.claim("another_kind") is None
    assert (await jobs.read(job.id)).state == "queued"


async def test_claims_at_once_take_different_jobs_without_waiting(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    for _ in range(2):
        await jobs.start(kind)
    async with asyncio.timeout(60), transaction() as session:
        first = await leases.claim(session, worker="a", queues=["test"], kinds=[kind])
        second = await jobs.claim()  # the first is not committed yet
        third = await jobs.claim()
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert third is None


async def test_every_job_is_claimed_once_by_many_claimers(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    for _ in range(20):
        await jobs.start(kind)
    claimed = await asyncio.gather(*(jobs.claim() for _ in range(8)))
    while (job := await jobs.claim()) is not None:
        claimed.append(job)
    ids = [job.id for job in claimed if job is not None]
    assert len(ids) == len(set(ids)) == 20


async def test_a_claim_begins_an_attempt(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    claimed = await jobs.claimed()
    assert (claimed.state, claimed.attempt, claimed.worker) == ("running", 1, "tester")
    [attempt] = await jobs.attempts(job.id)
    assert (attempt.lease_token, attempt.attempt, attempt.outcome) == (claimed.lease_token, 1, None)
