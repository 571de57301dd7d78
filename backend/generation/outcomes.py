"""When a task has come to its end: whoever has to hear of it gets a job of its own, in the transaction that ends it.

A callback waits for the CMS, so that it can tell the id that the result has there, but no longer than a minute.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.generation.delivery_models import CmsSync, CmsTarget, TaskCallback
from backend.generation.models import Door, Generation
from backend.generation.results import media_of, result_of
from backend.generation.task_types import NAMES, TaskType
from backend.jobs import service as jobs
from backend.jobs.models import Job, JobState
from backend.jobs.moves import JobError

#: How long a callback waits for the CMS.
CMS_WAIT_SECONDS = 60.0


async def completed(session: AsyncSession, job: Job) -> None:
    """The job of a generation is completed, and all its rows are written."""
    generation = await _task_of(session, job)
    if generation is None:
        return
    syncing = await _begin_sync(session, generation)
    if generation.callback_url is not None:
        media = (await media_of(session, [generation])).get(generation.id)
        body = {"status": "completed", "result": result_of(generation, media, None)}
        wait = CMS_WAIT_SECONDS if syncing else 0.0
        await _begin_callback(session, generation, job, {**body, "completed_at": _time(job)}, wait)


async def ended(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """The job of a generation failed for good, or was cancelled."""
    generation = await _task_of(session, job)
    if generation is None or generation.callback_url is None:
        return
    told = {"code": error.code, "message": error.message, "retryable": error.retryable}
    body = {"status": str(state), "error": told, "failed_at": _time(job)}
    await _begin_callback(session, generation, job, body, 0.0)


async def sync_again(session: AsyncSession, generation: Generation) -> Job:
    """Send a result to the project's CMS (once more)."""
    job = await jobs.start(
        session,
        kind="cms_sync",
        project_id=generation.project_id,
        owner_id=generation.owner_id,
        args={"generation_id": str(generation.id)},
        dedupe_key=f"cms_sync:{generation.id}",
    )
    row = insert(CmsSync).values(generation_id=generation.id, job_id=job.id)
    await session.execute(
        row.on_conflict_do_update(
            index_elements=["generation_id"], set_={"job_id": job.id, "error": None, "updated_at": func.now()}
        )
    )
    return job


async def _task_of(session: AsyncSession, job: Job) -> Generation | None:
    """The task that this is the job of; None for what came through another door."""
    mine = select(Generation).where(Generation.id == uuid.UUID(job.args["generation_id"]))
    return await session.scalar(
        mine.where(Generation.door == Door.TASKS, Generation.job_id == job.id, Generation.deleted_at.is_(None)),
        execution_options={"populate_existing": True},
    )


async def _begin_sync(session: AsyncSession, generation: Generation) -> bool:
    if NAMES.get(generation.task_type or "") is TaskType.TRIAL:
        return False
    target = await session.scalar(select(CmsTarget.project_id).where(CmsTarget.project_id == generation.project_id))
    if target is None:
        return False
    await sync_again(session, generation)
    return True


async def _begin_callback(
    session: AsyncSession, generation: Generation, job: Job, body: dict[str, Any], wait_seconds: float
) -> None:
    took = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else 0.0
    callback = TaskCallback(
        id=uuid.uuid4(),
        generation_id=generation.id,
        url=generation.callback_url,
        body={
            "task_id": str(generation.id),
            "project_id": str(generation.project_id),
            **body,
            "processing_time": round(took, 3),
            "metadata": generation.caller_metadata or {},
        },
    )
    session.add(callback)
    await session.flush()
    sending = await jobs.start(
        session,
        kind="task_callback",
        project_id=generation.project_id,
        owner_id=generation.owner_id,
        args={"callback_id": str(callback.id)},
        delay_seconds=wait_seconds or None,
    )
    callback.job_id = sending.id
    await session.flush()


def _time(job: Job) -> str:
    return (job.finished_at or datetime.now(UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")
