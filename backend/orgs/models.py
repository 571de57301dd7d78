"""Projects own videos, uploads and jobs; people reach them as members, of the project or of its organization."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    String,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class Organization(Identified, Timestamped, Base):
    """Several people who share projects."""

    __tablename__ = "organizations"

    name: Mapped[str] = mapped_column(String(200))
    features: Mapped[list[str]] = mapped_column(ARRAY(String), server_default="{}")  #: given by admins of the platform


class OrgMember(Base):
    """A role in an organization, and so in all its projects. At least one member is an owner (orgs.members)."""

    __tablename__ = "org_members"

    organization_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(20))  #: a Role
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Project(Identified, Timestamped, Base):
    """A place for videos, of a person or of an organization. Each account has a personal one, made with it."""

    __tablename__ = "projects"
    __table_args__ = (
        Index("uq_projects_personal_owner_id", "owner_id", unique=True, postgresql_where="personal"),
        CheckConstraint("weight BETWEEN 0.01 AND 100", name="weight"),
        CheckConstraint("(owner_id IS NULL) <> (organization_id IS NULL)", name="one_owner"),
        CheckConstraint("NOT personal OR owner_id IS NOT NULL", name="personal"),
    )

    name: Mapped[str] = mapped_column(String(200))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    organization_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="RESTRICT"), index=True
    )
    personal: Mapped[bool] = mapped_column(server_default="false")
    #: Its share of each queue beside other projects that wait (jobs.claims).
    weight: Mapped[float] = mapped_column(server_default="1")
    deleted_at: Mapped[datetime | None]  #: out of sight at once; a job removes what was in it


class ProjectMember(Base):
    """A role in one project, beside those that come with its organization; the owner of a person's has a row too."""

    __tablename__ = "project_members"

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(20))  #: a Role
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Invitation(Identified, Base):
    """A link that makes whoever opens it first a member. It ends with its time, its use, or with its maker's rights."""

    __tablename__ = "invitations"
    __table_args__ = (CheckConstraint("(project_id IS NULL) <> (organization_id IS NULL)", name="one_place"),)

    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    organization_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    role: Mapped[str] = mapped_column(String(20))  #: a Role
    email: Mapped[str] = mapped_column(String(320), server_default="")  #: a note: whom it was made for
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    accepted_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    revoked_at: Mapped[datetime | None]


class ApiKey(Identified, Timestamped, Base):
    """A key for programs: `dly_<public_id>_<secret>`. It reaches one project, and no more than its maker may there."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        ForeignKeyConstraint(
            ["project_id", "replaces_id"],
            ["api_keys.project_id", "api_keys.id"],
            ondelete="SET NULL (replaces_id)",
        ),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    public_id: Mapped[str] = mapped_column(String(12), unique=True)
    secret_hash: Mapped[bytes]  #: SHA-256
    name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String))  #: of Scope
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]  #: to the minute
    revoked_at: Mapped[datetime | None]
    replaces_id: Mapped[uuid.UUID | None]  #: the key that this one was made instead of


class AuditEntry(Base):
    """Who did what to what, and when. Append-only: a trigger refuses UPDATE and DELETE.

    It refers to nothing by foreign key: an entry outlives the account, the project and the thing it is about.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(None, "object_type", "object_id", "id"),
        Index(None, "project_id", "id", postgresql_where="project_id IS NOT NULL"),
        Index(None, "organization_id", "id", postgresql_where="organization_id IS NOT NULL"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor_id: Mapped[uuid.UUID | None]
    actor_email: Mapped[str] = mapped_column(String(320), server_default="")
    action: Mapped[str] = mapped_column(String(60))
    object_type: Mapped[str] = mapped_column(String(30))
    object_id: Mapped[str] = mapped_column(String(200))
    project_id: Mapped[uuid.UUID | None]
    organization_id: Mapped[uuid.UUID | None]  #: also of what was done in one of its projects
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    ip: Mapped[str] = mapped_column(String(64), server_default="")
    request_id: Mapped[str] = mapped_column(String(64), server_default="")
