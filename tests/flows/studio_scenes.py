"""A gallery in every state, for what looks at all pages: accessibility and screenshots."""

import asyncio
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from backend.accounts.models import User
from backend.core.db import transaction
from backend.core.security import seal
from backend.generation import preview
from backend.generation.cms_sync import SEAL
from backend.generation.delivery_models import CmsSync, CmsTarget
from backend.generation.models import Door, Generation, Kind
from backend.generation.providers import animatic_cards as cards
from backend.generation.spec import Wish, size_of
from backend.jobs.models import Job, JobAttempt, JobState
from backend.orgs.models import Project
from tests.flows.browser import Visitor

MADE = (
    ("image", "square", "A tin robot waters the geraniums on a balcony"),
    ("video", "landscape", "A lighthouse in fog at dawn. Gulls lift off the rail, slow push in."),
    ("video", "portrait", "Two astronauts play table tennis on the moon, low angle"),
    ("image", "portrait", "A botanical plate of a fern that does not exist"),
    ("audio", "portrait", "The sea was quiet that night, and nobody spoke."),
    ("image", "landscape", "A night train crosses the steppe under a green sky"),
)


@dataclass(frozen=True)
class Studio:
    """The ids of one of each."""

    film: str
    image: str
    sound: str
    running: str
    failed: str
    cancelled: str
    unknown: str


async def studio(visitor: Visitor) -> Studio:
    """Things that were made, and beside them one that runs, waits, failed, was cancelled, and is unknown.

    Those two in work stay so: no worker ever gets them.
    """
    made = [await _make(visitor, kind, orientation, prompt) for kind, orientation, prompt in MADE]
    async with asyncio.timeout(180):
        for each in made:
            while (await visitor.api("GET", f"/api/generations/{each}"))["status"] != "completed":
                await asyncio.sleep(0.3)
    async with transaction() as session:
        user = await session.scalar(select(User).where(User.email == visitor.email))
        assert user is not None
    failed = await _stand_in(user, "failed", Kind.VIDEO, "landscape", "A whale breaches in slow motion")
    cancelled = await _stand_in(user, "cancelled", Kind.IMAGE, "square", "A still life with one lemon too many")
    unknown = await _stand_in(user, "unknown", Kind.VIDEO, "portrait", "A street after the parade")
    await _stand_in(user, "queued", Kind.AUDIO, "portrait", "Rain on a tin roof, someone reads a letter aloud")
    running = await _stand_in(user, "running", Kind.VIDEO, "portrait", "A cat decides about a cardboard box")
    with tempfile.TemporaryDirectory() as folder:
        look = Path(folder) / "look.jpg"
        cards.card((270, 480), "A cat decides", seed=5, number=1, count=3).save(look)
        await preview.put(uuid.UUID(running), look)
    return Studio(made[1], made[0], made[4], running, failed, cancelled, unknown)


async def _make(visitor: Visitor, kind: str, orientation: str, prompt: str) -> str:
    length = {"seconds": 4} if kind == "video" else {}
    body = {"prompt": prompt, "kind": kind, "orientation": orientation, "seed": len(prompt) * 977, **length}
    return str((await visitor.api("POST", "/api/generations", **body))["generation"]["id"])


_ERRORS = {
    "failed": ("gpu_oom", "The GPU has no room for a film of this size; it was tried three times.", True),
    "unknown": ("needs_review", "The line was cut after it was sent to the video server.", False),
    "cancelled": ("cancelled", "It was cancelled.", False),
}


async def _stand_in(user: User, state: str, kind: Kind, orientation: str, prompt: str) -> str:
    now = datetime.now(UTC)
    wish = Wish(orientation=orientation, seconds=8)
    wish.width, wish.height = size_of(kind, wish.orientation)
    async with transaction() as session:
        project_id = await session.scalar(select(Project.id).where(Project.owner_id == user.id))
        assert project_id is not None
        job = Job(kind="generate", queue="nobody", project_id=project_id, owner_id=user.id, run_at=now)
        session.add(job)
        await session.flush()
        generation = Generation(
            id=uuid.uuid4(),
            project_id=project_id,
            owner_id=user.id,
            door=Door.STUDIO,
            kind=kind,
            prompt=prompt,
            spec=wish.to_row(),
            provider="videos" if state == "unknown" else "animatic",
            needs_review=state == "unknown",
            job_id=job.id,
        )
        session.add(generation)
        if state == "running":
            token = uuid.uuid4()
            job.state, job.lease_token, job.lease_until = JobState.RUNNING, token, now + timedelta(days=1)
            job.stage, job.progress, job.attempt, job.started_at = "filming", 62.0, 1, now - timedelta(seconds=14)
            session.add(JobAttempt(lease_token=token, job_id=job.id, attempt=1, worker="scene"))
        elif state != "queued":
            job.state = JobState.CANCELLED if state == "cancelled" else JobState.FAILED
            job.started_at, job.finished_at = now - timedelta(seconds=9), now
            job.error_code, job.error_message, job.error_retryable = _ERRORS[state]
        return str(generation.id)


async def synced(project_id: uuid.UUID) -> None:
    """A project with a CMS: results that are there, on their way, and refused."""
    now = datetime.now(UTC)
    key = seal(SEAL, b"a key", about=project_id)
    async with transaction() as session:
        session.add(CmsTarget(project_id=project_id, url="https://cms.example.org", collection="media", api_key=key))
        for number, (_, _, prompt) in enumerate(MADE[:4]):
            state = (JobState.QUEUED, JobState.FAILED, JobState.COMPLETED, JobState.COMPLETED)[number]
            job = Job(kind="cms_sync", queue="nobody", project_id=project_id, run_at=now + timedelta(minutes=9))
            generation = Generation(id=uuid.uuid4(), project_id=project_id, door=Door.TASKS, kind=Kind.IMAGE)
            generation.prompt, generation.provider = prompt, "animatic"
            session.add_all([job, generation])
            await session.flush()
            done = state == JobState.COMPLETED
            sync = CmsSync(generation_id=generation.id, job_id=job.id)
            sync.document_id, sync.synced_at = (f"66f0c0de{number}", now) if done else (None, None)
            session.add(sync)
            job.attempt = 1 if done else 3
            if state == JobState.QUEUED:
                sync.error = "The CMS answered 503."
            else:
                job.state, job.started_at, job.finished_at = state, now, now
            if state == JobState.FAILED:
                sync.error = "The CMS does not let this key do that (403). You are not allowed to perform this action."
                job.error_code, job.error_message, job.error_retryable = "cms_refused", sync.error, False
