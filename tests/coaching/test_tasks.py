"""The analysis as a job: what it finds and keeps, and what is left when it is stopped, killed, or deleted."""

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from backend.coaching.readiness import coach_report
from backend.core.db import transaction
from backend.core.storage import storage
from backend.videos.models import StoredObject
from tests.coaching import mannequin
from tests.coaching.coaches import API, analysis, complete, initiate, new_session, put, short_clip
from tests.conftest import Person
from tests.videos.sending import RunJobs, make_due
from tests.videos.test_conversion_faults import Workshop, ended, outcomes, until, workshop

__all__ = ["workshop"]

pytestmark = [
    pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed"),
    pytest.mark.skipif(not coach_report().ready, reason="the pose analysis is not installed"),
]

KIND = "analyse_video"


@pytest.fixture(scope="module")
def stroke(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A figure that makes one stroke."""
    path = tmp_path_factory.mktemp("stroke") / "stroke.mp4"
    return mannequin.film(path, mannequin.LANDSCAPE, fps=15).read_bytes()


async def sent(user: Person, data: bytes, **more: Any) -> dict[str, Any]:
    """A session's video that has arrived, and the place it was given."""
    session = await new_session(user)
    place = await initiate(user, session["id"], **more)
    assert await put(place["presigned_url"], data) == 200
    assert (await complete(user, place["job_id"])).status_code == 200
    return place


async def stored(analysis_id: str) -> tuple[list[str], list[str]]:
    """The keys that an analysis has written: those that are kept, and those that are buried."""
    async with transaction() as session:
        mine = select(StoredObject).where(StoredObject.key.contains(f"/analysis/{analysis_id}/"))
        rows = list(await session.scalars(mine.order_by(StoredObject.key)))
    return [row.key for row in rows if row.buried_at is None], [row.key for row in rows if row.buried_at is not None]


async def text_of(user: Person, analysis_id: str, name: str) -> str:
    files = (await user.client.get(f"{API}/analysis-jobs/{analysis_id}/files")).json()["files"]
    async with httpx.AsyncClient() as client:
        answer = await client.get(files[name])
    assert answer.status_code == 200
    return answer.text


def children(parent: int) -> list[int]:
    """The processes that look for poses on behalf of this one."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            words, stat = (each / "cmdline").read_bytes(), (each / "stat").read_text()
        except OSError:
            continue
        if b"backend.coaching.child" in words and int(stat.rpartition(")")[2].split()[1]) == parent:
            found.append(int(each.name))
    return found


async def test_a_stroke_is_found_measured_and_kept(user: Person, run_jobs: RunJobs, stroke: bytes) -> None:
    place = await sent(user, stroke, include_frames=True)
    await run_jobs()
    found = await analysis(user, place["job_id"])
    assert (found["status"], found["progress"], found["error"]) == ("completed", 100, None)
    summary = found["summary"]
    assert summary["coverage"]["share"] > 0.8
    assert [phase["name"] for phase in summary["phases"]] == ["set_up", "load", "strike", "follow_through"]
    assert abs(summary["moments"]["load"] - mannequin.LOAD) < 0.35
    named = (await user.client.get(f"{API}/analysis-jobs/{place['job_id']}/files")).json()["files"]
    assert {"summary.json", "poses.jsonl.gz", "angles.csv", "overlay.mp4", "frames/00001.jpg"} <= set(named)
    kept, buried = await stored(place["job_id"])
    assert (len(kept), buried) == (len(named), [])
    assert sorted(kept) == sorted(
        key for key in await storage.list_keys(kept[0].rpartition("/analysis/")[0] + "/analysis/")
    )
    table = (await text_of(user, place["job_id"], "angles.csv")).splitlines()
    assert table[0].startswith("t,frame,phase,")
    assert len(table) == summary["frames"]["count"] + 1
    metrics = (await user.client.get(f"{API}/players/p1/metrics?metric=knee_left_at_impact")).json()
    assert len(metrics["available"]) > 5

    changed = await user.client.patch(f"{API}/analysis-jobs/{place['job_id']}/phases", json={"load": 1.4})
    assert changed.status_code == 200, changed.text
    assert changed.json()["summary"]["moments"]["load"] == 1.4
    now, buried = await stored(place["job_id"])
    assert (len(now), len(buried)) == (len(kept), 2)
    assert all(key.endswith(("angles.csv", "summary.json")) for key in buried)
    assert json.loads(await text_of(user, place["job_id"], "summary.json")) == changed.json()["summary"]
    assert (await text_of(user, place["job_id"], "angles.csv")).splitlines() != table
    wrong = await user.client.patch(f"{API}/analysis-jobs/{place['job_id']}/phases", json={"end": 0.2, "load": 3})
    assert wrong.status_code == 422

    assert (await user.client.delete(f"{API}/sessions/{place['session_id']}")).status_code == 204
    assert await stored(place["job_id"]) == ([], sorted([*now, *buried]))


async def test_where_nobody_is_seen_nothing_is_guessed(user: Person, run_jobs: RunJobs, tmp_path: Path) -> None:
    place = await sent(user, short_clip(tmp_path))
    await run_jobs()
    found = await analysis(user, place["job_id"])
    summary = found["summary"]
    assert (found["status"], summary["athlete"], summary["phases"]) == ("completed", None, None)
    assert summary["coverage"]["with_pose"] == 0
    assert all(metric["value"] is None and metric["reason"] for metric in summary["metrics"])
    page = await user.browser.get(f"/sessions/{place['session_id']}")
    assert (page.status_code, "Nobody was seen" in page.text) == (200, True)


async def test_a_file_that_cannot_be_read_fails_in_words(user: Person, run_jobs: RunJobs) -> None:
    place = await sent(user, b"\0" * 5000)
    await run_jobs()
    found = await analysis(user, place["job_id"])
    assert (found["status"], found["error"]["retryable"]) == ("failed", False)
    assert found["error"]["message"] in (await user.browser.get(f"/sessions/{place['session_id']}")).text
    assert await stored(place["job_id"]) == ([], [])


async def test_an_analysis_that_is_killed_is_tried_again(user: Person, run_jobs: RunJobs, stroke: bytes) -> None:
    place = await sent(user, stroke)
    running = asyncio.ensure_future(run_jobs())
    (child,) = await until(lambda: children(os.getpid()))
    os.kill(child, signal.SIGKILL)
    await running
    await make_due(KIND)
    await run_jobs()
    found = await analysis(user, place["job_id"])
    assert found["status"] == "completed"
    job = await ended({"id": found["video_id"]}, KIND)
    assert await outcomes(job) == ["failed", "completed"]
    kept, _ = await stored(place["job_id"])
    assert len({key.split("/")[-2] for key in kept if key.endswith(".csv")}) == 1


async def test_an_analysis_whose_worker_is_killed_starts_again_and_one_that_is_cancelled_leaves_nothing(
    user: Person, workshop: Workshop, stroke: bytes
) -> None:
    place = await sent(user, stroke)
    first = workshop.start()
    (child,) = await until(lambda: children(first.pid))
    first.kill()
    first.wait()
    await until(lambda: not Path(f"/proc/{child}").exists())
    second = workshop.start()
    video = {"id": (await analysis(user, place["job_id"]))["video_id"]}
    job = await ended(video, KIND)
    assert (job.state, await outcomes(job)) == ("completed", ["lost", "completed"])
    kept, _ = await stored(place["job_id"])
    await until(lambda: not workshop.folders())

    again = await user.client.post(
        f"{API}/sessions/{place['session_id']}/analysis-jobs", json={"video_id": video["id"], "sample_fps": 30}
    )
    one = again.json()["id"]
    (child,) = await until(lambda: children(second.pid))
    assert (await user.client.delete(f"{API}/analysis-jobs/{one}")).status_code == 409, "it has to be stopped first"
    assert (await user.client.post(f"{API}/analysis-jobs/{one}/cancel")).status_code == 200
    await until(lambda: not Path(f"/proc/{child}").exists() and not workshop.folders())
    await stopped(user, one)
    assert (await stored(one))[0] == []
    assert (await user.client.post(f"{API}/analysis-jobs/{one}/retry")).json()["status"] == "processing"
    assert (await stored(place["job_id"]))[0] == kept, "what another analysis found stays"


async def stopped(user: Person, analysis_id: str) -> None:
    async with asyncio.timeout(60):
        while (await analysis(user, analysis_id))["status"] != "failed":
            await asyncio.sleep(0.1)
