"""Members of projects and organizations: who they are, what they may, and how they leave."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import User
from backend.core.errors import InvalidState, NotFound
from backend.orgs import audit
from backend.orgs.access import Actor
from backend.orgs.leaving import end_what_is_lost
from backend.orgs.models import OrgMember, Project, ProjectMember
from backend.orgs.places import Place
from backend.orgs.roles import Permission, Role

MOST_LISTED = 1000


@dataclass(frozen=True)
class Member:
    """Somebody's role; `inherited` when it comes with the project's organization."""

    user: User
    role: Role
    since: datetime
    inherited: bool = False


async def list_members(session: AsyncSession, *, actor: Actor, place: Place) -> list[Member]:
    """Everybody with a role here, oldest first; of a project also those of its organization. Raises NotFound.

    Who has a role by both is there twice.
    """
    place.require(actor, Permission.VIEW)
    found = await _rows(session, place)
    if place.kind == "project":
        project = await session.get_one(Project, place.id)
        if project.organization_id is not None:
            found += await _rows(session, Place.organization(project.organization_id), inherited=True)
    return sorted(found, key=lambda member: (member.inherited, member.since, member.user.id))


async def change_member(session: AsyncSession, *, actor: Actor, place: Place, user_id: uuid.UUID, role: Role) -> Member:
    """Give a member another role.

    Raises NotFound, Forbidden, InvalidState for the last owner of an organization and the owner of a project.
    """
    place.require(actor, Permission.MANAGE)
    held = await place.hold(session)
    member = await _member(session, place, user_id)
    before = Role(member.role)
    place.require(actor, before.to_grant)
    place.require(actor, role.to_grant)
    if before is Role.OWNER and role is not Role.OWNER:
        await _another_owner(session, place, held, user_id)
    of_member = (place.here, place.members.user_id == user_id)
    await session.execute(update(place.members).where(*of_member).values(role=role))
    ended = await end_what_is_lost(session, user_id=user_id, place=place)
    user = await session.get_one(User, user_id)
    await _note(session, actor, place, user, "member.role", before=before, after=role, **ended)
    return Member(user, role, member.created_at)


async def remove_member(session: AsyncSession, *, actor: Actor, place: Place, user_id: uuid.UUID) -> None:
    """Take a membership away, at once; one's own without any permission. Raises as `change_member` does."""
    leaves = user_id == actor.user_id
    place.require(actor, Permission.VIEW if leaves else Permission.MANAGE)
    held = await place.hold(session)
    member = await _member(session, place, user_id)
    role = Role(member.role)
    if not leaves:
        place.require(actor, role.to_grant)
    if role is Role.OWNER:
        await _another_owner(session, place, held, user_id)
    await session.execute(delete(place.members).where(place.here, place.members.user_id == user_id))
    ended = await end_what_is_lost(session, user_id=user_id, place=place)
    user = await session.get_one(User, user_id)
    await _note(session, actor, place, user, "member.leave" if leaves else "member.remove", before=role, **ended)


async def add_member(session: AsyncSession, *, place: Place, user_id: uuid.UUID, role: Role) -> None:
    """Make somebody a member who is none, in the transaction that holds the place."""
    session.add(place.members(user_id=user_id, role=role, **place.named))
    await session.flush()


async def _rows(session: AsyncSession, place: Place, *, inherited: bool = False) -> list[Member]:
    rows = await session.execute(
        select(User, place.members.role, place.members.created_at)
        .join(place.members, place.members.user_id == User.id)
        .where(place.here)
        .order_by(place.members.created_at, User.id)
        .limit(MOST_LISTED)
    )
    return [Member(user, Role(role), since, inherited) for user, role, since in rows]


async def _member(session: AsyncSession, place: Place, user_id: uuid.UUID) -> ProjectMember | OrgMember:
    found: ProjectMember | OrgMember | None = await session.scalar(
        select(place.members).where(place.here, place.members.user_id == user_id)
    )
    if found is None:
        raise NotFound
    return found


async def _another_owner(session: AsyncSession, place: Place, held: Any, user_id: uuid.UUID) -> None:
    """Raises InvalidState: when without this owner there is none."""
    if isinstance(held, Project):
        if held.owner_id == user_id:
            raise InvalidState("The project belongs to this person, who stays its owner.")
        return
    others = select(func.count()).where(place.here, place.members.role == Role.OWNER, place.members.user_id != user_id)
    if not await session.scalar(others):
        raise InvalidState("This is the only owner. Make somebody else an owner first.")


async def _note(session: AsyncSession, actor: Actor, place: Place, user: User, action: str, **detail: Any) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type=place.kind,
        object_id=place.id,
        **place.named,
        detail={"user_id": str(user.id), "email": user.email, **detail},
    )
