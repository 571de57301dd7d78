"""Long conversions by a real worker and a real ffmpeg, of which one is killed, stopped or called off in the middle."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select

from backend.core.db import transaction
from backend.core.storage import storage
from backend.jobs.models import Job, JobAttempt
from backend.local.stack import Stack
from backend.videos.models import StoredObject
from tests.conftest import ROOT, Person, environment
from tests.videos import media_corpus as corpus
from tests.videos.sending import folder, make_due, seen, send
from tests.videos.test_sandbox import alive

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

Found = TypeVar("Found")

#: What a step makes, and what is sent so that it is made: pictures that take a while to encode.
STEPS = {
    "make_rendition": ("rendition", "film.avi", "video/x-msvideo", ["-c:v", "mpeg4", "-q:v", "4"]),
    "make_ladder": ("ladder", "film.mp4", "video/mp4", [*corpus.H264, "-preset", "ultrafast"]),
}


class Workshop:
    """Worker processes that have a work folder of their own, by which their tools are known."""

    def __init__(self, stack: Stack, place: Path) -> None:
        self.work_dir = place / "work"
        self._log = place / "worker.log"
        self._env = {**environment(stack), "JOB_LEASE_SECONDS": "3", "WORK_DIR": str(self.work_dir)}
        self._env |= {"STALL_SECONDS": "5", "WORKER_GRACE_SECONDS": "0", "PYTHONPATH": str(ROOT)}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        self._env |= env
        with self._log.open("ab") as sink:
            words = [sys.executable, "-m", "worker"]
            process = subprocess.Popen(words, cwd=ROOT, env=self._env, stdout=sink, stderr=subprocess.STDOUT)
        self._processes.append(process)
        return process

    def tools(self) -> list[int]:
        """The processes that work on a long step: ffmpeg, and what is around it."""
        marks = ("rendition.mp4", "360p.mp4")
        return [pid for mark in marks for pid in alive(mark) if str(self.work_dir) in _words(pid)]

    async def converting(self) -> int:
        """Wait for the middle of a conversion: ffmpeg has written something. Answers its number."""

        def found() -> int | None:
            written = sum(path.stat().st_size for path in self.work_dir.glob("*/work-*/files/*.mp4"))
            return next((pid for pid in self.tools() if written and _name(pid) == "ffmpeg"), None)

        pid = await until(found)
        assert pid is not None
        return pid

    def folders(self) -> list[str]:
        return [path.name for path in self.work_dir.glob("*/work-*")]

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def workshop(stack: Stack, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(stack, tmp_path)
    yield made
    made.close()


async def until(look: Callable[[], Found], seconds: float = 90) -> Found:
    """What is found at last; nothing but looking tells."""
    async with asyncio.timeout(seconds):
        while not (found := look()):
            await asyncio.sleep(0.05)
    return found


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""  # it ended while we looked


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


async def send_film(user: Person, step: str, place: Path) -> dict[str, Any]:
    _, name, kind, codec = STEPS[step]
    corpus.ffmpeg(*corpus.picture(40, "960x540", 30), *codec, place / name)
    return await send(user, name, (place / name).read_bytes(), kind)


async def ended(video: dict[str, Any], step: str) -> Job:
    """The job of this step when it has ended."""
    async with asyncio.timeout(120):
        while True:
            async with transaction() as session:
                job = await session.scalar(select(Job).where(Job.video_id == video["id"], Job.kind == step))
            if job is not None and job.state in ("completed", "failed", "cancelled"):
                return job
            await asyncio.sleep(0.1)


async def outcomes(job: Job) -> list[str | None]:
    async with transaction() as session:
        attempts = select(JobAttempt.outcome).where(JobAttempt.job_id == job.id).order_by(JobAttempt.started_at)
        return list(await session.scalars(attempts))


async def check_books(user: Person, video: dict[str, Any]) -> list[str]:
    """When the last step is done, storage and ledger agree on what belongs to the video; answers the keys."""
    await ended(video, "make_preview")
    async with transaction() as session:
        known = select(StoredObject.key).where(StoredObject.video_id == video["id"], StoredObject.buried_at.is_(None))
        keys = sorted(await session.scalars(known))
    assert sorted(await folder(user, video)) == keys
    return keys


@pytest.mark.parametrize("step", STEPS)
async def test_a_conversion_whose_worker_is_killed_starts_again_and_leaves_nothing_behind(
    step: str, user: Person, workshop: Workshop, tmp_path: Path
) -> None:
    sent = await send_film(user, step, tmp_path)
    sizes = "144,360" if step == "make_ladder" else ""
    first = workshop.start(LADDER_HEIGHTS=sizes)
    await workshop.converting()
    first.kill()
    first.wait()
    await until(lambda: not workshop.tools())
    workshop.start()
    job = await ended(sent, step)
    assert (job.state, await outcomes(job)) == ("completed", ["lost", "completed"])
    await until(lambda: not workshop.folders())
    assert workshop.tools() == []
    assert (await seen(user, sent))["status"] == "completed"
    made = [key for key in await check_books(user, sent) if STEPS[step][0] in key.rpartition("/")[2]]
    assert len(made) == (2 if step == "make_ladder" else 1)


async def test_calling_off_a_conversion_kills_its_tool_and_leaves_no_object(
    user: Person, workshop: Workshop, tmp_path: Path
) -> None:
    sent = await send_film(user, "make_rendition", tmp_path)
    workshop.start()
    await workshop.converting()
    assert (await user.client.post(f"/api/jobs/{sent['job_id']}/cancel")).status_code == 200
    await until(lambda: not workshop.tools() and not workshop.folders())
    job = await ended(sent, "make_rendition")
    assert (job.state, await outcomes(job)) == ("cancelled", ["cancelled"])
    video = await seen(user, sent)
    assert (video["status"], video["error"]["code"]) == ("failed", "cancelled")
    assert not [key for key in await storage.list_keys(f"videos/{user.id}/{sent['id']}/") if "rendition" in key]


async def test_a_tool_that_is_stopped_is_killed_and_the_conversion_ends_well_at_the_next_attempt(
    user: Person, workshop: Workshop, tmp_path: Path
) -> None:
    sent = await send_film(user, "make_rendition", tmp_path)
    workshop.start()
    os.kill(await workshop.converting(), signal.SIGSTOP)
    await until(lambda: not workshop.tools() and not workshop.folders())
    await make_due("make_rendition")
    job = await ended(sent, "make_rendition")
    assert (job.state, await outcomes(job)) == ("completed", ["failed", "completed"])
    assert (await seen(user, sent))["status"] == "completed"
    assert len([key for key in await check_books(user, sent) if "rendition" in key]) == 1
