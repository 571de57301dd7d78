"""Practice sessions, and the analyses of their videos."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class View(StrEnum):
    """Where the camera stands, as seen from the athlete."""

    SIDE = "side"
    FRONT = "front"
    BACK = "back"
    OTHER = "other"
    UNKNOWN = "unknown"  #: the analysis tells by itself


class Discipline(StrEnum):
    """What is practised; it decides what the analysis looks for."""

    GENERAL = "general"
    BATTING = "batting"
    BOWLING = "bowling"
    GOLF = "golf"
    TENNIS = "tennis"


class AnalysisStatus(StrEnum):
    """Where an analysis stands, as told to clients; its job's state when it has a job."""

    QUEUED = "queued"  #: waits for its video to arrive
    PROCESSING = "processing"  #: its job is queued or running
    COMPLETED = "completed"  #: its job is: the summary and the files are there
    FAILED = "failed"  #: its job failed or was cancelled, or its video never came


class CoachSession(Identified, Timestamped, Base):
    """One practice: whose, of what, and how it was filmed."""

    __tablename__ = "coach_sessions"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        Index("ix_coach_sessions_recent", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_coach_sessions_player_ids", "player_ids", postgresql_using="gin"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    title: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(String(5000), server_default="")
    player_ids: Mapped[list[str]] = mapped_column(ARRAY(String(100)), server_default="{}")  #: as the client names them
    view: Mapped[str] = mapped_column(String(20), server_default=View.UNKNOWN)
    discipline: Mapped[str] = mapped_column(String(20), server_default=Discipline.GENERAL)


class Analysis(Identified, Timestamped, Base):
    """One analysis of one video, of a file that may yet be on its way. The `analysis job` of the API."""

    __tablename__ = "coach_analyses"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        ForeignKeyConstraint(
            ["project_id", "session_id"], ["coach_sessions.project_id", "coach_sessions.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(["project_id", "video_id"], ["videos.project_id", "videos.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["project_id", "upload_id"], ["uploads.project_id", "uploads.id"], ondelete="SET NULL (upload_id)"
        ),
        ForeignKeyConstraint(["project_id", "job_id"], ["jobs.project_id", "jobs.id"], ondelete="SET NULL (job_id)"),
        Index("ix_coach_analyses_session_id", "session_id", "created_at", "id"),
        Index("ix_coach_analyses_video_id", "video_id", postgresql_where="video_id IS NOT NULL"),
        Index("ix_coach_analyses_upload_id", "upload_id", postgresql_where="upload_id IS NOT NULL"),
        Index("ix_coach_analyses_job_id", "job_id", postgresql_where="job_id IS NOT NULL"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    session_id: Mapped[uuid.UUID]
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    upload_id: Mapped[uuid.UUID | None]
    video_id: Mapped[uuid.UUID | None]  #: once its file has arrived
    job_id: Mapped[uuid.UUID | None]  #: the latest that works on it
    sqs_message_id: Mapped[str | None] = mapped_column(String(100))  #: of the latest ring, where SQS is the doorbell
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)  #: options.AnalysisOptions
    s3_bucket: Mapped[str] = mapped_column(String(255))
    s3_key: Mapped[str] = mapped_column(String(1024))  #: where the file is, or is sent to
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB, deferred=True)  #: summary.json
    metrics: Mapped[dict[str, float] | None] = mapped_column(JSONB)  #: those of the summary that have a value, by name
    files: Mapped[dict[str, str] | None] = mapped_column(JSONB)  #: keys in the storage by the names in the summary
    completed_at: Mapped[datetime | None]
