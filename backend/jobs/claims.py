"""Which job a worker takes next: queues by priority and age, and inside a queue and priority the projects in turns.

Turns are virtual time, as in start-time fair queueing (Goyal, Vin, Cheng, 1996): each job a project is given moves its
pass on by 1 / weight, and the project with the least pass is next; ties go round in the order of ids. A project that
was not served lately stands at the current time, so that its first job waits for no more than one job of another.

Each worker process keeps turns of its own, in memory. What each gives out fairly is fair in sum, no row is shared that
claims would wait for, and a claim looks only at as many projects as were served more than their share just now.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Double, Executable, String, Uuid, bindparam, column, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.db import database
from backend.core.queue import registry
from backend.jobs import moves
from backend.jobs.models import Job

#: Projects of one queue and priority whose lead is remembered; beyond, going round in order is fair by itself.
MAX_REMEMBERED = 256
#: Projects tried whose due jobs are all being claimed by others at this moment.
MAX_TRIES = 8


@dataclass
class _Place:
    """The turns inside one queue and priority: the current time, who is ahead of it, and who was served last."""

    last: uuid.UUID
    now: float = 0.0
    ahead: dict[uuid.UUID, float] = field(default_factory=dict)


class Turns:
    """Whose turn it is, as one worker process has given them out."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        #: Where this process begins to go round: workers that begin together do not meet.
        self.begin = uuid.uuid4()

    def note(self, queue: str, priority: int, project_id: uuid.UUID, weight: float) -> None:
        """A job of this project was claimed."""
        place = self._places.setdefault(f"{queue}/{priority}", _Place(project_id))
        place.last = project_id
        # It was the least of those that wait: the time moves on to it, and nobody below is ahead any more.
        place.now = max(place.now, place.ahead.get(project_id, place.now))
        place.ahead[project_id] = place.now + 1 / weight
        ranked = sorted(place.ahead.items(), key=lambda item: -item[1])[:MAX_REMEMBERED]
        place.ahead = {project: reached for project, reached in ranked if reached > place.now}

    def parameters(self) -> tuple[str, str]:
        """The last project of each place, and the passes of those ahead, as JSON."""
        last = {name: str(place.last) for name, place in self._places.items()}
        ahead = {name: {str(k): v for k, v in place.ahead.items()} for name, place in self._places.items()}
        return json.dumps(last), json.dumps(ahead)


_turns = Turns()

# `place`: the queue and priority of the best due job. `turn`: from the project served last onwards and around, each
# project with a due job there, until one is found that is not ahead of its time. `chosen`: the oldest free job of the
# first such project that has one. Then the move, and the attempt it begins.
_SQL = """
    WITH RECURSIVE place AS MATERIALIZED (
        SELECT q.name AS queue, p.priority,
            coalesce((CAST(:last AS jsonb) ->> (q.name || '/' || p.priority))::uuid, :begin) AS last,
            coalesce(CAST(:ahead AS jsonb) -> (q.name || '/' || p.priority), '{}') AS ahead
        FROM unnest(:queues) AS q(name) CROSS JOIN (VALUES (1::int2), (2::int2), (3::int2)) AS p(priority)
        CROSS JOIN LATERAL (
            SELECT run_at, id FROM jobs
            WHERE queue = q.name AND priority = p.priority AND state = 'queued' AND run_at <= now()
              AND kind = ANY(:kinds){which} AND project_id <> ALL(:busy)
            ORDER BY run_at, id LIMIT 1
        ) AS oldest
        WHERE NOT EXISTS (SELECT FROM queues WHERE queues.name = q.name AND queues.paused_at IS NOT NULL)
        ORDER BY p.priority, oldest.run_at, oldest.id LIMIT 1
    ), turn AS (
        SELECT place.last AS project_id, 'infinity'::float8 AS pass, true AS ahead, false AS around, 0 AS number
        FROM place
        UNION ALL
        SELECT next.project_id, coalesce((place.ahead ->> next.project_id::text)::float8, 0),
            place.ahead ? next.project_id::text, next.around, turn.number + 1
        FROM turn, place, LATERAL (
            (
                SELECT project_id, turn.around AS around FROM jobs
                WHERE queue = place.queue AND priority = place.priority AND state = 'queued' AND run_at <= now()
                  AND project_id > turn.project_id AND (NOT turn.around OR project_id <= place.last)
                  AND kind = ANY(:kinds){which} AND project_id <> ALL(:busy)
                ORDER BY jobs.project_id, jobs.run_at, jobs.id LIMIT 1
            ) UNION ALL (
                SELECT project_id, true FROM jobs
                WHERE NOT turn.around
                  AND queue = place.queue AND priority = place.priority AND state = 'queued' AND run_at <= now()
                  AND project_id <= place.last
                  AND kind = ANY(:kinds){which} AND project_id <> ALL(:busy)
                ORDER BY jobs.project_id, jobs.run_at, jobs.id LIMIT 1
            ) LIMIT 1
        ) AS next
        WHERE turn.ahead
    ), chosen AS MATERIALIZED (
        SELECT best.id FROM place, (
            SELECT project_id FROM turn WHERE number > 0 ORDER BY ahead, pass, number
        ) AS served, LATERAL (
            SELECT id FROM jobs
            WHERE queue = place.queue AND priority = place.priority AND state = 'queued' AND run_at <= now()
              AND project_id = served.project_id AND kind = ANY(:kinds){which}
            ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS best LIMIT 1
    ), moved AS (
        UPDATE jobs SET state = 'running', updated_at = clock_timestamp(), attempt = attempt + 1, lease_token = :token,
            lease_until = now() + make_interval(secs => :lease_seconds), worker = :worker, started_at = now(),
            stage = NULL, progress = 0
        FROM chosen WHERE jobs.id = chosen.id AND jobs.state = 'queued' AND jobs.lease_token IS NULL
        RETURNING jobs.*
    ), begun AS (
        INSERT INTO job_attempts (lease_token, job_id, attempt, worker)
        SELECT lease_token, id, attempt, worker FROM moved
    ), event AS MATERIALIZED (
        SELECT gen_random_uuid() AS id
    ), told AS (
        INSERT INTO webhook_deliveries (id, project_id, endpoint_id, event_id, type, data)
        SELECT gen_random_uuid(), moved.project_id, endpoint.id, event.id, 'job.started', {data}
        FROM event, moved JOIN webhook_endpoints AS endpoint ON endpoint.project_id = moved.project_id
        WHERE endpoint.enabled AND endpoint.events && ARRAY['job.started', 'job.*']::varchar[]
        FOR KEY SHARE OF endpoint
    )
    SELECT {columns}, projects.weight AS weight, tried.project_ids AS tried
    FROM (SELECT array_agg(project_id) AS project_ids FROM turn WHERE number > 0) AS tried
    LEFT JOIN moved ON true LEFT JOIN projects ON projects.id = moved.project_id
    """
# A job that had its worker lost before, and has one attempt left: it may be what ends workers. It waits for an idle one
# for ten minutes, then it takes its turn among the others. As an array, not as EXISTS: that might be planned as a hash
# of all attempts.
_SUSPECT = """(jobs.attempt > 0 AND jobs.attempt + 1 >= jobs.max_attempts AND jobs.run_at > now() - interval '10 min'
    AND 'lost' = ANY (ARRAY(SELECT outcome FROM job_attempts WHERE job_id = jobs.id)))"""
_SUSPECT_WAITS = text(
    f"""
    SELECT EXISTS (
        SELECT FROM jobs WHERE state = 'queued' AND queue = ANY(:queues) AND run_at <= now() AND kind = ANY(:kinds)
        AND {_SUSPECT}
        AND NOT EXISTS (SELECT FROM queues WHERE queues.name = jobs.queue AND queues.paused_at IS NOT NULL)
    )
    """  # noqa: S608  # nothing but the words above
).bindparams(bindparam("queues", type_=ARRAY(String)), bindparam("kinds", type_=ARRAY(String)))
# A job that has just begun, as `schemas.JobOut` has it: webhooks are told in the statement that begins it.
_DATA = """jsonb_build_object(
    'id', moved.id, 'kind', moved.kind, 'queue', moved.queue, 'status', moved.state, 'stage', moved.stage,
    'progress', moved.progress, 'attempt', moved.attempt, 'max_attempts', moved.max_attempts, 'queue_position', NULL,
    'waiting_for', NULL, 'estimated_seconds', NULL, 'error', CASE WHEN moved.error_code IS NOT NULL THEN
        jsonb_build_object('code', moved.error_code, 'message', moved.error_message, 'retryable', moved.error_retryable)
    END, 'video_id', moved.video_id, 'project_id', moved.project_id, 'cancel_requested_at', moved.cancel_requested_at,
    'created_at', moved.created_at, 'started_at', moved.started_at, 'finished_at', moved.finished_at)"""
_COLUMNS = list(Job.__table__.columns)

#: Which jobs a claim takes: those that have to run alone in their worker, the others, or any.
Which = Literal["suspects", "others", "any"]


def _claiming(which: str) -> Executable:
    columns = ", ".join(f"moved.{each.name}" for each in _COLUMNS)
    statement = (
        text(_SQL.replace("{columns}", columns).replace("{which}", which).replace("{data}", _DATA))
        .bindparams(
            bindparam("queues", type_=ARRAY(String)),
            bindparam("kinds", type_=ARRAY(String)),
            bindparam("busy", type_=ARRAY(Uuid)),
            bindparam("begin", type_=Uuid),
            bindparam("token", type_=Uuid),
            bindparam("lease_seconds", type_=Double),
        )
        .columns(*_COLUMNS, column("weight", Double), column("tried", ARRAY(Uuid)))
    )
    return select(Job, column("weight"), column("tried")).from_statement(statement)


_CLAIMS = {
    "any": _claiming(""),
    "suspects": _claiming(f" AND {_SUSPECT}"),
    "others": _claiming(f" AND NOT {_SUSPECT}"),
}


async def suspect_waits(session: AsyncSession, *, queues: Sequence[str], kinds: Sequence[str]) -> bool:
    """Whether a due job has to run alone: its next attempt is its last, and a worker was lost in an earlier one."""
    return bool(await session.scalar(_SUSPECT_WAITS, {"queues": list(queues), "kinds": list(kinds)}))


async def claim(
    session: AsyncSession, *, worker: str, queues: Sequence[str], kinds: Sequence[str], turns: Turns | None = None
) -> Job | None:
    """Take the next due job, and tell those who watch it after the commit (see `take`)."""
    job = await take(session, worker=worker, queues=queues, kinds=kinds, turns=turns)
    if job is not None:
        moves.announce(session, job)
    return job


async def take(
    session: AsyncSession,
    *,
    worker: str,
    queues: Sequence[str],
    kinds: Sequence[str],
    turns: Turns | None = None,
    which: Which = "any",
) -> Job | None:
    """Take the next due job of these queues that nobody else is taking, and begin its attempt, in one statement.

    Kinds not named stay queued for workers that know them; a paused queue gives nothing. Without `turns` the process's
    own are used.
    """
    turns = turns or _turns
    last, ahead = turns.parameters()
    busy: list[uuid.UUID] = []
    for _ in range(MAX_TRIES):
        row = (
            await session.execute(
                _CLAIMS[which],
                {
                    "queues": list(queues),
                    "kinds": list(kinds),
                    "busy": busy,
                    "last": last,
                    "ahead": ahead,
                    "begin": turns.begin,
                    "token": uuid.uuid4(),
                    "lease_seconds": float(settings.job_lease_seconds),
                    "worker": worker,
                },
                execution_options={"populate_existing": True},
            )
        ).one()
        job: Job | None = row[0]
        if job is not None:
            turns.note(job.queue, job.priority, job.project_id, row[1])
            return job
        if not row[2]:
            return None
        busy += row[2]
    return None


async def take_one(
    *, worker: str, queues: Sequence[str], turns: Turns | None = None, which: Which = "any"
) -> Job | None:
    """`take` by itself, of the kinds that this process knows; nobody is told."""
    # One statement needs no BEGIN and COMMIT, which are half of what it would cost.
    async with database.session() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        kinds = registry.kinds()
        return await take(session, worker=worker, queues=queues, kinds=kinds, turns=turns, which=which)
