"""Jobs and their attempts: the truth about all background work."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class JobState(StrEnum):
    """Where a job stands; every move is one conditional UPDATE, in `jobs.moves` or, for a claim, `jobs.claims`."""

    QUEUED = "queued"  #: put here by `start`, a release, a lost lease or a retry; taken out by a worker's claim
    RUNNING = "running"  #: put here by a claim; taken out by finish, fail, release, or the reaper when the lease ends
    COMPLETED = "completed"  #: put here by the holder of the lease, with the domain rows; final
    FAILED = "failed"  #: put here when nothing further will be tried; a person's retry queues it again
    CANCELLED = "cancelled"  #: put here when a queued job is cancelled or its worker confirms the stop; final


LIVE_STATES = (JobState.QUEUED, JobState.RUNNING)
FINAL_STATES = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class Job(Identified, Timestamped, Base):
    """One piece of background work. `attempt` counts the attempts begun; `progress` is 0 to 100."""

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "video_id"],
            ["videos.project_id", "videos.id"],
            ondelete="SET NULL (video_id)",
            onupdate="CASCADE",
        ),
        # A family is of one project.
        UniqueConstraint("project_id", "id"),
        ForeignKeyConstraint(
            ["project_id", "parent_id"],
            ["jobs.project_id", "jobs.id"],
            ondelete="SET NULL (parent_id)",
            onupdate="CASCADE",
        ),
        CheckConstraint("(state = 'running') = (lease_token IS NOT NULL)", name="lease"),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("priority BETWEEN 1 AND 3", name="priority"),
        CheckConstraint("state = 'completed' OR NOT unsettled", name="unsettled"),
        Index("ix_jobs_claim", "queue", "priority", "run_at", "id", postgresql_where="state = 'queued'"),
        # The next project that has a due job, and its oldest, without passing over the others' (jobs.claims); what a
        # project has queued for later is skipped inside the index (Postgres 18).
        Index("ix_jobs_turn", "queue", "priority", "project_id", "run_at", "id", postgresql_where="state = 'queued'"),
        # Jobs before their last attempt: some have to run alone (jobs.claims).
        Index(
            "ix_jobs_last_attempt",
            "queue",
            "run_at",
            postgresql_where="state = 'queued' AND attempt > 0 AND attempt + 1 >= max_attempts",
        ),
        Index("ix_jobs_parent_id", "parent_id", postgresql_where="parent_id IS NOT NULL"),
        Index("ix_jobs_unsettled", "id", postgresql_where="unsettled"),
        Index("ix_jobs_lease", "lease_until", postgresql_where="state = 'running'"),
        Index("ix_jobs_completed", "kind", "finished_at", postgresql_where="state = 'completed'"),
        # What admins search by: errors, and the request that queued it.
        Index("ix_jobs_error_code", "error_code", postgresql_where="error_code IS NOT NULL"),
        Index("ix_jobs_request_id", "request_id", postgresql_where="request_id <> ''"),
        # The admins' page: newest first at any depth; what failed; and, in job_attempts, what ended of late.
        Index("ix_jobs_created_at_id", "created_at", "id"),
        Index(
            "ix_jobs_unsuccessful", "state", "finished_at", "queue", postgresql_where="state IN ('failed', 'cancelled')"
        ),
        Index("ix_jobs_project_id_created_at_id", "project_id", "created_at", "id"),
        Index("ix_jobs_video_id_created_at", "video_id", "created_at"),
        Index(
            "uq_jobs_live_dedupe_key",
            "dedupe_key",
            unique=True,
            postgresql_where="state IN ('queued', 'running')",
        ),
    )

    kind: Mapped[str] = mapped_column(String(60))
    queue: Mapped[str] = mapped_column(String(30), server_default="default")
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="2")  #: 1 first, 3 last
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    video_id: Mapped[uuid.UUID | None]
    parent_id: Mapped[uuid.UUID | None]
    required: Mapped[bool] = mapped_column(server_default="false")  #: its parent is not done without it
    unsettled: Mapped[bool] = mapped_column(server_default="false")  #: completed, but not yet done (jobs.families)
    args: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    dedupe_key: Mapped[str | None] = mapped_column(String(200))
    request_id: Mapped[str] = mapped_column(String(64), server_default="")  #: of the request that queued it, or ""

    state: Mapped[str] = mapped_column(String(20), server_default=JobState.QUEUED)
    stage: Mapped[str | None] = mapped_column(String(40))
    progress: Mapped[float] = mapped_column(server_default="0")
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(120))
    cancel_requested_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(Text)
    error_retryable: Mapped[bool | None]


class JobAttempt(Base):
    """Append-only: who tried, when, and how it ended (`completed`, `failed`, `released`, `lost`, `cancelled`)."""

    __tablename__ = "job_attempts"

    lease_token: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    worker: Mapped[str] = mapped_column(String(120))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    outcome: Mapped[str | None] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(Text)
    log_tail: Mapped[str | None] = mapped_column(Text)  #: what the work noted last, at most `attempts.LOG_BYTES`
    command: Mapped[str | None] = mapped_column(Text)  #: the tools it ran, addresses without their signatures


class QueueState(Base):
    """What was decided about a queue; one without a row runs."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(String(30), primary_key=True)
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None] = mapped_column(String(320))


class WorkerRow(Base):
    """One worker process: written at its start, renewed each few seconds, and at a graceful end `stopped_at`."""

    __tablename__ = "workers"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), index=True)  #: as in `jobs.worker` and `job_attempts.worker`
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(60))
    queues: Mapped[list[str]] = mapped_column(ARRAY(String))
    kinds: Mapped[list[str]] = mapped_column(ARRAY(String))
    slots: Mapped[int] = mapped_column(SmallInteger)
    running: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    load: Mapped[float] = mapped_column(server_default="0")  #: its host's, over one minute
    memory_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")  #: resident, of the worker itself
    gpus: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    stopped_at: Mapped[datetime | None]
