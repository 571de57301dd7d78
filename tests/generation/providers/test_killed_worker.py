"""kill -9 of the worker in the middle of a generation, on each provider: it is paid once, and there is one result."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from backend.core.db import transaction
from backend.core.storage import storage
from backend.generation.models import Generation
from backend.jobs.models import Job, JobAttempt
from backend.local.stack import Stack
from backend.videos.models import StoredObject, Video
from tests.conftest import ROOT, Person, environment
from tests.generation.providers.chat_server import ChatServer
from tests.generation.providers.conftest import Models, videos_settings
from tests.generation.providers.videos_server import KEY, VideosServer
from tests.generation.providers.wire import until


class House:
    """Worker processes for one provider at a time, and a person who has something made by it."""

    def __init__(self, person: Person, stack: Stack, log: Path) -> None:
        self.person = person
        self.log = log
        self.env = {**environment(stack), "JOB_LEASE_SECONDS": "3", "WORKER_QUEUES": "generation,gpu"}
        self.env |= {"ALLOWED_PRIVATE_TARGETS": "", "PYTHONPATH": str(ROOT)}
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as sink:
            command = [sys.executable, "-m", "backend.cli", "worker"]
            worker = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=sink, stderr=subprocess.STDOUT)
        self.workers.append(worker)
        return worker

    async def kill_worker(self) -> None:
        worker = self.workers[-1]
        worker.send_signal(signal.SIGKILL)
        await asyncio.to_thread(worker.wait, 30)

    async def make(self, provider: str, kind: str = "video", **more: Any) -> str:
        wish = {"prompt": "A fox runs.", "kind": kind, "provider": provider, "seconds": 1, "seed": 7, **more}
        answer = await self.person.client.post("/api/generations", json=wish)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["generation"]["id"])

    async def see(self, generation_id: str) -> dict[str, Any]:
        answer = await self.person.client.get(f"/api/generations/{generation_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def reach(self, generation_id: str, *, percent: float) -> dict[str, Any]:
        """Wait until it is so far, in Postgres too."""

        async def there() -> bool:
            found = await self.see(generation_id)
            assert found["status"] in ("pending", "processing"), (found, self.log.read_text()[-4000:])
            return float(found["progress"]) >= percent

        await until(there, "it does not get on")
        return await self.see(generation_id)

    async def end(self, generation_id: str) -> dict[str, Any]:
        """Wait until it is over."""

        async def over() -> bool:
            return (await self.see(generation_id))["status"] in ("completed", "failed", "cancelled")

        try:
            await until(over, "it does not end", seconds=120)
        except AssertionError:
            print(self.log.read_text()[-6000:])
            raise
        return await self.see(generation_id)

    async def assets(self, generation_id: str) -> list[str]:
        """The keys of what was made of it that are in the ledger and not buried; each has its object."""
        pattern = f"projects/%/{generation_id}/output.%"
        async with transaction() as session:
            keys = await session.scalars(select(StoredObject.key).where(StoredObject.key.like(pattern)))
            found = list(keys)
        assert all([await storage.head(key) for key in found])
        return found

    async def attempts(self, generation_id: str) -> int:
        async with transaction() as session:
            generation = await session.get_one(Generation, uuid.UUID(generation_id))
            of_job = select(func.count()).where(JobAttempt.job_id == generation.job_id)
            return int(await session.scalar(of_job) or 0)


@pytest.fixture
def house(user: Person, stack: Stack, tmp_path: Path) -> Iterator[House]:
    made = House(user, stack, tmp_path / "worker.log")
    yield made
    for worker in made.workers:
        if worker.poll() is None:
            worker.kill()
            worker.wait()


@pytest.fixture
def with_videos(house: House, videos_server: VideosServer) -> House:
    videos_server.held = True
    house.env |= {**videos_settings(videos_server), "VIDEOS_API_KEY": KEY}
    return house


@pytest.fixture
def with_chat(house: House, chat_server: ChatServer) -> House:
    chat_server.stall_after = 200
    house.env |= {"CHAT_API_URL": chat_server.base, "CHAT_API_KEY": KEY, "CHAT_MODEL": "sora"}
    return house


@pytest.fixture
def with_diffusers(house: House, models: Models) -> House:
    (models.video / "hold").touch()
    house.env |= {"DIFFUSERS_PYTHON": str(models.python), "DIFFUSERS_VIDEO_MODEL": str(models.video)}
    return house


async def there_is_one_video(house: House, generation_id: str) -> None:
    found = await house.end(generation_id)
    assert found["status"] == "completed", found
    assert found["progress"] == 100
    assert len(await house.assets(generation_id)) == 1
    async with transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Video)) == 1
        assert await session.scalar(select(func.count()).where(Job.kind == "process_video")) == 1
    video = (await house.person.client.get(f"/api/videos/{found['video_id']}")).json()
    assert video["playable"]
    assert video["duration"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("dialect", ["form", "openrouter"])
async def test_a_video_over_there_is_paid_once_and_goes_on(
    dialect: str, with_videos: House, videos_server: VideosServer
) -> None:
    videos_server.dialect = dialect
    videos_server.steps = [0, 35, 70]
    with_videos.env["VIDEOS_API_DIALECT"] = dialect
    with_videos.start_worker()
    made = await with_videos.make("videos")
    await until(lambda: videos_server.count("GET") >= 3, "it is not asked after")
    if dialect == "form":
        await with_videos.reach(made, percent=50)
    await with_videos.kill_worker()
    asked = videos_server.count("GET")
    with_videos.start_worker()
    await until(lambda: videos_server.count("GET") > asked + 1, "nobody asks on")
    if dialect == "form":
        await with_videos.reach(made, percent=60)
    videos_server.held = False
    await there_is_one_video(with_videos, made)
    assert videos_server.posts == 1
    assert videos_server.deleted == []
    assert await with_videos.attempts(made) == 2


async def test_a_picture_of_a_server_without_ids_is_not_asked_for_twice(
    with_videos: House, videos_server: VideosServer
) -> None:
    videos_server.silent = True
    with_videos.start_worker()
    made = await with_videos.make("videos", "image")
    await until(lambda: videos_server.posts == 1, "it is not sent")
    await with_videos.kill_worker()
    videos_server.silent = False
    with_videos.start_worker()
    found = await with_videos.end(made)
    assert (found["status"], found["error"]["code"], found["needs_review"]) == ("failed", "needs_review", True)
    assert videos_server.posts == 1
    assert (await with_videos.person.client.post(f"/api/generations/{made}/resubmit")).status_code == 200
    found = await with_videos.end(made)
    assert (found["status"], found["content_type"]) == ("completed", "image/jpeg")
    assert videos_server.posts == 2
    assert len(await with_videos.assets(made)) == 1


async def test_a_chat_is_never_begun_again_by_itself(with_chat: House, chat_server: ChatServer) -> None:
    with_chat.start_worker()
    made = await with_chat.make("chat")
    await with_chat.reach(made, percent=2.5)
    await with_chat.kill_worker()
    await until(lambda: chat_server.open == 0, "its connection outlived it")
    chat_server.stall_after = None
    with_chat.start_worker()
    found = await with_chat.end(made)
    assert (found["status"], found["error"]["code"], found["needs_review"]) == ("failed", "needs_review", True)
    assert await with_chat.assets(made) == []
    assert chat_server.posts == 1
    assert (await with_chat.person.client.post(f"/api/generations/{made}/retry")).status_code == 409
    assert (await with_chat.person.client.post(f"/api/generations/{made}/resubmit")).status_code == 200
    await there_is_one_video(with_chat, made)
    assert chat_server.posts == 2


async def test_an_animatic_is_simply_made_again(house: House) -> None:
    house.start_worker()
    made = await house.make("animatic", seconds=1)
    other = await house.make("animatic", seconds=30, orientation="landscape")
    await there_is_one_video(house, made)
    await house.reach(other, percent=8)
    await house.kill_worker()
    answer = await house.person.client.post(f"/api/generations/{other}/cancel")
    assert answer.status_code == 200
    house.start_worker()
    assert (await house.end(other))["status"] == "cancelled"
    again = await house.make("animatic", seconds=12)
    await house.reach(again, percent=8)
    await house.kill_worker()
    house.start_worker()
    found = await house.end(again)
    assert found["status"] == "completed", found
    assert found["duration"] == pytest.approx(12, abs=0.05)
    assert len(await house.assets(again)) == 1
    assert await house.attempts(again) == 2


async def test_a_gpu_is_free_again_and_the_work_done_again(with_diffusers: House, models: Models) -> None:
    with_diffusers.start_worker()
    made = await with_diffusers.make("diffusers")
    await with_diffusers.reach(made, percent=10)
    (first,) = pids(models)
    await with_diffusers.kill_worker()
    await until(lambda: not alive(first), "the process of the GPU outlived its worker")
    (models.video / "hold").unlink()
    with_diffusers.start_worker()
    await there_is_one_video(with_diffusers, made)
    assert len(pids(models)) == 2
    assert await with_diffusers.attempts(made) == 2


async def test_a_cancel_ends_the_work_everywhere(
    with_diffusers: House, videos_server: VideosServer, models: Models
) -> None:
    house = with_diffusers
    videos_server.held = True
    house.env |= {**videos_settings(videos_server), "VIDEOS_API_KEY": KEY}
    house.start_worker()
    here, there = await house.make("diffusers"), await house.make("videos")
    await house.reach(here, percent=10)
    await house.reach(there, percent=20)
    for each in (here, there):
        assert (await house.person.client.post(f"/api/generations/{each}/cancel")).status_code == 200
        assert (await house.end(each))["status"] == "cancelled"
    await until(lambda: videos_server.deleted == ["video_gen_0000"], "the server goes on")
    await until(lambda: not alive(pids(models)[0]), "the process of the GPU goes on")


def pids(models: Models) -> list[int]:
    return [int(line.split()[1]) for line in models.log(models.video) if line.startswith("loaded")]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
