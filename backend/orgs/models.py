"""Projects own videos, uploads and jobs; members may reach them."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class MemberRole(StrEnum):
    """What a member may do in a project."""

    OWNER = "owner"  #: made the project, or its personal owner; may do everything in it


class Project(Identified, Timestamped, Base):
    """A place for videos. Each account has a personal one, made with it."""

    __tablename__ = "projects"
    __table_args__ = (
        Index("uq_projects_personal_owner_id", "owner_id", unique=True, postgresql_where="personal"),
        CheckConstraint("weight BETWEEN 0.01 AND 100", name="weight"),
    )

    name: Mapped[str] = mapped_column(String(200))
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    personal: Mapped[bool] = mapped_column(server_default="false")
    #: Its share of each queue beside other projects that wait (jobs.claims).
    weight: Mapped[float] = mapped_column(server_default="1")


class ProjectMember(Base):
    """Membership is what `orgs.access.visible` reads; the owner has a row too."""

    __tablename__ = "project_members"

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AuditEntry(Base):
    """Who did what to what, and when. Append-only: a trigger refuses UPDATE and DELETE.

    It refers to nothing by foreign key: an entry outlives the account, the project and the thing it is about.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "object_type", "object_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor_id: Mapped[uuid.UUID | None]
    actor_email: Mapped[str] = mapped_column(String(320), server_default="")
    action: Mapped[str] = mapped_column(String(60))
    object_type: Mapped[str] = mapped_column(String(30))
    object_id: Mapped[str] = mapped_column(String(200))
    project_id: Mapped[uuid.UUID | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    ip: Mapped[str] = mapped_column(String(64), server_default="")
    request_id: Mapped[str] = mapped_column(String(64), server_default="")
