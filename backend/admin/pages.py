"""The admins' pages: the queue, and one job. What changes by itself is fetched again in parts while one looks."""

import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from backend.admin import charts, service, words
from backend.admin.filters import AuditQuery, PageQuery, Window
from backend.admin.numbers import names_of_queues
from backend.admin.overview import overview, read_anew
from backend.admin.schemas import Action
from backend.core.db import SessionDep
from backend.core.errors import BadCursor
from backend.core.queue import registry
from backend.core.web import is_htmx, lenient, render
from backend.jobs.models import JobState
from backend.orgs import audit
from backend.orgs.access import AdminPageActor, AuditorPageActor

router = APIRouter(prefix="/admin", include_in_schema=False)

Address = Annotated[PageQuery, Depends(lenient(PageQuery))]

_DONE = {"retry": "The job is in the queue again.", "restart": "A new job is in the queue: it does the same work."}

AUDIT_SIZE = 50


@router.get("")
async def front(actor: AuditorPageActor) -> Response:
    """Where admins begin."""
    return RedirectResponse("/admin/queue", status_code=303)


@router.get("/queue")
async def queue(request: Request, actor: AuditorPageActor, session: SessionDep, query: Address) -> Response:
    """Everything; htmx gets the list alone."""
    context = await _list(session, query)
    if is_htmx(request):
        return render(request, "admin/_list.html", **context)
    return render(request, "admin/queue.html", page="admin", **context, **await _now(query.window))


@router.get("/queue/now")
async def now(request: Request, actor: AuditorPageActor, query: Address) -> Response:
    """The figures, queues, running jobs and workers."""
    return render(request, "admin/_now.html", query=query, **await _now(query.window))


@router.get("/queue/rows")
async def rows(
    request: Request,
    actor: AuditorPageActor,
    session: SessionDep,
    query: Address,
    ids: Annotated[str, Query(max_length=4000)] = "",
) -> Response:
    """These rows as they stand, and how many newer jobs the first page does not show."""
    wanted = [uuid.UUID(id) for id in ids.split(",")[: service.PAGE_SIZE] if _is_id(id)]
    found = {row.job.id: row for row in await service.jobs_by_id(session, wanted)}
    newer = 0
    if not query.cursor:
        first = max(found.values(), key=lambda row: (row.job.created_at, row.job.id), default=None)
        newer = await service.count_newer(session, filter=query.filter, than=first)
    shown = [found[id] for id in wanted if id in found]
    return render(request, "admin/_rows.html", query=query, rows=shown, newer=newer)


@router.post("/queues/{name}/pause")
async def pause(name: Annotated[str, Path(max_length=30)], actor: AdminPageActor, session: SessionDep) -> Response:
    """Let no worker take jobs from a queue."""
    await service.pause(session, actor=actor, queue=name)
    return _changed(f"The queue “{name}” is paused. Jobs that run go on.")


@router.post("/queues/{name}/resume")
async def resume(name: Annotated[str, Path(max_length=30)], actor: AdminPageActor, session: SessionDep) -> Response:
    """Let workers take jobs from it again."""
    await service.resume(session, actor=actor, queue=name)
    return _changed(f"The queue “{name}” goes on.")


@router.get("/jobs/{job_id}")
async def job(request: Request, job_id: uuid.UUID, actor: AuditorPageActor, session: SessionDep) -> Response:
    """One job and what happened to it."""
    return render(request, "admin/job.html", page="admin", **await _job(session, job_id))


@router.get("/jobs/{job_id}/now")
async def job_now(request: Request, job_id: uuid.UUID, actor: AuditorPageActor, session: SessionDep) -> Response:
    """The part of its page that changes."""
    return render(request, "admin/_job.html", **await _job(session, job_id))


@router.post("/jobs/{job_id}/{action}")
async def act(job_id: uuid.UUID, action: Action, actor: AdminPageActor, session: SessionDep) -> Response:
    """Retry, cancel or start again a job."""
    moved = await service.act(session, actor=actor, job_id=job_id, action=action)
    ended = "The job is cancelled." if moved.state == JobState.CANCELLED else "The job is told to stop."
    return _changed(_DONE.get(action, ended))


@router.get("/audit")
async def audit_log(
    request: Request,
    actor: AuditorPageActor,
    session: SessionDep,
    query: Annotated[AuditQuery, Depends(lenient(AuditQuery))],
) -> Response:
    """What was done, an order about many jobs as one entry."""
    found = await audit.deeds(
        session, limit=AUDIT_SIZE + 1, before=query.before, action=query.action, email=query.email
    )
    deeds = found[:AUDIT_SIZE]
    older = deeds[-1].entry.id if len(found) > AUDIT_SIZE else None
    return render(
        request, "admin/audit.html", page="admin", query=query, deeds=deeds, older=older, actions=words.ACTIONS
    )


async def _list(session: AsyncSession, query: PageQuery) -> dict[str, Any]:
    try:
        page = await service.list_jobs(session, filter=query.filter, cursor=query.cursor or None)
    except BadCursor:
        query = query.model_copy(update={"cursor": ""})
        page = await service.list_jobs(session, filter=query.filter)
    return {
        "query": query,
        "rows": page.rows,
        "newer": 0,
        "next_cursor": page.next_cursor,
        "queue_names": sorted({*await names_of_queues(session), *([query.queue] if query.queue else [])}),
        "kinds": sorted({*registry.kinds(), *([query.kind] if query.kind else [])}),
    }


async def _now(window: Window) -> dict[str, Any]:
    seen = await overview(window)
    return {
        "seen": seen,
        "depth": charts.depth(seen.buckets, window, exact=seen.total(JobState.QUEUED).exact),
        "throughput": charts.throughput(seen.buckets, window),
        "waits": charts.waits(seen.buckets, window),
        "typical_wait": charts.typical_wait(seen.buckets),
    }


async def _job(session: AsyncSession, job_id: uuid.UUID) -> dict[str, Any]:
    row = await service.get_job(session, job_id)
    attempts = await service.attempts_of(session, job_id)
    family = await service.family_of(session, job_id)
    return {
        "row": row,
        "family": family,
        "steps": words.timeline(row, attempts, await audit.about(session, "job", job_id)),
    }


def _changed(text: str) -> Response:
    read_anew()
    told = {"admin:changed": True, "toast": {"message": text, "kind": "good"}}
    return Response(status_code=204, headers={"Cache-Control": "no-store", "HX-Trigger": json.dumps(told)})


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
