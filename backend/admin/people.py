"""Whose account it is and which roles it has, for admins and for the operator's command line."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import ADMIN, ROLES, User
from backend.accounts.service import find_user
from backend.core.errors import InvalidState, NotFound, ValidationFailed
from backend.orgs import audit
from backend.orgs.access import Actor

__all__ = ["change", "find_user", "set_roles"]


async def change(
    session: AsyncSession,
    *,
    actor: Actor | None,
    user_id: uuid.UUID,
    roles: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
) -> User:
    """Give an account these roles and features instead of those it has; None leaves them. Raises as `set_roles`."""
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound
    if roles is not None:
        user = await set_roles(session, actor=actor, user_id=user_id, roles=roles)
    if features is not None:
        user = await session.get_one(User, user_id, with_for_update=True)
        before, user.features = list(user.features), sorted(set(features))
        detail = {"email": user.email, "before": before, "after": user.features}
        await _note(session, actor, user, "user.features", detail)
    return user


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
    await _note(session, actor, user, "user.roles", {"email": user.email, "before": before, "after": after})
    return user


async def _note(session: AsyncSession, actor: Actor | None, user: User, action: str, detail: dict[str, Any]) -> None:
    await audit.record(session, actor=actor, action=action, object_type="user", object_id=user.id, detail=detail)
