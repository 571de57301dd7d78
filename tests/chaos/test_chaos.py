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
#: How long a job takes on the average, so that there is work to the end; much of the slots' time is lost.
MEAN_SECONDS = 0.4 * WORKERS * SLOTS * SECONDS / JOBS

COUNTS = """
    SELECT count(*) AS jobs, count(*) FILTER (WHERE state = 'completed') AS completed,
        count(*) FILTER (WHERE state IN ('failed', 'cancelled')) AS failed,
        count(*) FILTER (WHERE state IN ('queued', 'running')) AS live, coalesce(sum(attempt), 0) AS attempts
    FROM jobs WHERE kind = 'chaos'
"""
OUTCOMES = "SELECT coalesce(outcome, 'open') AS outcome, count(*) AS n FROM job_attempts GROUP BY 1 ORDER BY 1"


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
    producer = house.produce(JOBS, 0.7 * SECONDS, SEED, MEAN_SECONDS)
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(house.chance.uniform(0.4, 1.8))
            await house.break_something()
            house.mend()
        house.mend(all_of_it=True)
        quiet = time.monotonic()
        assert await asyncio.to_thread(producer.wait, 60) == 0
    finally:
        producer.kill()
    left = await live(house)
    # What waited has to be worked off; twice the time that takes, for the machine may be busy.
    allowed = LEASE_SECONDS + 10 + 2 * left * MEAN_SECONDS / (WORKERS * SLOTS)
    while await live(house) and time.monotonic() - quiet < allowed + 60:
        await asyncio.sleep(0.1)
    took = time.monotonic() - quiet
    counts = (await house.sql(COUNTS))[0]
    outcomes = {row["outcome"]: row["n"] for row in await house.sql(OUTCOMES)}
    missing = JOBS - int((await house.sql("SELECT count(DISTINCT number) FROM chaos_effects"))[0][0])
    twice = await house.sql("SELECT number FROM chaos_effects GROUP BY number HAVING count(*) > 1")
    broken = ", ".join(f"{count} {what}" for what, count in sorted(house.done.items()))
    with capsys.disabled():
        print(
            f"\nchaos: seed {SEED}, {JOBS} jobs on {WORKERS} workers in {SECONDS:.0f} s of: {broken}"
            f"\nchaos: lost {missing}, double effects {len(twice)}, failed {counts['failed']}, live {counts['live']};"
            f" {left} were left when it became quiet, all done {took:.1f} s later (allowed {allowed:.1f} s)"
            f"\nchaos: attempts by outcome {outcomes}"
        )
    assert counts["jobs"] == JOBS
    assert (missing, twice, counts["failed"], counts["live"]) == (0, [], 0, 0)
    assert took < allowed


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
        after[way] = (started[0][0] - now).total_seconds()
        await asyncio.to_thread(process.wait, 30)
        house.hire(2)
    with capsys.disabled():
        print(f"\nchaos: started again after {after}, with a lease of {LEASE_SECONDS} s")
    assert after["SIGKILL"] < LEASE_SECONDS + 5
    assert after["SIGTERM"] < 5
