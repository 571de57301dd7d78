"""A provider that follows a script, and a person at the studio's door."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import update

from backend.core.db import transaction
from backend.generation.models import Generation
from backend.generation.providers.base import Asset, Event, Kind, Progress, Queued, Spec, Submitting
from backend.jobs.models import Job, JobState
from tests.conftest import Person
from tests.generation.tasking import asset_bytes, make_due, run_queue

ENDINGS = {Kind.VIDEO: ("mp4", "video/mp4"), Kind.IMAGE: ("jpg", "image/jpeg"), Kind.AUDIO: ("mp3", "audio/mpeg")}


class Crash(Exception):
    """The worker is gone in this moment, as far as the database can tell."""


#: In a script: the result, of whatever kind is asked for.
RESULT: Any = object()


@dataclass
class Scripted:
    """Each run does the next script; without any it makes what is asked for. Notes what it was asked, and what it
    would have been paid for."""

    name: str = "scripted"
    kinds: frozenset[Kind] = frozenset(Kind)
    resumable: bool = True
    queue: str = "generation"
    scripts: list[Sequence[Any]] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    resumed: list[str | None] = field(default_factory=list)
    sent: int = 0
    cancelled: list[str] = field(default_factory=list)
    cancel_failures: int = 0
    standing: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
        self.specs.append(spec)
        self.resumed.append(resume)
        script = self.scripts.pop(0) if self.scripts else [Progress(50, "painting"), RESULT]
        for step in script:
            if step is RESULT:
                ending, content_type = ENDINGS[spec.kind]
                path = folder / f"it.{ending}"
                path.write_bytes(asset_bytes(spec.kind))
                yield Asset(path, content_type, "model-1", seed=7, detail={"notes": ["It is a little short."]})
            elif step == "stand still":
                self.standing.set()
                await asyncio.Event().wait()
            elif isinstance(step, BaseException):
                raise step
            else:
                yield step
                self.sent += isinstance(step, Submitting)

    async def cancel(self, external_id: str) -> None:
        if self.cancel_failures:
            self.cancel_failures -= 1
            raise httpx.ConnectError("away")
        self.cancelled.append(external_id)


#: What a provider that tells an id does until it is interrupted.
SENT = (Submitting(), Queued("ext-1"), Progress(30, "painting"))
#: The same of one that tells none.
SENT_BLINDLY = (Submitting(), Progress(30, "painting"))


@dataclass
class Studio:
    """One person's wishes, and the jobs that fulfil them, run here."""

    person: Person

    async def start(self, prompt: str = "A harbour at dawn", *, kind: str = "video", **more: Any) -> dict[str, Any]:
        answer = await self.person.client.post("/api/generations", json={"prompt": prompt, "kind": kind, **more})
        assert answer.status_code == 202, answer.text
        started: dict[str, Any] = answer.json()["generation"]
        return started

    async def get(self, made: dict[str, Any]) -> dict[str, Any]:
        answer = await self.person.client.get(f"/api/generations/{made['id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def post(self, made: dict[str, Any], verb: str, **body: Any) -> httpx.Response:
        path = f"/api/generations/{made['id']}/{verb}"
        return await (self.person.client.post(path, json=body) if body else self.person.client.post(path))

    async def run(self) -> int:
        """Run what is due, also what waits for its next try."""
        count = 0
        while True:
            await make_due("generate", "cancel_generation")
            ran = await run_queue("generation")
            count += ran
            if not ran:
                return count

    async def make(self, prompt: str = "A harbour at dawn", **more: Any) -> dict[str, Any]:
        """Start it, make it, and answer how it stands then."""
        made = await self.start(prompt, **more)
        await self.run()
        return await self.get(made)

    async def list(self, **query: Any) -> list[dict[str, Any]]:
        answer = await self.person.client.get("/api/generations", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["generations"])

    async def row(self, made: dict[str, Any]) -> Generation:
        async with transaction() as session:
            return await session.get_one(Generation, uuid.UUID(made["id"]))


Offer = Callable[[Scripted], Scripted]


async def lose_worker(made: dict[str, Any]) -> None:
    """The worker of this one is taken for lost: its job is to be claimed again."""
    async with transaction() as session:
        lost = update(Job).where(Job.id == uuid.UUID(made["job_id"]), Job.state == JobState.RUNNING)
        await session.execute(lost.values(state=JobState.QUEUED, lease_token=None, lease_until=None))
