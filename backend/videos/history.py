"""What was done to a video, step by step, and how long each step took."""

from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs.models import Job, JobAttempt
from backend.jobs.schemas import from_row
from backend.jobs.timeline import Step, steps_of
from backend.orgs import audit
from backend.orgs.access import Actor, visible
from backend.videos.models import Upload, Video
from backend.videos.words import STEPS

#: What is not of a kind's own words (words.STEPS).
_WORDS: dict[str, str] = {
    "queued": "Queued",
    "retried": "Tried again by hand",
    "released": "Put back in the queue",
    "lost": "The worker stopped; put back in the queue",
    "stopped": "Cancelled",
    "waiting": "Waiting to be tried again",
    "cancelled": "Cancelled",
    "given_up": "Given up",
}
_OF_KIND = ("running", "completed", "failed")


async def history(session: AsyncSession, *, actor: Actor, video: Video) -> list[Step]:
    """Upload, waiting, every attempt at every step of processing, and every retry by hand, oldest first."""
    jobs = (
        await session.scalars(
            visible(Job, actor).where(Job.video_id == video.id, Job.kind.in_(STEPS)).order_by(Job.created_at, Job.id)
        )
    ).all()
    attempts = (
        await session.scalars(
            select(JobAttempt)
            .where(JobAttempt.job_id.in_([job.id for job in jobs]))
            .order_by(JobAttempt.started_at, JobAttempt.attempt)
        )
    ).all()
    steps = await _of_upload(session, actor=actor, video=video)
    first = next((job.id for job in jobs if job.parent_id is None), None)
    for job in jobs:
        steps += steps_of(
            from_row(job),
            [attempt for attempt in attempts if attempt.job_id == job.id],
            await audit.about(session, "job", job.id),
            words=partial(_words, job=job, first=job.id == first),
            due_at=job.run_at,
        )
    return sorted(steps, key=lambda step: step.at)  # steps of processing run side by side


async def _of_upload(session: AsyncSession, *, actor: Actor, video: Video) -> list[Step]:
    upload = await session.scalar(visible(Upload, actor).where(Upload.video_id == video.id))
    if upload is None:
        return []
    steps = [Step("upload", "done", upload.created_at, words="Upload began")]
    if upload.completed_at is not None:
        took = max(0.0, (upload.completed_at - upload.created_at).total_seconds())
        steps.append(Step("uploaded", "done", upload.completed_at, took, words="Uploaded"))
    return steps


def _words(step: Step, *, job: Job, first: bool) -> str:
    if step.what in _OF_KIND:
        return STEPS[job.kind][_OF_KIND.index(step.what)]
    if step.what == "queued" and job.parent_id is None and not first:
        return _WORDS["retried"]  # what was cancelled is processed by a job of its own
    if step.what == "queued" and step.seconds is not None:
        return "Waited in the queue"
    if step.what == "queued" and job.parent_id is not None:
        return ""  # it was started by the step before, and began at once
    return _WORDS.get(step.what, "")  # that a cancel was asked for says its end
