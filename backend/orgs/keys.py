"""API keys of a project: made, listed, replaced with a time in which both work, and revoked at once."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, func
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import User
from backend.core.errors import InvalidState, ValidationFailed
from backend.orgs import audit, credentials
from backend.orgs.access import Actor, get_visible, require, visible
from backend.orgs.models import ApiKey
from backend.orgs.places import Place
from backend.orgs.roles import Permission, Scope

MOST_LISTED = 500
#: Both of a replaced pair work for so long when nothing else is said.
OVERLAP_SECONDS = 24 * 3600

LONGEST_LIFE = timedelta(days=3653)


@dataclass(frozen=True)
class Made:
    """A new key, and its text, which nobody can see again."""

    key: ApiKey
    text: str


def state_of(key: ApiKey) -> Literal["active", "expired", "revoked"]:
    """Whether it works now, as far as the key itself goes: its maker's rights count, too."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "active"


async def create_key(
    session: AsyncSession,
    *,
    actor: Actor,
    project_id: uuid.UUID,
    name: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None = None,
) -> Made:
    """Raises NotFound, Forbidden, ValidationFailed for an end that is past, or too far away."""
    require(actor, Permission.MANAGE, project_id)
    if expires_at is not None and not timedelta() < expires_at - datetime.now(UTC) < LONGEST_LIFE:
        raise ValidationFailed(fields={"expires_at": "This is past, or more than ten years away"})
    await Place.project(project_id).hold(session)
    made = await _add(session, actor, project_id, name=name, scopes=scopes, expires_at=expires_at)
    await _note(session, actor, made.key, "key.create", scopes=list(made.key.scopes))
    return made


async def list_keys(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> Sequence[tuple[ApiKey, User]]:
    """A project's keys with their makers, newest first, and last those that have ended. Raises NotFound, Forbidden."""
    require(actor, Permission.MANAGE, project_id)
    found = await session.execute(
        visible(ApiKey, actor, Permission.MANAGE)
        .add_columns(User)
        .join(User, User.id == ApiKey.created_by)
        .where(ApiKey.project_id == project_id)
        .order_by(credentials.good().desc(), ApiKey.created_at.desc(), ApiKey.id)
        .limit(MOST_LISTED)
    )
    return [(key, user) for key, user in found]


async def rotate_key(
    session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, key_id: uuid.UUID, overlap_seconds: int
) -> Made:
    """Make a key that takes the place of another, with its name, scopes and length of life; that one ends after the
    overlap. The new one is the actor's.

    Raises NotFound, Forbidden, InvalidState for one that has ended or was replaced before.
    """
    old = await _held(session, actor, project_id, key_id)
    if state_of(old) != "active":
        raise InvalidState("This key has ended. Make a new one.")
    if await session.scalar(visible(ApiKey, actor).with_only_columns(ApiKey.id).where(ApiKey.replaces_id == old.id)):
        raise InvalidState("This key was replaced before. Replace the newer one.")
    life = None if old.expires_at is None else old.expires_at - old.created_at
    made = await _add(
        session,
        actor,
        project_id,
        name=old.name,
        scopes=[Scope(scope) for scope in old.scopes],
        expires_at=None if life is None else func.now() + life,
        replaces_id=old.id,
    )
    old.expires_at = func.least(old.expires_at, func.now() + timedelta(seconds=overlap_seconds))
    await session.flush()
    await session.refresh(old)
    await _note(session, actor, made.key, "key.rotate", replaces=str(old.id), overlap_seconds=overlap_seconds)
    return made


async def revoke_key(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, key_id: uuid.UUID) -> None:
    """End a key at once; fine when it has ended. Raises NotFound, Forbidden."""
    key = await _held(session, actor, project_id, key_id)
    if key.revoked_at is None:
        key.revoked_at = func.now()
        await session.flush()
        await _note(session, actor, key, "key.revoke")


async def _held(session: AsyncSession, actor: Actor, project_id: uuid.UUID, key_id: uuid.UUID) -> ApiKey:
    return await get_visible(
        session, ApiKey, actor, key_id, permission=Permission.MANAGE, for_update=True, project_id=project_id
    )


async def _add(
    session: AsyncSession,
    actor: Actor,
    project_id: uuid.UUID,
    *,
    name: str,
    scopes: Iterable[Scope],
    expires_at: datetime | ColumnElement[datetime] | None,
    replaces_id: uuid.UUID | None = None,
) -> Made:
    text, public_id, secret_hash = credentials.new_text()
    key = ApiKey(
        project_id=project_id,
        public_id=public_id,
        secret_hash=secret_hash,
        name=name,
        scopes=[scope for scope in Scope if scope in set(scopes)],
        created_by=actor.user_id,
        expires_at=expires_at,
        replaces_id=replaces_id,
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    return Made(key, text)


async def _note(session: AsyncSession, actor: Actor, key: ApiKey, action: str, **detail: object) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type="api_key",
        object_id=key.id,
        project_id=key.project_id,
        detail={"name": key.name, "prefix": prefix_of(key), **detail},
    )


def prefix_of(key: ApiKey) -> str:
    """The part of its text that is no secret."""
    return f"{credentials.PREFIX}{key.public_id}"
