"""What is being worked on, and how many videos there are: the part of the library that changes by itself."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs import progress
from backend.jobs import service as jobs
from backend.jobs.models import LIVE_STATES, Job
from backend.jobs.schemas import JobOut
from backend.orgs.access import Actor, visible
from backend.videos.models import Video, VideoCount, VideoStatus

#: Videos in work that are looked at; the page says how many more there are.
MOST = 50


@dataclass(frozen=True)
class Work:
    """A video in work, and its job as it stands."""

    video_id: uuid.UUID
    title: str
    job: JobOut


@dataclass(frozen=True)
class Snapshot:
    """Counts by status, and the videos in work: running ones first, then in the order of the queue."""

    counts: dict[VideoStatus, int]
    work: list[Work]

    @property
    def mark(self) -> str:
        """A short text that differs when videos came, went or changed their status."""
        return ".".join(str(self.counts.get(status, 0)) for status in VideoStatus)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


async def look(session: AsyncSession, *, actor: Actor) -> Snapshot:
    """How things stand now."""
    return (await look_for_many(session, [actor]))[0]


async def look_for_many(session: AsyncSession, actors: Sequence[Actor]) -> list[Snapshot]:
    """The same for several: one query for all their counts, and one more only for those who have videos in work."""
    projects = {project_id for actor in actors for project_id in actor.project_ids}
    kept = select(VideoCount.project_id, VideoCount.status, VideoCount.videos).where(
        VideoCount.project_id.in_(projects)
    )
    counts: dict[uuid.UUID, Counter[VideoStatus]] = defaultdict(Counter)
    for project_id, status, videos in await session.execute(kept):
        counts[project_id][VideoStatus(status)] += videos
    snapshots = []
    for actor in actors:
        mine = sum((counts[project_id] for project_id in actor.project_ids), Counter[VideoStatus]())
        work = await _in_work(session, actor) if mine[VideoStatus.PROCESSING] else []
        snapshots.append(Snapshot(dict(mine), work))
    return snapshots


async def _in_work(session: AsyncSession, actor: Actor) -> list[Work]:
    rows = (
        await session.execute(
            visible(Video, actor)
            .with_only_columns(Video.title, Job)
            .join(Job, Job.id == Video.job_id)
            .where(Video.status == VideoStatus.PROCESSING, Job.state.in_(LIVE_STATES))
            .order_by(Job.state.desc(), Job.priority, Job.run_at, Job.id)
            .limit(MOST)
        )
    ).all()
    shown = await jobs.public_many(session, [job for _, job in rows])
    states = await progress.freshen([progress.state_of(job, out) for (_, job), out in zip(rows, shown, strict=True)])
    return [
        Work(state.job.video_id, title, state.job)
        for (title, _), state in zip(rows, states, strict=True)
        if state.job.video_id is not None
    ]


async def job_of(session: AsyncSession, video: Video) -> progress.State | None:
    """The video's job while it is in work, else None."""
    if video.status != VideoStatus.PROCESSING or video.job_id is None:
        return None
    job = await jobs.find_job(session, video.job_id)
    if job is None or job.state not in LIVE_STATES:
        return None
    state = progress.state_of(job, await jobs.public(session, job))
    return (await progress.freshen([state]))[0]
