"""Projects own videos, uploads and jobs; members may reach them."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class MemberRole(StrEnum):
    """What a member may do in a project."""

    OWNER = "owner"  #: made the project, or its personal owner; may do everything in it


class Project(Identified, Timestamped, Base):
    """A place for videos. Each account has a personal one, made with it."""

    __tablename__ = "projects"
    __table_args__ = (Index("uq_projects_personal_owner_id", "owner_id", unique=True, postgresql_where="personal"),)

    name: Mapped[str] = mapped_column(String(200))
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    personal: Mapped[bool] = mapped_column(server_default="false")


class ProjectMember(Base):
    """Membership is what `orgs.access.visible` reads; the owner has a row too."""

    __tablename__ = "project_members"

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
