"""What is being worked on, and how many videos there are: the part of the library that changes by itself."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.progress import State
from backend.jobs.queries import find_jobs
from backend.jobs.schemas import JobOut
from backend.orgs.access import Actor, visible
from backend.videos import family
from backend.videos.models import Video, VideoCount, VideoStatus

#: Videos in work that are looked at; the page says how many more there are.
MOST = 50


@dataclass(frozen=True)
class Work:
    """A video in work, and its job as it stands."""

    video_id: uuid.UUID
    title: str
    job: JobOut
    has_poster: bool = False


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


async def look(session: AsyncSession, *, actor: Actor, counts: dict[VideoStatus, int]) -> Snapshot:
    """How things stand now, where the counts were read just before."""
    return Snapshot(counts, await _in_work(session, actor) if counts.get(VideoStatus.PROCESSING) else [])


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
        snapshots.append(await look(session, actor=actor, counts=dict(mine)))
    return snapshots


async def _in_work(session: AsyncSession, actor: Actor) -> list[Work]:
    rows = (
        await session.execute(
            visible(Video, actor)
            .with_only_columns(Video.title, Video.poster_key, Job)
            .join(Job, Job.id == Video.job_id)
            .where(Video.status == VideoStatus.PROCESSING, or_(Job.state.in_(LIVE_STATES), Job.unsettled))
            .order_by(Job.state.desc(), Job.priority, Job.run_at, Job.id)
            .limit(MOST)
        )
    ).all()
    states = await family.whole_many(session, [row.Job for row in rows])
    work = [
        Work(state.job.video_id, row.title, state.job, has_poster=row.poster_key is not None)
        for row, state in zip(rows, states, strict=True)
        if state is not None and state.job.video_id is not None
    ]
    return sorted(work, key=lambda each: each.job.status != JobState.RUNNING)


async def states_of(session: AsyncSession, videos: Sequence[Video]) -> dict[uuid.UUID, State]:
    """How the processing of each video stands that is in work, in the shape of its first job, by the videos' ids."""
    in_work = [video for video in videos if video.status == VideoStatus.PROCESSING and video.job_id is not None]
    roots = {job.id: job for job in await find_jobs(session, [each.job_id for each in in_work if each.job_id])}
    there = [(video, roots[video.job_id]) for video in in_work if video.job_id in roots]
    states = await family.whole_many(session, [root for _, root in there])
    return {video.id: state for (video, _), state in zip(there, states, strict=True) if state is not None}


async def state_of(session: AsyncSession, video: Video) -> State | None:
    """The same for one video; None when it is not in work."""
    return (await states_of(session, [video])).get(video.id)
