"""The API of admins. Auditors may read all of it; what changes something is for admins, and is in the audit log."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from backend.accounts.schemas import UserOut
from backend.admin import people, service
from backend.admin.filters import JobFilter, Window
from backend.admin.numbers import read_buckets
from backend.admin.overview import all_queues, all_workers, total
from backend.admin.schemas import (
    Action,
    AdminJobDetail,
    AdminJobPage,
    AdminPagination,
    AttemptOut,
    AuditOut,
    AuditPage,
    BucketOut,
    BulkIn,
    BulkOut,
    CountOut,
    OrgFeaturesOut,
    OrgIn,
    QueueOut,
    QueuesOut,
    RelativeOut,
    UserIn,
    UsersOut,
    WorkersOut,
)
from backend.core.db import SessionDep
from backend.core.errors import ValidationFailed
from backend.core.web import errors
from backend.jobs.models import JobState
from backend.orgs import audit, organizations
from backend.orgs.access import AdminActor, AuditorActor

router = APIRouter(prefix="/api/admin", tags=["admin"])

QueueName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,29}$")]


class JobsQuery(JobFilter):
    """Which jobs, newest first, on from a cursor."""

    cursor: str | None = Field(default=None, max_length=2000)
    limit: int = Field(default=50, ge=1, le=100)


class CountQuery(JobFilter):
    """Which jobs; with `action`, only those it can act on."""

    action: Action | None = None


@router.get("/queues", responses=errors(401, 403, 503), summary="Queues, throughput and waits")
async def list_queues(actor: AuditorActor, session: SessionDep, window: Window = "hour") -> QueuesOut:
    found = await all_queues(session)
    queues = [
        QueueOut(
            name=queue.name,
            paused_at=queue.paused_at,
            paused_by=queue.paused_by,
            counts={state: CountOut.model_validate(count) for state, count in queue.numbers.counts.items()},
            oldest_seconds=queue.numbers.oldest_seconds,
        )
        for queue in found
    ]
    buckets = await read_buckets(session, window, waiting=total(found, JobState.QUEUED).number)
    return QueuesOut(queues=queues, window=window, buckets=[BucketOut.model_validate(bucket) for bucket in buckets])


@router.post("/queues/{name}/pause", status_code=204, responses=errors(401, 403, 404, 503), summary="Pause a queue")
async def pause_queue(name: QueueName, actor: AdminActor, session: SessionDep) -> None:
    """No worker takes jobs from it any more; those that run go on."""
    await service.pause(session, actor=actor, queue=name)


@router.post("/queues/{name}/resume", status_code=204, responses=errors(401, 403, 404, 503), summary="Resume a queue")
async def resume_queue(name: QueueName, actor: AdminActor, session: SessionDep) -> None:
    await service.resume(session, actor=actor, queue=name)


@router.get("/jobs", responses=errors(400, 401, 403, 422, 503), summary="Jobs of all projects")
async def list_jobs(query: Annotated[JobsQuery, Query()], actor: AuditorActor, session: SessionDep) -> AdminJobPage:
    """Newest first, at the same speed at any depth."""
    page = await service.list_jobs(session, filter=_filter(query), cursor=query.cursor, limit=query.limit)
    return AdminJobPage(
        jobs=[row.job for row in page.rows],
        pagination=AdminPagination(limit=query.limit, next_cursor=page.next_cursor),
    )


@router.get("/jobs/count", responses=errors(401, 403, 422, 503), summary="How many jobs a filter finds")
async def count_jobs(query: Annotated[CountQuery, Query()], actor: AuditorActor, session: SessionDep) -> CountOut:
    found = await service.count_jobs(session, filter=_filter(query), action=query.action)
    return CountOut.model_validate(found)


@router.post("/jobs/bulk", responses=errors(400, 401, 403, 422, 503), summary="Retry, cancel or start again many jobs")
async def act_on_many(body: BulkIn, actor: AdminActor) -> BulkOut:
    """Works for a second and answers what it did; while `more`, ask again with the answer's `cursor` and `order`."""
    if (body.ids is None) == (body.filter is None):
        raise ValidationFailed(fields={"ids": "Give either ids or a filter."})
    return await service.act_on_many(
        actor=actor, action=body.action, ids=body.ids, filter=body.filter, cursor=body.cursor, order=body.order
    )


@router.get("/jobs/{job_id}", responses=errors(401, 403, 404, 503), summary="One job with its attempts and relatives")
async def get_job(job_id: uuid.UUID, actor: AuditorActor, session: SessionDep) -> AdminJobDetail:
    row = await service.get_job(session, job_id)
    attempts = await service.attempts_of(session, job_id)
    family = await service.family_of(session, job_id)
    return AdminJobDetail(
        job=row.job,
        attempts=[AttemptOut.model_validate(attempt) for attempt in attempts],
        parent=RelativeOut.model_validate(family.parent) if family.parent else None,
        children=[RelativeOut.model_validate(child) for child in family.children],
    )


@router.post("/jobs/{job_id}/{action}", status_code=204, responses=errors(401, 403, 404, 409, 503))
async def act(job_id: uuid.UUID, action: Action, actor: AdminActor, session: SessionDep) -> None:
    """Retry a failed job, cancel one that waits or runs, or `restart` a cancelled one as a new job."""
    await service.act(session, actor=actor, job_id=job_id, action=action)


@router.get("/workers", responses=errors(401, 403, 503), summary="Worker processes")
async def list_workers(actor: AuditorActor, session: SessionDep) -> WorkersOut:
    return WorkersOut(workers=await all_workers(session))


@router.get("/audit", responses=errors(401, 403, 422, 503), summary="The audit log")
async def list_audit(
    actor: AuditorActor,
    session: SessionDep,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> AuditPage:
    """Who did what, newest first. Nothing in it can be changed or taken out."""
    found = await audit.latest(session, limit=limit + 1, before=before)
    entries = [AuditOut.model_validate(entry) for entry in found[:limit]]
    return AuditPage(entries=entries, next_before=entries[-1].id if len(found) > limit else None)


@router.get("/users", responses=errors(401, 403, 422, 503), summary="The account with an address")
async def list_users(
    actor: AuditorActor, session: SessionDep, email: Annotated[str, Query(min_length=1, max_length=320)]
) -> UsersOut:
    """By the whole address: to give roles one needs the id."""
    user = await people.find_user(session, email=email)
    return UsersOut(users=[UserOut.model_validate(user)] if user else [])


@router.patch(
    "/users/{user_id}", responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503), summary="Give roles and features"
)
async def change_user(user_id: uuid.UUID, body: UserIn, actor: AdminActor, session: SessionDep) -> UserOut:
    """What is sent replaces what the account had; what is not stays. The last admin keeps the role."""
    if body.roles is None and body.features is None:
        raise ValidationFailed(fields={"roles": "Give roles, features, or both."})
    user = await people.change(session, actor=actor, user_id=user_id, roles=body.roles, features=body.features)
    return UserOut.model_validate(user)


@router.patch(
    "/orgs/{organization_id}",
    responses=errors(400, 401, 403, 404, 413, 415, 422, 503),
    summary="Give an organization features",
)
async def change_organization(
    organization_id: uuid.UUID, body: OrgIn, actor: AdminActor, session: SessionDep
) -> OrgFeaturesOut:
    """They replace those it had, and are on for everybody in it."""
    changed = await organizations.set_features(
        session, actor=actor, organization_id=organization_id, features=body.features
    )
    return OrgFeaturesOut.model_validate(changed)


def _filter(query: JobFilter) -> JobFilter:
    return JobFilter(**{name: getattr(query, name) for name in JobFilter.model_fields})
