"""The API of generations, and `POST /api/videos`, which confirms an upload or starts one."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, status

from backend.config import settings
from backend.core.db import SessionDep, transaction
from backend.core.errors import NotFound
from backend.core.web import errors
from backend.generation import listing, pictures, preview, quota, service, shapes
from backend.generation.models import Generation
from backend.generation.schemas import (
    AgainIn,
    FileOut,
    GenerationIn,
    GenerationOut,
    GenerationPage,
    GenerationQuery,
    LimitsOut,
    SourceImageIn,
    SourceImageOut,
    Started,
)
from backend.jobs import service as jobs
from backend.jobs.models import Job
from backend.orgs.access import Actor, CurrentActor, Permission
from backend.videos.schemas import Pagination

router = APIRouter(tags=["generations"])

_STARTED = errors(400, 401, 403, 404, 409, 413, 415, 422, 503)
_CHANGED = errors(401, 403, 404, 409, 503)


@router.post(
    "/api/generations", status_code=status.HTTP_202_ACCEPTED, responses=_STARTED, summary="Make something from a prompt"
)
async def start(body: GenerationIn, actor: CurrentActor) -> Started:
    """A video, an image or a sound. Over the quota of the hour (`/api/generations/limits`): 409 `quota_exceeded`."""
    await service.check_images(body.images)
    async with transaction() as session:
        generation, job = await service.start(session, actor=actor, body=body)
        return await _started(session, generation, job)


@router.get("/api/generations", responses=errors(400, 401, 422, 503), summary="List generations")
async def list_generations(
    query: Annotated[GenerationQuery, Query()], actor: CurrentActor, session: SessionDep
) -> GenerationPage:
    """Newest first. One whose video was deleted is not among them."""
    found = await listing.find(session, actor=actor, query=query)
    return GenerationPage(
        generations=await shapes.public_many(session, found.items),
        pagination=Pagination(
            page=found.page,
            limit=found.limit,
            total=found.total,
            total_pages=found.total_pages,
            next_cursor=found.next_cursor,
        ),
    )


@router.get("/api/generations/limits", responses=errors(401, 503), summary="How many one may still start")
async def limits(actor: CurrentActor, session: SessionDep) -> LimitsOut:
    """Of the person; what comes by `/api/v1/tasks` is not counted."""
    left = await quota.left(session, user_id=actor.user_id)
    return LimitsOut(limit=left.limit, used=left.used, left=left.left, next_at=left.next_at)


@router.post(
    "/api/generations/images",
    status_code=status.HTTP_201_CREATED,
    responses=errors(400, 401, 403, 413, 415, 422, 503),
    summary="Send a picture to work from",
)
async def reserve_image(body: SourceImageIn, actor: CurrentActor, session: SessionDep) -> SourceImageOut:
    """One of a storyboard, say. Nothing made from it for a day: it is removed."""
    place = await pictures.reserve(session, actor=actor, body=body)
    seconds = settings.presigned_url_expiration
    return SourceImageOut(image_id=place.image_id, upload_url=place.url, headers=place.headers, expires_in=seconds)


@router.get("/api/generations/{generation_id}", responses=errors(401, 404, 503), summary="One generation")
async def get_generation(generation_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> GenerationOut:
    return await shapes.public(session, await service.get_generation(session, actor=actor, generation_id=generation_id))


@router.delete(
    "/api/generations/{generation_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=_CHANGED,
    summary="Delete a generation",
)
async def delete_generation(generation_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> None:
    """With what came of it; what still runs is stopped."""
    await service.delete(session, actor=actor, generation=await _to_change(session, actor, generation_id))


@router.post("/api/generations/{generation_id}/cancel", responses=_CHANGED, summary="Stop a generation")
async def cancel(generation_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> GenerationOut:
    """One that waits ends at once; one that runs within seconds: follow its job to see."""
    generation = await _to_change(session, actor, generation_id)
    await service.cancel(session, actor=actor, generation=generation)
    return await shapes.public(session, generation)


@router.post("/api/generations/{generation_id}/retry", responses=_CHANGED, summary="Try a generation again")
async def retry(generation_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> GenerationOut:
    """One that has failed or was cancelled. One that needs review: 409 `invalid_state`."""
    generation = await _to_change(session, actor, generation_id)
    await service.retry(session, actor=actor, generation=generation)
    return await shapes.public(session, generation)


@router.post("/api/generations/{generation_id}/resubmit", responses=_CHANGED, summary="Send it once more, knowingly")
async def resubmit(generation_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> GenerationOut:
    """For one with `needs_review`: it was sent and never answered, and to send it again may cost again."""
    generation = await _to_change(session, actor, generation_id)
    await service.resubmit(session, actor=actor, generation=generation)
    return await shapes.public(session, generation)


@router.post(
    "/api/generations/{generation_id}/again",
    status_code=status.HTTP_202_ACCEPTED,
    responses=_STARTED,
    summary="The same again, with changes",
)
async def again(generation_id: uuid.UUID, body: AgainIn, actor: CurrentActor) -> Started:
    """A new generation from the old one's prompt, shape and pictures; what is sent here is different this time."""
    await service.check_images(body.images)
    async with transaction() as session:
        generation, job = await service.start_again(session, actor=actor, generation_id=generation_id, changes=body)
        return await _started(session, generation, job)


@router.get("/api/generations/{generation_id}/file", responses=errors(401, 404, 422, 503), summary="Where a result is")
async def file(
    generation_id: uuid.UUID,
    actor: CurrentActor,
    session: SessionDep,
    download: Annotated[bool, Query(description="Save it under its file name instead of showing it")] = False,
) -> FileOut:
    """404 while there is none."""
    generation = await service.get_generation(session, actor=actor, generation_id=generation_id)
    return await shapes.file_of(session, generation, download=download)


_PREVIEW: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, **errors(401, 404, 503)}


@router.get(
    "/api/generations/{generation_id}/preview",
    response_class=Response,
    responses=_PREVIEW,
    summary="How it looks so far",
)
async def newest_preview(generation_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> Response:
    """A small picture of what is being made, where its provider shows one; 404 while there is none."""
    generation = await service.get_generation(session, actor=actor, generation_id=generation_id)
    picture = await preview.get(generation.id)
    if picture is None:
        raise NotFound
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


async def _to_change(session: SessionDep, actor: Actor, generation_id: uuid.UUID) -> Generation:
    return await service.get_generation(session, actor=actor, generation_id=generation_id, permission=Permission.EDIT)


async def _started(session: SessionDep, generation: Generation, job: Job) -> Started:
    return Started(
        generation=await shapes.public(session, generation),
        job=await jobs.public(session, job),
        stream_url=f"/api/jobs/{job.id}/stream",
    )
