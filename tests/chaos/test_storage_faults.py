"""Uploads and deletions while web, worker and S3 are killed: afterwards storage and database agree on every object.

The same seed does the same things in the same order. `make chaos` runs it longer (CHAOS_SECONDS), CHAOS_SEED another.
"""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.chaos.storehouse import Client, GaveUp, Storehouse
from tests.videos import media_corpus as corpus

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 20)
SEED = int(os.environ.get("CHAOS_SEED") or 1)
CLIENTS = 4
QUIET_SECONDS = 120

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

LIVE = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
DUE = "SELECT count(*) FROM uploads WHERE check_at < now() OR state = 'verifying'"
#: Due, or taken by somebody who may have died over it; what was removed is looked for again much later.
BURIED = "SELECT count(*) FROM stored_objects WHERE due_at < now() + interval '1 minute'"
TWICE = "SELECT video_id FROM jobs WHERE kind = 'process_video' AND video_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
ONGOING = "SELECT storage_upload_id FROM uploads WHERE check_at IS NOT NULL AND storage_upload_id IS NOT NULL"
#: The sweep goes on looking at what has not arrived; a look that is over leaves this state.
STUCK = "SELECT count(*) FROM uploads WHERE state = 'verifying' AND check_at < now()"
UPLOADS = "SELECT state, count(*) AS n FROM uploads GROUP BY 1 ORDER BY 1"
VIDEOS = "SELECT status, count(*) AS n FROM videos GROUP BY 1 ORDER BY 1"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Storehouse]:
    made = Storehouse(tmp_path, SEED)
    try:
        await made.open()
        yield made
    finally:
        made.close()


async def test_storage_and_database_agree_whatever_was_killed(
    house: Storehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus.plain(tmp_path / "film.mp4")
    film = (tmp_path / "film.mp4").read_bytes()
    clients = [asyncio.create_task(Client(house, number, film).live(SECONDS)) for number in range(CLIENTS)]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        await asyncio.sleep(house.chance.uniform(0.3, 1.5))
        house.break_something()
        house.mend()
    while not all(client.done() for client in clients):
        house.mend(all_of_it=True)
        await asyncio.sleep(0.2)
    await asyncio.gather(*clients)
    house.mend(all_of_it=True)
    await house.ready()
    late = Client(house, CLIENTS, film, patience_seconds=600)
    for claim in house.claims:  # whoever holds a claim may use it later
        try:
            await late.claim(claim)
        except GaveUp:  # deleted since
            continue
    await settled(house)

    kept = await same_bytes(house)
    report = house.command("reconcile", "--all")
    uploads = {row["state"]: row["n"] for row in await house.sql(UPLOADS)}
    videos = {row["status"]: row["n"] for row in await house.sql(VIDEOS)}
    happened = ", ".join(f"{count} {what}" for what, count in sorted(house.done.items()))
    with capsys.disabled():
        print(f"\nfaults: seed {SEED}, {SECONDS:.0f} s of {happened}\nfaults: uploads {uploads}, videos {videos}")
        print(f"faults: {kept} videos hold what was sent; reconcile: {report.stderr.strip().splitlines()[-1]}")
    assert (report.returncode, report.stdout) == (0, ""), report.stdout + report.stderr
    assert await left_parts(house) == []
    assert await house.sql(TWICE) == []
    # A video fails when the worker was killed in each of its attempts; it can be tried again, and nothing is stuck.
    assert set(videos) <= {"completed", "failed"}
    assert (await house.sql(STUCK))[0][0] == 0


async def settled(house: Storehouse) -> None:
    """Wait until the worker has done what is due: jobs, uploads that arrived, and objects to remove."""
    await house.sql("UPDATE uploads SET check_at = now() WHERE check_at IS NOT NULL")
    async with asyncio.timeout(QUIET_SECONDS):
        while sum([(await house.sql(query))[0][0] for query in (LIVE, DUE, BURIED)]):
            house.mend()
            await asyncio.sleep(0.3)


async def left_parts(house: Storehouse) -> list[str]:
    """Parts on the disk that belong to no object, and to no upload that goes on: no listing shows them."""
    objects = await asyncio.to_thread(house.stored)
    known = {row["storage_upload_id"] for row in await house.sql(ONGOING)} | set(objects.values())
    parts = [name for name in objects if "+segments/" in name and name.rpartition("/")[2].isdigit()]
    return [name for name in parts if name.split("/")[-2] not in known]


async def same_bytes(house: Storehouse) -> int:
    """How many videos there are; each must hold what was sent for it."""
    count = 0
    async with httpx.AsyncClient(headers=house.headers, base_url=house.url, timeout=30) as client:
        for video_id, filename in await house.sql("SELECT id, filename FROM videos WHERE deleted_at IS NULL"):
            playback = (await client.get(f"/api/videos/{video_id}/playback-url")).json()
            async with httpx.AsyncClient(timeout=30) as browser:
                stored = await browser.get(playback["url"])
            assert stored.status_code == 200, (video_id, stored.text[:200])
            assert f"{hashlib.sha256(stored.content).hexdigest()}.mp4" == filename
            count += 1
    return count
