"""Libraries in every state, and a coach's sessions, for what looks at all pages: accessibility and screenshots."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import expect
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import User
from backend.core.db import transaction
from backend.jobs.models import Job, JobAttempt, JobState
from backend.orgs.models import OrgMember, Project
from backend.videos.models import Video, VideoStatus
from backend.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from backend.webhooks.signing import new_secret
from tests.coaching import mannequin
from tests.coaching.found import STAGE, add_found
from tests.flows.browser import Visitor, make_clip
from tests.videos.media_corpus import corpus_folder


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


@dataclass(frozen=True)
class Places:
    """The ids of a project of an organization with everything in it, of its webhook, and of one that is off."""

    organization: str
    project: str
    webhook: str
    silent: str
    invitation: str


async def busy_project(visitor: Visitor) -> Places:
    """An organization of the visitor's with a project: members, invitations, keys in every state, and a webhook with
    deliveries that waits, has failed and was answered."""
    organization = await visitor.api("POST", "/api/orgs", name="Harbour film club")
    wanted = {"name": "Spring film", "organization_id": organization["id"]}
    project = await visitor.api("POST", "/api/projects", **wanted)
    await visitor.api("POST", "/api/projects", name="Regatta 2026")
    base = f"/api/projects/{project['id']}"
    link = await visitor.api("POST", f"{base}/invitations", role="editor", email="ingrid@example.org")
    taken = await visitor.api("POST", f"{base}/invitations", role="viewer")
    await visitor.api("DELETE", f"{base}/invitations/{taken['id']}")
    for name, scopes in (("Nightly copy", ["read"]), ("Cutting room", ["read", "write"]), ("Old robot", ["admin"])):
        key = await visitor.api("POST", f"{base}/api-keys", name=name, scopes=scopes)
        if name == "Cutting room":
            await visitor.api("POST", f"{base}/api-keys/{key['id']}/rotate", overlap_seconds=86_400)
        if name == "Old robot":
            await visitor.api("DELETE", f"{base}/api-keys/{key['id']}")
    async with transaction() as session:
        webhooks = [await _webhook(session, uuid.UUID(project["id"]), number) for number in range(2)]
        await _members(session, uuid.UUID(organization["id"]))
    return Places(organization["id"], project["id"], str(webhooks[0]), str(webhooks[1]), link["token"])


async def _webhook(session: AsyncSession, project_id: uuid.UUID, number: int) -> uuid.UUID:
    now = datetime.now(UTC)
    failing = now - timedelta(hours=3)
    endpoint_id = uuid.uuid4()
    endpoint = WebhookEndpoint(
        id=endpoint_id,
        project_id=project_id,
        url=("https://hooks.example.org/dailies", "https://old.example.org/hook")[number],
        description=("The cutting room’s board", "")[number],
        events=(["video.*", "job.failed"], ["upload.*"])[number],
        secret=new_secret(endpoint_id)[1],
        enabled=number == 0,
        failing_since=failing,
        disabled_at=None if number == 0 else now,
        disabled_reason=None if number == 0 else "It answered 410: it is gone and wants to hear no more.",
    )
    session.add(endpoint)
    await session.flush()
    states = (("pending", 503, 2), ("dead", None, 10), ("delivered", 204, 1), ("cancelled", None, 0))
    for place, (state, status, attempt) in enumerate(states):
        delivery = WebhookDelivery(
            project_id=project_id,
            endpoint_id=endpoint_id,
            event_id=uuid.uuid4(),
            type=("video.completed", "video.failed", "video.created", "job.failed")[place],
            data={"id": str(uuid.uuid4()), "title": "Harbour at dawn", "status": "completed"},
            state=state,
            status=status,
            attempt=attempt,
            error={"dead": "Nobody answered within 15 s.", "cancelled": "The webhook was switched off."}.get(state),
            next_try_at=now + timedelta(minutes=24) if state == "pending" else None,
            finished_at=None if state == "pending" else now,
            created_at=now - timedelta(minutes=9 * place + 2),
        )
        session.add(delivery)
        await session.flush()
        if attempt:
            session.add(
                WebhookAttempt(
                    project_id=project_id,
                    delivery_id=delivery.id,
                    at=now - timedelta(minutes=1),
                    url=endpoint.url,
                    status=status,
                    answer="Our disk is full." if status == 503 else None,
                    error=None if status else "Nobody answered within 15 s.",
                    duration_ms=182,
                )
            )
    return endpoint_id


async def _members(session: AsyncSession, organization_id: uuid.UUID) -> None:
    for name, role in (("Ingrid Lund", "admin"), ("Per Aune", "viewer")):
        email = f"{name.split()[0].lower()}-{uuid.uuid4().hex[:6]}@example.org"
        user = User(email=email, email_key=email, name=name, password_hash="-")
        session.add(user)
        await session.flush()
        session.add(OrgMember(organization_id=organization_id, user_id=user.id, role=role))


@dataclass(frozen=True)
class Practice:
    """Sessions of a coach: one with two analyses that are done, and one without a video."""

    done: str
    empty: str
    analyses: tuple[str, str]


async def practice(visitor: Visitor, place: Path) -> Practice:
    """A player's stroke, as the analysis leaves it."""
    film = mannequin.film(place / "stroke.mp4", STAGE, fps=15)
    video = await visitor.send(film, title="Stroke, from the front")
    made = []
    for title in ("Nets, Tuesday", "Range"):
        wanted = {"title": title, "player_ids": ["Ann"], "discipline": "batting", "view": "front"}
        made.append(await visitor.api("POST", "/api/coaches/plus/sessions", **wanted, notes="Windy, from the left."))
    project, session, film_id = (uuid.UUID(each) for each in (made[0]["project_id"], made[0]["id"], video))
    first, second = [
        str(await add_found(project_id=project, session_id=session, video_id=film_id, film=film)) for _ in range(2)
    ]
    return Practice(made[0]["id"], made[1]["id"], (first, second))


async def full(visitor: Visitor, tmp_path: Path) -> Scene:
    """A library with one of each, and footage where there is some."""
    count = 3
    for path in await clips(tmp_path):
        await visitor.send(path, title=path.stem.replace("_", " ").capitalize())
        count += 1
    await settled(visitor, count - 3)
    return await one_of_each(visitor, tmp_path, already=count - 3)


async def clips(tmp_path: Path) -> list[Path]:
    """Real footage when it lies beside the project, else drawn pictures."""
    found = corpus_folder()
    names = ("walk_side_view.mp4", "football_juggle_faststart.mp4", "cat_vp9.webm", "iphone_vertical_hevc.mov")
    if found is not None:
        return [found / name for name in names if (found / name).exists()]
    return [make_clip(tmp_path / f"clip_{number}.mp4", seconds=2 + number, seed=number) for number in range(2)]
