"""Any family in any order of ends, on Postgres and on a simple model at once, is done at the same moments."""

import asyncio
import uuid
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from backend.core.db import transaction
from backend.core.queue import Task, registry
from backend.jobs import service
from backend.jobs.models import Job
from backend.jobs.running import Run
from tests.jobs.conftest import Jobs
from tests.jobs.test_families import Told, fail, finish, retry, states


@dataclass
class Member:
    """A job of a made-up family."""

    parent: int | None
    required: bool
    state: str = "queued"
    done: bool = False
    waited_for: bool = field(init=False)

    def __post_init__(self) -> None:
        self.waited_for = self.required


def descendants(members: list[Member], number: int) -> list[int]:
    children = [each for each, member in enumerate(members) if member.parent == number]
    return [*children, *(below for child in children for below in descendants(members, child))]


def settle(members: list[Member]) -> None:
    for number in reversed(range(len(members))):  # children come after their parents
        waits = [each for each in members if each.parent == number and each.waited_for]
        if members[number].state == "completed" and all(each.done for each in waits):
            members[number].done = True


FAMILIES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6)
STEPS = st.lists(st.tuples(st.sampled_from(["finish", "finish", "fail", "retry", "cancel"]), st.integers(0, 6)))


async def check(jobs: Jobs, kind: str, told: Told, shape: list[tuple[int, bool]], steps: list[tuple[str, int]]) -> None:
    members = [Member(None, False)]
    members += [Member(min(parent, number), required) for number, (parent, required) in enumerate(shape)]
    rows: list[Job] = []
    for each in members:
        parent_id = rows[each.parent].id if each.parent is not None else None
        rows.append(await jobs.start(kind, parent_id=parent_id, required=each.required))
    for verb, of in steps:
        number = of % len(members)
        member, row = members[number], rows[number]
        if verb in ("finish", "fail") and member.state == "queued":
            await (finish if verb == "finish" else fail)(jobs, row)
            member.state = "completed" if verb == "finish" else "failed"
            for child in members:
                if child.parent == number and verb == "fail" and not child.done:
                    child.waited_for = False
        elif verb == "retry" and member.state == "failed":
            await retry(row)
            member.state = "queued"
        elif verb == "cancel":
            async with transaction() as session:
                await service.cancel_family(session, actor=None, root=row)
        if verb == "cancel" or member.state == "failed":
            for below in (number, *descendants(members, number)):
                if members[below].state == "queued":
                    members[below].state = "cancelled"
        settle(members)
        assert await states(jobs, *rows) == [each.state for each in members]
        assert told.done == {row.id: 1 for each, row in zip(members, rows, strict=True) if each.done}
    async with transaction() as session:
        unsettled = set(await session.scalars(select(Job.id).where(Job.unsettled)))
        waiting = zip(members, rows, strict=True)
        assert unsettled == {row.id for each, row in waiting if each.state == "completed" and not each.done}


async def test_any_family_is_done_exactly_when_the_model_says(jobs: Jobs) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=50, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(FAMILIES, STEPS)
    def run(shape: list[tuple[int, bool]], steps: list[tuple[str, int]]) -> None:
        async def once() -> None:
            told, kind = Told(), f"model_{uuid.uuid4().hex[:8]}"

            async def nothing(run: Run) -> None: ...

            registry.add(Task(kind, nothing, queue="test", max_attempts=1, on_done=told.on_done, on_end=told.on_end))
            try:
                await check(jobs, kind, told, shape, steps)
            finally:
                registry.remove(kind)
                async with transaction() as session:
                    await session.execute(delete(Job).where(Job.kind == kind))

        asyncio.run_coroutine_threadsafe(once(), loop).result(120)

    await asyncio.to_thread(run)
