"""Generations (what somebody asked for, and what came of it) and the pictures they are made from."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class Door(StrEnum):
    """By which way somebody asked."""

    STUDIO = "studio"  #: a person, or a program in their name; under the quota per hour
    TASKS = "tasks"  #: another back end with a project's key


class Kind(StrEnum):
    """What is made."""

    VIDEO = "video"
    IMAGE = "image"
    AUDIO = "audio"


# The same words as in the library: split at everything that is not a letter or digit.
_SEARCH = "to_tsvector('simple'::regconfig, regexp_replace(lower(prompt), '[^[:alnum:]]+', ' ', 'g'))"


class Generation(Identified, Timestamped, Base):
    """One wish, and its result. Its state is its job's; a video that comes of it has this very id.

    What a provider was asked, in this order: `submitted_at` is committed before a request that costs something is sent,
    `external_id` as soon as the provider has told it. With the first and without the second nobody knows what became of
    the request: it is never sent again by itself (`needs_review`).
    """

    __tablename__ = "generations"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        ForeignKeyConstraint(
            ["project_id", "job_id"],
            ["jobs.project_id", "jobs.id"],
            ondelete="SET NULL (job_id)",
            onupdate="CASCADE",
        ),
        ForeignKeyConstraint(
            ["project_id", "video_id"],
            ["videos.project_id", "videos.id"],
            ondelete="SET NULL (video_id)",
            onupdate="CASCADE",
        ),
        Index("ix_generations_recent", "project_id", "created_at", "id", postgresql_where="deleted_at IS NULL"),
        Index("ix_generations_job_id", "job_id", unique=True, postgresql_where="job_id IS NOT NULL"),
        Index("ix_generations_video_id", "video_id", postgresql_where="video_id IS NOT NULL"),
        # What the quota counts, and also what was deleted since.
        Index("ix_generations_quota", "owner_id", "created_at", postgresql_where="door = 'studio'"),
        Index("ix_generations_deleted_at", "deleted_at", postgresql_where="deleted_at IS NOT NULL"),
        Index("ix_generations_search", "search", postgresql_using="gin"),
        Index("ix_generations_spec", "spec", postgresql_using="gin", postgresql_ops={"spec": "jsonb_path_ops"}),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    door: Mapped[str] = mapped_column(String(10))
    kind: Mapped[str] = mapped_column(String(10))
    task_type: Mapped[str | None] = mapped_column(String(40))  #: as it was asked for
    prompt: Mapped[str] = mapped_column(Text, server_default="")
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")  #: spec.Wish, without the prompt
    task_data: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  #: as it was sent
    caller_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSONB)  #: the caller's own, handed back
    callback_url: Mapped[str | None] = mapped_column(String(2000))

    provider: Mapped[str] = mapped_column(String(30))
    #: When it was asked for, and when a cancelled one was asked for again: each counts against the quota of its hour.
    starts: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)), server_default=text("ARRAY[now()]"))
    submitted_at: Mapped[datetime | None]
    external_id: Mapped[str | None] = mapped_column(Text)
    external_detail: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  #: what the provider told of the result
    needs_review: Mapped[bool] = mapped_column(server_default="false")

    job_id: Mapped[uuid.UUID | None]
    video_id: Mapped[uuid.UUID | None]
    model_used: Mapped[str | None] = mapped_column(String(200))
    seed_used: Mapped[int | None] = mapped_column(BigInteger)
    s3_key: Mapped[str | None] = mapped_column(String(1024), unique=True)
    content_type: Mapped[str | None] = mapped_column(String(100))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    width: Mapped[int | None]
    height: Mapped[int | None]
    duration: Mapped[float | None]  #: seconds
    deleted_at: Mapped[datetime | None]
    search: Mapped[Any] = mapped_column(TSVECTOR, Computed(_SEARCH, persisted=True), deferred=True)


class SourceImage(Identified, Timestamped, Base):
    """A picture somebody sent to have something made from it: of a storyboard, or to be like.

    One that no generation names is removed after a day (sweep.py).
    """

    __tablename__ = "source_images"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        Index("ix_source_images_created_at", "created_at"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    s3_key: Mapped[str] = mapped_column(String(1024), unique=True)
    content_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
