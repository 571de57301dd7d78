"""Jobs and their attempts: the truth about all background work."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class JobState(StrEnum):
    """Where a job stands; every move is one conditional UPDATE in `jobs.moves.move`."""

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
        CheckConstraint("(state = 'running') = (lease_token IS NOT NULL)", name="lease"),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        Index("ix_jobs_claim", "queue", "priority", "run_at", "id", postgresql_where="state = 'queued'"),
        Index("ix_jobs_lease", "lease_until", postgresql_where="state = 'running'"),
        Index("ix_jobs_completed", "kind", "finished_at", postgresql_where="state = 'completed'"),
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
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    args: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    dedupe_key: Mapped[str | None] = mapped_column(String(200))

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
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(Text)
