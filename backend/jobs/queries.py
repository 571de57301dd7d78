"""Reading jobs: their public shape, lists, and the latest job of each video."""

import math
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import ARRAY, Uuid, any_, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.paging import Order
from backend.jobs.models import Job, JobState
from backend.jobs.queues import obstacles
from backend.jobs.schemas import SHOWN, JobOut, JobQuery, Pagination, from_row
from backend.orgs.access import Actor, visible

#: Beyond this many jobs ahead the position is "this many": counting further would cost more than it tells.
MAX_POSITION = 1000
ESTIMATE_KEPT_SECONDS = 30.0

NEWEST = Order("created", Job.created_at, Job.id, kind=datetime, descending=True)  # type: ignore[arg-type]

# As the claim serves them: better priorities first; inside one the projects in turns. A project's first due job stands
# at 0, each further one 1 / weight later; what stands before a job, or beside it and is older, goes first. With which
# project it begins is each worker's to choose, so that this is right to within the number of projects.
_POSITIONS = text(
    """
    SELECT mine.id, least(:most, better.jobs + own.jobs + others.jobs) FROM jobs AS mine
    JOIN projects AS home ON home.id = mine.project_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT FROM generate_series(1, mine.priority - 1) AS p(priority), jobs AS ahead
            WHERE ahead.queue = mine.queue AND ahead.priority = p.priority AND ahead.state = 'queued'
              AND ahead.run_at <= now()
            LIMIT :most
        ) AS counted
    ) AS better
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT FROM jobs AS ahead
            WHERE ahead.queue = mine.queue AND ahead.priority = mine.priority AND ahead.state = 'queued'
              AND ahead.run_at <= now() AND ahead.project_id = mine.project_id
              AND (ahead.run_at, ahead.id) < (mine.run_at, mine.id)
            LIMIT :most
        ) AS counted
    ) AS own
    CROSS JOIN LATERAL (
        WITH RECURSIVE other AS (
            SELECT '00000000-0000-0000-0000-000000000000'::uuid AS project_id, 0 AS number
            WHERE better.jobs + own.jobs < :most
            UNION ALL
            SELECT next.project_id, other.number + 1 FROM other, LATERAL (
                SELECT project_id FROM jobs
                WHERE queue = mine.queue AND priority = mine.priority AND state = 'queued' AND run_at <= now()
                  AND project_id > other.project_id
                ORDER BY jobs.project_id, jobs.run_at, jobs.id LIMIT 1
            ) AS next
            WHERE other.number < :most
        )
        SELECT count(*) AS jobs FROM (
            SELECT FROM other JOIN projects ON projects.id = other.project_id, LATERAL (
                SELECT run_at, id, (row_number() OVER (ORDER BY run_at, id) - 1) / projects.weight AS stands FROM jobs
                WHERE queue = mine.queue AND priority = mine.priority AND state = 'queued' AND run_at <= now()
                  AND project_id = other.project_id
                ORDER BY run_at, id LIMIT ceil(own.jobs * projects.weight / home.weight)::bigint + 1
            ) AS theirs
            WHERE other.project_id <> mine.project_id
              AND (theirs.stands, theirs.run_at, theirs.id) < (own.jobs / home.weight, mine.run_at, mine.id)
            LIMIT :most
        ) AS counted
    ) AS others
    WHERE mine.id = ANY(:ids) AND mine.state = 'queued'
    """
)
_MEDIAN = text(
    """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM (
        SELECT extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM jobs
        WHERE kind = :kind AND state = 'completed' ORDER BY finished_at DESC LIMIT 50
    ) AS recent
    """
)
_ROWS = select(*(Job.__table__.c[name] for name in (*SHOWN, "updated_at"))).where(
    Job.__table__.c.id == any_(bindparam("ids", type_=ARRAY(Uuid())))
)
_estimates: dict[str, tuple[float, float | None]] = {}


async def public(session: AsyncSession, job: Job) -> JobOut:
    """The contract's shape of a job, as Postgres knows it (progress is at most a few seconds old)."""
    return (await public_many(session, [job]))[0]


async def public_many(session: AsyncSession, jobs: Sequence[Job]) -> list[JobOut]:
    """The same for several jobs, with one query for all positions."""
    queued = [job.id for job in jobs if job.state == JobState.QUEUED]
    positions = await queue_positions(session, queued)
    kept = await obstacles(session) if queued else None
    return [
        from_row(
            job,
            queue_position=positions.get(job.id),
            waiting_for=kept.of(job.queue) if kept and job.state == JobState.QUEUED else None,
            estimated_seconds=await estimated_seconds(session, job.kind),
        )
        for job in jobs
    ]


async def queue_positions(session: AsyncSession, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """About how many due jobs go before each of these; those that are not queued have no position."""
    if not job_ids:
        return {}
    rows = await session.execute(_POSITIONS, {"ids": job_ids, "most": MAX_POSITION})
    return {row[0]: row[1] for row in rows}


async def estimated_seconds(session: AsyncSession, kind: str) -> float | None:
    """The median time of the last fifty completed jobs of a kind; remembered for half a minute."""
    until, known = _estimates.get(kind, (0.0, None))
    if time.monotonic() < until:
        return known
    median = await session.scalar(_MEDIAN, {"kind": kind})
    estimate = None if median is None else round(float(median), 1)
    _estimates[kind] = (time.monotonic() + ESTIMATE_KEPT_SECONDS, estimate)
    return estimate


async def find_job(session: AsyncSession, job_id: uuid.UUID) -> Job | None:
    """The newest row, whoever asks: permission was checked before."""
    return await session.scalar(select(Job).where(Job.id == job_id), execution_options={"populate_existing": True})


async def find_jobs(session: AsyncSession, job_ids: Sequence[uuid.UUID]) -> Sequence[Job]:
    """Those of these jobs that are there, whoever asks: permission is checked by who shows them."""
    return (await session.scalars(select(Job).where(Job.id.in_(job_ids)))).all()


async def find_rows(session: AsyncSession, job_ids: Sequence[uuid.UUID]) -> Sequence[Job]:
    """The same as plain rows with what is shown of them, a third of the time: for the many that are followed."""
    connection = await session.connection()
    return cast("Sequence[Job]", (await connection.execute(_ROWS, {"ids": job_ids})).all())


async def latest_for_videos(
    session: AsyncSession, video_ids: Sequence[uuid.UUID], *, kind: str | None = None
) -> dict[uuid.UUID, Job]:
    """The newest job of each video, of one kind or any."""
    statement = (
        select(Job)
        .where(Job.video_id.in_(video_ids))
        .distinct(Job.video_id)
        .order_by(Job.video_id, Job.created_at.desc(), Job.id.desc())
    )
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    return {job.video_id: job for job in await session.scalars(statement) if job.video_id is not None}


async def list_jobs(session: AsyncSession, *, actor: Actor, query: JobQuery) -> tuple[list[Job], Pagination]:
    """One page of the jobs the actor may see, newest first. Raises BadCursor."""
    chosen = visible(Job, actor)
    for column, value in ((Job.state, query.status), (Job.kind, query.kind), (Job.video_id, query.video_id)):
        if value is not None:
            chosen = chosen.where(column == value)
    total = await session.scalar(select(func.count()).select_from(chosen.order_by(None).subquery())) or 0
    page = chosen.order_by(*NEWEST.terms).limit(query.limit + 1)
    page = page.where(NEWEST.after(query.cursor)) if query.cursor else page.offset((query.page - 1) * query.limit)
    rows = list(await session.scalars(page))
    jobs = rows[: query.limit]
    return jobs, Pagination(
        page=query.page,
        limit=query.limit,
        total=total,
        total_pages=math.ceil(total / query.limit),
        next_cursor=NEWEST.cursor(jobs[-1].created_at, jobs[-1].id) if len(rows) > query.limit else None,
    )
