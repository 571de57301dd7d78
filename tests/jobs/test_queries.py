"""What is read of jobs: their place in the queue, and how long such work takes."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from backend.core.db import transaction
from backend.jobs import queries, queues, service, words
from backend.jobs.claims import Turns
from backend.jobs.models import Job
from backend.jobs.running import Run, Runner, run_next
from backend.jobs.workers import Registration
from tests.jobs.conftest import Declare, Jobs
from tests.jobs.test_claims import fill, make_projects, take


async def test_the_queue_position_counts_due_jobs_that_go_first(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    first = await jobs.start(kind)
    await jobs.start(kind, delay_seconds=60)
    await jobs.start(kind, priority=1)
    last = await jobs.start(kind, priority=3)
    await jobs.start(declare(queue="other"), priority=1)
    async with transaction() as session:
        shown = await service.public_many(session, [first, last])
    assert [job.queue_position for job in shown] == [1, 2]


async def test_the_estimate_is_the_median_of_completed_jobs_of_the_kind(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    for seconds in (10, 20, 600):
        await jobs.start(kind)
        run = Run(await jobs.claimed())
        async with run.finishing():
            pass
        await jobs.change(run.job_id, started_at=func.now() - timedelta(seconds=seconds), finished_at=func.now())
    async with transaction() as session:
        shown = await service.public(session, await jobs.start(kind))
    assert shown.estimated_seconds == pytest.approx(20, abs=0.1)
    assert shown.queue_position == 0


async def test_estimates_are_remembered_for_a_while(jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    async with transaction() as session:
        assert await queries.estimated_seconds(session, kind) is None
    await jobs.start(kind)
    await run_next(worker="tester")
    async with transaction() as session:
        assert await queries.estimated_seconds(session, kind) is None


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 4.0, 0.5)])
async def test_the_queue_position_is_what_a_worker_would_serve_first(
    jobs: Jobs, declare: Declare, weights: tuple[float, ...]
) -> None:
    """Exact but for which project a worker begins with: within the number of the others."""
    kind = declare()
    projects = await make_projects(jobs, *weights)
    for project, count in zip(projects, (8, 3, 5), strict=True):
        await fill(kind, project, count)
        await fill(kind, project, 2, priority=1)
        await fill(kind, project, 4, run_at=datetime.now(UTC) + timedelta(days=1))
    async with transaction() as session:
        due = list(await session.scalars(select(Job).where(Job.run_at <= func.now())))
        told = {job.id: job.queue_position for job in await service.public_many(session, due)}
    turns = Turns()
    served = [job.id for _ in due if (job := await take(turns, kind)) is not None]
    assert len(served) == len(due) == 22
    for place, id_ in enumerate(served):
        position = told[id_]
        assert position is not None
        assert abs(position - place) <= len(projects) - 1, (place, position)


async def test_counting_for_the_queue_position_stops_somewhere(
    jobs: Jobs, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_POSITION", 5)
    kind = declare()
    mine, *others = await make_projects(jobs, *[1.0] * 9)
    for project in others:
        await fill(kind, project, 1)
    await fill(kind, mine, 9)
    async with transaction() as session:
        rows = await session.scalars(select(Job).where(Job.project_id == mine))
        told = [job.queue_position for job in await service.public_many(session, list(rows))]
    assert max(place for place in told if place is not None) == 5


async def test_a_queued_job_says_what_keeps_it_from_beginning(jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())

    async def told() -> str | None:
        async with transaction() as session:
            return (await service.public(session, job)).waiting_for

    assert await told() == "worker"
    await Registration(Runner(worker="here", queues=["test"], slots=1)).beat()
    assert await told() is None
    async with transaction() as session:
        await queues.pause(session, "test", by=None)
    assert await told() == "paused"
    async with transaction() as session:
        shown = await service.public(session, job)
    assert words.doing(shown) == "Waiting: processing is paused"
