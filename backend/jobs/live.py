"""Following a job as it goes: first the truth from Postgres, then events, until the end. No session is held."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from sse_starlette import ServerSentEvent

from backend.core import events
from backend.core.db import autocommit
from backend.core.readings import Readings, patiently
from backend.jobs import progress, queries
from backend.jobs.models import JobState
from backend.jobs.progress import State, Version
from backend.jobs.schemas import JobOut, StreamEvent
from backend.orgs.streams import Follower

#: While the place in the queue changes without an event: sooner near its front, where it is looked at.
QUEUED_AGAIN_SECONDS = 5.0
FAR_BACK = 20
FAR_AGAIN_SECONDS = 20.0

#: Which event says how a job stands, and its data.
Tell = Callable[[JobOut], Awaitable[tuple[StreamEvent, dict[str, Any]]]]


async def read_state(job_id: uuid.UUID) -> State | None:
    """The newest state of a job: its row, and the progress in Redis when that is ahead of it. Whoever asks."""
    return await _states.get(job_id)


async def _read_states(job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, State]:
    async with autocommit() as session:
        jobs = await queries.find_rows(session, job_ids)
        shown = await queries.public_many(session, jobs)
    states = await progress.freshen([progress.state_of(job, out) for job, out in zip(jobs, shown, strict=True)])
    return {state.job.id: state for state in states}


_states = Readings(_read_states)


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


async def follow(
    job_id: uuid.UUID, *, follower: Follower, last_event_id: str | None = None, tell: Tell | None = None
) -> AsyncIterator[ServerSentEvent]:
    """The events of one job until its end, or that of the follower's access to its project.

    A client that comes back with the id of the last event it got is sent nothing older than that. `tell` puts a job
    into other words than `event_of`.
    """
    seen = Version.parse(last_event_id) or Version(0, 0)
    shown: JobOut | None = None
    payload: dict[str, Any] | None = None
    with events.hub.subscribe([progress.job_topic(job_id)]) as subscription:
        while True:
            state = _told(payload, shown) if payload else None
            was_told = state is not None
            if state is None:
                state = await patiently(lambda: read_state(job_id))
            if state is None:  # the job was removed with its project
                return
            job = state.job
            # At the same version only details change (a place in the queue, a cancel asked for). Events may come late
            # and be older than what was shown; an end that Postgres tells is one, whatever the client says it saw.
            read_end = not was_told and job.is_final
            if state.version > seen or (state.version == seen and job != shown) or read_end:
                kind, data = await tell(job) if tell is not None else event_of(job)
                yield events.message(_json(data), event=kind, id=str(state.version))
                seen, shown = state.version, job
                if job.is_final:
                    return
            try:
                payload = await subscription.next(read_again_seconds(shown))
                await follower.look_sometimes()
            except events.Closed:
                return


def _told(payload: dict[str, Any], shown: JobOut | None) -> State | None:
    """What an event says; None when a process of another version says what this one does not know.

    Events know neither place nor estimate nor what it waits for: these stay as shown.
    """
    state = State.told(payload)
    if state is None:
        return None
    if shown is None:
        return state
    kept: dict[str, Any] = {"estimated_seconds": shown.estimated_seconds}
    if state.job.status == shown.status == JobState.QUEUED:
        kept["queue_position"] = shown.queue_position
        kept["waiting_for"] = shown.waiting_for
    return State(state.version, state.job.model_copy(update=kept))


def read_again_seconds(shown: JobOut | None) -> float:
    """How long a stream that has shown this waits for news before it looks by itself."""
    if shown is None or shown.status != JobState.QUEUED:
        return events.READ_AGAIN_SECONDS
    return QUEUED_AGAIN_SECONDS if (shown.queue_position or 0) < FAR_BACK else FAR_AGAIN_SECONDS


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
