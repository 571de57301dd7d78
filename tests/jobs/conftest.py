"""Kinds of jobs made for one test, a project to run them in, and a real server for event streams."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.queue import Task, registry
from backend.jobs import leases, service
from backend.jobs.models import Job, JobAttempt
from backend.jobs.moves import JobError
from backend.jobs.running import Run, Runner
from backend.jobs.tasks import sweep, watch_cancels
from backend.orgs.models import Project
from tests.conftest import Person, free_port
from tests.serving import serving

Declare = Callable[..., str]
MakeRunner = Callable[..., Runner]

AGO = func.now() - timedelta(minutes=1)


@pytest.fixture
def declare() -> Iterator[Declare]:
    """Makes a kind of job known for one test: `declare(handler, **options)` answers its name."""
    kinds: list[str] = []

    async def nothing(run: Run) -> None:
        pass

    def add(handler: Any = nothing, **options: Any) -> str:
        kind = f"test_{uuid.uuid4().hex[:8]}"
        registry.add(Task(kind=kind, handler=handler, **{"queue": "test", **options}))
        kinds.append(kind)
        return kind

    yield add
    for kind in kinds:
        registry.remove(kind)


@dataclass
class Jobs:
    """Starts and reads jobs in one person's project, past the API."""

    project_id: uuid.UUID
    owner_id: uuid.UUID

    async def start(self, kind: str, **options: Any) -> Job:
        async with transaction() as session:
            return await service.start(
                session, kind=kind, project_id=self.project_id, owner_id=self.owner_id, **options
            )

    async def claim(self, *kinds: str, queues: tuple[str, ...] = ("test",)) -> Job | None:
        async with transaction() as session:
            return await leases.claim(session, worker="tester", queues=queues, kinds=kinds or registry.kinds())

    async def claimed(self, *kinds: str) -> Job:
        job = await self.claim(*kinds)
        assert job is not None
        return job

    async def read(self, job_id: uuid.UUID) -> Job:
        async with transaction() as session:
            job = await service.find_job(session, job_id)
        assert job is not None
        return job

    async def attempts(self, job_id: uuid.UUID) -> list[JobAttempt]:
        async with transaction() as session:
            rows = await session.scalars(
                select(JobAttempt).where(JobAttempt.job_id == job_id).order_by(JobAttempt.started_at)
            )
            return list(rows)

    async def change(self, job_id: uuid.UUID, **values: Any) -> None:
        """Put a row into a state that takes long to come about by itself."""
        async with transaction() as session:
            await session.execute(update(Job).where(Job.id == job_id).values(updated_at=Job.updated_at, **values))

    async def wait_for(self, job_id: uuid.UUID, *states: str, seconds: float = 60) -> Job:
        async with asyncio.timeout(seconds):
            while (job := await self.read(job_id)).state not in states:
                await asyncio.sleep(0.05)
        return job


@pytest.fixture
async def jobs(user: Person) -> Jobs:
    return await jobs_of(user)


async def jobs_of(person: Person) -> Jobs:
    projects = (await person.client.get("/api/projects")).json()["projects"]
    return Jobs(uuid.UUID(projects[0]["id"]), uuid.UUID(person.id))


@pytest.fixture
async def address(app: FastAPI) -> AsyncIterator[str]:
    """The application behind a real socket in this process: event streams cannot be read without one."""
    async with serving(app, free_port(), log_level="warning") as url:
        yield url


# --- what jobs do in tests --------------------------------------------------------------------------------------------


class Ended:
    """An `on_end` that writes a domain row and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.failure: Exception | None = None

    async def __call__(self, session: AsyncSession, job: Job, state: str, error: JobError) -> None:
        await rename(session, job.project_id, f"ended {state}")
        self.told.append((state, error.code))
        if self.failure is not None:
            raise self.failure


async def rename(session: AsyncSession, project_id: uuid.UUID, name: str) -> None:
    await session.execute(update(Project).where(Project.id == project_id).values(name=name))


async def project_name(project_id: uuid.UUID) -> str:
    async with transaction() as session:
        name: str = (await session.execute(select(Project.name).where(Project.id == project_id))).scalar_one()
        return name


async def fail(job: Job, error: JobError) -> Job:
    assert job.lease_token is not None
    async with transaction() as session:
        return await leases.fail(session, job_id=job.id, token=job.lease_token, error=error)


class Work:
    """A handler that says when it began, waits to be let go, and notes when it was stopped."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.stopped = asyncio.Event()
        self.runs = 0

    async def __call__(self, run: Run) -> None:
        self.runs += 1
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise


@pytest.fixture
async def runner() -> AsyncIterator[MakeRunner]:
    """Makes a worker's slots in this process, swept like a real one unless told otherwise."""
    runners: list[Runner] = []
    beside: list[asyncio.Task[None]] = []

    def make(slots: int = 2, *, swept: bool = True) -> Runner:
        made = Runner(worker="tester", queues=["test"], slots=slots)
        runners.append(made)
        if swept:
            beside.extend((asyncio.create_task(sweep(made)), asyncio.create_task(watch_cancels(made))))
        return made

    yield make
    for each in runners:
        await each.drain(0)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


async def reached(event: asyncio.Event, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()
