"""API keys as they are sent: their text, and the key that a text is."""

import hmac
import re
import secrets
import string
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import User
from backend.core.errors import Unauthenticated
from backend.core.security import digest, new_secret
from backend.orgs.models import ApiKey, Project
from backend.orgs.roles import Scope

PREFIX = "dly_"
_TEXT = re.compile(r"dly_([a-z0-9]{12})_([A-Za-z0-9_-]{16,128})")
_PUBLIC_ID = string.ascii_lowercase + string.digits
_USED_EVERY = timedelta(minutes=1)


class KeyRefused(Unauthenticated):
    """The key is not ours, or it has expired, was revoked, or its maker may no longer reach the project."""

    message = "This API key is not valid, or not any more."


@dataclass(frozen=True)
class KeyInUse:
    """The key that a request came with."""

    id: uuid.UUID
    project_id: uuid.UUID
    scopes: frozenset[Scope]

    @classmethod
    def of(cls, key: ApiKey) -> "KeyInUse":
        known = {scope.value for scope in Scope}  # a scope of a later version says nothing to this one
        return cls(key.id, key.project_id, frozenset(Scope(scope) for scope in key.scopes if scope in known))


def new_text() -> tuple[str, str, bytes]:
    """A new key: its text, and what is kept of it, the public id and the hash of the secret."""
    public_id, secret = "".join(secrets.choice(_PUBLIC_ID) for _ in range(12)), new_secret()
    return f"{PREFIX}{public_id}_{secret}", public_id, digest(secret)


def sent_with(request: Request) -> str | None:
    """What a request sends as an API key, right or wrong; None when it sends none. It counts before anything else."""
    key = request.headers.get("x-api-key")
    if key is not None:
        return key.strip()
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip().startswith(PREFIX) else None


async def recognise(session: AsyncSession, text: str) -> tuple[User, KeyInUse]:
    """The key of a text and its maker, and note that it was used, once a minute. Raises KeyRefused."""
    form = _TEXT.fullmatch(text)
    if form is None:
        raise KeyRefused
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _USED_EVERY)
    found = (
        await session.execute(
            select(ApiKey, User, stale)
            .join(User, User.id == ApiKey.created_by)
            .join(Project, Project.id == ApiKey.project_id)
            .where(ApiKey.public_id == form[1], Project.deleted_at.is_(None), good())
        )
    ).one_or_none()
    if found is None or not hmac.compare_digest(found[0].secret_hash, digest(form[2])):
        raise KeyRefused
    key, user, unnoted = found
    if unnoted:
        noted = update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=func.now(), updated_at=ApiKey.updated_at)
        await session.execute(noted.execution_options(synchronize_session=False))
    return user, KeyInUse.of(key)


async def still_good(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, KeyInUse]:
    """Those of these keys, recognised before, that have neither expired nor been revoked since."""
    if not ids:
        return {}
    found = await session.scalars(select(ApiKey).where(ApiKey.id.in_(ids), good()))
    return {key.id: KeyInUse.of(key) for key in found}


def good() -> ColumnElement[bool]:
    """Whether a key works now."""
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
