"""What is done with a task's result: callbacks to who asked, and a project's CMS with what it was given.

Callbacks and what goes to a CMS are of their generation's project, also when its video is moved to another one.
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, SmallInteger, String, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class CmsMode(StrEnum):
    """What a document of the CMS holds."""

    LINK = "link"  #: the address of the result
    UPLOAD = "upload"  #: the file itself, in a collection for uploads


class TaskCallback(Identified, Base):
    """One end of a task (a task tried again has several) that its caller is told of; its state is its job's."""

    __tablename__ = "task_callbacks"
    __table_args__ = (
        Index("ix_task_callbacks_generation_id", "generation_id", "created_at"),
        Index("ix_task_callbacks_job_id", "job_id", postgresql_where="job_id IS NOT NULL"),
    )

    generation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"))
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    url: Mapped[str] = mapped_column(String(2000))
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)  #: what is sent; the CMS's id is added when it is
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    delivered_at: Mapped[datetime | None]
    answer_status: Mapped[int | None] = mapped_column(SmallInteger)  #: of the last answer
    error: Mapped[str | None] = mapped_column(Text)  #: of the last try


class CmsTarget(Timestamped, Base):
    """The collection of a PayloadCMS that a project's results go to. The key is sealed (`core.security.seal`)."""

    __tablename__ = "cms_targets"

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    url: Mapped[str] = mapped_column(String(2000))
    collection: Mapped[str] = mapped_column(String(100))
    key_collection: Mapped[str] = mapped_column(String(100), server_default="users")  #: whose key it is
    api_key: Mapped[bytes] = mapped_column(LargeBinary)
    mode: Mapped[str] = mapped_column(String(10), server_default=CmsMode.LINK)


class CmsSync(Timestamped, Base):
    """A result on its way into the CMS; its state is its job's. `document_id` is the CMS's own."""

    __tablename__ = "cms_syncs"
    __table_args__ = (Index("ix_cms_syncs_job_id", "job_id", postgresql_where="job_id IS NOT NULL"),)

    generation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    document_id: Mapped[str | None] = mapped_column(String(200))
    error: Mapped[str | None] = mapped_column(Text)  #: of the last try
    synced_at: Mapped[datetime | None]
