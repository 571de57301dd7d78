"""The figures: the same by every way of counting, and honest about what is an estimate."""

import uuid
from datetime import UTC, datetime
from itertools import groupby

import pytest
from sqlalchemy import text

from backend.admin import charts, numbers, overview
from backend.admin.filters import PageQuery
from backend.core.db import transaction
from backend.jobs import leases
from backend.jobs.running import JobError
from tests.admin.conftest import People, many
from tests.jobs.conftest import Declare, Jobs

STATES = {"queued": 300, "failed": 600, "cancelled": 300, "completed": 1800}


async def read(*names: str) -> dict[str, numbers.QueueNumbers]:
    async with transaction() as session:
        return {queue.name: queue for queue in await numbers.read_queues(session, names)}


async def test_a_small_table_is_counted_exactly(busy: str) -> None:
    queue = (await read("test", "empty"))["test"]
    assert {state: (count.number, count.exact) for state, count in queue.counts.items()} == {
        state: (number, True) for state, number in STATES.items()
    }
    assert queue.count("running") == numbers.NONE


async def test_a_large_table_is_counted_by_its_indexes_and_estimated_beyond(
    busy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "SMALL_PAGES", 0)
    monkeypatch.setattr(numbers, "MOST_COUNTED", 500)
    async with transaction() as session:
        await session.execute(text("ANALYZE jobs"))
    counts = (await read("test", "empty"))["test"].counts
    assert (counts["queued"].number, counts["queued"].exact) == (300, True)
    assert (counts["cancelled"].number, counts["cancelled"].exact) == (300, True)
    for state in ("failed", "completed"):
        assert not counts[state].exact
        assert STATES[state] * 0.7 < counts[state].number < STATES[state] * 1.3, state


async def test_the_oldest_waiting_job_is_known_for_each_queue(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    early, late = await jobs.start(kind), await jobs.start(kind, priority=1)
    await jobs.start(kind, priority=3, delay_seconds=600)
    async with transaction() as session:
        for id, age in ((early.id, 90), (late.id, 30)):
            await session.execute(
                text("UPDATE jobs SET run_at = now() - make_interval(secs => :age) WHERE id = :id"),
                {"age": age, "id": id},
            )
    found = await read("test", "empty")
    oldest = found["test"].oldest_seconds
    assert oldest is not None
    assert 90 <= oldest < 120
    assert found["empty"].oldest_seconds is None


async def test_queues_are_known_by_their_jobs_kinds_and_settings(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare(queue="of_a_kind")
    await jobs.start(kind)
    await many(jobs, 10, kind=kind, queue="of_a_job")
    async with transaction() as session:
        names = await numbers.queue_names(session, ["paused_once"])
    assert {"of_a_kind", "of_a_job", "paused_once", "default", "media"} <= set(names)


async def test_what_ended_is_in_the_bucket_of_its_time(busy: str, people: People) -> None:
    async with transaction() as session:
        hour = await numbers.read_buckets(session, "hour", waiting=300)
        day = await numbers.read_buckets(session, "day", waiting=300)
    assert (len(hour), len(day)) == (60, 48)
    assert sum(bucket.completed for bucket in hour) == sum(bucket.completed for bucket in day) == 1800
    assert sum(bucket.failed for bucket in hour) == 600
    assert max(bucket.completed for bucket in hour) in range(30, 40), "six of ten, one a second"
    waits = {round(bucket.wait_half, 2) for bucket in hour if bucket.wait_half is not None}
    assert waits == {0.5}


async def test_a_bucket_that_is_over_is_not_counted_again(busy: str) -> None:
    async with transaction() as session:
        before = await numbers.read_buckets(session, "hour", waiting=300)
        await session.execute(text("DELETE FROM jobs"))
        after = await numbers.read_buckets(session, "hour", waiting=300)
    kept = {bucket.at: bucket.completed for bucket in after}
    assert all(kept[bucket.at] == bucket.completed for bucket in before[1:-2] if bucket.at in kept)
    assert sum(bucket.completed for bucket in after) > 1500


async def deep(waiting: int) -> list[int]:
    """The depths of the last hour, each once for as long as it lasted."""
    numbers.forget()
    async with transaction() as session:
        buckets = await numbers.read_buckets(session, "hour", waiting=waiting)
    depths = [buckets[0].waiting - buckets[0].change, *(bucket.waiting for bucket in buckets)]
    return [depth for depth, _ in groupby(depths)]


async def ago(minutes: int, **times: uuid.UUID) -> None:
    """Moves times of one job or its newest attempt back: `created_at`, `started_at`, `finished_at`, `ended_at`."""
    where = {"created_at": "jobs", "ended_at": "jobs", "started_at": "job_attempts", "finished_at": "job_attempts"}
    async with transaction() as session:
        for name, id in times.items():
            table = where[name]
            key = "id" if table == "jobs" else "job_id"
            column = "finished_at" if name == "ended_at" else name
            await session.execute(
                text(f"UPDATE {table} SET {column} = now() - make_interval(mins => :ago) WHERE {key} = :id"),
                {"ago": minutes, "id": id},
            )


async def test_what_left_the_queue_was_in_it_before(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    made = [await jobs.start(kind) for _ in range(3)]
    _, cancelled, failed = made
    for job in made:
        await ago(30, created_at=job.id)
    assert await deep(3) == [0, 3]
    taken = [await jobs.claimed(kind) for _ in range(3)]
    by_id = {job.id: job for job in taken}
    async with transaction() as session:
        token = by_id[cancelled.id].lease_token
        assert token
        await leases.release(session, job_id=cancelled.id, token=token)
        token = by_id[failed.id].lease_token
        assert token
        await leases.fail(session, job_id=failed.id, token=token, error=JobError("broken", "It broke."))
    await people.admin.client.post(f"/api/admin/jobs/{cancelled.id}/cancel")
    for job in made:
        await ago(20, started_at=job.id)
    for job in (cancelled, failed):
        await ago(15, finished_at=job.id)
    await ago(10, ended_at=cancelled.id)
    assert await deep(0) == [0, 3, 0, 1, 0]
    await people.admin.client.post("/api/admin/jobs/bulk", json={"action": "retry", "filter": {}})
    assert await deep(1) == [0, 3, 0, 1, 0, 1]


async def test_everybody_who_watches_shares_one_reading(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    first = await overview.overview("hour")
    await jobs.start(kind)
    assert (await overview.overview("hour")) is first
    overview.read_anew()
    assert (await overview.overview("hour")).total("queued").number == 1


def test_a_chart_of_nothing_is_flat_and_says_so() -> None:
    drawn = charts.waits([], "hour")
    assert (drawn.bars, drawn.words) == ([], "No job ended in the last hour")


def test_a_small_number_beside_a_large_one_can_still_be_seen() -> None:
    now = datetime.now(UTC)
    drawn = charts.throughput(
        [numbers.Bucket(now, 100_000, 0, None, None), numbers.Bucket(now, 1, 1, None, None)], "day"
    )
    assert drawn.bars[1].height >= 1
    assert drawn.bars[1].top_height >= 1
    assert "100,000 an" not in drawn.words
    assert "at most 100,000 half an hour" in drawn.words


def test_the_address_says_the_filter_and_a_new_filter_begins_at_the_newest() -> None:
    query = PageQuery(state="failed", queue="media", text="a b", window="day", cursor="abc")
    assert query.url() == "/admin/queue?state=failed&queue=media&text=a+b&window=day"
    assert query.url(state="", text="", window="hour") == "/admin/queue?queue=media"
    assert query.url(cursor="xyz").endswith("cursor=xyz")
    assert PageQuery(project=uuid.UUID(int=1)).narrows
    assert not PageQuery(window="day", cursor="abc").narrows
