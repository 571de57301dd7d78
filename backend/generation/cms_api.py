"""The API of a project's CMS."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, status

from backend.core.db import SessionDep, transaction
from backend.core.http import check_url
from backend.core.web import errors
from backend.generation import cms_service
from backend.generation.cms_schemas import (
    CmsIn,
    CmsOut,
    CmsRetried,
    CmsSettings,
    CmsSyncPage,
    CmsSyncQuery,
    CmsTested,
)
from backend.orgs.access import CurrentActor, Permission, require

router = APIRouter(prefix="/api/projects/{project_id}/cms", tags=["cms"])


@router.get("", responses=errors(401, 403, 404, 503), summary="A project's CMS")
async def get_cms(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> CmsOut:
    """Where the results of its tasks go beside its own storage, and how many are on their way."""
    return await cms_service.state_of(session, actor=actor, project_id=project_id)


@router.put("", responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503), summary="Send results to a PayloadCMS")
async def put_cms(project_id: uuid.UUID, body: CmsIn, actor: CurrentActor) -> CmsSettings:
    """From now on the result of each task becomes a document there, known by its `task_id`."""
    require(actor, Permission.MANAGE, project_id)
    await check_url(body.url)  # asks name servers: not inside a transaction
    async with transaction() as session:
        target = await cms_service.name_target(session, actor=actor, project_id=project_id, wanted=body)
    return cms_service.settings_out(target)


@router.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(401, 403, 404, 409, 503),
    summary="Send results there no more",
)
async def delete_cms(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> None:
    """What is there stays."""
    await cms_service.remove_target(session, actor=actor, project_id=project_id)


@router.post("/test", responses=errors(401, 403, 404, 409, 503), summary="Try the CMS")
async def test_cms(project_id: uuid.UUID, actor: CurrentActor) -> CmsTested:
    """Looks for a document there, and changes nothing."""
    async with transaction() as session:
        target = await cms_service.get_target(session, actor=actor, project_id=project_id)
    return await cms_service.try_target(target)


@router.get("/syncs", responses=errors(401, 403, 404, 422, 503), summary="Results on their way into the CMS")
async def list_syncs(
    project_id: uuid.UUID, query: Annotated[CmsSyncQuery, Query()], actor: CurrentActor, session: SessionDep
) -> CmsSyncPage:
    return await cms_service.list_syncs(session, actor=actor, project_id=project_id, query=query)


@router.post("/syncs/retry", responses=errors(401, 403, 404, 409, 503), summary="Send refused results again")
async def retry_syncs(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> CmsRetried:
    """For after what was wrong has been put right."""
    return CmsRetried(retried=await cms_service.send_again(session, actor=actor, project_id=project_id))
