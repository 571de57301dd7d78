"""Login sessions: opened by a sign-in, recognised on each request, continued by refresh tokens, ended by revoking."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from fastapi import Request
from sqlalchemy import ARRAY, ColumnElement, Select, Uuid, any_, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import LoginSession, RefreshToken, User
from backend.config import settings
from backend.core.db import autocommit, transaction
from backend.core.errors import AppError, NotFound, Unauthenticated
from backend.core.middleware import session_cookie_name
from backend.core.security import digest, new_secret, read_access_token
from backend.core.web import client_ip

#: By which means somebody proved who they are. Keys are recognised in `orgs.access`.
Via = Literal["cookie", "bearer", "key"]

_SEEN_EVERY = timedelta(minutes=1)
_KEPT_AFTER = timedelta(days=30)  # an ended session still says `session_revoked` for so long


class SessionRevoked(Unauthenticated):
    """The session was ended: by a logout, by its owner elsewhere, or because a refresh token came twice."""

    code, message = "session_revoked", "This session was ended. Log in again."


class RefreshReused(Unauthenticated):
    """Two clients hold the same chain, one of them wrongly; nobody can tell which, so neither keeps it."""

    code, message = "refresh_reused", "This refresh token was used before. The session was ended; log in again."


@dataclass(frozen=True)
class Client:
    """Where a sign-in comes from, for its owner to recognise it by."""

    ip: str
    user_agent: str

    @classmethod
    def of(cls, request: Request) -> "Client":
        named = request.headers.get("user-agent", "")[:400]
        return cls(ip=client_ip(request)[:64], user_agent="".join(c for c in named if c.isprintable()))


@dataclass(frozen=True)
class SignedIn:
    """A session just opened or continued. A browser gets `cookie`, an API client `refresh_token`."""

    user: User
    session_id: uuid.UUID
    cookie: str | None = None
    refresh_token: str | None = None


@dataclass(frozen=True)
class Identity:
    """Who sends a request, and by which means they proved it."""

    user: User
    session_id: uuid.UUID
    via: Via

    @property
    def user_id(self) -> uuid.UUID:
        return self.user.id

    @property
    def is_admin(self) -> bool:
        return self.user.is_admin


# --- opening and continuing ------------------------------------------------------------------------------------------


async def open_session(session: AsyncSession, *, user: User, client: Client, browser: bool) -> SignedIn:
    """A new session: by cookie for a browser, by tokens for anybody else. Sweeps up the user's that are long over."""
    await session.execute(
        delete(LoginSession).where(LoginSession.user_id == user.id, LoginSession.expires_at < func.now() - _KEPT_AFTER)
    )
    secret = new_secret()
    row = LoginSession(
        user_id=user.id,
        cookie_hash=digest(secret) if browser else None,
        ip=client.ip,
        user_agent=client.user_agent,
        expires_at=_later(settings.session_days if browser else settings.refresh_token_days),
    )
    session.add(row)
    await session.flush()
    if browser:
        return SignedIn(user=user, session_id=row.id, cookie=secret)
    await _add_link(session, row.id, secret)
    return SignedIn(user=user, session_id=row.id, refresh_token=secret)


async def refresh(token: str) -> SignedIn:
    """Trade a refresh token for the next one of its session.

    Raises RefreshReused: when it was traded before; the whole session is revoked, for good, by then.
    Raises SessionRevoked, Unauthenticated: when the session has ended, or the token is unknown or expired.
    """
    # The errors are values inside the transaction: raised there, they would roll the revocation back.
    async with transaction() as session:
        outcome = await _rotate(session, token)
    if isinstance(outcome, AppError):
        raise outcome
    return outcome


async def _rotate(session: AsyncSession, token: str) -> SignedIn | AppError:
    found = (
        await session.execute(
            select(RefreshToken, RefreshToken.expires_at > func.now())
            .where(RefreshToken.token_hash == digest(token))
            .with_for_update()
        )
    ).one_or_none()
    if found is None:
        return Unauthenticated()
    link, in_time = found
    if link.used_at is not None:
        await _revoke(session, LoginSession.id == link.session_id)
        return RefreshReused()
    login, user = (
        await session.execute(
            select(LoginSession, User)
            .join(User, User.id == LoginSession.user_id)
            .where(LoginSession.id == link.session_id)
            .with_for_update(of=LoginSession)
        )
    ).one()
    if login.revoked_at is not None:
        return SessionRevoked()
    if not in_time:
        return Unauthenticated()
    await session.execute(
        delete(RefreshToken).where(RefreshToken.session_id == login.id, RefreshToken.expires_at < func.now())
    )
    secret = new_secret()
    link.used_at = func.now()
    login.last_seen_at = func.now()
    login.expires_at = _later(settings.refresh_token_days)
    await _add_link(session, login.id, secret)
    return SignedIn(user=user, session_id=login.id, refresh_token=secret)


async def _add_link(session: AsyncSession, session_id: uuid.UUID, secret: str) -> None:
    session.add(
        RefreshToken(session_id=session_id, token_hash=digest(secret), expires_at=_later(settings.refresh_token_days))
    )
    await session.flush()


def _later(days: int) -> ColumnElement[datetime]:
    return func.now() + timedelta(days=days)


# --- recognising -----------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """Whom a sign belongs to, and how their session stands."""

    user: User
    session_id: uuid.UUID
    revoked_at: datetime | None
    in_time: bool
    seen_long_ago: bool


Question = Select[User, uuid.UUID, datetime | None, bool, bool]

# Each request asks one of these two: they are made once.
_SIGNED_IN: Question = select(
    User,
    LoginSession.id,
    LoginSession.revoked_at,
    LoginSession.expires_at > func.now(),
    LoginSession.last_seen_at < func.now() - _SEEN_EVERY,
).join(User, User.id == LoginSession.user_id)
BY_TOKEN: Question = _SIGNED_IN.where(
    LoginSession.id == bindparam("session_id"), LoginSession.user_id == bindparam("user_id")
)
BY_COOKIE: Question = _SIGNED_IN.where(LoginSession.cookie_hash == bindparam("cookie_hash"))


@dataclass(frozen=True)
class Sign:
    """By what a request says who sends it; `question` asks whether that is so."""

    via: Via
    question: Question
    sent: Mapping[str, object]


def sign_of(request: Request) -> Sign | None:
    """The sign that counts; None when it carries no sign of anybody.

    A bearer token or an API key counts alone: such a request is exempt from the CSRF check, so its cookie must not
    speak for it.
    Raises Unauthenticated: for a token that is not valid (any more).
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        claims = read_access_token(token.strip())
        return Sign("bearer", BY_TOKEN, {"session_id": claims.session_id, "user_id": claims.user_id})
    cookie = request.cookies.get(session_cookie_name())
    if not cookie or "x-api-key" in request.headers:
        return None
    return Sign("cookie", BY_COOKIE, {"cookie_hash": digest(cookie)})


async def authenticate(session: AsyncSession, request: Request) -> Identity | None:
    """Who sends this request; None when it carries no sign of anybody.

    Raises Unauthenticated: for a token or a cookie that is not valid (any more); SessionRevoked when it was ended.
    """
    sign = sign_of(request)
    if sign is None:
        return None
    row = (await session.execute(sign.question, sign.sent)).one_or_none()
    if row is None:
        raise Unauthenticated
    return await recognise(sign.via, Found(*row), session)


async def recognise(via: Via, found: Found, session: AsyncSession | None = None) -> Identity:
    """Whoever was found by a sign; `session` if there is one open. Raises Unauthenticated, SessionRevoked."""
    user, session_id, revoked_at, in_time, seen_long_ago = found
    if revoked_at is not None:
        raise SessionRevoked
    if not in_time:
        raise Unauthenticated
    if seen_long_ago:
        values: dict[str, object] = {"last_seen_at": func.now()}
        if via == "cookie":
            values["expires_at"] = _later(settings.session_days)
        async with nullcontext(session) if session else autocommit() as writing:
            await writing.execute(update(LoginSession).where(LoginSession.id == session_id).values(values))
    return Identity(user=user, session_id=session_id, via=via)


#: An array, not a list of parameters, which would be another statement for each number of them.
_LIVE = select(LoginSession.id).where(
    LoginSession.id == any_(bindparam("ids", type_=ARRAY(Uuid()))),
    LoginSession.revoked_at.is_(None),
    LoginSession.expires_at > func.now(),
)


async def still_live(session: AsyncSession, session_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these sessions, recognised before, that have neither ended nor been revoked since."""
    return set(await session.scalars(_LIVE, {"ids": session_ids})) if session_ids else set()


# --- listing and ending ----------------------------------------------------------------------------------------------


async def list_sessions(session: AsyncSession, *, user: User) -> list[LoginSession]:
    """The user's live sessions, the one seen last first."""
    found = await session.scalars(
        select(LoginSession)
        .where(
            LoginSession.user_id == user.id,
            LoginSession.revoked_at.is_(None),
            LoginSession.expires_at > func.now(),
        )
        .order_by(LoginSession.last_seen_at.desc(), LoginSession.id)
        .limit(100)
    )
    return list(found)


async def revoke_session(session: AsyncSession, *, user: User, session_id: uuid.UUID) -> None:
    """End one session of the user; fine when it has ended before. Raises NotFound: when it is not theirs."""
    mine = (LoginSession.id == session_id, LoginSession.user_id == user.id)
    if await session.scalar(select(LoginSession.id).where(*mine)) is None:
        raise NotFound
    await _revoke(session, *mine)


async def revoke_others(session: AsyncSession, *, user: User, keep: uuid.UUID | None) -> int:
    """End all sessions of the user but `keep`; the number that were ended."""
    where = [LoginSession.user_id == user.id]
    if keep is not None:
        where.append(LoginSession.id != keep)
    return await _revoke(session, *where)


async def revoke_cookie(session: AsyncSession, cookie: str) -> None:
    """End the session of a cookie, if there is one."""
    await _revoke(session, LoginSession.cookie_hash == digest(cookie))


async def _revoke(session: AsyncSession, *where: ColumnElement[bool]) -> int:
    ended = await session.scalars(
        update(LoginSession)
        .where(LoginSession.revoked_at.is_(None), *where)
        .values(revoked_at=func.now())
        .returning(LoginSession.id)
    )
    return len(ended.all())
