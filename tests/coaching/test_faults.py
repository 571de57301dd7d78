"""An analysis that is killed at any stage, whose storage is away, or whose video goes: one set of outputs, or none."""

import asyncio
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from backend.coaching.readiness import coach_report
from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.storage import storage
from backend.jobs import service as jobs
from backend.jobs.models import Job
from backend.videos import ledger
from tests.coaching.coaches import API, analysis
from tests.coaching.test_tasks import children, sent, stored, stroke
from tests.conftest import Person
from tests.videos.sending import RunJobs, make_due
from tests.videos.test_conversion_faults import Workshop, ended, outcomes, until, workshop

__all__ = ["stroke", "workshop"]

pytestmark = [
    pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed"),
    pytest.mark.skipif(not coach_report().ready, reason="the pose analysis is not installed"),
]

KIND = "analyse_video"


async def draws(workshop: Workshop) -> None:
    """Wait until a worker writes the overlay."""
    await until(lambda: list(workshop.work_dir.glob("*/work-*/files/overlay.mp4")), seconds=300)


async def stores(analysis_id: str) -> None:
    """Wait until a worker puts files into the storage: their keys are written down before."""
    async with asyncio.timeout(300):
        while not (await stored(analysis_id))[0]:
            await asyncio.sleep(0.01)


async def in_the_storage(keys: list[str]) -> list[str]:
    return sorted(await storage.list_keys(keys[0].rpartition("/analysis/")[0] + "/analysis/"))


async def one_set(analysis_id: str) -> None:
    """All that lies in the storage is of one attempt, and is what the analysis names."""
    kept, buried = await stored(analysis_id)
    await ledger.remove_buried(buried)
    assert await in_the_storage(kept) == kept
    assert len({key.partition("/analysis/")[2].split("/")[1] for key in kept}) == 1


async def test_killed_while_it_draws_and_while_it_stores_it_begins_again_and_leaves_one_set(
    user: Person, workshop: Workshop, stroke: bytes
) -> None:
    place = await sent(user, stroke, include_frames=True, sample_fps=15)
    for reached in (partial(draws, workshop), partial(stores, place["job_id"])):
        worker = workshop.start()
        await reached()
        worker.kill()
        worker.wait()
    workshop.start()
    job = await ended({"id": (await analysis(user, place["job_id"]))["video_id"]}, KIND)
    assert (job.state, await outcomes(job)) == ("completed", ["lost", "lost", "completed"])
    await one_set(place["job_id"])
    await until(lambda: not workshop.folders())


async def test_while_the_storage_is_away_nothing_is_lost_and_no_attempt_is_spent(
    user: Person, run_jobs: RunJobs, stroke: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await sent(user, stroke)
    written: list[str] = []
    put_file = storage.put_file

    async def breaks(key: str, path: Path, **more: Any) -> Any:
        if "/analysis/" in key and len(written) == 2:
            raise StorageUnavailable
        written.append(key)
        return await put_file(key, path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put_file", breaks)
        await run_jobs()
    assert len(written) >= 2
    found = await analysis(user, place["job_id"])
    assert (found["status"], found["error"]) == ("processing", None)
    await make_due(KIND)
    await run_jobs()
    assert (await analysis(user, place["job_id"]))["status"] == "completed"
    await one_set(place["job_id"])


async def test_a_video_that_is_deleted_while_it_is_looked_at_leaves_nothing(
    user: Person, run_jobs: RunJobs, stroke: bytes
) -> None:
    place = await sent(user, stroke)
    video = (await analysis(user, place["job_id"]))["video_id"]
    running = asyncio.ensure_future(run_jobs())
    await until(lambda: children(os.getpid()))
    assert (await user.client.delete(f"/api/videos/{video}")).status_code == 204
    await running
    async with transaction() as session:
        await session.execute(update(Job).where(Job.kind == "purge_video").values(run_at=func.now()))
    await run_jobs()
    assert children(os.getpid()) == []
    assert (await stored(place["job_id"]))[0] == []
    assert (await user.client.get(f"{API}/analysis-jobs/{place['job_id']}")).status_code == 404
    assert (await user.client.get(f"{API}/sessions/{place['session_id']}")).json()["analyses"] == 0


async def test_two_corrections_at_once_leave_one_of_them_and_no_file_of_the_other(
    user: Person, run_jobs: RunJobs, stroke: bytes
) -> None:
    place = await sent(user, stroke)
    await run_jobs()
    phases = f"{API}/analysis-jobs/{place['job_id']}/phases"
    answers = await asyncio.gather(*(user.client.patch(phases, json={"load": 1 + n / 10}) for n in range(4)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert set(statuses) <= {200, 409}
    kept, _ = await stored(place["job_id"])
    named = (await user.client.get(f"{API}/analysis-jobs/{place['job_id']}/files")).json()["files"]
    assert len(kept) == len(named)


async def test_a_cancelled_analysis_that_an_admin_starts_anew_is_the_one_that_is_shown(
    user: Person, run_jobs: RunJobs, stroke: bytes
) -> None:
    place = await sent(user, stroke)
    assert (await user.client.post(f"{API}/analysis-jobs/{place['job_id']}/cancel")).status_code == 200
    async with transaction() as session:
        job = (await session.scalars(select(Job).where(Job.kind == KIND))).one()
        await jobs.start_again(session, actor=None, job=job)
    assert (await analysis(user, place["job_id"]))["status"] == "processing"
    await run_jobs()
    assert (await analysis(user, place["job_id"]))["status"] == "completed"
