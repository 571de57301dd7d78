"""Passwords, secrets and signed tokens: what the platform trusts, and how it is made and checked."""

import asyncio
import ctypes
import hashlib
import hmac
import secrets
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, partial
from typing import Any, TypeVar

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from passlib.context import CryptContext

from backend.config import settings
from backend.core.errors import Busy, Unauthenticated, ValidationFailed

#: Characters: a character is at most four bytes, and libpass takes no more than 4096 of them.
MAX_PASSWORD_LENGTH = 1024

_ALGORITHM = "HS256"
_ISSUER = "dailies"
_ACCESS = "access"
_LEEWAY_SECONDS = 5
_MAX_WAITING = 100
_NONCE_BYTES = 12
_M_MMAP_THRESHOLD = -3  #: of glibc's malloc.h

_context = CryptContext(
    schemes=["argon2"],
    argon2__type="ID",
    argon2__memory_cost=19_456,
    argon2__time_cost=2,
    argon2__parallelism=1,
)


def _return_large_blocks() -> None:
    """Have the C library give blocks of a megabyte back when they are freed: it learns to keep those of hashes."""
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1024 * 1024)
    except (AttributeError, OSError):  # another library than glibc
        pass


# One hash takes 19 MB and tens of milliseconds of a core: more than two at once would starve everything else.
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="password", initializer=_return_large_blocks)
_waiting = 0

T = TypeVar("T")


# --- passwords -------------------------------------------------------------------------------------------------------


async def hash_password(password: str) -> str:
    """The argon2id hash to store. Raises Busy when too many others wait for theirs."""
    return await _in_thread(partial(_hash, _folded(password)))


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether the password is right. None stands for an unknown user: never right, at the same cost. Raises Busy."""
    return await _in_thread(partial(_verify, _folded(password), password_hash))


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return bool(_context.needs_update(password_hash))


def _folded(password: str) -> str:
    # One keyboard sends é as one character, another as two; NFC and not NFKC, which could lengthen past the limit.
    return unicodedata.normalize("NFC", password)


def _hash(password: str) -> str:
    return str(_context.hash(password))


def _verify(password: str, password_hash: str | None) -> bool:
    stand_in = _stand_in_hash()
    right = bool(_context.verify(password, password_hash or stand_in))
    return right and password_hash is not None


@cache
def _stand_in_hash() -> str:
    return _hash(new_secret())


async def _in_thread(work: Callable[[], T]) -> T:
    global _waiting
    if _waiting >= _MAX_WAITING:
        raise Busy(retry_after_seconds=5)
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work)
    finally:
        _waiting -= 1


# --- secrets ---------------------------------------------------------------------------------------------------------


def new_secret() -> str:
    """A random secret of 256 bits, safe in URLs and cookies."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is stored of a random secret: its SHA-256. Only for secrets that cannot be guessed, never for passwords."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def keyed_digest(purpose: str, data: bytes) -> bytes:
    """By which the same data is known again, without anybody being able to try out what it was."""
    return hmac.digest(_key(f"digest:{purpose}"), data, "sha256")


def seal(purpose: str, secret: bytes, *, about: uuid.UUID) -> bytes:
    """A secret as it may be stored: only `SECRET_KEY` opens it, and only for the row `about` which it is."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key(f"seal:{purpose}")).encrypt(nonce, secret, about.bytes)


def unseal(purpose: str, sealed: bytes, *, about: uuid.UUID) -> bytes:
    """What `seal` was given. Raises Unreadable."""
    nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return AESGCM(_key(f"seal:{purpose}")).decrypt(nonce, rest, about.bytes)
    except (InvalidTag, ValueError) as error:
        raise Unreadable from error


class Unreadable(Exception):
    """It was sealed under another `SECRET_KEY`, or for another row."""


# --- tokens ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claims:
    """What a valid access token says."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    expires_at: datetime


def issue_access_token(user_id: uuid.UUID, session_id: uuid.UUID) -> str:
    """A signed token good for `ACCESS_TOKEN_MINUTES`; the session it names can still be revoked before that."""
    return _sign(
        _ACCESS,
        {"sub": str(user_id), "sid": str(session_id)},
        expires_seconds=settings.access_token_minutes * 60,
    )


def read_access_token(token: str) -> Claims:
    """Raises Unauthenticated: when the token is not ours, not an access token, incomplete or expired."""
    claims = _access_claims(token, _key(_ACCESS))
    if claims.expires_at + timedelta(seconds=_LEEWAY_SECONDS) <= datetime.now(UTC):
        raise Unauthenticated
    return claims


@lru_cache(maxsize=4096)
def _access_claims(token: str, key: bytes) -> Claims:
    # A signature that was right stays right: only the time goes on. Whoever sends a token sends it again and again.
    try:
        claims = _decoded(_ACCESS, token, key, required=("sub", "sid"))
        return Claims(
            user_id=uuid.UUID(claims["sub"]),
            session_id=uuid.UUID(claims["sid"]),
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError):
        raise Unauthenticated from None


def sign_claim(purpose: str, data: Mapping[str, Any], expires_seconds: int) -> str:
    """A signed statement for one purpose, which we need not store. Its holder can read it, and cannot change it."""
    return _sign(purpose, {"data": dict(data)}, expires_seconds=expires_seconds)


def read_claim(purpose: str, token: str) -> dict[str, Any]:
    """The data of a signed statement. Raises ValidationFailed: when it is not ours, for something else, or expired."""
    try:
        data = _decoded(purpose, token, _key(purpose), required=("data",))["data"]
    except (jwt.PyJWTError, ValueError, TypeError):
        data = None
    if not isinstance(data, dict):
        raise ValidationFailed("This claim is not valid, or it has expired.", fields={"claim": "Not valid or expired"})
    return data


def _sign(purpose: str, claims: Mapping[str, Any], *, expires_seconds: int) -> str:
    now = datetime.now(UTC)
    registered = {
        "iss": _ISSUER,
        "aud": f"{_ISSUER}:{purpose}",
        "iat": now,
        "exp": now + timedelta(seconds=expires_seconds),
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode({**claims, **registered}, _key(purpose), algorithm=_ALGORITHM)


def _decoded(purpose: str, token: str, key: bytes, *, required: tuple[str, ...]) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[_ALGORITHM],
        audience=f"{_ISSUER}:{purpose}",
        issuer=_ISSUER,
        leeway=_LEEWAY_SECONDS,
        options={"require": ["exp", "iat", "jti", "aud", "iss", *required]},
    )


def _key(purpose: str) -> bytes:
    # A key for each purpose: a token of one kind can never pass for another. `Settings.check` sees to the length.
    return hmac.digest(settings.secret_key.get_secret_value().encode(), f"dailies:{purpose}".encode(), "sha256")
