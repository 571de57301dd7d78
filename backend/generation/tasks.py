"""The jobs of generations: `generate`, `generate_gpu` for workers that have one, and telling a provider to stop."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import delete, func, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.core.queue import task
from backend.generation import engine, keeping, outcomes, preview, providers
from backend.generation.models import Generation
from backend.jobs import service as jobs
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.running import JobError, Run

log = structlog.get_logger(__name__)

#: The most that one generation may take, in seconds (300 minutes).
MOST_SECONDS = 18_000
_CANCEL_SECONDS = 60
_TELL_SECONDS = 20
_BARE_ROWS = timedelta(days=1)


async def _ended(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """It failed or was cancelled. What is sent next is sent anew, and whoever works on it elsewhere is told to stop."""
    generation = await session.get(
        Generation, uuid.UUID(job.args["generation_id"]), with_for_update=True, populate_existing=True
    )
    if generation is None or generation.job_id != job.id:
        return
    if state == JobState.CANCELLED:
        generation.needs_review = False
        if generation.external_id is not None:
            await jobs.start(
                session,
                kind="cancel_generation",
                project_id=job.project_id,
                owner_id=job.owner_id,
                args={"provider": generation.provider, "external_id": generation.external_id},
            )
    elif error.code == "provider_error":  # nothing that can be used came of what was sent
        generation.submitted_at = generation.external_id = generation.external_detail = None
    await session.flush()
    await outcomes.ended(session, job, state, error)


async def _queued(session: AsyncSession, job: Job) -> None:
    """A failed one is to run again. Raises InvalidState: when it was deleted, or nobody knows what became of it."""
    generation = await session.get(Generation, uuid.UUID(job.args["generation_id"]), populate_existing=True)
    if generation is None or generation.deleted_at is not None:
        raise InvalidState("This was deleted.")
    if generation.needs_review:
        words = "It was sent, and what came of it is unknown: sending it again may cost again, and has to be asked for."
        raise InvalidState(words)
    if generation.job_id != job.id:  # a cancelled one that an admin started again
        await session.execute(
            update(Generation)
            .where(Generation.id == generation.id)
            .values(job_id=job.id, submitted_at=None, external_id=None, external_detail=None)
        )


_HOW: dict[str, Any] = {
    "max_attempts": 4,
    "timeout_seconds": MOST_SECONDS,
    "backoff_seconds": 5,
    "backoff_limit_seconds": 600,
    "on_end": _ended,
    "on_queued": _queued,
    "on_done": outcomes.completed,
}


@task("generate", queue="generation", **_HOW)
async def generate(run: Run) -> None:
    """Have something made by a provider, and take what comes of it in."""
    await engine.generate(run)


@task("generate_gpu", queue="gpu", **_HOW)
async def generate_gpu(run: Run) -> None:
    """The same on a worker with a GPU."""
    await engine.generate(run)


@task("cancel_generation", queue="generation", max_attempts=8, timeout_seconds=_CANCEL_SECONDS, backoff_seconds=5)
async def cancel_generation(run: Run) -> None:
    """Tell a provider that nobody wants what it makes any more."""
    provider = providers.configured().get(run.args["provider"])
    if provider is None:
        return
    try:
        async with asyncio.timeout(_TELL_SECONDS):
            await provider.cancel(run.args["external_id"])
    except Exception as error:  # whatever a provider's server does, it is told again
        run.note(f"{type(error).__name__}: {error}")
        words = "The provider could not be told to stop."
        raise JobError("provider_unavailable", words, retryable=True) from error
    async with run.finishing():
        log.info("generation.provider_told", provider=run.args["provider"])


@task("purge_generation", max_attempts=30, timeout_seconds=300, backoff_seconds=1, backoff_limit_seconds=60)
async def purge_generation(run: Run) -> None:
    """Remove what a deleted generation was asked with and what came of it. Waits until nothing works on it.

    Its bare row stays for a day: the quota of the hour counts what was started, also what was deleted since.
    """
    generation_id = uuid.UUID(run.args["generation_id"])
    async with transaction() as session:
        generation = await session.get(Generation, generation_id)
        if generation is None or generation.deleted_at is None:
            return
        job = await session.get(Job, generation.job_id) if generation.job_id is not None else None
        busy = job is not None and await _is_still_running(session, job)
    if busy:
        raise JobError("busy", "Waiting for the work on this to stop.", retryable=True)
    async with run.finishing() as session:
        generation = await session.get(Generation, generation_id, with_for_update=True, populate_existing=True)
        if generation is not None:
            if generation.video_id is None:
                await keeping.bury(session, generation)
            generation.prompt, generation.spec = "", {}
            generation.task_data = generation.caller_metadata = generation.external_detail = None
            generation.callback_url = None
        old = Generation.deleted_at < func.now() - _BARE_ROWS
        await session.execute(delete(Generation).where(old), execution_options={"synchronize_session": False})
    await preview.forget(generation_id)


async def _is_still_running(session: AsyncSession, job: Job) -> bool:
    if job.state not in LIVE_STATES:
        return False
    try:
        return (await jobs.cancel_job(session, actor=None, job=job)).state == JobState.RUNNING
    except jobs.InUse:
        raise
    except InvalidState:  # it ended by itself in this moment
        return False
