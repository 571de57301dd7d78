"""Accounts: registering, signing in, and what a person may change about the own account.

Hashing a password takes long, so these verbs look in short transactions of their own, and use the session they are
given only afterwards: until then it holds no connection.
"""

from collections.abc import Awaitable, Callable

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import emails, passwords
from backend.accounts.models import ADMIN, User
from backend.accounts.schemas import SignedInOut, UserOut
from backend.accounts.sessions import Client, Identity, SignedIn, open_session, revoke_others
from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import Conflict, Forbidden, InvalidCredentials, ValidationFailed
from backend.core.limits import hit, network
from backend.core.security import digest, hash_password, issue_access_token, needs_rehash, verify_password

#: Run in the transaction that makes an account: higher domains add what an account needs there.
on_registered: list[Callable[[AsyncSession, User], Awaitable[None]]] = []

_ADDRESS_FACTOR = 5  # people who share one address share its attempts
_FIRST_ACCOUNT_LOCK = 0x6461_696C_6965_7301  # any number no other advisory lock uses


class RegistrationClosed(Forbidden):
    """Only the first account of an empty installation may still be made by anybody."""

    code, message = "registration_closed", "New accounts are not open here. Ask the administrator for one."


class EmailTaken(Conflict):
    """The address has an account."""

    code, message = "email_taken", "There is an account with this email. Log in instead."


async def register(
    session: AsyncSession, *, email: str, password: str, name: str = "", client: Client, browser: bool = False
) -> SignedIn:
    """Make an account and sign it in; the first one of an empty installation becomes its admin.

    Raises RegistrationClosed, EmailTaken, RateLimited, Busy; ValidationFailed for an address or a password
    that is not good enough.
    """
    address = _checked_address(email)
    _check_password(password, field="password", email=address, name=name)
    await hit("register", network(client.ip), per_hour=settings.registrations_per_hour)
    if not await is_registration_open():
        raise RegistrationClosed
    async with transaction() as first:
        if await find_user(first, email=address) is not None:
            raise EmailTaken(fields={"email": EmailTaken.message})
    password_hash = await hash_password(password)
    user = await _add_user(session, email=address, name=name, password_hash=password_hash)
    return await open_session(session, user=user, client=client, browser=browser)


async def is_registration_open() -> bool:
    """Whether anybody may make an account now: by setting, or because nobody has one yet."""
    if settings.open_registration:
        return True
    async with transaction() as session:
        return not await _any_user(session)


async def login(session: AsyncSession, *, email: str, password: str, client: Client, browser: bool = False) -> SignedIn:
    """Sign in. Raises InvalidCredentials: whatever is wrong, after the same time; RateLimited; Busy."""
    key = emails.key(email)
    per_minute = settings.login_attempts_per_minute
    await hit("login.address", network(client.ip), per_minute=per_minute * _ADDRESS_FACTOR)
    await hit("login.account", digest(key).hex(), per_minute=per_minute)
    async with transaction() as first:
        found = await find_user(first, email=email)
    known_hash = found.password_hash if found else None
    if not await verify_password(password, known_hash) or found is None or known_hash is None:
        raise InvalidCredentials
    better_hash = await hash_password(password) if needs_rehash(known_hash) else None
    user = await session.get(User, found.id, with_for_update=True)
    if user is None or user.password_hash != known_hash:
        raise InvalidCredentials  # the password was changed while we looked: this sign-in is of the old one
    if better_hash:
        user.password_hash = better_hash
    return await open_session(session, user=user, client=client, browser=browser)


def tokens(signed_in: SignedIn) -> SignedInOut:
    """What an API client gets for a sign-in or a refresh."""
    if signed_in.refresh_token is None:
        raise ValueError("a browser's session has no tokens")
    return SignedInOut(
        user=UserOut.model_validate(signed_in.user),
        token=issue_access_token(signed_in.user.id, signed_in.session_id),
        refresh_token=signed_in.refresh_token,
        expires_in=settings.access_token_minutes * 60,
    )


async def create_admin(*, email: str, password: str, name: str = "") -> User:
    """For the operator's command line: make an admin, or make one of an account and give it this password.

    An existing account's sessions are revoked. Raises ValidationFailed.
    """
    address = _checked_address(email)
    _check_password(password, field="password", email=address, name=name)
    password_hash = await hash_password(password)
    async with transaction() as session:
        user = await find_user(session, email=address, lock=True)
        if user is None:
            user = await _add_user(session, email=address, name=name, password_hash=password_hash, invited=True)
        else:
            user.password_hash = password_hash
            await revoke_others(session, user=user, keep=None)
        user.roles = sorted({*user.roles, ADMIN})
        return user


async def change_password(*, identity: Identity, current: str, new: str) -> int:
    """Set a new password and end all other sessions; their number.

    Raises ValidationFailed: naming `current_password` when it is not right, `new_password` when it is not good;
    RateLimited after too many wrong ones; Busy.
    """
    user = identity.user
    _check_password(new, field="new_password", email=user.email, name=user.name)
    await hit("password", str(user.id), per_minute=settings.login_attempts_per_minute)
    if not await verify_password(current, user.password_hash):
        raise ValidationFailed(fields={"current_password": "This is not your current password."})
    password_hash = await hash_password(new)
    async with transaction() as session:
        row = await session.get_one(User, user.id, with_for_update=True)
        row.password_hash = password_hash
        return await revoke_others(session, user=row, keep=identity.session_id)


async def update_profile(session: AsyncSession, *, user: User, name: str) -> None:
    """Change what the pages call the person."""
    row = await session.get_one(User, user.id)
    row.name = name


async def find_user(session: AsyncSession, *, email: str, lock: bool = False) -> User | None:
    """The account of an address, however it is written."""
    query = select(User).where(User.email_key == emails.key(email))
    found: User | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def _add_user(session: AsyncSession, *, email: str, name: str, password_hash: str, invited: bool = False) -> User:
    first = not await _any_user(session)
    if first:
        # Of two that find an empty installation only one goes on at a time, and the second looks again.
        await session.execute(select(func.pg_advisory_xact_lock(_FIRST_ACCOUNT_LOCK)))
        first = not await _any_user(session)
    if not first and not settings.open_registration and not invited:
        raise RegistrationClosed
    if not on_registered:
        raise RuntimeError("no domain has added what an account needs; import backend.orgs.service first")
    user: User | None = await session.scalar(
        insert(User)
        .values(
            email=email,
            email_key=emails.key(email),
            name=name,
            password_hash=password_hash,
            roles=sorted({*settings.default_roles, *([ADMIN] if first else [])}),
            features=sorted(set(settings.default_features)),
        )
        .on_conflict_do_nothing(index_elements=[User.email_key])
        .returning(User)
    )
    if user is None:
        raise EmailTaken(fields={"email": EmailTaken.message})
    for hook in on_registered:
        await hook(session, user)
    return user


async def _any_user(session: AsyncSession) -> bool:
    return bool(await session.scalar(select(exists().where(User.id.is_not(None)))))


def _checked_address(email: str) -> str:
    try:
        return emails.normalized(email)
    except ValueError as error:
        raise ValidationFailed(str(error), fields={"email": str(error)}) from None


def _check_password(password: str, *, field: str, email: str, name: str) -> None:
    problem = passwords.problem(password, email=email, name=name)
    if problem:
        raise ValidationFailed(problem, fields={field: problem})
