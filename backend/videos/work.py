"""What is being worked on, and how many videos there are: the part of the library that changes by itself."""

import uuid
from dataclasses import dataclass

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs import progress
from backend.jobs import service as jobs
from backend.jobs.models import LIVE_STATES, Job, JobState
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
    kept = (
        select(VideoCount.status, cast(func.sum(VideoCount.videos), BigInteger))
        .where(VideoCount.project_id.in_(actor.project_ids))
        .group_by(VideoCount.status)
    )
    counts = {VideoStatus(status): count for status, count in await session.execute(kept)}
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
    return Snapshot(
        counts,
        [
            Work(state.job.video_id, title, state.job)
            for (title, _), state in zip(rows, states, strict=True)
            if state.job.video_id is not None
        ],
    )


async def job_of(session: AsyncSession, video: Video) -> JobOut | None:
    """The video's job while it is in work, else None."""
    if video.status != VideoStatus.PROCESSING or video.job_id is None:
        return None
    job = await jobs.find_job(session, video.job_id)
    if job is None or job.state not in (JobState.QUEUED, JobState.RUNNING):
        return None
    state = progress.state_of(job, await jobs.public(session, job))
    return (await progress.freshen([state]))[0].job
