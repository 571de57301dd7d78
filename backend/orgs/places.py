"""A project or an organization: what people are members of, and are invited to."""

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import NotFound
from backend.orgs.access import Actor, require, require_in
from backend.orgs.models import Organization, OrgMember, Project, ProjectMember
from backend.orgs.roles import Permission, Role


@dataclass(frozen=True)
class Place:
    """One of the two, by its id."""

    kind: Literal["project", "organization"]
    id: uuid.UUID

    @classmethod
    def project(cls, id: uuid.UUID) -> "Place":
        return cls("project", id)

    @classmethod
    def organization(cls, id: uuid.UUID) -> "Place":
        return cls("organization", id)

    @property
    def named(self) -> dict[str, uuid.UUID]:
        """Its id under the name of the column that refers to it."""
        return {f"{self.kind}_id": self.id}

    @property
    def members(self) -> Any:
        """The model of its members."""
        return ProjectMember if self.kind == "project" else OrgMember

    @property
    def here(self) -> ColumnElement[bool]:
        """Of the members those of this place."""
        mine: ColumnElement[bool] = getattr(self.members, f"{self.kind}_id") == self.id
        return mine

    def require(self, actor: Actor, permission: Permission) -> None:
        """Raises NotFound, Forbidden."""
        (require if self.kind == "project" else require_in)(actor, permission, self.id)

    async def hold(self, session: AsyncSession) -> Project | Organization:
        """Its row, locked: who is a member is changed by one at a time. Raises NotFound: when it was deleted."""
        rows: Any = select(Project).where(Project.id == self.id, Project.deleted_at.is_(None))
        if self.kind == "organization":
            rows = select(Organization).where(Organization.id == self.id)
        row: Project | Organization | None = await session.scalar(rows.with_for_update())
        if row is None:
            raise NotFound
        return row

    async def role_of(self, session: AsyncSession, user_id: uuid.UUID) -> Role | None:
        """What somebody is here by a membership of this very place."""
        role = await session.scalar(select(self.members.role).where(self.here, self.members.user_id == user_id))
        return Role(role) if role is not None else None
