"""Organizations: several people, with roles, who share projects."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import InvalidState, NotFound
from backend.orgs import audit, members
from backend.orgs.access import Actor, require_in
from backend.orgs.models import Organization, Project
from backend.orgs.places import Place
from backend.orgs.roles import Permission, Role


async def create_organization(session: AsyncSession, *, actor: Actor, name: str) -> Organization:
    """Make one; its maker is its owner."""
    organization = Organization(name=name)
    session.add(organization)
    await session.flush()
    await session.refresh(organization)
    place = Place.organization(organization.id)
    await members.add_member(session, place=place, user_id=actor.user_id, role=Role.OWNER)
    await _note(session, actor, organization, "organization.create", {"name": name})
    return organization


async def list_organizations(session: AsyncSession, *, actor: Actor) -> Sequence[Organization]:
    """Those the actor is in, by name."""
    mine = select(Organization).where(Organization.id.in_(actor.org_roles))
    return (await session.scalars(mine.order_by(Organization.name, Organization.id))).all()


async def get_organization(
    session: AsyncSession,
    *,
    actor: Actor,
    organization_id: uuid.UUID,
    permission: Permission = Permission.VIEW,
    for_update: bool = False,
) -> Organization:
    """Raises NotFound for one the actor is not in, Forbidden for one in which the actor may not do this."""
    require_in(actor, permission, organization_id)
    found = await session.get(Organization, organization_id, with_for_update=for_update or None)
    if found is None:
        raise NotFound
    return found


async def rename_organization(
    session: AsyncSession, *, actor: Actor, organization_id: uuid.UUID, name: str
) -> Organization:
    """Call it something else. Raises NotFound, Forbidden."""
    organization = await get_organization(
        session, actor=actor, organization_id=organization_id, permission=Permission.MANAGE, for_update=True
    )
    before, organization.name = organization.name, name
    await session.flush()
    await _note(session, actor, organization, "organization.rename", {"before": before, "after": name})
    return organization


async def delete_organization(session: AsyncSession, *, actor: Actor, organization_id: uuid.UUID) -> None:
    """Remove one that has no projects. Raises NotFound, Forbidden, InvalidState."""
    organization = await get_organization(
        session, actor=actor, organization_id=organization_id, permission=Permission.OWN, for_update=True
    )
    # Also those that are just being removed: what they hold counts for the organization until it is gone.
    left = select(Project.deleted_at).where(Project.organization_id == organization_id).order_by(Project.deleted_at)
    deleted = (await session.scalars(left)).all()
    if any(at is None for at in deleted):
        raise InvalidState("The organization has projects. Delete them first.")
    if deleted:
        raise InvalidState("The organization's last projects are just being removed. Try again in a while.")
    await _note(session, actor, organization, "organization.delete", {"name": organization.name})
    await session.execute(delete(Organization).where(Organization.id == organization_id))


async def set_features(
    session: AsyncSession, *, actor: Actor, organization_id: uuid.UUID, features: Sequence[str]
) -> Organization:
    """For admins of the platform: what is switched on for everybody in it. Raises NotFound."""
    organization = await session.get(Organization, organization_id, with_for_update=True)
    if organization is None:
        raise NotFound
    before, organization.features = list(organization.features), sorted(set(features))
    await session.flush()
    changes = {"before": before, "after": organization.features}
    await _note(session, actor, organization, "organization.features", changes)
    return organization


async def _note(
    session: AsyncSession, actor: Actor, organization: Organization, action: str, detail: dict[str, Any]
) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type="organization",
        object_id=organization.id,
        organization_id=organization.id,
        detail=detail,
    )
