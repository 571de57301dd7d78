"""Parents and children: when a family is done, who is told, and what ends together."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.core.queue import registry
from backend.jobs import families, leases, service, tasks
from backend.jobs.models import Job
from backend.jobs.moves import JobError
from backend.jobs.running import Run, run_next
from backend.orgs.models import Project
from tests.conftest import Person
from tests.jobs.conftest import Declare, Jobs


class Told:
    """Callbacks of a kind that write a row of the domain and remember what they were told."""

    def __init__(self) -> None:
        self.done: Counter[uuid.UUID] = Counter()
        self.ended: dict[uuid.UUID, str] = {}
        self.failure: Exception | None = None

    async def on_done(self, session: AsyncSession, job: Job) -> None:
        await touch(session, job)
        if self.failure is not None:
            raise self.failure
        self.done[job.id] += 1

    async def on_end(self, session: AsyncSession, job: Job, state: str, error: JobError) -> None:
        await touch(session, job)
        self.ended[job.id] = state


async def touch(session: AsyncSession, job: Job) -> None:
    await session.execute(update(Project).where(Project.id == job.project_id).values(name=uuid.uuid4().hex))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def kind(declare: Declare, told: Told) -> str:
    return declare(on_done=told.on_done, on_end=told.on_end, max_attempts=1)


async def claim_it(jobs: Jobs, job: Job) -> uuid.UUID:
    """Claim this very job; answers the token."""
    await jobs.change(job.id, priority=1, run_at=func.now() - func.make_interval(1))
    claimed = await jobs.claimed()
    assert claimed.id == job.id
    assert claimed.lease_token is not None
    return claimed.lease_token


async def finish(jobs: Jobs, job: Job) -> None:
    token = await claim_it(jobs, job)
    async with transaction() as session:
        await leases.finish(session, job_id=job.id, token=token)


async def fail(jobs: Jobs, job: Job) -> None:
    token = await claim_it(jobs, job)
    async with transaction() as session:
        await leases.fail(session, job_id=job.id, token=token, error=JobError("x", "x"))


async def retry(job: Job) -> None:
    async with transaction() as session:
        await service.retry_job(session, actor=None, job=job)


async def states(jobs: Jobs, *members: Job) -> list[str]:
    return [(await jobs.read(job.id)).state for job in members]


# --- done ------------------------------------------------------------------------------------------------------------


async def test_a_job_without_children_is_done_when_it_is_completed(jobs: Jobs, kind: str, told: Told) -> None:
    job = await jobs.start(kind)
    await finish(jobs, job)
    assert told.done == {job.id: 1}


async def test_a_job_that_starts_children_as_it_ends_is_done_after_the_last_of_them(
    jobs: Jobs, declare: Declare, told: Told
) -> None:
    async def handler(run: Run) -> None:
        async with run.finishing() as session:
            for _ in range(2):
                await service.start(
                    session, kind=leaf, project_id=run.project_id, owner_id=None, parent_id=run.job_id, required=True
                )

    leaf = declare()
    root = await jobs.start(declare(handler, on_done=told.on_done))
    counts = []
    while await run_next(worker="tester"):
        counts.append(told.done[root.id])
    assert counts == [0, 0, 1]


async def test_only_required_children_are_waited_for(jobs: Jobs, kind: str, told: Told) -> None:
    root = await jobs.start(kind)
    extra = await jobs.start(kind, parent_id=root.id)
    await finish(jobs, root)
    assert told.done == {root.id: 1}
    await finish(jobs, extra)
    assert told.done == {root.id: 1, extra.id: 1}


async def test_a_grandchild_is_waited_for_too_and_ends_the_whole_family(jobs: Jobs, kind: str, told: Told) -> None:
    root = await jobs.start(kind)
    middle = await jobs.start(kind, parent_id=root.id, required=True)
    leaf = await jobs.start(kind, parent_id=middle.id, required=True)
    for job in (middle, root):
        await finish(jobs, job)
        assert not told.done
    await finish(jobs, leaf)
    assert told.done == {root.id: 1, middle.id: 1, leaf.id: 1}


async def test_a_failed_child_keeps_a_family_open_until_its_retry_succeeds(jobs: Jobs, kind: str, told: Told) -> None:
    root = await jobs.start(kind)
    child = await jobs.start(kind, parent_id=root.id, required=True)
    await finish(jobs, root)
    await fail(jobs, child)
    assert not told.done
    await retry(child)
    await finish(jobs, child)
    assert told.done == {root.id: 1, child.id: 1}


async def test_a_child_that_lost_its_worker_completes_the_family_in_its_next_attempt(
    jobs: Jobs, declare: Declare, kind: str, told: Told
) -> None:
    root = await jobs.start(kind)
    child = await jobs.start(declare(), parent_id=root.id, required=True)
    await finish(jobs, root)
    await claim_it(jobs, child)
    await jobs.change(child.id, lease_until=func.now() - func.make_interval(0, 0, 0, 0, 0, 1))
    assert await tasks.reap() == 1
    await finish(jobs, child)
    assert told.done == {root.id: 1}


async def test_what_on_done_raises_takes_the_completion_of_the_last_child_back(
    jobs: Jobs, declare: Declare, kind: str, told: Told
) -> None:
    root = await jobs.start(kind)
    child = await jobs.start(declare(), parent_id=root.id, required=True)
    await finish(jobs, root)
    told.failure = RuntimeError("the domain refuses")
    token = await claim_it(jobs, child)
    with pytest.raises(RuntimeError):
        async with transaction() as session:
            await leases.finish(session, job_id=child.id, token=token)
    assert await states(jobs, child) == ["running"]
    told.failure = None
    async with transaction() as session:
        await leases.finish(session, job_id=child.id, token=token)
    assert told.done == {root.id: 1}


async def test_a_worker_that_knows_the_parent_says_what_one_that_does_not_could_not(
    jobs: Jobs, declare: Declare, kind: str, told: Told
) -> None:
    above = await jobs.start(kind)
    root = await jobs.start(kind, parent_id=above.id, required=True)
    child = await jobs.start(declare(), parent_id=root.id, required=True)
    await finish(jobs, above)
    await finish(jobs, root)
    task = registry.get(kind)
    registry.remove(kind)
    try:
        await finish(jobs, child)
        assert await tasks.settle() == 0
    finally:
        registry.add(task)
    assert not told.done
    assert await tasks.settle() == 1
    assert await tasks.settle() == 0
    assert told.done == {root.id: 1, above.id: 1}


async def complete(run: Run) -> None:
    """Writes what they all write, and takes its time."""
    async with run.finishing() as session:
        await session.execute(update(Project).where(Project.id == run.project_id).values(name="here"))
        await asyncio.sleep(0.01)


async def test_a_family_whose_members_all_end_at_once_is_done_once(jobs: Jobs, kind: str, told: Told) -> None:
    for _ in range(5):
        told.done.clear()
        root = await jobs.start(kind)
        middles = [await jobs.start(kind, parent_id=root.id, required=True) for _ in range(3)]
        leaves = [await jobs.start(kind, parent_id=each.id, required=True) for each in middles for _ in range(2)]
        runs = {job.id: Run(job) for job in [await jobs.claimed() for _ in range(10)]}
        async with asyncio.timeout(60):
            await asyncio.gather(*(complete(runs[job.id]) for job in (root, *leaves, *middles)))
        assert told.done == dict.fromkeys(runs, 1)


# --- ending together -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fails", "is cancelled", "loses its worker"])
async def test_live_children_end_with_a_parent_that_did_not_succeed(
    jobs: Jobs, kind: str, told: Told, how: str
) -> None:
    root = await jobs.start(kind)
    ended, running, queued = [await jobs.start(kind, parent_id=root.id, required=True) for _ in range(3)]
    below = await jobs.start(kind, parent_id=ended.id)
    await finish(jobs, ended)
    token = await claim_it(jobs, running)
    if how == "fails":
        await fail(jobs, root)
    elif how == "is cancelled":
        async with transaction() as session:
            await service.cancel_job(session, actor=None, job=root)
    else:
        await claim_it(jobs, root)
        await jobs.change(root.id, lease_until=func.now() - func.make_interval(0, 0, 0, 0, 0, 1))
        assert await tasks.reap() == 1
    assert await states(jobs, ended, running, queued, below) == ["completed", "running", "cancelled", "cancelled"]
    assert (await jobs.read(running.id)).cancel_requested_at is not None
    async with transaction() as session:
        await leases.confirm_cancel(session, job_id=running.id, token=token)
    assert told.ended == {
        root.id: "cancelled" if how == "is cancelled" else "failed",
        running.id: "cancelled",
        queued.id: "cancelled",
        below.id: "cancelled",
    }


async def test_a_whole_family_is_cancelled_from_its_root(jobs: Jobs, kind: str, told: Told) -> None:
    root = await jobs.start(kind)
    child = await jobs.start(kind, parent_id=root.id, required=True)
    leaf = await jobs.start(kind, parent_id=child.id)
    other = await jobs.start(kind)
    await finish(jobs, root)
    async with transaction() as session:
        cancelled = await service.cancel_family(session, actor=None, root=root)
    assert [job.id for job in cancelled] == [leaf.id, child.id]
    assert await states(jobs, root, child, leaf, other) == ["completed", "cancelled", "cancelled", "queued"]
    async with transaction() as session:
        assert await service.cancel_family(session, actor=None, root=root) == []


async def test_no_child_is_started_under_a_parent_that_failed(jobs: Jobs, kind: str) -> None:
    root = await jobs.start(kind)
    await fail(jobs, root)
    with pytest.raises(InvalidState):
        await jobs.start(kind, parent_id=root.id)


async def test_a_parent_that_is_tried_again_does_not_wait_for_children_of_before(
    jobs: Jobs, kind: str, told: Told
) -> None:
    root = await jobs.start(kind)
    await jobs.start(kind, parent_id=root.id, required=True)
    await fail(jobs, root)
    await retry(root)
    new = await jobs.start(kind, parent_id=root.id, required=True)
    await finish(jobs, root)
    assert not told.done
    await finish(jobs, new)
    assert told.done == {root.id: 1, new.id: 1}


async def test_a_parent_that_is_tried_again_does_not_wait_for_a_child_that_was_still_stopping(
    jobs: Jobs, kind: str, told: Told
) -> None:
    root = await jobs.start(kind)
    child = await jobs.start(kind, parent_id=root.id, required=True)
    token = await claim_it(jobs, child)
    await fail(jobs, root)
    await retry(root)
    async with transaction() as session:
        await leases.confirm_cancel(session, job_id=child.id, token=token)
    await finish(jobs, root)
    assert told.done == {root.id: 1}


async def test_a_cancel_that_meets_a_member_held_for_long_says_so_and_changes_nothing(
    jobs: Jobs, kind: str, user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "PATIENCE_SECONDS", 0.1)
    root = await jobs.start(kind)
    child = await jobs.start(kind, parent_id=root.id)
    async with transaction() as session:
        await session.execute(select(Job.id).where(Job.id == child.id).with_for_update())
        answer = await user.client.post(f"/api/jobs/{root.id}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "invalid_state")
    assert await states(jobs, root, child) == ["queued", "queued"]
    assert (await user.client.post(f"/api/jobs/{root.id}/cancel")).status_code == 200


async def end(job: Job, move: Callable[..., Awaitable[object]], **options: Any) -> None:
    """As a worker does: once more while others of the family are being moved."""
    while True:
        try:
            async with transaction() as session:
                await move(session, job_id=job.id, token=job.lease_token, **options)
            return
        except Exception as failure:
            if not families.is_in_use(failure):
                raise
        await asyncio.sleep(0.02)


async def cancel(root: Job) -> None:
    async with transaction() as session:
        await service.cancel_family(session, actor=None, root=root)


async def test_families_that_end_and_are_cancelled_at_once_never_wait_for_each_other(
    jobs: Jobs, kind: str, told: Told
) -> None:
    for _ in range(5):
        told.done.clear()
        root = await jobs.start(kind)
        children = [await jobs.start(kind, parent_id=root.id, required=True) for _ in range(5)]
        claimed = [await jobs.claimed() for _ in range(6)]
        ends = [end(job, leases.finish) for job in claimed if job.id != root.id]
        error = JobError("x", "x")
        async with asyncio.timeout(60):
            await asyncio.gather(*ends, *(cancel(root) for _ in range(2)), end(claimed[0], leases.fail, error=error))
        assert (await jobs.read(root.id)).state in ("failed", "cancelled")
        assert set(await states(jobs, *children)) == {"completed"}
        assert told.done == {child.id: 1 for child in children}


async def test_a_lost_parent_is_ended_later_while_a_child_is_just_being_moved(
    jobs: Jobs, kind: str, told: Told
) -> None:
    root = await jobs.start(kind)
    child = await jobs.start(kind, parent_id=root.id)
    await claim_it(jobs, root)
    await jobs.change(root.id, lease_until=func.now() - func.make_interval(0, 0, 0, 0, 0, 1))
    async with asyncio.timeout(60):
        async with transaction() as session:
            await session.execute(select(Job.id).where(Job.id == child.id).with_for_update())
            await tasks.reap()
            assert await states(jobs, root) == ["running"]
        while await states(jobs, root, child) != ["failed", "cancelled"]:
            await tasks.reap()
            await asyncio.sleep(0.1)
    assert told.ended == {root.id: "failed", child.id: "cancelled"}


async def test_a_family_is_shown_with_its_parent_and_children(jobs: Jobs, kind: str) -> None:
    root = await jobs.start(kind)
    children = [await jobs.start(kind, parent_id=root.id) for _ in range(3)]
    async with transaction() as session:
        above = await service.family_of(session, root)
        below = await service.family_of(session, children[0])
    assert (above.parent, [job.id for job in above.children]) == (None, [job.id for job in children])
    assert below.parent is not None
    assert (below.parent.id, list(below.children)) == (root.id, [])
