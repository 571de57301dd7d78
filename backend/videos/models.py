"""Uploads (attempts to bring one object in) and videos (what came of them)."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Computed,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class UploadState(StrEnum):
    """Where one attempt to bring an object in stands."""

    WAITING = "waiting"  #: put here by `begin`; nothing is known to have arrived
    UPLOADING = "uploading"  #: put here when the first part is signed (multipart); parts may have arrived
    VERIFYING = "verifying"  #: put here by `complete` while it looks at the object
    COMPLETED = "completed"  #: the object is there as declared and its video exists; final
    FAILED = "failed"  #: the object differs from what was declared; a new attempt is needed
    CANCELLED = "cancelled"  #: its owner gave it up; the object is removed; final
    EXPIRED = "expired"  #: its time ran out; a late but valid object revives it


OPEN_UPLOADS = (UploadState.WAITING, UploadState.UPLOADING, UploadState.VERIFYING)


class ObjectKind(StrEnum):
    """What an object in the storage is for."""

    ORIGINAL = "original"  #: as it was sent
    POSTER = "poster"
    PREVIEW = "preview"  #: sprite sheet
    PREVIEW_TRACK = "preview_track"  #: WebVTT
    RENDITION = "rendition"  #: what browsers play when they cannot play the original
    LADDER = "ladder"  #: one of the several of adaptive streaming
    GENERATED = "generated"  #: a picture or a sound that was made here
    SOURCE_IMAGE = "source_image"  #: sent to have something made from it
    ANALYSIS = "analysis"  #: what an analysis of it found
    STRAY = "stray"  #: found in the storage without any record


class VideoStatus(StrEnum):
    """The public status of a video."""

    UPLOADED = "uploaded"  #: the bytes are here and verified, no processing is queued
    PROCESSING = "processing"  #: put here when its job is queued (confirm or retry); taken out by the job's end
    COMPLETED = "completed"  #: put here with its last required job: poster and something that plays are there
    FAILED = "failed"  #: put here when a required job failed or was cancelled; a retry takes it out


class Upload(Identified, Timestamped, Base):
    """A reserved place for one object. `video_id` is the id its video will have."""

    __tablename__ = "uploads"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        Index("ix_uploads_project_id_created_at", "project_id", "created_at"),
        Index("ix_uploads_open", "project_id", postgresql_where="state IN ('waiting', 'uploading', 'verifying')"),
        Index("ix_uploads_check_at", "check_at", postgresql_where="check_at IS NOT NULL"),
        Index("ix_uploads_checksum", "checksum", postgresql_where="checksum IS NOT NULL"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    video_id: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid.uuid4)
    s3_key: Mapped[str] = mapped_column(String(1024), unique=True)
    filename: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)  #: declared; of an adopted object as it was found
    state: Mapped[str] = mapped_column(String(20), server_default=UploadState.WAITING)
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    storage_upload_id: Mapped[str | None] = mapped_column(Text)  #: the storage's name for the multipart upload
    part_size: Mapped[int | None] = mapped_column(BigInteger)  #: bytes of every part but the last
    resumable: Mapped[bool] = mapped_column(server_default="false")  #: in parts signed on demand; else in one request
    checksum: Mapped[str | None] = mapped_column(String(64))  #: the sender's fingerprint of the file (hex)
    title: Mapped[str | None] = mapped_column(String(200))  #: typed before anything had arrived
    description: Mapped[str | None] = mapped_column(String(5000))
    check_at: Mapped[datetime | None]  #: when the sweep looks (again) at what arrived; None: it never needs to
    confirmed_at: Mapped[datetime | None]  #: when its sender confirmed it; None when the sweep completed it

    @property
    def part_count(self) -> int | None:
        """How many parts it comes in."""
        return -(-self.size_bytes // self.part_size) if self.size_bytes and self.part_size else None


# Words are split at everything that is not a letter or digit, so that "my-file_01.mp4" is found by "file" and "01".
# Each begins with a mark of its project: in the index a project's words stand beside each other, and to look for one
# costs what is found there, however often all others have it.
PROJECT_MARK = "'p' || left({}::text, 8)"
SEARCH_EXPRESSION = (
    "to_tsvector('simple'::regconfig, replace(' ' || btrim(regexp_replace(lower(title || ' ' || filename || ' ' || "
    f"description), '[^[:alnum:]]+', ' ', 'g')), ' ', ' ' || {PROJECT_MARK.format('project_id')}))"
)


class Video(Identified, Timestamped, Base):
    """A video. Sizes are as displayed (after rotation and sample aspect) unless they are named `coded_`."""

    __tablename__ = "videos"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        Index(
            "ix_videos_recent",
            "project_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where="deleted_at IS NULL",
        ),
        Index(
            "ix_videos_status",
            "project_id",
            "status",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where="deleted_at IS NULL",
        ),
        Index("ix_videos_title", "project_id", text("lower(title)"), "id", postgresql_where="deleted_at IS NULL"),
        Index(
            "ix_videos_duration",
            "project_id",
            text("coalesce(duration, 0)"),
            "id",
            postgresql_where="deleted_at IS NULL",
        ),
        Index("ix_videos_size", "project_id", "size_bytes", "id", postgresql_where="deleted_at IS NULL"),
        # What was written last is looked through one by one, until it is put in order: kept short.
        Index("ix_videos_search", "search", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": 256}),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(5000), server_default="")
    status: Mapped[str] = mapped_column(String(20), server_default=VideoStatus.UPLOADED)
    phase: Mapped[str | None] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(20), server_default="upload")
    filename: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    s3_key: Mapped[str] = mapped_column(String(1024), unique=True)
    etag: Mapped[str | None] = mapped_column(String(200))  #: of the object as it was confirmed
    poster_key: Mapped[str | None] = mapped_column(String(1024))
    job_id: Mapped[uuid.UUID | None]  #: the first job of the latest processing; its steps are jobs below it
    preview_key: Mapped[str | None] = mapped_column(String(1024))
    preview: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  #: how the pictures lie on the sheet (preview.Sheet)
    rendition_key: Mapped[str | None] = mapped_column(String(1024))
    rendition_kind: Mapped[str | None] = mapped_column(String(20))  #: remux or transcode
    rendition_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    has_ladder: Mapped[bool] = mapped_column(server_default="false")
    #: The rungs with all their segments (ladder.describe).
    ladder: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB, deferred=True, deferred_raiseload=True)

    playable: Mapped[bool | None]  #: whether browsers play the original or the rendition
    not_playable_reason: Mapped[str | None] = mapped_column(Text)  #: of the original
    missing_bytes: Mapped[int | None] = mapped_column(BigInteger)  #: cut off the end of the original; None: none known
    container: Mapped[str | None] = mapped_column(String(40))
    duration: Mapped[float | None]  #: seconds
    width: Mapped[int | None]
    height: Mapped[int | None]
    coded_width: Mapped[int | None]
    coded_height: Mapped[int | None]
    rotation: Mapped[int | None] = mapped_column(SmallInteger)  #: degrees clockwise that show it upright
    fps: Mapped[float | None]
    vfr: Mapped[bool | None]
    bit_depth: Mapped[int | None] = mapped_column(SmallInteger)
    hdr: Mapped[str | None] = mapped_column(String(20))
    video_codec: Mapped[str | None] = mapped_column(String(40))
    audio_codec: Mapped[str | None] = mapped_column(String(40))
    has_audio: Mapped[bool | None]
    streams: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)

    prompt: Mapped[str | None] = mapped_column(Text)  #: of one that was generated, as the two below
    orientation: Mapped[str | None] = mapped_column(String(10))
    model_used: Mapped[str | None] = mapped_column(String(200))

    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(Text)
    error_retryable: Mapped[bool | None]
    completed_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]  #: hidden at once, purged by its job when the time for undo is over
    search: Mapped[Any] = mapped_column(TSVECTOR, Computed(SEARCH_EXPRESSION, persisted=True), deferred=True)


class VideoCount(Base):
    """How many videos a project shows and their bytes, by status; kept by triggers in the transaction of the change."""

    __tablename__ = "video_counts"

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    status: Mapped[str] = mapped_column(String(20), primary_key=True)
    videos: Mapped[int] = mapped_column(BigInteger, server_default="0")
    size_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class VideoRecount(Base):
    """How far the recounting of `video_counts` has come: one row. `corrected` counts the counters it ever put right."""

    __tablename__ = "video_recounts"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    after: Mapped[uuid.UUID]  #: the project that was reached; they are recounted in the order of their ids
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())  #: of what comes next
    corrected: Mapped[int] = mapped_column(BigInteger, server_default="0")


class StoredObject(Base):
    """The ledger: every key that was ever signed or written, until its object is known to be gone for good.

    It refers to nothing by foreign key: an object outlives the rows it belonged to until it is removed.
    """

    __tablename__ = "stored_objects"
    __table_args__ = (
        Index("ix_stored_objects_video_id", "video_id"),
        Index("ix_stored_objects_due_at", "due_at", postgresql_where="due_at IS NOT NULL"),
    )

    #: In the order of bytes, which is the order in which a storage lists.
    key: Mapped[str] = mapped_column(String(1024, collation="C"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    project_id: Mapped[uuid.UUID | None]
    video_id: Mapped[uuid.UUID | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    writable_until: Mapped[datetime | None]  #: when the last address ends by which others may write it
    buried_at: Mapped[datetime | None]  #: since when nothing refers to it
    due_at: Mapped[datetime | None]  #: when a buried one is to be removed (again)
