"""Tasks of other back ends: submit, look, list, cancel, try again. The contract TASKS, over the same engine."""

import math
import uuid
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.errors import Conflict, InvalidState, NotFound
from backend.generation import providers, service
from backend.generation.delivery_models import CmsSync, TaskCallback
from backend.generation.estimates import estimated_seconds
from backend.generation.models import Door, Generation, Kind
from backend.generation.providers import animatic
from backend.generation.results import media_of, result_of
from backend.generation.shapes import caught_up
from backend.generation.spec import wish_of
from backend.generation.task_types import NAMES, Order, TaskType, TrialData, names_of, order_of, read
from backend.generation.v1_schemas import (
    CallbackOut,
    CmsSyncOut,
    GpuOut,
    TaskCancelled,
    TaskIn,
    TaskMade,
    TaskOut,
    TaskPage,
    TaskQuery,
    TaskResult,
    TaskState,
    TaskWorkerOut,
    WorkersOut,
)
from backend.jobs import service as jobs
from backend.jobs.models import Job, JobState
from backend.jobs.schemas import JobOut, from_row
from backend.jobs.workers import Worker, list_workers
from backend.orgs.access import Actor, Permission, require, visible

#: Queues that tasks wait in.
QUEUES = ("generation", "gpu")
_STATES: Mapping[JobState, TaskState] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


class TooManyWaiting(Conflict):
    code = "quota_exceeded"


# --- submitting ------------------------------------------------------------------------------------------------------


def read_order(body: TaskIn) -> Order:
    """What a task asks for. Raises ValidationFailed: with the names of its fields."""
    return order_of(body.task_type, read(body.task_type, body.task_data))


async def submit(session: AsyncSession, *, actor: Actor, body: TaskIn, order: Order) -> TaskMade:
    """Queue a task. Its addresses were looked at before. Raises NotFound, Forbidden, TooManyWaiting, QuotaExceeded."""
    require(actor, Permission.TASKS, body.project_id)
    await _check_room(session, body.project_id)
    wish, provider = order.wish, None
    if NAMES[body.task_type] is TaskType.TRIAL:
        provider = animatic.NAME
        wish = wish.model_copy(update={"options": {"trial": await _trial(session, body)}})
    generation, job = await service.begin(
        session,
        project_id=body.project_id,
        owner_id=actor.user_id,
        door=Door.TASKS,
        kind=order.kind,
        prompt=order.prompt,
        wish=wish,
        provider=provider,
        priority=body.priority,
        task_type=body.task_type,
        task_data=body.task_data,
        caller_metadata=body.metadata,
        callback_url=body.callback_url,
    )
    return await made(session, generation, job)


async def made(session: AsyncSession, generation: Generation, job: Job) -> TaskMade:
    """A task that was just queued."""
    positions = await jobs.queue_positions(session, [job.id])
    estimate = await estimated_seconds(
        session,
        job_kind=job.kind,
        kind=Kind(generation.kind),
        provider=generation.provider,
        seconds=wish_of(generation).seconds,
    )
    return TaskMade(
        task_id=generation.id,
        status=_STATES[JobState(job.state)],
        project_id=generation.project_id,
        estimated_duration=estimate,
        queue_position=positions.get(job.id),
        created_at=generation.created_at,
    )


async def _check_room(session: AsyncSession, project_id: uuid.UUID) -> None:
    if not settings.tasks_queued_max:
        return
    waiting = (
        select(Job.id)
        .where(
            Job.queue.in_(QUEUES),
            Job.priority.in_((1, 2, 3)),
            Job.state == JobState.QUEUED,
            Job.project_id == project_id,
        )
        .limit(settings.tasks_queued_max)
    )
    count = await session.scalar(select(func.count()).select_from(waiting.subquery()))
    if count == settings.tasks_queued_max:
        raise TooManyWaiting(f"This project has {count} tasks waiting, and may have no more.")


async def _trial(session: AsyncSession, body: TaskIn) -> dict[str, Any]:
    """What a task of the type that a dry run is for would be: who would make it, and how long it would take."""
    data = read(body.task_type, body.task_data)
    assert isinstance(data, TrialData)
    key = {"generate_image": "character_description", "process_audio": "text"}.get(data.task_type, "scene_description")
    order = order_of(data.task_type, read(data.task_type, {key: data.prompt}))
    provider = providers.default_for(order.kind)
    estimate = await estimated_seconds(
        session,
        job_kind=service.job_kind(provider),
        kind=order.kind,
        provider=provider.name,
        seconds=order.wish.seconds,
    )
    return {"task_type": data.task_type, "provider": provider.name, "estimated_duration": estimate}


# --- looking ---------------------------------------------------------------------------------------------------------


async def get_task(
    session: AsyncSession, *, actor: Actor, task_id: uuid.UUID, permission: Permission = Permission.VIEW
) -> Generation:
    """Raises NotFound, also for what came through another door; Forbidden."""
    generation = await service.get_generation(session, actor=actor, generation_id=task_id, permission=permission)
    if generation.door != Door.TASKS:
        raise NotFound
    return generation


async def list_tasks(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, query: TaskQuery) -> TaskPage:
    """Newest first. Raises NotFound."""
    require(actor, Permission.VIEW, project_id)
    mine = visible(Generation, actor).where(Generation.project_id == project_id, Generation.door == Door.TASKS)
    if query.task_type is not None:
        mine = mine.where(Generation.task_type.in_(names_of(query.task_type)))
    if query.status is not None:
        state = next(state for state, name in _STATES.items() if name == query.status)
        mine = mine.join(Job, Job.id == Generation.job_id).where(Job.state == state)
    total = await session.scalar(select(func.count()).select_from(mine.order_by(None).subquery())) or 0
    page = mine.order_by(Generation.created_at.desc(), Generation.id.desc())
    rows = (await session.scalars(page.limit(query.limit).offset((query.page - 1) * query.limit))).all()
    return TaskPage(
        tasks=await shown(session, rows),
        page=query.page,
        limit=query.limit,
        total=total,
        total_pages=math.ceil(total / query.limit),
    )


async def shown(session: AsyncSession, generations: Sequence[Generation]) -> list[TaskOut]:
    """Tasks that were loaded through the door, with what has become of each."""
    ids = [each.id for each in generations]
    # The jobs first: of one that is completed, the result, callback and document are there then, or are on their way.
    mine = await session.scalars(select(Job).where(Job.id.in_([each.job_id for each in generations])))
    by_id: dict[uuid.UUID | None, Job] = {job.id: job for job in mine}
    await caught_up(session, generations, {job.id for job in by_id.values() if job.state == JobState.COMPLETED})
    callbacks = select(TaskCallback).where(TaskCallback.generation_id.in_(ids)).order_by(TaskCallback.created_at)
    told = {each.generation_id: each for each in await session.scalars(callbacks)}  # the last of each
    rows = await session.scalars(select(CmsSync).where(CmsSync.generation_id.in_(ids)))
    synced = {each.generation_id: each for each in rows}
    errands: list[TaskCallback | CmsSync] = [*told.values(), *synced.values()]
    found = await session.scalars(select(Job).where(Job.id.in_([each.job_id for each in errands])))
    by_id |= {job.id: job for job in found}
    working = [by_id[each.job_id] for each in generations if each.job_id in by_id]
    states = {out.id: out for out in await jobs.public_many(session, working)}
    media = await media_of(session, generations)
    shapes = []
    for each in generations:
        sync, callback = synced.get(each.id), told.get(each.id)
        document_id = sync.document_id if sync else None
        shapes.append(
            _task_out(
                each,
                states.get(each.job_id) if each.job_id else None,
                priority=by_id[each.job_id].priority if each.job_id in by_id else 2,
                result=result_of(each, media.get(each.id), document_id),
                callback=_callback_out(callback, by_id.get(callback.job_id)) if callback else None,
                cms=cms_out(sync, by_id.get(sync.job_id)) if sync else None,
            )
        )
    return shapes


def _task_out(
    generation: Generation, job: JobOut | None, *, priority: int, result: dict[str, Any] | None, **more: Any
) -> TaskOut:
    # Jobs are kept; should one be gone, the result says how it ended.
    status = _STATES[job.status] if job else "completed" if result else "failed"
    done = status == "completed"
    return TaskOut(
        task_id=generation.id,
        project_id=generation.project_id,
        task_type=generation.task_type or "",
        status=status,
        priority=priority,
        progress=1.0 if done else round(job.progress / 100, 3) if job else 0.0,
        current_step=job.stage if job and status == "processing" else None,
        queue_position=job.queue_position if job else None,
        attempt=job.attempt if job else 0,
        result=TaskResult.model_validate(result) if done and result else None,
        error=job.error if job and status in ("failed", "cancelled") else None,
        metadata=generation.caller_metadata or {},
        created_at=generation.created_at,
        started_at=job.started_at if job else None,
        completed_at=job.finished_at if job else None,
        **more,
    )


def _callback_out(callback: TaskCallback, job: Job | None) -> CallbackOut:
    state = _errand(job, callback.delivered_at is not None)
    return CallbackOut(
        state="delivered" if state == "done" else state,
        job_id=callback.job_id,
        status=callback.answer_status,
        error=callback.error or (job.error_message if job and state == "failed" else None),
        attempts=job.attempt if job else 0,
        next_try_at=job.run_at if job and state == "waiting" else None,
        delivered_at=callback.delivered_at,
    )


def cms_out(sync: CmsSync, job: Job | None) -> CmsSyncOut:
    """How far a result is on its way into the CMS."""
    state = _errand(job, sync.synced_at is not None)
    return CmsSyncOut(
        state="synced" if state == "done" else state,
        job_id=sync.job_id,
        document_id=sync.document_id,
        error=sync.error,
        attempts=job.attempt if job else 0,
        next_try_at=job.run_at if job and state == "waiting" else None,
        synced_at=sync.synced_at,
    )


def _errand(job: Job | None, done: bool) -> Any:
    if job is None or job.state == JobState.COMPLETED:
        return "done" if done else "failed"
    return {JobState.QUEUED: "waiting", JobState.RUNNING: "sending"}.get(JobState(job.state), "failed")


# --- cancel and retry ------------------------------------------------------------------------------------------------


async def cancel(session: AsyncSession, *, actor: Actor, task: Generation) -> TaskCancelled:
    """Raises InvalidState: 400, as this contract has it, for one that has come to its end."""
    try:
        job = await service.cancel(session, actor=actor, generation=task)
    except jobs.InUse:
        raise
    except InvalidState as error:
        raise InvalidState("This task has come to its end: there is nothing to cancel.", status=400) from error
    status = _STATES[from_row(job).status]
    words = "The task is cancelled." if status == "cancelled" else "The task is being stopped."
    return TaskCancelled(task_id=task.id, status=status, message=words)


async def retry(session: AsyncSession, *, actor: Actor, task: Generation) -> TaskMade:
    """Try a failed task again, with a new set of attempts. Raises InvalidState (400)."""
    before = await jobs.find_job(session, task.job_id) if task.job_id is not None else None
    refusal = InvalidState("Only a task that has failed can be tried again.", status=400)
    if before is None or before.state != JobState.FAILED:
        raise refusal
    try:
        # Who asks for it by name has decided, also where nobody knows what became of what was sent.
        again = service.resubmit if task.needs_review else service.retry
        job = await again(session, actor=actor, generation=task)
    except InvalidState as error:
        raise refusal from error
    return await made(session, task, job)


# --- workers ---------------------------------------------------------------------------------------------------------


async def workers(session: AsyncSession) -> WorkersOut:
    """The living workers that take tasks. Nothing of whose tasks they have."""
    living = [each for each in await list_workers(session) if each.state == "alive" and set(each.queues) & set(QUEUES)]
    listed = [_worker_out(each) for each in living]
    used = [gpu.use_percent for each in listed for gpu in each.gpus if gpu.use_percent is not None]
    return WorkersOut(
        workers=listed,
        total_workers=len(listed),
        active_workers=sum(each.status == "busy" for each in listed),
        gpu_utilization=round(fmean(used), 1) if used else None,
    )


def _worker_out(worker: Worker) -> TaskWorkerOut:
    return TaskWorkerOut(
        id=worker.id,
        status="busy" if worker.running else "idle",
        slots=worker.slots,
        running=worker.running,
        has_gpu="gpu" in worker.queues,
        gpus=[GpuOut.model_validate({name: gpu.get(name) for name in GpuOut.model_fields}) for gpu in worker.gpus],
        started_at=worker.started_at,
        last_seen_at=worker.last_seen_at,
    )
