"""The studio as its first clients know it: a video from a prompt, the job to follow, and the words they read.

`POST /api/videos` has two halves. The lower one, the confirmation of an upload, is in `videos/api.py`. The routes of
jobs here answer also for other jobs, in those jobs' own words.
"""

import uuid
from typing import Any

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import JSONResponse

from backend.core.db import transaction
from backend.core.errors import NotFound, Unauthenticated
from backend.core.web import errors, redirect, wants_html
from backend.generation import service, shapes
from backend.generation.models import Generation
from backend.generation.schemas import StudioJob, StudioStarted, VideoIn
from backend.jobs import live
from backend.jobs import service as jobs
from backend.jobs.api import A_STREAM, LastEventId, stream, visible_state
from backend.jobs.models import JobState
from backend.jobs.schemas import JobOut, StreamEvent
from backend.orgs.access import Actor, CurrentActor, OptionalActor, visible
from backend.videos.api import confirm_upload
from backend.videos.schemas import ConfirmIn, VideoOut

router = APIRouter(tags=["videos"])

#: The kinds of jobs that make things.
KINDS = ("generate", "generate_gpu")

_STATUS = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}
_CAMEL = {
    "queue_position": "queuePosition",
    "estimated_seconds": "estimatedSeconds",
    "video_id": "videoId",
    "project_id": "projectId",
    "stream_url": "streamUrl",
    "created_at": "createdAt",
    "started_at": "startedAt",
    "finished_at": "finishedAt",
}

_POST: dict[str, Any] = {
    "status_code": status.HTTP_201_CREATED,
    "response_model": VideoOut,
    "summary": "Confirm an upload, or make a video from a prompt",
    "responses": {
        200: {"model": VideoOut, "description": "Confirmed before"},
        202: {"model": StudioStarted, "description": "Queued: it is made from the prompt"},
        **errors(400, 401, 403, 404, 409, 410, 413, 415, 422, 503),
    },
}


@router.post("/api/videos", **_POST)
@router.post("/videos", **_POST)
async def add_video(body: VideoIn, actor: CurrentActor, response: Response) -> VideoOut | Response:
    """With `video_id`, or `s3_key` and `claim`: looks at the object and makes the video, whose processing is then
    queued; the same again answers 200 and the same video. With `prompt`: queues its making; follow `stream_url`."""
    if body.prompt is not None:
        started = await _started(actor, body)
        return JSONResponse(started.model_dump(mode="json"), status.HTTP_202_ACCEPTED)
    upload = ConfirmIn(**body.model_dump(include=set(ConfirmIn.model_fields), exclude_none=True))
    video, created = await confirm_upload(upload, actor)
    if not created:
        response.status_code = status.HTTP_200_OK
    return video


async def _started(actor: Actor, body: VideoIn) -> StudioStarted:
    wanted = body.generation()
    await service.check_images(wanted.images)
    async with transaction() as session:
        generation, job = await service.start(session, actor=actor, body=wanted)
        shown = studio_job(await jobs.public(session, job))
    return StudioStarted(
        job=shown,
        stream_url=shown.stream_url,
        streamUrl=shown.stream_url,
        generation_id=generation.id,
        generationId=generation.id,
    )


# --- the job ---------------------------------------------------------------------------------------------------------


@router.get("/api/videos/jobs/{job_id}", responses=errors(401, 404, 503), summary="One job")
async def get_job(job_id: uuid.UUID, actor: CurrentActor) -> StudioJob:
    return studio_job((await visible_state(actor, job_id)).job)


@router.get("/jobs/{job_id}", response_model=StudioJob, responses=errors(401, 404, 503), summary="One job")
async def get_job_at_page(request: Request, job_id: uuid.UUID, actor: OptionalActor) -> StudioJob | Response:
    """JSON for programs; a browser is sent to the video the job works on."""
    if actor is None:
        raise Unauthenticated
    job = await get_job(job_id, actor)
    if wants_html(request):
        return redirect(request, f"/videos/{job.video_id}" if job.video_id else "/dashboard")
    return job


@router.get("/jobs/{job_id}/stream", **A_STREAM)
@router.get("/api/videos/jobs/{job_id}/stream", **A_STREAM)
async def stream_job(job_id: uuid.UUID, actor: CurrentActor, last_event_id: LastEventId = None) -> Response:
    """`progress {progress, status}`, then `complete {video_id, video_url}` or `error {error}`: of what makes something
    the address is where the result is read, for as long as that of `playback-url`, and the error is a sentence."""

    async def tell(job: JobOut) -> tuple[StreamEvent, dict[str, Any]]:
        event, data = live.event_of(job)
        return event, await _told(actor, job, event, data) if job.kind in KINDS else data

    return await stream(actor, job_id, last_event_id, tell)


def studio_job(job: JobOut) -> StudioJob:
    """A job in these words."""
    shown = {name: getattr(job, name, None) for name in StudioJob.model_fields}
    shown["stream_url"] = f"/api/videos/jobs/{job.id}/stream"
    if job.kind in KINDS:
        shown["status"] = _STATUS[job.status]
    return StudioJob(**shown | {camel: shown[name] for name, camel in _CAMEL.items()})


async def _told(actor: Actor, job: JobOut, event: StreamEvent, data: dict[str, Any]) -> dict[str, Any]:
    words = studio_job(job).model_dump(mode="json")
    if event == "complete":
        url = await _result_url(actor, job)
        words |= {"video_url": url, "videoUrl": url}
    if event == "error":
        words |= {"error": job.error.message if job.error else "It was cancelled.", "error_detail": data["error"]}
    return words


async def _result_url(actor: Actor, job: JobOut) -> str | None:
    """Where what was made is read; None when it is gone already."""
    async with transaction() as session:
        mine = visible(Generation, actor).where(Generation.job_id == job.id)
        generation = await session.scalar(mine)
        try:
            return (await shapes.file_of(session, generation)).url if generation is not None else None
        except NotFound:
            return None
