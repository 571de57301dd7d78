"""Telling who asked for a task how it ended: one request a try, each with 30 s, tried again for some hours."""

import json
import uuid
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend import __version__
from backend.core import http
from backend.core.db import transaction
from backend.core.errors import UrlNotAllowed
from backend.core.queue import task
from backend.generation.delivery_models import CmsSync, TaskCallback
from backend.jobs.models import Job, JobState
from backend.jobs.running import JobError, Run
from backend.jobs.service import bring_forward

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 30.0
_ANSWER_BYTES = 2048


# With full jitter fourteen tries are spread over about seven hours.
@task(
    "task_callback",
    queue="outbound",
    max_attempts=14,
    timeout_seconds=4 * TIMEOUT_SECONDS,
    backoff_seconds=10,
    backoff_limit_seconds=14_400,
)
async def send_callback(run: Run) -> None:
    """Send one end of a task to the address that its caller named."""
    callback_id = uuid.UUID(run.args["callback_id"])
    async with transaction() as session:
        callback = await session.get(TaskCallback, callback_id)
        if callback is None:  # the task was removed with its project
            return
        body = await _body_of(session, callback)
    await run.report("calling back", 10)
    answer, error = await _send(callback, body)
    if answer is not None and 200 <= answer.status < 300:
        async with run.finishing() as session:
            await _note(session, callback_id, answer_status=answer.status, error=None, delivered_at=func.now())
        return
    async with transaction() as session:
        await _note(session, callback_id, answer_status=answer.status if answer else None, error=error)
    raise JobError("callback_failed", error, retryable=True)


async def hasten(session: AsyncSession, generation_id: uuid.UUID) -> None:
    """The CMS has answered: a callback that waits for it goes now."""
    waiting = select(TaskCallback.job_id).join(Job, Job.id == TaskCallback.job_id)
    mine = waiting.where(
        TaskCallback.generation_id == generation_id,
        TaskCallback.delivered_at.is_(None),
        Job.state == JobState.QUEUED,
        Job.attempt == 0,
    )
    for job_id in await session.scalars(mine):
        if job_id is not None:
            await bring_forward(session, job_id)


async def _body_of(session: AsyncSession, callback: TaskCallback) -> dict[str, Any]:
    if not callback.body.get("result"):
        return callback.body
    document = select(CmsSync.document_id).where(CmsSync.generation_id == callback.generation_id)
    known = await session.scalar(document)
    return {**callback.body, "result": {**callback.body["result"], "payload_media_id": known}}


async def _send(callback: TaskCallback, body: dict[str, Any]) -> tuple[http.Answer | None, str]:
    try:
        answer = await http.post(
            callback.url,
            # The same at every try, so that a receiver knows what it has seen.
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"Dailies/{__version__}",
                "Idempotency-Key": str(callback.id),
            },
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            timeout_seconds=TIMEOUT_SECONDS,
            max_answer_bytes=_ANSWER_BYTES,
        )
    except UrlNotAllowed as refusal:
        return None, refusal.message
    except http.NoAnswer as failure:
        return None, str(failure)
    moved = ", and redirects are not followed" if 300 <= answer.status < 400 else ""
    return answer, f"It answered {answer.status}{moved}."


async def _note(session: AsyncSession, callback_id: uuid.UUID, **values: Any) -> None:
    await session.execute(update(TaskCallback).where(TaskCallback.id == callback_id).values(**values))
