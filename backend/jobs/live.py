"""Following a job as it goes: first the truth from Postgres, then events, until the end. No session is held."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import structlog
from sse_starlette import ServerSentEvent

from backend.core import events
from backend.core.db import transaction
from backend.jobs import progress, queries
from backend.jobs.models import JobState
from backend.jobs.progress import State, Version
from backend.jobs.schemas import JobOut, StreamEvent

log = structlog.get_logger(__name__)

#: The truth is read again after this long without news, sooner while the place in the queue may change.
READ_AGAIN_SECONDS = 15.0
QUEUED_AGAIN_SECONDS = 5.0

T = TypeVar("T")


async def read_state(job_id: uuid.UUID) -> State | None:
    """The newest state of a job: its row, and the progress in Redis when that is ahead of it."""
    async with transaction() as session:
        job = await queries.find_job(session, job_id)
        if job is None:
            return None
        state = progress.state_of(job, await queries.public(session, job))
    return (await progress.freshen([state]))[0]


def has_seen_end(state: State, last_event_id: str | None) -> bool:
    """Whether a returning client was already sent the end of this job."""
    last = Version.parse(last_event_id)
    return state.job.is_final and last is not None and last >= state.version


def event_of(job: JobOut) -> tuple[StreamEvent, dict[str, Any]]:
    """Which event says this, and its data."""
    data = job.model_dump(mode="json")
    if job.status == JobState.COMPLETED:
        url = f"/videos/{job.video_id}" if job.video_id else None
        return "complete", {**data, "video_url": url, "videoUrl": url}
    return ("error" if job.is_final else "progress"), data


async def follow(job_id: uuid.UUID, *, last_event_id: str | None = None) -> AsyncIterator[ServerSentEvent]:
    """The events of one job until its end; the caller has checked who asks.

    A client that comes back with the id of the last event it got is sent nothing older than that.
    """
    seen = Version.parse(last_event_id) or Version(0, 0)
    shown: JobOut | None = None
    payload: dict[str, Any] | None = None
    with events.hub.subscribe([progress.job_topic(job_id)]) as subscription:
        while True:
            state = _told(payload, shown) if payload else await _patiently(lambda: read_state(job_id))
            if state is None:  # the job was removed with its project
                return
            job = state.job
            # At the same version only details change (a place in the queue, a cancel asked for). Events may come late
            # and be older than what was shown; an end that Postgres tells is one, whatever the client says it saw.
            told_end = payload is None and job.is_final
            if state.version > seen or (state.version == seen and job != shown) or told_end:
                kind, data = event_of(job)
                yield events.message(_json(data), event=kind, id=str(state.version))
                seen, shown = state.version, job
                if job.is_final:
                    return
            queued = shown is not None and shown.status == JobState.QUEUED
            try:
                payload = await subscription.next(QUEUED_AGAIN_SECONDS if queued else READ_AGAIN_SECONDS)
            except events.Closed:
                return


def _told(payload: dict[str, Any], shown: JobOut | None) -> State:
    """What an event says. Events know neither place nor estimate: what was shown of these stays."""
    state = State.read(payload)
    if shown is None:
        return state
    kept: dict[str, Any] = {"estimated_seconds": shown.estimated_seconds}
    if state.job.status == shown.status == JobState.QUEUED:
        kept["queue_position"] = shown.queue_position
    return State(state.version, state.job.model_copy(update=kept))


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read the truth; while the database is away a stream waits, and its heartbeat keeps the client."""
    while True:
        try:
            return await read()
        except Exception as error:  # a stream has no status left to report with
            log.warning("stream.read_failed", error=repr(error))
            await asyncio.sleep(2.0)


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
