"""A project's CMS: name it, try it, see what goes there, send again what was refused."""

import math
import uuid
from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import NotFound, ValidationFailed
from backend.core.security import seal
from backend.generation import cms
from backend.generation.cms_schemas import (
    CmsIn,
    CmsOut,
    CmsSettings,
    CmsSyncEntry,
    CmsSyncPage,
    CmsSyncQuery,
    CmsTested,
)
from backend.generation.cms_sync import SEAL, collection_of
from backend.generation.delivery_models import CmsMode, CmsSync, CmsTarget
from backend.generation.models import Generation
from backend.generation.outcomes import sync_again
from backend.generation.v1_service import cms_out
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.running import JobError
from backend.orgs import audit
from backend.orgs.access import Actor, Permission, require, visible

#: Refused results that are sent again at once.
_RETRIED_AT_ONCE = 1000
_NOBODY = "00000000-0000-0000-0000-000000000000"


async def find_target(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> CmsTarget | None:
    """Raises NotFound, Forbidden."""
    require(actor, Permission.MANAGE, project_id)
    return await session.scalar(visible(CmsTarget, actor, Permission.MANAGE).where(CmsTarget.project_id == project_id))


async def get_target(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> CmsTarget:
    """Raises NotFound, also when the project has none; Forbidden."""
    target = await find_target(session, actor=actor, project_id=project_id)
    if target is None:
        raise NotFound
    return target


async def state_of(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> CmsOut:
    """Raises NotFound, Forbidden."""
    target = await find_target(session, actor=actor, project_id=project_id)
    state = case(
        (Job.state.in_(LIVE_STATES), "waiting"),
        (CmsSync.synced_at.is_not(None) & (Job.state.is_(None) | (Job.state == JobState.COMPLETED)), "synced"),
        else_="failed",
    )
    mine = select(state, func.count()).select_from(CmsSync).outerjoin(Job, Job.id == CmsSync.job_id)
    of_project = mine.join(Generation, Generation.id == CmsSync.generation_id)
    rows = await session.execute(of_project.where(Generation.project_id == project_id).group_by(state))
    counts = {row[0]: row[1] for row in rows}
    return CmsOut(
        cms=settings_out(target) if target else None,
        **{name: counts.get(name, 0) for name in ("waiting", "synced", "failed")},
    )


def settings_out(target: CmsTarget) -> CmsSettings:
    """Without the key."""
    return CmsSettings(
        url=target.url,
        collection=target.collection,
        key_collection=target.key_collection,
        mode=CmsMode(target.mode),
        created_at=target.created_at,
        updated_at=target.updated_at,
    )


async def name_target(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, wanted: CmsIn) -> CmsTarget:
    """Write down where results go from now on. The address was looked at before. Raises ValidationFailed."""
    before = await find_target(session, actor=actor, project_id=project_id)
    values: dict[str, Any] = wanted.model_dump(exclude={"api_key"}) | {"updated_at": func.now()}
    if wanted.api_key is not None:
        values["api_key"] = seal(SEAL, wanted.api_key.encode(), about=project_id)
        row = insert(CmsTarget).values(project_id=project_id, **values)
        await session.execute(row.on_conflict_do_update(index_elements=["project_id"], set_=values))
    elif before is not None and before.url == wanted.url:
        await session.execute(update(CmsTarget).where(CmsTarget.project_id == project_id).values(values))
    else:  # a key that somebody entered for one server is not sent to another
        raise ValidationFailed(fields={"api_key": "Field required: the address is a new one"})
    target = await session.get_one(CmsTarget, project_id, populate_existing=True)
    detail = {"url": target.url, "collection": target.collection, "mode": target.mode}
    await _note(session, actor, "cms.changed", project_id, **detail)
    return target


async def remove_target(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> None:
    """Results go there no more; what is there stays. Raises NotFound."""
    target = await get_target(session, actor=actor, project_id=project_id)
    await _note(session, actor, "cms.removed", project_id, url=target.url)
    await session.delete(target)
    await session.flush()


async def try_target(target: CmsTarget) -> CmsTested:
    """Ask the CMS for a document that is not there: by the way it says no, one sees whether all is set up."""
    try:
        await cms.find(collection_of(target), _NOBODY)
    except JobError as error:
        return CmsTested(ok=False, message=error.message)
    return CmsTested(ok=True, message=f"The collection {target.collection} is there, and this key opens it.")


async def list_syncs(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, query: CmsSyncQuery) -> CmsSyncPage:
    """What went there, or should have. Raises NotFound, Forbidden."""
    require(actor, Permission.MANAGE, project_id)
    mine = select(CmsSync).join(Generation, Generation.id == CmsSync.generation_id)
    mine = mine.where(Generation.project_id == project_id)
    total = await session.scalar(select(func.count()).select_from(mine.subquery())) or 0
    page = mine.order_by(CmsSync.created_at.desc(), CmsSync.generation_id.desc())
    rows = (await session.scalars(page.limit(query.limit).offset((query.page - 1) * query.limit))).all()
    found = await session.scalars(select(Job).where(Job.id.in_([each.job_id for each in rows])))
    by_id: dict[uuid.UUID | None, Job] = {job.id: job for job in found}
    entries = [
        CmsSyncEntry(
            task_id=each.generation_id,
            created_at=each.created_at,
            **cms_out(each, by_id.get(each.job_id)).model_dump(),
        )
        for each in rows
    ]
    pages = math.ceil(total / query.limit)
    return CmsSyncPage(syncs=entries, page=query.page, limit=query.limit, total=total, total_pages=pages)


async def send_again(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> int:
    """Send all that was refused once more; answers how many. Raises NotFound, Forbidden."""
    await get_target(session, actor=actor, project_id=project_id)
    refused = (
        select(Generation)
        .join(CmsSync, CmsSync.generation_id == Generation.id)
        .outerjoin(Job, Job.id == CmsSync.job_id)
        .where(Generation.project_id == project_id, Generation.deleted_at.is_(None))
        .where(Job.id.is_(None) & CmsSync.synced_at.is_(None) | Job.state.in_((JobState.FAILED, JobState.CANCELLED)))
        .order_by(CmsSync.created_at)
        .limit(_RETRIED_AT_ONCE)
    )
    generations = (await session.scalars(refused)).all()
    for each in generations:
        await sync_again(session, each)
    if generations:
        await _note(session, actor, "cms.sent_again", project_id, results=len(generations))
    return len(generations)


async def _note(session: AsyncSession, actor: Actor, action: str, project_id: uuid.UUID, **detail: object) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type="cms",
        object_id=project_id,
        project_id=project_id,
        detail=detail,
    )
