"""The figures of the admins' page, made so that a million jobs cost no more than a thousand.

What is exact, and what is not:

- While the table of jobs is small (under 32 MB), every count is exact.
- Beyond that running jobs are counted, waiting ones up to `MOST_COUNTED` a queue, failed and cancelled ones up to
  `MOST_COUNTED` in all, by their partial indexes; larger counts, and all counts of completed jobs, are the planner's
  estimates (`exact` is false).
- The oldest waiting job of a queue is one step into the index that workers claim by.
- Depth over time is walked back from the jobs that wait now, by what entered and left the queue since; it is as exact
  as that number. A job that was removed with its project is missing from all of the past.
- Throughput is counted by the indexes on the time of the end; the waits of a bucket are those of up to
  `SAMPLE` of its jobs. A bucket that is over is remembered, so that only the newest is ever counted again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.admin.filters import Window
from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import registry
from backend.jobs import queues, workers
from backend.jobs.models import JobState

SMALL_PAGES = 4096
MOST_COUNTED = 10_000
SAMPLE = 300
#: A transaction's time is that of its beginning: an end may appear in a bucket this long after the bucket's own.
SETTLES_SECONDS = 30
#: Everybody who watches shares one reading.
KEPT_SECONDS = 1.0

#: Window → seconds of a bucket, number of buckets.
BUCKETS: dict[Window, tuple[int, int]] = {"hour": (60, 60), "day": (1800, 48)}

_PAGES = text("SELECT pg_relation_size('jobs') / current_setting('block_size')::int")
_COUNT_ALL = text("SELECT queue, state, count(*) FROM jobs GROUP BY queue, state")
_COUNT_RUNNING = text("SELECT queue, count(*) FROM jobs WHERE state = 'running' GROUP BY queue")
_COUNT_QUEUED = text(
    """
    SELECT name, (SELECT count(*) FROM (
        SELECT FROM jobs WHERE state = 'queued' AND queue = name LIMIT :most
    ) AS counted) FROM unnest(CAST(:names AS text[])) AS name
    """
)
_COUNT_ENDED = """
    SELECT queue, count(*) FROM (SELECT queue FROM jobs WHERE state = '{state}' LIMIT :most) AS counted GROUP BY queue
"""
_ESTIMATE = "EXPLAIN (FORMAT JSON) SELECT FROM jobs WHERE queue = :name AND state = '{state}'"
_OLDEST = text(
    """
    SELECT name, extract(epoch FROM now() - min(first.run_at))::float8
    FROM unnest(CAST(:names AS text[])) AS name CROSS JOIN generate_series(1, 3) AS level CROSS JOIN LATERAL (
        SELECT run_at FROM jobs WHERE state = 'queued' AND queue = name AND priority = level ORDER BY run_at LIMIT 1
    ) AS first WHERE first.run_at <= now() GROUP BY name
    """
)
_QUEUES_WITH_JOBS = text(
    """
    WITH RECURSIVE found AS (
        (SELECT queue FROM jobs WHERE state = 'queued' ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT queue FROM jobs WHERE state = 'queued' AND queue > found.queue ORDER BY queue LIMIT 1)
        FROM found WHERE found.queue IS NOT NULL
    ) SELECT queue FROM found WHERE queue IS NOT NULL
    """
)
_BUCKETS = text(
    """
    WITH RECURSIVE kinds AS (
        (SELECT kind FROM jobs WHERE state = 'completed' ORDER BY kind LIMIT 1)
        UNION ALL
        SELECT (SELECT kind FROM jobs WHERE state = 'completed' AND kind > kinds.kind ORDER BY kind LIMIT 1)
        FROM kinds WHERE kinds.kind IS NOT NULL
    ), known AS (SELECT array_agg(kind) AS kinds FROM kinds WHERE kind IS NOT NULL)
    SELECT bucket,
        (SELECT count(*) FROM jobs WHERE state = 'completed' AND kind = ANY (known.kinds)
            AND finished_at >= to_timestamp(bucket) AND finished_at < to_timestamp(bucket + :width)),
        (SELECT count(*) FROM jobs WHERE state = 'failed'
            AND finished_at >= to_timestamp(bucket) AND finished_at < to_timestamp(bucket + :width)),
        waits.half, waits.most
    FROM known CROSS JOIN unnest(CAST(:buckets AS bigint[])) AS bucket CROSS JOIN LATERAL (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS half,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS most
        FROM (
            SELECT greatest(0, extract(epoch FROM started_at - run_at))::float8 AS seconds FROM jobs
            WHERE state = 'completed' AND kind = ANY (known.kinds)
              AND finished_at >= to_timestamp(bucket) AND finished_at < to_timestamp(bucket + :width)
            LIMIT :sample
        ) AS sample
    ) AS waits
    """
)


#: What entered the queue, less what left it: jobs made, attempts begun and ended, retries by hand, cancels. A failed
#: attempt's job went back unless that was its end: it has failed still, or was retried by hand later.
_CHANGES = text(
    """
    WITH by_hand AS (
        SELECT at, CASE WHEN object_type = 'job' THEN object_id::uuid ELSE ids::uuid END AS job_id
        FROM audit_log LEFT JOIN LATERAL jsonb_array_elements_text(detail -> 'ids') AS ids ON object_type = 'jobs'
        WHERE action IN ('job.retry', 'jobs.retry') AND at >= :since
            AND id >= coalesce((SELECT id FROM audit_log WHERE at < :since ORDER BY id DESC LIMIT 1), 0)
    ), moves AS (
        SELECT created_at AS at, 1 AS change FROM jobs WHERE created_at >= :since
        UNION ALL
        SELECT started_at, -1 FROM job_attempts
        WHERE (finished_at >= :since OR finished_at IS NULL) AND started_at >= :since
        UNION ALL
        SELECT attempts.finished_at, 1 FROM job_attempts AS attempts JOIN jobs ON jobs.id = attempts.job_id
        WHERE attempts.finished_at >= :since AND attempts.outcome IN ('failed', 'lost', 'released')
            AND (attempts.outcome = 'released' OR jobs.state <> 'failed' OR attempts.attempt < jobs.attempt)
        UNION ALL
        SELECT at, 1 FROM by_hand
        UNION ALL
        SELECT (SELECT max(finished_at) FROM job_attempts WHERE job_id = by_hand.job_id AND finished_at <= at), -1
        FROM by_hand
        UNION ALL
        SELECT finished_at, -1 FROM jobs WHERE state = 'cancelled' AND finished_at >= :since
            AND NOT EXISTS (SELECT FROM job_attempts WHERE job_id = jobs.id AND outcome = 'cancelled')
    )
    SELECT (floor(extract(epoch FROM at) / :width) * :width)::bigint AS bucket, sum(change)::bigint AS change
    FROM moves WHERE at >= :since GROUP BY bucket
    """
)


@dataclass(frozen=True)
class Count:
    """How many; when not `exact`, about how many."""

    number: int = 0
    exact: bool = True

    def __add__(self, other: "Count") -> "Count":
        return Count(self.number + other.number, self.exact and other.exact)


NONE = Count()


@dataclass
class QueueNumbers:
    """One queue: counts by state, and the age in seconds of the job that waits longest."""

    name: str
    counts: dict[str, Count] = field(default_factory=dict)
    oldest_seconds: float | None = None

    def count(self, state: str) -> Count:
        return self.counts.get(state, NONE)


@dataclass(frozen=True)
class Bucket:
    """What ended in a stretch of time, and how long its jobs had waited: half of them at most, 95 % at most.

    `waiting` is the depth of all queues at its end, `change` how much that is more than at its beginning.
    """

    at: datetime
    completed: int
    failed: int
    wait_half: float | None
    wait_most: float | None
    change: int = 0
    waiting: int = 0


async def queue_names(session: AsyncSession, known: Sequence[str]) -> list[str]:
    """All queues: `known` ones, this installation's, those of known kinds, and those in which jobs wait."""
    waiting = await session.scalars(_QUEUES_WITH_JOBS)
    kinds = (task.queue for kind in registry.kinds() if (task := registry.find(kind)) is not None)
    return sorted({*known, *settings.worker_queues, *kinds, *waiting})


async def names_of_queues(session: AsyncSession) -> list[str]:
    """The names alone, which cost nothing."""
    known = [state.name for state in await queues.list_queues(session)]
    listening = [name for worker in await workers.list_workers(session) for name in worker.queues]
    return await queue_names(session, [*known, *listening])


async def read_queues(session: AsyncSession, names: Sequence[str]) -> list[QueueNumbers]:
    """The figures of these queues, and of others that the table happens to show."""
    found = {name: QueueNumbers(name) for name in names}
    if (await session.scalar(_PAGES) or 0) < SMALL_PAGES:
        for queue, state, number in await session.execute(_COUNT_ALL):
            found.setdefault(queue, QueueNumbers(queue)).counts[state] = Count(number)
    else:
        await _count_carefully(session, found)
    for name, seconds in await session.execute(_OLDEST, {"names": list(found)}):
        found[name].oldest_seconds = seconds
    return sorted(found.values(), key=lambda queue: queue.name)


async def _count_carefully(session: AsyncSession, found: dict[str, QueueNumbers]) -> None:
    names = list(found)
    for name, number in await session.execute(_COUNT_RUNNING):
        found.setdefault(name, QueueNumbers(name)).counts[JobState.RUNNING] = Count(number)
    for name, number in await session.execute(_COUNT_QUEUED, {"names": names, "most": MOST_COUNTED}):
        exact = number < MOST_COUNTED
        found[name].counts[JobState.QUEUED] = (
            Count(number) if exact else await estimate(session, name, JobState.QUEUED, number)
        )
    for state in (JobState.FAILED, JobState.CANCELLED):
        counted = await session.execute(text(_COUNT_ENDED.format(state=state)), {"most": MOST_COUNTED})
        seen = {name: int(number) for name, number in counted}
        exact = sum(seen.values()) < MOST_COUNTED
        for name in {*names, *seen}:
            number = seen.get(name, 0)
            found.setdefault(name, QueueNumbers(name)).counts[state] = (
                Count(number) if exact else await estimate(session, name, state, number)
            )
    for name in names:
        found[name].counts[JobState.COMPLETED] = await estimate(session, name, JobState.COMPLETED, 0)


async def estimate(session: AsyncSession, name: str, state: JobState, least: int) -> Count:
    """What the planner thinks there is, and at least what was seen."""
    plan = await session.scalar(text(_ESTIMATE.format(state=state)).bindparams(name=name))
    return Count(max(least, int(plan[0]["Plan"]["Plan Rows"])) if plan else least, exact=False)


# --- throughput and waits --------------------------------------------------------------------------------------------

_over: dict[tuple[Window, int], Bucket] = {}


async def read_buckets(session: AsyncSession, window: Window, *, waiting: int) -> list[Bucket]:
    """The last hour by the minute or the last day by the half-hour, oldest first; the last one is still filling.

    `waiting` is how many jobs wait now, from which the depth before is reckoned.
    """
    width, number = BUCKETS[window]
    now = float(await session.scalar(text("SELECT extract(epoch FROM now())::float8")) or 0)
    last = int(now // width) * width
    wanted = range(last - (number - 1) * width, last + width, width)
    for key in [key for key in _over if key[0] == window and key[1] < wanted[0]]:
        del _over[key]
    known = {start: _over[window, start] for start in wanted if (window, start) in _over}
    unknown = [start for start in wanted if start not in known]
    since = datetime.fromtimestamp(unknown[0], UTC)
    changed = await session.execute(_CHANGES, {"since": since, "width": width})
    changes: dict[int, int] = {row.bucket: row.change for row in changed}
    for start, completed, failed, half, most in await session.execute(
        _BUCKETS, {"buckets": unknown, "width": width, "sample": SAMPLE}
    ):
        at = datetime.fromtimestamp(start, UTC)
        known[start] = Bucket(at, completed, failed, half, most, changes.get(start, 0))
        if start + width + SETTLES_SECONDS < now:
            _over[window, start] = known[start]
    return walked_back([known[start] for start in wanted], waiting)


def walked_back(buckets: Sequence[Bucket], waiting: int) -> list[Bucket]:
    """The same with the depth at the end of each: that of the last is `waiting`."""
    found: list[Bucket] = []
    for bucket in reversed(buckets):
        found.append(replace(bucket, waiting=max(0, waiting)))
        waiting -= bucket.change
    return found[::-1]


# --- one reading for everybody ---------------------------------------------------------------------------------------

T = TypeVar("T")


class Shared(Generic[T]):
    """A reading that is kept for a second: a hundred watchers cost as much as one."""

    def __init__(self, read: Callable[[AsyncSession], Awaitable[T]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._value: Any = None

    async def get(self) -> T:
        async with self._lock:
            if time.monotonic() >= self._until:
                async with transaction() as session:
                    self._value = await self._read(session)
                self._until = time.monotonic() + KEPT_SECONDS
            value: T = self._value
            return value

    def forget(self) -> None:
        self._until = 0.0


def forget() -> None:
    """Drop what is remembered of time that is over."""
    _over.clear()
