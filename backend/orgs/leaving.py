"""What ends with somebody's rights in a place: their keys, and the invitations that they may not make any more.

Neither counts by then anyway. They are ended for good, so that nothing opens again when the person comes back.
"""

import uuid
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.orgs.access import load_standing
from backend.orgs.models import ApiKey, Invitation, Project
from backend.orgs.places import Place
from backend.orgs.roles import Role
from backend.orgs.standings import Standing


async def end_what_is_lost(session: AsyncSession, *, user_id: uuid.UUID, place: Place) -> dict[str, int]:
    """After a role was taken or lowered; answers how many of each, for the audit log."""
    left = await load_standing(session, user_id)
    ended = {
        "keys_revoked": await _end_keys(session, user_id, place, left),
        "invitations_revoked": await _end_invitations(session, user_id, place, left),
    }
    return {name: number for name, number in ended.items() if number}


async def _end_keys(session: AsyncSession, user_id: uuid.UUID, place: Place, left: Standing) -> int:
    """Those of projects in which nothing is theirs any more: a lower role is a lower key by itself."""
    ended = await session.scalars(
        update(ApiKey)
        .where(_of(place, ApiKey.project_id), ApiKey.created_by == user_id, ApiKey.revoked_at.is_(None))
        .where(ApiKey.project_id.not_in(left.roles))
        .values(revoked_at=func.now())
        .returning(ApiKey.id)
    )
    return len(ended.all())


async def _end_invitations(session: AsyncSession, user_id: uuid.UUID, place: Place, left: Standing) -> int:
    here = _of(place, Invitation.project_id)
    if place.kind == "organization":
        here = or_(here, Invitation.organization_id == place.id)
    unused = Invitation.accepted_at.is_(None) & Invitation.revoked_at.is_(None) & (Invitation.expires_at > func.now())
    theirs = select(Invitation).where(here, Invitation.created_by == user_id, unused).order_by(Invitation.id)
    void = [
        invitation.id
        for invitation in await session.scalars(theirs)
        if not left.may_grant(
            Role(invitation.role), project_id=invitation.project_id, organization_id=invitation.organization_id
        )
    ]
    # Who accepts one in this moment was asked whether it still stands, too (invitations.accept).
    taken = update(Invitation).where(Invitation.id.in_(void), Invitation.accepted_at.is_(None))
    ended = await session.scalars(taken.values(revoked_at=func.now()).returning(Invitation.id))
    return len(ended.all())


def _of(place: Place, project_id: Any) -> ColumnElement[bool]:
    """Whether a column names the place, or one of its projects."""
    inside = select(Project.id).where(Project.organization_id == place.id)
    here: ColumnElement[bool] = project_id == place.id if place.kind == "project" else project_id.in_(inside)
    return here
