"""Whose account it is and which roles it has, for admins and for the operator's command line."""

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import ADMIN, ROLES, User
from backend.accounts.service import find_user
from backend.core.errors import InvalidState, NotFound, ValidationFailed
from backend.orgs import audit
from backend.orgs.access import Actor

__all__ = ["find_user", "set_roles"]


async def set_roles(session: AsyncSession, *, actor: Actor | None, user_id: uuid.UUID, roles: Sequence[str]) -> User:
    """Give an account these roles instead of those it has; without an actor, the operator does.

    Raises NotFound, ValidationFailed, InvalidState for the last admin's.
    """
    admins = select(User.id).where(User.roles.contains([ADMIN])).order_by(User.id).with_for_update()
    others = set(await session.scalars(admins)) - {user_id}
    user = await session.get(User, user_id, with_for_update=True)
    if user is None:
        raise NotFound
    before, after = list(user.roles), sorted(set(roles))
    if unknown := set(after) - set(ROLES):
        raise ValidationFailed(f"There is no role {sorted(unknown)[0]}. There are: {', '.join(ROLES)}.")
    if ADMIN in before and ADMIN not in after and not others:
        raise InvalidState("This is the only admin. Make somebody else an admin first.")
    user.roles = after
    await audit.record(
        session,
        actor=actor,
        action="user.roles",
        object_type="user",
        object_id=user_id,
        detail={"email": user.email, "before": before, "after": after},
    )
    return user
