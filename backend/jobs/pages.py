"""What pages do with a job."""

import uuid
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from backend.core.db import SessionDep
from backend.core.web import render
from backend.jobs import service, timeline
from backend.jobs.models import Job, JobState
from backend.orgs.access import PageActor, Permission, get_visible

router = APIRouter(include_in_schema=False)


@router.post("/jobs/{job_id}/cancel")
async def cancel(request: Request, job_id: uuid.UUID, actor: PageActor, session: SessionDep) -> Response:
    """Stop a job; answers what it is doing now."""
    job = await get_visible(session, Job, actor, job_id, permission=Permission.EDIT)
    job = await service.cancel_job(session, actor=actor, job=job)
    await timeline.note_cancel(session, actor=actor, job=job)
    shown = await service.public(session, job)
    if job.state == JobState.COMPLETED:  # it waits for jobs that it started, and they stop now
        shown = shown.model_copy(update={"status": JobState.RUNNING, "cancel_requested_at": datetime.now(UTC)})
    return render(request, "jobs/_progress.html", job=shown)
