"""The task service for other back ends: the contract TASKS, as `/api/v1`."""

import asyncio
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, status
from fastapi.responses import RedirectResponse

from backend.config import settings
from backend.core.db import SessionDep, transaction
from backend.core.errors import NotFound, UrlNotAllowed
from backend.core.http import check_url
from backend.core.storage import storage
from backend.core.web import errors
from backend.generation import links, results, v1_service
from backend.generation.models import Generation, Kind
from backend.generation.task_types import Order
from backend.generation.v1_schemas import TaskCancelled, TaskIn, TaskMade, TaskOut, TaskPage, TaskQuery, WorkersOut
from backend.orgs.access import CurrentActor, Permission, require

router = APIRouter(prefix="/api/v1", tags=["tasks"])


@router.post(
    "/tasks/submit",
    status_code=status.HTTP_201_CREATED,
    responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
    summary="Submit a task",
)
async def submit_task(body: TaskIn, actor: CurrentActor) -> TaskMade:
    """`task_data` is checked by the type; addresses in it and `callback_url` have to be of the public internet."""
    require(actor, Permission.TASKS, body.project_id)
    order = v1_service.read_order(body)
    await _check_addresses(body, order)  # asks name servers: not inside a transaction
    async with transaction() as session:
        return await v1_service.submit(session, actor=actor, body=body, order=order)


@router.get("/tasks/{task_id}/status", responses=errors(401, 404, 503), summary="Where a task stands")
async def get_task(task_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> TaskOut:
    task = await v1_service.get_task(session, actor=actor, task_id=task_id)
    return (await v1_service.shown(session, [task]))[0]


@router.delete("/tasks/{task_id}/cancel", responses=errors(400, 401, 403, 404, 409, 503), summary="Cancel a task")
async def cancel_task(task_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> TaskCancelled:
    """A queued task ends at once, a running one within seconds. 400 for one that has come to its end."""
    task = await v1_service.get_task(session, actor=actor, task_id=task_id, permission=Permission.TASKS)
    return await v1_service.cancel(session, actor=actor, task=task)


@router.post(
    "/tasks/{task_id}/retry",
    status_code=status.HTTP_201_CREATED,
    responses=errors(400, 401, 403, 404, 503),
    summary="Try a failed task again",
)
async def retry_task(task_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> TaskMade:
    """It keeps its id. 400 for one that has not failed."""
    task = await v1_service.get_task(session, actor=actor, task_id=task_id, permission=Permission.TASKS)
    return await v1_service.retry(session, actor=actor, task=task)


@router.get("/projects/{project_id}/tasks", responses=errors(401, 404, 422, 503), summary="List tasks")
async def list_tasks(
    project_id: uuid.UUID, query: Annotated[TaskQuery, Query()], actor: CurrentActor, session: SessionDep
) -> TaskPage:
    """Of one project, newest first. A type is found by any of its names."""
    return await v1_service.list_tasks(session, actor=actor, project_id=project_id, query=query)


@router.get("/workers/status", responses=errors(401, 503), summary="Who works on tasks")
async def get_workers(actor: CurrentActor, session: SessionDep) -> WorkersOut:
    return await v1_service.workers(session)


@router.get(
    "/media/{task_id}/{proof}/{file_name}",
    status_code=status.HTTP_307_TEMPORARY_REDIRECT,
    response_class=RedirectResponse,
    responses=errors(404, 503),
    summary="A task's result",
)
async def get_media(task_id: uuid.UUID, proof: str, file_name: str) -> RedirectResponse:
    """`media_url` of a result: whoever has it reads the file, in the storage, as long as it is there."""
    if not links.is_proof(task_id, proof):
        raise NotFound
    async with transaction() as session:
        task = await session.get(Generation, task_id)
        media = (await results.media_of(session, [task])).get(task_id) if task is not None else None
    if media is None:
        raise NotFound
    expires = settings.playback_url_expiration
    url = await storage.presign_get(media.key, expires_seconds=expires, content_type=media.content_type)
    return RedirectResponse(url, status.HTTP_307_TEMPORARY_REDIRECT)


async def _check_addresses(body: TaskIn, order: Order) -> None:
    """Raises UrlNotAllowed: which of them, as it was sent."""
    images = "reference_images" if order.kind is Kind.IMAGE else "storyboard_images"
    named = {url: f"task_data.{images}.{number}" for number, url in enumerate(order.images)}
    if body.callback_url is not None:
        named[body.callback_url] = "callback_url"

    async def check(url: str, field: str) -> None:
        try:
            await check_url(url)
        except UrlNotAllowed as error:
            raise UrlNotAllowed(error.message, fields={field: f"{url[:200]}: {error.message}"}) from error

    await asyncio.gather(*(check(url, field) for url, field in named.items()))
