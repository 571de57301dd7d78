"""The API of jobs: lists, one job, its live events, cancel and retry."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from sse_starlette import EventSourceResponse

from backend.core.db import SessionDep, transaction
from backend.core.errors import NotFound
from backend.core.events import STREAM_CONTENT, event_stream, in_turn
from backend.core.web import errors
from backend.jobs import live, progress, service, timeline
from backend.jobs.models import Job
from backend.jobs.schemas import JobOut, JobPage, JobQuery
from backend.orgs.access import Actor, CurrentActor, Permission, get_visible
from backend.orgs.streams import Follower

router = APIRouter(tags=["jobs"])

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "Server-sent events: first a snapshot, then `progress` with the job, and at the end `complete` or `error`."
        ),
        "content": STREAM_CONTENT,
    },
    204: {"description": "The end of this job was already sent to this client"},
    **errors(401, 404, 503),
}
A_STREAM: dict[str, Any] = {
    "response_class": EventSourceResponse,
    "responses": _STREAM,
    "summary": "Follow a job",
    "dependencies": [in_turn],
}


@router.get("/api/jobs", responses=errors(400, 401, 422, 503), summary="List jobs")
async def list_jobs(query: Annotated[JobQuery, Query()], actor: CurrentActor) -> JobPage:
    """Newest first. `page` counts from 1; `cursor` continues at any depth at the same speed."""
    async with transaction() as session:
        jobs, pagination = await service.list_jobs(session, actor=actor, query=query)
        shown = await service.public_many(session, jobs)
    states = await progress.freshen([progress.state_of(job, out) for job, out in zip(jobs, shown, strict=True)])
    return JobPage(jobs=[state.job for state in states], pagination=pagination)


@router.get("/api/jobs/{job_id}", responses=errors(401, 404, 503), summary="One job")
async def get_job(job_id: uuid.UUID, actor: CurrentActor) -> JobOut:
    return (await visible_state(actor, job_id)).job


@router.get("/api/jobs/{job_id}/stream", **A_STREAM)
async def stream_job(job_id: uuid.UUID, actor: CurrentActor, last_event_id: LastEventId = None) -> Response:
    """Closes at the end of the job. Come back with `Last-Event-ID` after a lost connection, as browsers do."""
    return await stream(actor, job_id, last_event_id)


@router.post("/api/jobs/{job_id}/cancel", responses=errors(401, 403, 404, 409, 503), summary="Cancel a job")
async def cancel_job(job_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> JobOut:
    """A queued job ends at once; a running one within seconds, when its worker has stopped: follow it to see."""
    job = await get_visible(session, Job, actor, job_id, permission=Permission.EDIT)
    moved = await service.cancel_job(session, actor=actor, job=job)
    await timeline.note_cancel(session, actor=actor, job=moved)
    return await service.public(session, moved)


@router.post("/api/jobs/{job_id}/retry", responses=errors(401, 403, 404, 409, 503), summary="Try a failed job again")
async def retry_job(job_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> JobOut:
    job = await get_visible(session, Job, actor, job_id, permission=Permission.EDIT)
    moved = await service.retry_job(session, actor=actor, job=job)
    await timeline.note_retry(session, actor=actor, job=moved)
    return await service.public(session, moved)


async def stream(actor: Actor, job_id: uuid.UUID, last_event_id: str | None, tell: live.Tell | None = None) -> Response:
    """The events of a job for whoever may see it. Raises NotFound."""
    state = await visible_state(actor, job_id)
    if live.has_seen_end(state, last_event_id):
        return Response(status_code=204)  # tells an EventSource to stop coming back
    follower = Follower(actor, state.job.project_id)
    return event_stream(live.follow(job_id, follower=follower, last_event_id=last_event_id, tell=tell))


async def visible_state(actor: Actor, job_id: uuid.UUID) -> progress.State:
    """Read together with what others ask for in the same moment. Raises NotFound, also when it is not the actor's."""
    state = await live.read_state(job_id)
    if state is None or state.job.project_id not in actor.project_ids:
        raise NotFound
    return state
