"""Libraries in every state, for what looks at all pages: accessibility and screenshots."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import expect
from sqlalchemy import select, update

from backend.accounts.models import User
from backend.core.db import transaction
from backend.jobs.models import Job, JobAttempt, JobState
from backend.orgs.models import Project
from backend.videos.models import Video, VideoStatus
from tests.flows.browser import Visitor, make_clip


@dataclass(frozen=True)
class Scene:
    """The videos of a library that has one of each."""

    ready: str
    unplayable: str
    failed: str
    running: str


async def one_of_each(visitor: Visitor, folder: Path, *, already: int = 0) -> Scene:
    """Beside what is there: videos that are ready, not playable, failed, running and queued.

    The last two stay so: no worker ever gets them.
    """
    clip = make_clip(folder / "harbour.mp4", seconds=3, seed=11)
    broken = folder / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 4000)
    odd = make_clip(folder / "old camera.avi", seconds=2, codec="mpeg4", seed=4)
    failed = await visitor.send(broken, title="Card 2, last file")
    unplayable = await visitor.send(odd, title="Old camera")
    ready = await visitor.send(clip, title="Harbour at dawn, take 3")
    await visitor.api(
        "PATCH", f"/api/videos/{ready}", description="Wind on the microphone until 0:02.\nThe gull is real."
    )
    await settled(visitor, already + 3)
    running = await in_work(visitor.email)
    return Scene(ready, unplayable, failed, running)


async def settled(visitor: Visitor, count: int) -> None:
    """Wait until nothing is processed any more."""
    page = visitor.page
    await visitor.open("/dashboard")
    await expect(page.locator(".videos tbody tr")).to_have_count(count)
    await expect(page.locator('.videos .status[data-status="processing"]')).to_have_count(0)


async def in_work(email: str) -> str:
    """A video whose job seems to run, and one that waits; answers the first one's id."""
    now = datetime.now(UTC)
    async with transaction() as session:
        user = await session.scalar(select(User).where(User.email == email))
        assert user is not None
        project_id = await session.scalar(select(Project.id).where(Project.owner_id == user.id))
        ids = []
        for number, title in enumerate(("Interview with Ingrid, second camera", "Drone pass over the quarry")):
            video = Video(
                id=uuid.uuid4(),
                project_id=project_id,
                owner_id=user.id,
                title=title,
                description="",
                status=VideoStatus.PROCESSING,
                filename=f"clip{number}.mov",
                content_type="video/quicktime",
                size_bytes=734_003_200 + number,
                s3_key=f"videos/{uuid.uuid4()}",
            )
            session.add(video)
            await session.flush()
            job = Job(
                kind="process_video",
                queue="nobody",
                project_id=project_id,
                owner_id=user.id,
                video_id=video.id,
                run_at=now - timedelta(seconds=30 - number),
            )
            session.add(job)
            await session.flush()
            video.job_id = job.id
            ids.append(str(video.id))
            if number == 0:
                token = uuid.uuid4()
                job.state, job.lease_token, job.lease_until = JobState.RUNNING, token, now + timedelta(days=1)
                job.stage, job.progress, job.attempt, job.started_at = "poster", 62.0, 1, now - timedelta(seconds=4)
                session.add(JobAttempt(lease_token=token, job_id=job.id, attempt=1, worker="scene"))
    return ids[0]


@asynccontextmanager
async def many(visitor: Visitor, folder: Path, count: int) -> AsyncIterator[None]:
    """A library of several pages: copies of one processed video, all with its poster."""
    clip = make_clip(folder / "one.mp4", seconds=3, seed=7)
    await visitor.send(clip, title="Rushes 0")
    await settled(visitor, 1)
    async with transaction() as session:
        user = await session.scalar(select(User).where(User.email == visitor.email))
        assert user is not None
        original = await session.scalar(select(Video).where(Video.owner_id == user.id))
        assert original is not None
        kept = {
            column.key: getattr(original, column.key)
            for column in Video.__mapper__.column_attrs
            if column.key not in ("id", "s3_key", "title", "created_at", "updated_at", "search", "job_id")
        }
        for number in range(1, count):
            moment = datetime.now(UTC) - timedelta(hours=7 * number)
            session.add(Video(**kept, title=f"Rushes {number}", s3_key=f"videos/{uuid.uuid4()}", created_at=moment))
    yield
    async with transaction() as session:
        await session.execute(update(Video).where(Video.owner_id == user.id).values(deleted_at=datetime.now(UTC)))
