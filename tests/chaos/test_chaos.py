"""Jobs while everything breaks: none lost, none done twice, none stuck.

The same seed breaks the same things in the same order. `make chaos` runs it long (CHAOS_JOBS, CHAOS_SECONDS).
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.house import LEASE_SECONDS, SLOTS, House

JOBS = int(os.environ.get("CHAOS_JOBS") or 200)
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 25)
SEED = int(os.environ.get("CHAOS_SEED") or 1)
WORKERS = 3
#: How long a job takes on the average; much of the slots' time is lost while things break.
MEAN_SECONDS = 0.2 * WORKERS * SLOTS * SECONDS / JOBS
ALLOWED_SECONDS = LEASE_SECONDS + 10

COUNTS = """
    SELECT count(*) AS jobs, count(*) FILTER (WHERE state = 'completed') AS completed,
        count(*) FILTER (WHERE state IN ('failed', 'cancelled')) AS failed,
        count(*) FILTER (WHERE state IN ('queued', 'running')) AS live, coalesce(sum(attempt), 0) AS attempts
    FROM jobs WHERE kind = 'chaos'
"""
OUTCOMES = "SELECT coalesce(outcome, 'open') AS outcome, count(*) AS n FROM job_attempts GROUP BY 1 ORDER BY 1"


#: How long after the quiet each job was completed: all that were left, be it their first attempt or another.
AFTER_QUIET = """
    SELECT count(*) FILTER (WHERE seconds IS NULL OR seconds > $2) AS stuck, greatest(max(seconds), 0) AS longest
    FROM (SELECT extract(epoch FROM finished_at - $1)::float8 AS seconds FROM jobs) AS after
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path, SEED)
    try:
        await made.open()
        yield made
    finally:
        made.close()


async def live(house: House) -> int:
    return int((await house.sql(COUNTS))[0]["live"])


async def test_no_job_is_lost_or_done_twice_or_stuck_whatever_breaks(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.hire(WORKERS)
    producer = house.produce(JOBS, 0.9 * SECONDS, SEED, MEAN_SECONDS)
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or (producer.poll() is None and time.monotonic() < until + 4 * SECONDS):
            await asyncio.sleep(house.chance.uniform(0.4, 1.8))
            await house.break_something()
            house.mend()
        house.mend(all_of_it=True)
        lasted = time.monotonic() - until + SECONDS
        [(quiet,)] = await house.sql("SELECT clock_timestamp()")
        left = await live(house)
        async with asyncio.timeout(60):  # what it adds after quiet is done as all else
            while producer.poll() is None:
                await asyncio.sleep(0.1)
        assert producer.poll() == 0
    finally:
        producer.kill()
    until = time.monotonic() + ALLOWED_SECONDS + 60  # longer than allowed, to tell late from never
    while await live(house) and time.monotonic() < until:
        await asyncio.sleep(0.1)
    counts = (await house.sql(COUNTS))[0]
    [(stuck, longest)] = await house.sql(AFTER_QUIET, quiet, ALLOWED_SECONDS)
    outcomes = {row["outcome"]: row["n"] for row in await house.sql(OUTCOMES)}
    lost = JOBS - int((await house.sql("SELECT count(DISTINCT number) FROM chaos_effects"))[0][0])
    twice = len(await house.sql("SELECT number FROM chaos_effects GROUP BY number HAVING count(*) > 1"))
    broken = ", ".join(f"{count} {what}" for what, count in sorted(house.done.items()))
    with capsys.disabled():
        print(
            f"\nchaos: seed {SEED}, {JOBS} jobs on {WORKERS} workers in {lasted:.0f} s of: {broken}"
            f"\nchaos: lost {lost}, double effects {twice}, stuck {stuck}, failed {counts['failed']};"
            f" {left} were left when it became quiet, the last was done {longest:.1f} s later"
            f" (allowed: {ALLOWED_SECONDS} s)"
            f"\nchaos: attempts by outcome {outcomes}"
        )
    assert counts["jobs"] == JOBS
    assert (lost, twice, stuck, counts["failed"], counts["live"]) == (0, 0, 0, 0, 0)


async def test_the_job_of_a_killed_or_stopped_worker_starts_again_soon(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.hire(2)
    await asyncio.to_thread(house.produce(1, 0, SEED, 600).wait, 60)
    after: dict[str, float] = {}
    for way in ("SIGKILL", "SIGTERM"):
        async with asyncio.timeout(60):
            # The other one has to be there, too.
            while len(await house.sql("SELECT FROM workers WHERE pid = ANY($1)", house.pids())) < 2:
                await asyncio.sleep(0.1)
            while not (rows := await house.sql("SELECT * FROM jobs WHERE state = 'running'")):
                await asyncio.sleep(0.05)
        [(now,)] = await house.sql("SELECT clock_timestamp()")
        process = house.process_of(rows[0]["worker"])
        process.kill() if way == "SIGKILL" else process.terminate()
        async with asyncio.timeout(60):
            again = "SELECT started_at FROM jobs WHERE state = 'running' AND lease_token <> $1"
            while not (started := await house.sql(again, rows[0]["lease_token"])):
                await asyncio.sleep(0.05)
        [(given_up, outcome)] = await house.sql(
            "SELECT finished_at, outcome FROM job_attempts WHERE lease_token = $1", rows[0]["lease_token"]
        )
        assert outcome == ("lost" if way == "SIGKILL" else "released")
        after[way] = (started[0][0] - now).total_seconds()
        after[outcome] = (started[0][0] - given_up).total_seconds()
        await asyncio.to_thread(process.wait, 30)
        house.hire(2)
    with capsys.disabled():
        words = ", ".join(f"{seconds:.2f} s after {what}" for what, seconds in after.items())
        print(f"\nchaos: started again {words}; the lease is {LEASE_SECONDS} s")
    assert after["SIGKILL"] < LEASE_SECONDS + 15
    assert after["released"] < LEASE_SECONDS, "at once, not when the lease is over"
