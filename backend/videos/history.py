"""What was done to a video, step by step, and how long each step took."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs.models import Job, JobAttempt, JobState
from backend.orgs.access import Actor, visible
from backend.videos.models import Upload, Video

#: How an attempt ended → what the page says, and how it marks it.
_OUTCOMES: dict[str | None, tuple[str, Literal["done", "good", "failed", "now"]]] = {
    None: ("Processing", "now"),
    "completed": ("Processed", "good"),
    "failed": ("Processing failed", "failed"),
    "released": ("Put back in the queue", "done"),
    "lost": ("The worker stopped; put back in the queue", "done"),
    "cancelled": ("Cancelled", "done"),
}

#: A shorter wait is not worth a figure.
_NOTICEABLE_SECONDS = 0.1


@dataclass(frozen=True)
class Step:
    """One thing that happened. `seconds` is how long it took, None where that says nothing."""

    words: str
    kind: Literal["done", "good", "failed", "now"]
    at: datetime
    seconds: float | None = None
    detail: str | None = None


async def history(session: AsyncSession, *, actor: Actor, video: Video) -> list[Step]:
    """Upload, waiting and every attempt at processing, oldest first."""
    steps: list[Step] = []
    upload = await session.scalar(visible(Upload, actor).where(Upload.video_id == video.id))
    if upload is not None:
        steps.append(Step("Upload began", "done", upload.created_at))
        if upload.completed_at is not None:
            steps.append(
                Step("Uploaded", "done", upload.completed_at, _between(upload.created_at, upload.completed_at))
            )
    jobs = (
        await session.scalars(
            visible(Job, actor)
            .where(Job.video_id == video.id, Job.kind == "process_video")
            .order_by(Job.created_at, Job.id)
        )
    ).all()
    attempts = (
        await session.scalars(
            select(JobAttempt)
            .where(JobAttempt.job_id.in_([job.id for job in jobs]))
            .order_by(JobAttempt.started_at, JobAttempt.attempt)
        )
    ).all()
    for job in jobs:
        steps.extend(_of_job(job, [attempt for attempt in attempts if attempt.job_id == job.id]))
    return steps


def _of_job(job: Job, attempts: list[JobAttempt]) -> list[Step]:
    waited = _between(job.created_at, attempts[0].started_at) if attempts else 0.0
    if waited < _NOTICEABLE_SECONDS:
        steps = [Step("Queued", "done", job.created_at)]
    else:
        steps = [Step("Waited in the queue", "done", job.created_at, waited)]
    for attempt in attempts:
        text, kind = _OUTCOMES.get(attempt.outcome, ("Tried", "done"))
        took = _between(attempt.started_at, attempt.finished_at) if attempt.finished_at else None
        steps.append(Step(text, kind, attempt.started_at, took, attempt.error_message))
    if not attempts and job.state == JobState.CANCELLED and job.finished_at is not None:
        steps.append(Step("Cancelled", "done", job.finished_at))
    return steps


def _between(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
