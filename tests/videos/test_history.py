"""What its owner and an admin are told of the work on a video."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from backend.core.db import transaction
from backend.jobs import leases
from backend.jobs.models import Job
from backend.jobs.running import JobError
from backend.orgs.streams import Follower
from backend.videos.live import video_events
from backend.videos.models import Video
from tests.conftest import Person
from tests.orgs.acting import actor_of
from tests.videos import media_corpus as corpus
from tests.videos.sending import RunJobs, send
from tests.videos.test_pages import HTMX

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

BROKEN = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 4000


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    path = tmp_path / "film.mp4"
    corpus.plain(path)
    return path.read_bytes()


def told(html: str) -> list[tuple[str, str]]:
    """The steps of a timeline: how each is marked, and its words."""
    steps = re.findall(r'<li data-kind="(\w+)">\s*<span class="history-what">([^<]*)', html)
    return [(kind, words.strip()) for kind, words in steps]


async def job_of(user: Person, video: dict[str, Any]) -> str:
    return str((await user.client.get(f"/api/videos/{video['id']}")).json()["job_id"])


async def test_the_commands_that_ran_are_kept_with_the_attempt_and_shown_to_admins(
    user: Person, run_jobs: RunJobs, film: bytes
) -> None:
    video = await send(user, data=film)
    await run_jobs()
    job_id = await job_of(user, video)
    (attempt,) = (await user.client.get(f"/api/admin/jobs/{job_id}")).json()["attempts"]
    probe, *_, poster = attempt["command"].splitlines()
    assert re.match(r"(\S*/)?ffprobe ", probe)
    assert re.match(r"(\S*/)?ffmpeg ", poster)
    for command in (probe, poster):
        assert "-format_whitelist" in command
        assert "Signature" not in command, "signed addresses stay secret"
    page = (await user.browser.get(f"/admin/jobs/{job_id}")).text
    assert "ffprobe" in page
    assert "ffmpeg" in page
    assert "-format_whitelist" in page
    assert "ffprobe" not in (await user.browser.get(f"/videos/{video['id']}")).text, "its owner reads words"


async def test_a_retry_by_hand_is_a_step_for_the_owner_and_the_admin(user: Person, run_jobs: RunJobs) -> None:
    video = await send(user, data=BROKEN)
    await run_jobs()
    path = f"/videos/{video['id']}"
    failed = (await user.browser.get(path)).text
    assert told(failed)[-1] == ("failed", "The file could not be read")
    assert f'hx-post="{path}/retry"' in failed
    assert (await user.browser.post(f"{path}/retry", headers=HTMX)).status_code == 200
    assert told((await user.browser.get(f"{path}/history")).text)[-2:] == [
        ("done", "Tried again by hand"),
        ("now", "Waiting to be tried again"),
    ]
    await run_jobs()
    assert [words for _, words in told((await user.browser.get(path)).text)[-3:]] == [
        "The file could not be read",
        "Tried again by hand",
        "The file could not be read",
    ]
    admins = told((await user.browser.get(f"/admin/jobs/{await job_of(user, video)}")).text)
    assert [words for _, words in admins[1:]] == ["Attempt 1: failed", "Tried again by hand", "Attempt 2: failed"]


async def test_what_was_cancelled_is_tried_again_by_hand_with_a_job_of_its_own(
    user: Person, run_jobs: RunJobs, film: bytes
) -> None:
    video = await send(user, data=film)
    path = f"/videos/{video['id']}"
    assert (await user.browser.post(f"/jobs/{await job_of(user, video)}/cancel")).status_code == 200
    assert told((await user.browser.get(path)).text)[-1] == ("done", "Cancelled")
    await user.browser.post(f"{path}/retry", headers=HTMX)
    await run_jobs()
    words = [words for _, words in told((await user.browser.get(path)).text)]
    steps = [step for step in words if step != "Waited in the queue"]
    done = ["Metadata read", "Poster made", "Preview made"]
    assert steps[-6:] == ["Queued", "Cancelled", "Tried again by hand", *done]


async def test_the_timeline_is_told_of_at_the_begin_and_the_end_of_each_attempt(user: Person, film: bytes) -> None:
    sent = await send(user, data=film)
    async with transaction() as session:
        video = await session.get_one(Video, sent["id"])
        job = await session.get_one(Job, video.job_id)
    page = (await user.browser.get(f"/videos/{video.id}")).text
    shown = re.search(r"/live\?since=(\d+)", page)
    assert shown
    assert 'hx-trigger="sse:history' in page
    events = video_events(video=video, follower=Follower(await actor_of(user), video.project_id), seen=shown[1])

    async def news() -> str:
        async with asyncio.timeout(60):
            while (event := await anext(events)).event == "progress":
                pass
        return str(event.event)

    first = asyncio.create_task(news())
    await asyncio.sleep(0.1)
    for _ in range(2):
        async with transaction() as session:
            taken = await leases.claim(session, worker="tester", queues=("media",), kinds=[job.kind])
        assert taken is not None
        assert taken.lease_token
        assert await first == "history", "an attempt began"
        first = asyncio.create_task(news())
        await asyncio.sleep(0.1)
        async with transaction() as session:
            await leases.release(session, job_id=job.id, token=taken.lease_token)
        assert await first == "history", "and ended"
        first = asyncio.create_task(news())
        await asyncio.sleep(0.1)
    async with transaction() as session:
        taken = await leases.claim(session, worker="tester", queues=("media",), kinds=[job.kind])
        assert taken is not None
    assert await first == "history"
    async with transaction() as session:
        assert taken.lease_token
        await leases.fail(session, job_id=job.id, token=taken.lease_token, error=JobError("broken", "It broke."))
    assert await news() == "done"


async def test_a_strangers_timeline_is_not_there(user: Person, other: Person, film: bytes) -> None:
    video = await send(user, data=film)
    assert (await other.browser.get(f"/videos/{video['id']}/history")).status_code == 404
