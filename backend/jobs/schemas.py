"""What the API says of jobs."""

import uuid
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from backend.jobs.models import FINAL_STATES, Job, JobState


class JobErrorOut(BaseModel):
    """Why a job ended without success: `code` is stable, `message` is for people."""

    code: str
    message: str
    retryable: bool


WaitingFor = Literal["paused", "worker"]


class JobOut(BaseModel):
    """A job as the contract has it."""

    id: uuid.UUID
    kind: str
    queue: str
    status: JobState
    stage: str | None = None
    progress: float = Field(ge=0, le=100, description="Percent; never falls within an attempt")
    attempt: int
    max_attempts: int
    queue_position: int | None = Field(default=None, description="About how many due jobs go first; 1000: or more")
    waiting_for: WaitingFor | None = Field(
        default=None, description="Why a queued job is not about to begin: its queue is paused, or no worker serves it"
    )
    estimated_seconds: float | None = Field(default=None, description="What jobs of this kind took of late")
    error: JobErrorOut | None = None
    video_id: uuid.UUID | None
    project_id: uuid.UUID
    cancel_requested_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATES


#: Of a job's row, all that its shape is made of.
SHOWN = (
    "id",
    "kind",
    "queue",
    "state",
    "stage",
    "progress",
    "attempt",
    "max_attempts",
    "error_code",
    "error_message",
    "error_retryable",
    "video_id",
    "project_id",
    "cancel_requested_at",
    "created_at",
    "started_at",
    "finished_at",
)


def from_row(
    job: Job,
    *,
    queue_position: int | None = None,
    waiting_for: WaitingFor | None = None,
    estimated_seconds: float | None = None,
) -> JobOut:
    """The shape of one row; position, what it waits for and estimate cost queries of their own."""
    error = None
    if job.error_code is not None:
        error = JobErrorOut(code=job.error_code, message=job.error_message or "", retryable=bool(job.error_retryable))
    return JobOut(
        id=job.id,
        kind=job.kind,
        queue=job.queue,
        status=JobState(job.state),
        stage=job.stage,
        progress=round(job.progress, 1),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        queue_position=queue_position,
        waiting_for=waiting_for,
        estimated_seconds=estimated_seconds,
        error=error,
        video_id=job.video_id,
        project_id=job.project_id,
        cancel_requested_at=job.cancel_requested_at,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


class JobQuery(BaseModel):
    """Which jobs to list, newest first: by page, or on from a cursor."""

    status: JobState | None = None
    kind: str | None = Field(default=None, max_length=60)
    video_id: uuid.UUID | None = None
    page: int = Field(default=1, ge=1, le=100_000)
    cursor: str | None = Field(default=None, max_length=2000)
    limit: int = Field(default=20, ge=1, le=100)


class Pagination(BaseModel):
    """`next_cursor` continues after the last row, and is null on the last page."""

    page: int
    limit: int
    total: int
    total_pages: int
    next_cursor: str | None = None


class JobPage(BaseModel):
    """One page of jobs."""

    jobs: list[JobOut]
    pagination: Pagination


StreamEvent = Literal["progress", "complete", "error"]
