"""What the words of a search mean: which jobs they name, so that these are found by an index, or at once not at all.

Words are first looked up where there are few of everything: people, projects, kinds, workers, codes of errors. Only
the messages of errors are read one by one, and only those of jobs that have one.
"""

import re
import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from backend.accounts.models import User
from backend.core.queue import registry
from backend.jobs import workers
from backend.jobs.models import Job, JobState
from backend.orgs.models import Project

#: People and projects that a word may stand for; a word that fits more of them means no one of them.
MOST_NAMED = 200

_ERROR_CODES = text(
    """
    WITH RECURSIVE found AS (
        (SELECT error_code FROM jobs WHERE error_code IS NOT NULL ORDER BY error_code LIMIT 1)
        UNION ALL
        SELECT (SELECT error_code FROM jobs WHERE error_code > found.error_code ORDER BY error_code LIMIT 1)
        FROM found WHERE found.error_code IS NOT NULL
    ) SELECT error_code FROM found WHERE error_code IS NOT NULL
    """
)
_COMPLETED_KINDS = text(
    """
    WITH RECURSIVE found AS (
        (SELECT kind FROM jobs WHERE state = 'completed' ORDER BY kind LIMIT 1)
        UNION ALL
        SELECT (SELECT kind FROM jobs WHERE state = 'completed' AND kind > found.kind ORDER BY kind LIMIT 1)
        FROM found WHERE found.kind IS NOT NULL
    ) SELECT kind FROM found WHERE kind IS NOT NULL
    """
)
_BEGINNING = re.compile(r"[0-9a-f][0-9a-f-]{5,35}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


async def meaning(session: AsyncSession, words: str) -> ColumnElement[bool]:
    """The jobs that these words name or describe."""
    id = _as_id(words)
    if id is not None:
        return await _named(session, id)
    pattern = f"%{_escaped(words)}%"
    people = select(User.id).where(or_(User.email.ilike(pattern), User.name.ilike(pattern)))
    projects = select(Project.id).where(Project.name.ilike(pattern), ~Project.personal)
    at_work = await workers.list_workers(session)
    kinds = {
        *registry.kinds(),
        *(await session.scalars(_COMPLETED_KINDS)),
        *(k for each in at_work for k in each.kinds),
    }
    described = and_(Job.error_code.is_not(None), Job.error_message.ilike(pattern))
    running = and_(Job.state == JobState.RUNNING, Job.worker.ilike(pattern))
    return or_(
        *(column.between(*_range(words)) for column in (Job.id, Job.video_id) if _BEGINNING.fullmatch(words.lower())),
        *([_of_request(words)] if _REQUEST_ID.fullmatch(words) else []),
        _among(Job.kind, _fitting(words.replace(" ", "_"), kinds)),
        _among(Job.error_code, _fitting(words, await session.scalars(_ERROR_CODES))),
        _among(Job.worker, _fitting(words, {worker.name for worker in at_work})),
        _among(Job.owner_id, (await session.scalars(people.limit(MOST_NAMED))).all()),
        _among(Job.project_id, (await session.scalars(projects.limit(MOST_NAMED))).all()),
        described,
        running,
    )


async def _named(session: AsyncSession, id: uuid.UUID) -> ColumnElement[bool]:
    columns = [Job.id, Job.video_id, Job.parent_id, Job.project_id]
    if await session.get(User, id) is not None:  # there is no index by owner: only when it is one
        return Job.owner_id == id
    return or_(_of_request(id.hex), *(column == id for column in columns))


def _as_id(words: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(words)
    except ValueError:
        return None


def _range(words: str) -> tuple[uuid.UUID, uuid.UUID]:
    digits = words.replace("-", "").lower()
    return uuid.UUID(digits.ljust(32, "0")[:32]), uuid.UUID(digits.ljust(32, "f")[:32])


def _fitting(words: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if words.lower() in name.lower())


def _of_request(id: str) -> ColumnElement[bool]:
    return and_(Job.request_id != "", Job.request_id == id)  # the first for the planner, whose index has none without


def _among(column: InstrumentedAttribute[Any], values: Iterable[object]) -> ColumnElement[bool]:
    known = list(values)
    return column.in_(known) if known else false()


def _escaped(words: str) -> str:
    return words.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
