"""Requests that came with an `Idempotency-Key`, as rows: who is the first, what it changed, what it was answered.

What a request changes and the note that it did are one transaction (`db.watch_commits`), so they cannot contradict each
other, whenever a process dies. docs/adr/0017 says what is promised, and what is not.
"""

import asyncio
import base64
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from fastapi import Request, Response
from sqlalchemy import ColumnElement, Index, LargeBinary, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from backend.config import settings
from backend.core.db import Base, transaction
from backend.core.errors import IdempotencyConflict, IdempotencyInProgress, IdempotencyUnfinished
from backend.core.middleware import credentials_of
from backend.core.security import Unreadable, keyed_digest, seal, unseal

log = structlog.get_logger(__name__)

#: A first that shows no sign of life for so long has died: unless it changed something, the key may be tried again.
LEASE_SECONDS = 30.0
#: How long one that comes while the first is running waits for its answer.
WAIT_SECONDS = 10.0
SWEEP_SECONDS = 60.0
_SWEPT_AT_ONCE = 1000


class IdempotentRequest(Base):
    """A request that came with a key, and its answer. It is over, or its process died, when the lease has ended."""

    __tablename__ = "idempotent_requests"
    __table_args__ = (
        Index("ix_idempotent_requests_expires_at", "expires_at"),
        Index("ix_idempotent_requests_credentials", "credentials"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  #: of sender and key
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)  #: of method, path, query and body
    token: Mapped[uuid.UUID]  #: of who is running it: what another has taken over is no longer theirs to write
    lease_until: Mapped[datetime]
    touched_at: Mapped[datetime | None]  #: written in the transaction of the first change that the request made
    #: Written with `touched_at` when it is known by then, else at the end. Sealed: answers show keys and tokens.
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]
    credentials: Mapped[uuid.UUID | None]  #: of what it was sent with, and key
    parting: Mapped[bool] = mapped_column(server_default="false")  #: it ended what it was sent with, as a logout does


@dataclass(frozen=True)
class Ask:
    """What is asked: the same `id` with another `fingerprint` is another request under the same key."""

    id: uuid.UUID  #: of sender and key
    credentials: uuid.UUID | None  #: of what was sent to be recognised by, and key
    fingerprint: bytes
    key: str

    @classmethod
    def of(cls, request: Request, key: str, sender: str, body: bytes) -> "Ask":
        scope = request.scope
        path = scope.get("raw_path") or scope["path"].encode()
        what = [request.method.encode(), path, scope["query_string"], body]
        credentials = credentials_of(request)
        return cls(
            id=_id(sender.encode(), key),
            credentials=_id(credentials, key) if credentials else None,
            # Keyed: bodies hold passwords, and whoever reads the table must not be able to try some against it.
            fingerprint=keyed_digest(f"idempotency:{key}", b"".join(b"%d:%s" % (len(part), part) for part in what)),
            key=key,
        )


def _id(whose: bytes, key: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(whose + b"\n" + key.encode()).digest()[:16])


@dataclass(frozen=True)
class Answer:
    """What the first was answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def sealed(self, ask: Ask) -> bytes:
        """Only `SECRET_KEY` and the request's own key together open it."""
        held = [self.status, self.headers, base64.b64encode(self.body).decode()]
        return seal(f"idempotency:{ask.key}", json.dumps(held).encode(), about=ask.id)

    @classmethod
    def opened(cls, key: str, row: IdempotentRequest) -> "Answer":
        """Raises IdempotencyUnfinished: when it was sealed under another SECRET_KEY."""
        try:
            status, headers, body = json.loads(unseal(f"idempotency:{key}", row.answer or b"", about=row.id))
        except Unreadable:
            raise IdempotencyUnfinished from None
        return cls(status, [(name, value) for name, value in headers], base64.b64decode(body))

    def replayed(self) -> Response:
        response = Response(self.body, self.status)
        response.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        response.headers["Idempotency-Replayed"] = "true"
        return response


class Run:
    """The first of its key, while it is running."""

    def __init__(self, ask: Ask, token: uuid.UUID) -> None:
        self.ask = ask
        self.answer: Answer | None = None  #: what it will be answered if what it changed can be committed
        self.touched = False  #: it changed something
        self.kept = False  #: the answer was written together with that
        self.unsure = False  #: a commit began, and nobody knows whether it came to be
        self.over = False
        self._mine = (IdempotentRequest.id == ask.id, IdempotentRequest.token == token)

    @asynccontextmanager
    async def watch(self, session: AsyncSession) -> AsyncIterator[None]:
        """Around each commit of the request: the first that changes anything notes that in the same transaction.

        Raises IdempotencyInProgress: when this process was taken for dead and another has begun; nothing is committed.
        """
        if self.touched or self.over or not await _writes(session):
            yield
            return
        answer = self.answer.sealed(self.ask) if self.answer else None
        noted = update(IdempotentRequest).where(*self._mine).values(touched_at=func.now(), answer=answer)
        if await session.scalar(noted.returning(IdempotentRequest.id)) is None:
            raise IdempotencyInProgress(retry_after_seconds=1)
        self.unsure = True
        yield
        self.touched, self.kept, self.unsure = True, answer is not None, False

    async def keep_alive(self) -> None:
        """Renew the lease until cancelled."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._write(update(IdempotentRequest).values(lease_until=_in(LEASE_SECONDS)))
            except Exception as error:
                log.warning("idempotency.not_renewed", error=type(error).__name__)

    async def settle(self, answer: Answer | None, *, done: bool, parting: bool = False) -> None:
        """It is over: keep the answer, or let go of the key.

        What is `done` without an answer that can be kept stays noted when it changed something, and is not done again.
        A failure of the database is logged: the deed is done, and its answer must go out.
        """
        self.over = True
        ended = {"lease_until": func.now(), "parting": parting}
        try:
            if self.kept or (done and self.touched and answer is None):
                await self._write(update(IdempotentRequest).values(ended))
            elif done and answer is not None:
                kept = {"answer": answer.sealed(self.ask), "expires_at": _kept_until()}
                await self._write(update(IdempotentRequest).values(ended | kept))
            else:
                # Of a commit whose end nobody saw the row itself tells whether it came to be.
                undone = [IdempotentRequest.touched_at.is_(None)] if self.unsure else []
                await self._write(delete(IdempotentRequest).where(*undone))
        except Exception as error:
            log.warning("idempotency.not_settled", error=type(error).__name__)

    async def _write(self, statement: Any) -> None:
        async with transaction() as session:
            await session.execute(statement.where(*self._mine).execution_options(synchronize_session=False))


async def _writes(session: AsyncSession) -> bool:
    """Whether the session's transaction has changed anything so far."""
    if not session.in_transaction():
        return False
    await session.flush()
    return bool(await session.scalar(text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")))


# --- the key's row ---------------------------------------------------------------------------------------------------


async def begin(ask: Ask) -> Run | Answer:
    """The run, for the first of its key, else the first's answer, for which it waits while the first is running.

    Raises IdempotencyConflict: for another request under the same key; IdempotencyInProgress: when the first takes too
    long; IdempotencyUnfinished: when the first changed something and ended without an answer that could be kept.
    """
    if run := await _claim(ask):
        return run
    async for row, over in _look(IdempotentRequest.id == ask.id):
        if row is None or (over and row.touched_at is None and row.answer is None):
            if run := await _claim(ask):
                return run
        elif row.fingerprint != ask.fingerprint:
            raise IdempotencyConflict
        elif row.answer is not None:
            return Answer.opened(ask.key, row)
        elif over:
            raise IdempotencyUnfinished
    raise IdempotencyInProgress(retry_after_seconds=5)


async def parted(ask: Ask) -> Answer | None:
    """What was answered to this very request when it ended what it was sent with, and which nobody is known by now.

    Raises IdempotencyInProgress: when it takes too long.
    """
    if ask.credentials is None:
        return None
    theirs = (IdempotentRequest.credentials == ask.credentials) & (IdempotentRequest.fingerprint == ask.fingerprint)
    async for row, over in _look(theirs & (IdempotentRequest.id != ask.id)):
        if row is None or over:  # only when it is over it is known what it ended
            return Answer.opened(ask.key, row) if row is not None and row.answer and row.parting else None
    raise IdempotencyInProgress(retry_after_seconds=5)


async def _look(which: ColumnElement[bool]) -> AsyncIterator[tuple[IdempotentRequest | None, bool]]:
    """The row that counts, if there is one, and whether its run is over; again and again while one may wait for it."""
    until, pause = time.monotonic() + WAIT_SECONDS, 0.02
    query = (
        select(IdempotentRequest, IdempotentRequest.lease_until <= func.now())
        .where(which, IdempotentRequest.expires_at > func.now())
        .limit(1)
    )
    while True:
        async with transaction() as session:
            found = (await session.execute(query)).one_or_none()
        yield (found[0], found[1]) if found else (None, False)
        if time.monotonic() >= until:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.5)


_OF_EACH_RUN = ("credentials", "fingerprint", "token", "lease_until", "expires_at")


async def _claim(ask: Ask) -> Run | None:
    """Become the first of the key, also after one that died before it changed anything; None when it is taken."""
    token = uuid.uuid4()
    row = insert(IdempotentRequest).values(
        id=ask.id,
        credentials=ask.credentials,
        fingerprint=ask.fingerprint,
        token=token,
        lease_until=_in(LEASE_SECONDS),
        expires_at=_kept_until(),
    )
    died = (
        (IdempotentRequest.lease_until < func.now())
        & IdempotentRequest.touched_at.is_(None)
        & IdempotentRequest.answer.is_(None)
    )
    taken = row.on_conflict_do_update(
        index_elements=["id"],
        set_={
            **{name: row.excluded[name] for name in _OF_EACH_RUN},
            "touched_at": None,
            "answer": None,
        },
        where=or_(died, IdempotentRequest.expires_at < func.now()),
    ).returning(IdempotentRequest.token)
    async with transaction() as session:
        return Run(ask, token) if await session.scalar(taken) is not None else None


def _in(seconds: float) -> Any:
    return func.clock_timestamp() + timedelta(seconds=seconds)


def _kept_until() -> Any:
    return _in(settings.idempotency_keep_hours * 3600)


async def sweep(closed: Callable[[], bool]) -> None:
    """Remove what has expired, about once a minute until `closed`. Any number of workers may."""
    while not closed():
        try:
            while await remove_expired() == _SWEPT_AT_ONCE:
                pass
        except Exception as error:  # a sweep that dies would let the table grow for ever
            log.warning("idempotency.sweep_failed", error=type(error).__name__)
        await asyncio.sleep(SWEEP_SECONDS)


async def remove_expired() -> int:
    """Remove some of what has expired; answers how many."""
    old = select(IdempotentRequest.id).where(IdempotentRequest.expires_at < func.now()).limit(_SWEPT_AT_ONCE)
    async with transaction() as session:
        gone = await session.scalars(
            delete(IdempotentRequest)
            .where(IdempotentRequest.id.in_(old.with_for_update(skip_locked=True)))
            .returning(IdempotentRequest.id)
        )
        return len(gone.all())
