"""Another back end that has tasks done, and a provider that does what it is told."""

import asyncio
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.generation.models import Generation
from backend.generation.providers.base import Asset, Event, Failed, Kind, Progress, Spec
from backend.jobs.models import Job
from backend.jobs.running import run_next
from tests.conftest import Person

VIDEO = {"scene_description": "A harbour at dawn", "camera_angle": "low, from the water"}
#: A small one of each kind of task, by its first name.
DATA: dict[str, dict[str, Any]] = {
    "generate_video": VIDEO,
    "generate_image": {"character_description": "An old sailor", "style_guide": "ink"},
    "process_audio": {"text": "The sea was quiet.", "emotion": "calm", "pace": "slow"},
    "render_animation": {"scene_description": "A paper boat", "duration": 2, "fps": 24},
    "test_prompt": {"prompt": "A harbour at dawn"},
}
GPU_FULL = Failed("gpu_oom", "The GPU has no room for this.", retryable=True)
_FORMS = {
    Kind.VIDEO: ("mp4", "video/mp4", ["testsrc=s=64x64:r=24:d=1", "-pix_fmt", "yuv420p", "-movflags", "faststart"]),
    Kind.IMAGE: ("jpg", "image/jpeg", ["testsrc=s=64x64", "-frames:v", "1"]),
    Kind.AUDIO: ("mp3", "audio/mpeg", ["sine=d=1"]),
}


@cache
def asset_bytes(kind: Kind) -> bytes:
    """A small result of this kind."""
    ending, _, how = _FORMS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"made.{ending}"
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", *how, str(path)], check=True)
        return path.read_bytes()


@dataclass
class Told:
    """A provider: each run does the next of `script`, then what comes last for ever; without one, it makes it."""

    name: str = "told"
    kinds: frozenset[Kind] = frozenset(Kind)
    resumable: bool = False
    queue: str = "generation"
    script: list[Event] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    pictures: list[list[bytes]] = field(default_factory=list)
    #: Cleared, a run stands still at half its way.
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: int = 0

    async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
        self.specs.append(spec)
        self.pictures.append([each.read_bytes() for each in spec.images])
        yield Progress(50, "painting")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if self.script:
            yield self.script.pop(0)
            return
        ending, content_type, _ = _FORMS[spec.kind]
        path = folder / f"told.{ending}"
        path.write_bytes(asset_bytes(spec.kind))
        yield Asset(path, content_type, "told-1", seed=7)

    async def cancel(self, external_id: str) -> None:
        """Never has anything elsewhere."""


@dataclass
class Tasks:
    """One project's tasks, as its back end sees them: `client` sends the project's key, scoped to tasks."""

    person: Person
    project_id: str
    client: httpx.AsyncClient

    def body(self, task_type: str = "generate_video", data: Any = None, **more: Any) -> dict[str, Any]:
        sent = data if data is not None else DATA[task_type]
        return {"project_id": self.project_id, "task_type": task_type, "task_data": sent, **more}

    async def send(self, task_type: str = "generate_video", data: Any = None, **more: Any) -> httpx.Response:
        return await self.client.post("/api/v1/tasks/submit", json=self.body(task_type, data, **more))

    async def submit(self, task_type: str = "generate_video", data: Any = None, **more: Any) -> str:
        answer = await self.send(task_type, data, **more)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["task_id"])

    async def status(self, task_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/v1/tasks/{task_id}/status")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def cancel(self, task_id: str) -> httpx.Response:
        return await self.client.delete(f"/api/v1/tasks/{task_id}/cancel")

    async def retry(self, task_id: str) -> httpx.Response:
        return await self.client.post(f"/api/v1/tasks/{task_id}/retry")

    async def list(self, **query: Any) -> dict[str, Any]:
        answer = await self.client.get(f"/api/v1/projects/{self.project_id}/tasks", params=query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def wait_for(self, task_id: str, check: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Where it stands, as soon as that is so."""
        async with asyncio.timeout(60):
            while True:
                found = await self.status(task_id)
                if check(found):
                    return found
                await asyncio.sleep(0.05)


async def run_queue(*queues: str) -> int:
    """Run what is due in these queues, here; answers how many jobs that were."""
    count = 0
    while await run_next(worker="test", queues=queues or ["generation"]):
        count += 1
    return count


async def make_due(*kinds: str) -> None:
    """Let no job of these kinds wait for its time."""
    async with transaction() as session:
        late = update(Job).where(Job.kind.in_(kinds), Job.state == "queued")
        await session.execute(late.values(run_at=func.now()))


async def jobs_of_kind(kind: str) -> Sequence[Job]:
    async with transaction() as session:
        return (await session.scalars(select(Job).where(Job.kind == kind).order_by(Job.created_at))).all()


async def job_of(task_id: str) -> Job:
    async with transaction() as session:
        task = await session.get_one(Generation, uuid.UUID(task_id))
        return await session.get_one(Job, task.job_id)


MakeTasks = Callable[..., Awaitable[Tasks]]
