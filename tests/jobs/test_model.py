"""Any sequence of moves, made on Postgres and on a simple model at once, leaves both in the same state."""

import asyncio
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.core.queue import Task, registry
from backend.jobs import leases, service, tasks
from backend.jobs.models import Job, JobAttempt
from backend.jobs.moves import JobError, LeaseLost
from tests.jobs.conftest import Jobs

T = TypeVar("T")
MAX_ATTEMPTS = 2


@dataclass
class Model:
    """A job as it should be."""

    priority: int
    queued_at: int
    state: str = "queued"
    attempt: int = 0
    allowed: int = MAX_ATTEMPTS
    token: uuid.UUID | None = None
    stale: list[uuid.UUID] = field(default_factory=list)
    cancelling: bool = False
    expired: bool = False
    outcomes: list[str | None] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def close(self, state: str, outcome: str) -> None:
        assert self.token is not None
        self.stale.append(self.token)
        self.token, self.state, self.expired = None, state, False
        self.outcomes[-1] = outcome
        if state in ("failed", "cancelled"):
            self.ended.append(state)


class Machine(RuleBasedStateMachine):
    """The verbs of jobs in any order, with tokens good and stale."""

    jobs: ClassVar[Jobs]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[uuid.UUID, Model] = {}
        self.told: dict[uuid.UUID, list[str]] = {}
        self.clock = 0
        self.kind = f"model_{uuid.uuid4().hex[:8]}"

        async def nothing(run: Any) -> None: ...

        async def on_end(session: AsyncSession, job: Job, state: str, error: JobError) -> None:
            self.told.setdefault(job.id, []).append(str(state))

        task = Task(self.kind, nothing, queue="test", max_attempts=MAX_ATTEMPTS, backoff_seconds=0, on_end=on_end)
        registry.add(task)

    def teardown(self) -> None:
        registry.remove(self.kind)

        async def clear() -> None:
            async with transaction() as session:
                await session.execute(delete(Job).where(Job.kind == self.kind))

        self.wait(clear())

    def wait(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(60)

    def now(self) -> int:
        self.clock += 1
        return self.clock

    def some(self, data: st.DataObject, *states: str) -> uuid.UUID:
        fitting = [id_ for id_, model in self.models.items() if not states or model.state in states]
        return data.draw(st.sampled_from(fitting or list(self.models)))

    async def held(self, move: Any, id_: uuid.UUID, token: uuid.UUID, **options: Any) -> bool:
        try:
            async with transaction() as session:
                await move(session, job_id=id_, token=token, **options)
        except LeaseLost:
            return False
        return True

    # --- rules -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: sum(model.state in ("queued", "running") for model in self.models.values()) < 4)
    @rule(priority=st.sampled_from([1, 2, 3]))
    def start(self, priority: int) -> None:
        job = self.wait(self.jobs.start(self.kind, priority=priority))
        self.models[job.id] = Model(priority, self.now())

    @precondition(lambda self: self.models)
    @rule()
    def claim(self) -> None:
        job = self.wait(self.jobs.claim(self.kind))
        waiting = {id_: model for id_, model in self.models.items() if model.state == "queued"}
        if not waiting:
            assert job is None
            return
        assert job is not None
        assert job.id == min(waiting, key=lambda id_: (waiting[id_].priority, waiting[id_].queued_at))
        model = waiting[job.id]
        model.state, model.token, model.attempt = "running", job.lease_token, model.attempt + 1
        model.outcomes.append(None)

    @precondition(lambda self: any(model.outcomes for model in self.models.values()))
    @rule(
        data=st.data(),
        good=st.sampled_from([True, True, True, False]),
        verb=st.sampled_from(["heartbeat", "finish", "fail", "again", "again", "release", "confirm"]),
    )
    def holder(self, data: st.DataObject, good: bool, verb: str) -> None:
        id_ = self.some(data, "running") if good else self.some(data)
        model = self.models[id_]
        token = model.token if good and model.token else data.draw(st.sampled_from([*model.stale, uuid.uuid4()]))
        verbs: dict[str, tuple[Any, dict[str, Any]]] = {
            "heartbeat": (leases.heartbeat, {"stage": "x", "progress": 5.0}),
            "finish": (leases.finish, {}),
            "fail": (leases.fail, {"error": JobError("x", "x")}),
            "again": (leases.fail, {"error": JobError("x", "x", retryable=True)}),
            "release": (leases.release, {}),
            "confirm": (leases.confirm_cancel, {}),
        }
        move, options = verbs[verb]
        done = self.wait(self.held(move, id_, token, **options))
        assert done == (token == model.token)
        if not done:
            return
        if verb == "heartbeat":
            model.expired = False
        elif verb == "finish":
            model.close("completed", "completed")
        elif verb == "confirm":
            model.close("cancelled", "cancelled")
        elif model.cancelling:
            model.close("cancelled", "released" if verb == "release" else "failed")
        elif verb == "release":
            model.close("queued", "released")
            model.attempt, model.queued_at = model.attempt - 1, self.now()
        elif verb == "again" and model.attempt < model.allowed:
            model.close("queued", "failed")
            model.queued_at = self.now()
        else:
            model.close("failed", "failed")

    @precondition(lambda self: any(model.state == "running" for model in self.models.values()))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        id_ = self.some(data, "running")
        ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, 5.0)
        self.wait(self.jobs.change(id_, lease_until=ago))
        self.models[id_].expired = True

    @precondition(lambda self: any(model.expired for model in self.models.values()))
    @rule()
    def reap(self) -> None:
        lost = [model for model in self.models.values() if model.expired]
        assert self.wait(tasks.reap()) == len(lost)
        for model in lost:
            if model.cancelling:
                model.close("cancelled", "lost")
            elif model.attempt < model.allowed:
                model.close("queued", "lost")
            else:
                model.close("failed", "lost")
        # Leases run out in the order they were lost, and so are queued again; the rows tell which that was.
        again = [id_ for id_, model in self.models.items() if model in lost and model.state == "queued"]
        for id_ in sorted(again, key=lambda id_: self.wait(self.jobs.read(id_)).run_at):
            self.models[id_].queued_at = self.now()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id_ = self.some(data)
        model = self.models[id_]

        async def ask() -> bool:
            try:
                async with transaction() as session:
                    job = await service.find_job(session, id_)
                    assert job is not None
                    await service.cancel_job(session, actor=None, job=job)
            except InvalidState:
                return False
            return True

        assert self.wait(ask()) == (model.state in ("queued", "running"))
        if model.state == "queued":
            model.state = "cancelled"
            model.ended.append("cancelled")
        elif model.state == "running":
            model.cancelling = True

    @precondition(lambda self: any(model.ended or model.state == "completed" for model in self.models.values()))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        id_ = self.some(data, "failed", "completed", "cancelled")
        model = self.models[id_]

        async def ask() -> bool:
            try:
                async with transaction() as session:
                    job = await service.find_job(session, id_)
                    assert job is not None
                    await service.retry_job(session, actor=None, job=job)
            except InvalidState:
                return False
            return True

        assert self.wait(ask()) == (model.state == "failed")
        if model.state == "failed":
            model.state, model.allowed, model.queued_at = "queued", model.attempt + MAX_ATTEMPTS, self.now()

    # --- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        async def read() -> tuple[list[Job], list[JobAttempt]]:
            async with transaction() as session:
                rows = list(await session.scalars(select(Job).where(Job.kind == self.kind)))
                tried = select(JobAttempt).where(JobAttempt.job_id.in_([row.id for row in rows]))
                return rows, list(await session.scalars(tried.order_by(JobAttempt.started_at)))

        rows, attempts = self.wait(read())
        assert {row.id for row in rows} == set(self.models)
        for row in rows:
            model = self.models[row.id]
            assert (row.state, row.attempt, row.max_attempts) == (model.state, model.attempt, model.allowed)
            assert row.lease_token == model.token
            assert (row.finished_at is not None) == (model.state in ("completed", "failed", "cancelled"))
            assert [each.outcome for each in attempts if each.job_id == row.id] == model.outcomes
            assert self.told.get(row.id, []) == model.ended


async def test_jobs_do_what_the_model_does(jobs: Jobs) -> None:
    Machine.jobs, Machine.loop = jobs, asyncio.get_running_loop()
    bounds = settings(
        max_examples=60,
        stateful_step_count=50,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=bounds)
