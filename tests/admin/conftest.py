"""People with each role, and many jobs in every state."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text, update

from backend.accounts.models import User
from backend.admin import service
from backend.admin.overview import forget_everything
from backend.core.db import transaction
from tests.conftest import MakeUser, Person
from tests.flows.conftest import chromium, visitor
from tests.jobs.conftest import Declare, Jobs, declare, jobs_of
from tests.webhooks.conftest import hooks, receiver

__all__ = ["chromium", "declare", "hooks", "receiver", "visitor"]


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """What other tests' jobs left in the memory of this process."""
    forget_everything()


@pytest.fixture(autouse=True)
def time_enough() -> Iterator[None]:
    """An order on many jobs is not cut into several because the machine is slow."""
    # Not by the test's own `monkeypatch`: that would then be undone after the fixtures that empty the database.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "BULK_SECONDS", 60.0)
        yield


async def give_role(person: Person, *roles: str) -> None:
    async with transaction() as session:
        await session.execute(update(User).where(User.id == uuid.UUID(person.id)).values(roles=list(roles)))


@dataclass
class People:
    """One of each; `admin` registered first."""

    admin: Person
    auditor: Person
    user: Person


@pytest.fixture
async def people(make_user: MakeUser) -> People:
    admin, auditor, user = await make_user(), await make_user(), await make_user()
    await give_role(auditor, "auditor")
    return People(admin, auditor, user)


@pytest.fixture
async def jobs(people: People) -> Jobs:
    """Jobs of the ordinary person."""
    return await jobs_of(people.user)


async def many(jobs: Jobs, count: int, *, kind: str, queue: str = "test") -> None:
    """`count` jobs, one a second back from now: of ten, six completed, two failed, one cancelled, one waiting."""
    async with transaction() as session:
        await session.execute(
            text(
                """
                INSERT INTO jobs (id, kind, queue, project_id, owner_id, state, attempt, created_at, run_at, started_at,
                    finished_at, error_code, error_message, error_retryable)
                SELECT gen_random_uuid(), :kind, :queue, :project, :owner, state, (state <> 'queued')::int,
                    moment, moment, CASE WHEN state <> 'queued' THEN moment + interval '0.5 s' END,
                    CASE WHEN state <> 'queued' THEN moment + interval '0.8 s' END,
                    CASE WHEN state = 'failed' THEN 'corrupt_media' END,
                    CASE WHEN state = 'failed' THEN 'The file is damaged: number ' || number END,
                    CASE WHEN state = 'failed' THEN false END
                FROM generate_series(0, :count - 1) AS number, LATERAL (
                    SELECT now() - make_interval(secs => number + 2) AS moment,
                        (ARRAY['queued', 'failed', 'failed', 'cancelled'])[number % 10 + 1] AS odd
                ) AS made, LATERAL (SELECT coalesce(odd, 'completed') AS state) AS named
                """
            ),
            {"kind": kind, "queue": queue, "project": jobs.project_id, "owner": jobs.owner_id, "count": count},
        )


@pytest.fixture
async def busy(jobs: Jobs, declare: Declare) -> str:
    """Three thousand jobs of one kind; answers its name."""
    kind = declare()
    await many(jobs, 3000, kind=kind)
    return kind
