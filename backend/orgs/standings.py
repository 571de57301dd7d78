"""What people are where: read from their memberships, in one query for as many as are asked about."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    CompoundSelect,
    SQLColumnExpression,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    false,
    func,
    null,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.accounts.models import User
from backend.orgs.models import Organization, OrgMember, Project, ProjectMember
from backend.orgs.roles import PERMISSIONS, Permission, Role, higher


class Named(NamedTuple):
    """What a project is called by whoever asks, and whose it is."""

    name: str  #: with that of its owner, when it is somebody else's personal one: of these all have the same
    organization: str | None  #: the name of its organization
    own: bool  #: the actor's own


def called(name: str, owner: str | None) -> str:
    """The name of a project; that of a personal one with its owner's, for others."""
    return f"{name} ({owner})" if owner else name


@dataclass
class Standing:
    """What a person is where."""

    personal: uuid.UUID | None = None
    roles: dict[uuid.UUID, Role] = field(default_factory=dict)
    org_roles: dict[uuid.UUID, Role] = field(default_factory=dict)
    org_features: dict[uuid.UUID, frozenset[str]] = field(default_factory=dict)
    names: dict[uuid.UUID, Named] = field(default_factory=dict)

    def note(self, row: Mapping[str, Any]) -> None:
        """Add what a row of `memberships` says."""
        role, project_id, organization_id = Role(row["role"]), row["project_id"], row["organization_id"]
        if project_id is not None:
            self.roles[project_id] = higher(self.roles.get(project_id), role)
            name = called(row["project_name"], row["owner"])
            self.names[project_id] = Named(name, row["organization_name"], bool(row["mine"]))
        if row["own"]:
            self.personal = project_id
        if organization_id is not None:
            self.org_roles[organization_id] = role
            self.org_features[organization_id] = frozenset(row["organization_features"])

    def may_grant(
        self, role: Role, *, project_id: uuid.UUID | None = None, organization_id: uuid.UUID | None = None
    ) -> bool:
        """Whether the person may give somebody this role there."""
        own = self.roles.get(project_id) if project_id else None
        own = own or (self.org_roles.get(organization_id) if organization_id else None)
        return own is not None and {Permission.MANAGE, role.to_grant} <= PERMISSIONS[own]


async def load_standing(session: AsyncSession, user_id: uuid.UUID) -> Standing:
    """What somebody is where, who does not ask."""
    return (await standings_of(session, [user_id]))[user_id]


async def standings_of(session: AsyncSession, user_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Standing]:
    """What these people are where, in one query."""
    ids = list(user_ids)
    standings = {user_id: Standing() for user_id in ids}
    for row in (await session.execute(_of_many(), {"user_ids": ids})).mappings():
        standings[row["user_id"]].note(row)
    return standings


@cache
def _of_many() -> CompoundSelect[Any]:
    return memberships(any_(bindparam("user_ids", type_=ARRAY(Uuid))))


def memberships(theirs: SQLColumnExpression[Any]) -> CompoundSelect[Any]:
    """What people have by their memberships, a row for each; to be made once, for each request asks it."""
    there = Project.deleted_at.is_(None)
    owner = aliased(User)
    of_another = and_(Project.personal, owner.id == Project.owner_id, owner.id != ProjectMember.user_id)
    direct = (
        select(
            ProjectMember.user_id,
            ProjectMember.role,
            Project.id.label("project_id"),
            Project.name.label("project_name"),
            (Project.owner_id == ProjectMember.user_id).label("mine"),
            Organization.name.label("organization_name"),
            and_(Project.personal, Project.owner_id == ProjectMember.user_id).label("own"),
            func.coalesce(func.nullif(owner.name, ""), owner.email).label("owner"),
            cast(null(), OrgMember.organization_id.type).label("organization_id"),
            cast(null(), Organization.features.type).label("organization_features"),
        )
        .join(Project, Project.id == ProjectMember.project_id)
        .outerjoin(Organization, Organization.id == Project.organization_id)
        .outerjoin(owner, of_another)
        .where(ProjectMember.user_id == theirs, there)
        .correlate(User)
    )
    through = (
        select(
            OrgMember.user_id,
            OrgMember.role,
            Project.id.label("project_id"),
            Project.name.label("project_name"),
            false().label("mine"),
            Organization.name.label("organization_name"),
            false().label("own"),
            cast(null(), User.email.type).label("owner"),
            OrgMember.organization_id,
            Organization.features.label("organization_features"),
        )
        .join(Organization, Organization.id == OrgMember.organization_id)
        .outerjoin(Project, and_(Project.organization_id == OrgMember.organization_id, there))
        .where(OrgMember.user_id == theirs)
        .correlate(User)
    )
    return union_all(direct, through)
