"""Invitations: links that make whoever opens them first a member of a project or an organization."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.accounts.models import User
from backend.config import settings
from backend.core.errors import Gone, NotFound
from backend.core.security import digest, new_secret
from backend.orgs import audit, members
from backend.orgs.access import Actor, load_standing
from backend.orgs.models import Invitation, Organization, Project
from backend.orgs.places import Place
from backend.orgs.roles import Permission, Role
from backend.orgs.standings import called

MOST_LISTED = 200


class InvitationState(StrEnum):
    """Where an invitation stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    EXPIRED = "expired"


class InvitationGone(Gone):
    """It was used, revoked, or has expired."""

    code, message = "invitation_gone", "This invitation was used, taken back, or has expired. Ask for another one."


@dataclass(frozen=True)
class Shown:
    """An invitation as whoever has its link sees it."""

    invitation: Invitation
    place: Place
    name: str
    invited_by: str
    state: InvitationState


def state_of(invitation: Invitation) -> InvitationState:
    """Where it stands now."""
    if invitation.accepted_at is not None:
        return InvitationState.ACCEPTED
    if invitation.revoked_at is not None:
        return InvitationState.REVOKED
    return InvitationState.OPEN if invitation.expires_at > datetime.now(UTC) else InvitationState.EXPIRED


def url_of(token: str) -> str:
    """The link of an invitation."""
    return f"{settings.public_url.rstrip('/')}/invitations/{token}"


async def invite(
    session: AsyncSession, *, actor: Actor, place: Place, role: Role, email: str = "", days: int = 7
) -> tuple[Invitation, str]:
    """Make an invitation; answers it and its token, which nobody can see again. Raises NotFound, Forbidden."""
    place.require(actor, Permission.MANAGE)
    place.require(actor, role.to_grant)
    await place.hold(session)
    token = new_secret()
    invitation = Invitation(
        **place.named,
        role=role,
        email=email,
        token_hash=digest(token),
        created_by=actor.user_id,
        expires_at=func.now() + timedelta(days=days),
    )
    session.add(invitation)
    await session.flush()
    await session.refresh(invitation)
    await _note(session, actor, place, invitation, "invitation.create")
    return invitation, token


async def list_invitations(session: AsyncSession, *, actor: Actor, place: Place) -> Sequence[tuple[Invitation, User]]:
    """Those of a place with their makers, newest first, and last those that have ended. Raises NotFound, Forbidden."""
    place.require(actor, Permission.MANAGE)
    unused = Invitation.accepted_at.is_(None) & Invitation.revoked_at.is_(None)
    found = await session.execute(
        select(Invitation, User)
        .join(User, User.id == Invitation.created_by)
        .where(_of(place))
        .order_by((unused & (Invitation.expires_at > func.now())).desc(), Invitation.created_at.desc(), Invitation.id)
        .limit(MOST_LISTED)
    )
    return [(invitation, user) for invitation, user in found]


async def revoke(session: AsyncSession, *, actor: Actor, place: Place, invitation_id: uuid.UUID) -> None:
    """Take an invitation back; fine when it has ended. Raises NotFound, Forbidden."""
    place.require(actor, Permission.MANAGE)
    mine = select(Invitation).where(Invitation.id == invitation_id, _of(place)).with_for_update()
    invitation = await session.scalar(mine)
    if invitation is None:
        raise NotFound
    if state_of(invitation) is InvitationState.OPEN:
        invitation.revoked_at = func.now()
        await session.flush()
        await _note(session, actor, place, invitation, "invitation.revoke")


async def look(session: AsyncSession, *, token: str) -> Shown:
    """What a link is for. Raises NotFound: for one that was never made, or whose place is gone."""
    return await _find(session, token)


async def accept(session: AsyncSession, *, actor: Actor, token: str) -> Shown:
    """Become a member. Again by the same person: fine, while they are one. Raises NotFound, InvitationGone.

    Whoever is a member already keeps the higher role. An invitation whose maker may no longer give its role is void.
    """
    shown = await _find(session, token)
    # The place first, as everywhere: who is a member of it is changed by one at a time.
    await shown.place.hold(session)
    newest = select(Invitation).where(Invitation.id == shown.invitation.id).with_for_update()
    invitation = (await session.scalars(newest, execution_options={"populate_existing": True})).one()
    before = await shown.place.role_of(session, actor.user_id)
    if invitation.accepted_by == actor.user_id and before is not None:
        return await _find(session, token)
    role = Role(invitation.role)
    if state_of(invitation) is not InvitationState.OPEN or not await _stands(session, shown.place, invitation, role):
        raise InvitationGone
    invitation.accepted_at, invitation.accepted_by = func.now(), actor.user_id
    if before is None:
        await members.add_member(session, place=shown.place, user_id=actor.user_id, role=role)
    elif role.rank > before.rank:
        raised = update(shown.place.members).where(shown.place.here, shown.place.members.user_id == actor.user_id)
        await session.execute(raised.values(role=role))
    await session.flush()
    await _note(session, actor, shown.place, invitation, "invitation.accept")
    return await _find(session, token)


async def _stands(session: AsyncSession, place: Place, invitation: Invitation, role: Role) -> bool:
    """Whether its maker could make it today."""
    maker = await load_standing(session, invitation.created_by)
    return maker.may_grant(role, **place.named)


async def _find(session: AsyncSession, token: str) -> Shown:
    owner = aliased(User)
    row = (
        await session.execute(
            select(Invitation, User, Project, Organization, owner.name, owner.email)
            .join(User, User.id == Invitation.created_by)
            .outerjoin(Project, Project.id == Invitation.project_id)
            .outerjoin(Organization, Organization.id == Invitation.organization_id)
            .outerjoin(owner, and_(Project.personal, owner.id == Project.owner_id))
            .where(Invitation.token_hash == digest(token)),
            execution_options={"populate_existing": True},
        )
    ).one_or_none()
    if row is None or (row.Project is not None and row.Project.deleted_at is not None):
        raise NotFound
    if row.Project is not None:
        place, name = Place.project(row.Project.id), called(row.Project.name, row.name or row.email)
    else:
        place, name = Place.organization(row.Organization.id), row.Organization.name
    return Shown(row.Invitation, place, name, row.User.name or row.User.email, state_of(row.Invitation))


def _of(place: Place) -> ColumnElement[bool]:
    mine: ColumnElement[bool] = getattr(Invitation, f"{place.kind}_id") == place.id
    return mine


async def _note(session: AsyncSession, actor: Actor, place: Place, invitation: Invitation, action: str) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type="invitation",
        object_id=invitation.id,
        **place.named,
        detail={"role": invitation.role, "email": invitation.email},
    )
