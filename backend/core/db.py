"""The database: one engine a process, one place that commits, and hooks that run after the commit."""

import asyncio
import math
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from datetime import datetime
from typing import Annotated, Any

import structlog
from fastapi import Depends
from sqlalchemy import DateTime, MetaData, Uuid, event, func
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from backend.config import settings

log = structlog.get_logger(__name__)

AfterCommit = Callable[[], Awaitable[None]]
_HOOKS = "after_commit_hooks"
#: What all hooks of one transaction may take together: a Redis that hangs keeps nobody waiting longer.
HOOKS_SECONDS = 3.0
#: A connection that was not used for so long is asked whether it still works. One that is in use notices its end by
#: itself, and to ask takes three round trips.
ASK_AFTER_SECONDS = 1.0


class Base(DeclarativeBase):
    """Parent of every table; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: DateTime(timezone=True), uuid.UUID: Uuid(as_uuid=True)}  # noqa: RUF012


class Identified:
    """A random UUID key made by us, so that an id is known before the row is written."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)


class Timestamped:
    """Database time only: hosts' clocks may differ."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Database:
    """Engine and session factory of this process; `open()` at start, `close()` at the end."""

    def __init__(self) -> None:
        self._engine: AsyncEngine | None = None
        self._sessions: async_sessionmaker[AsyncSession] | None = None
        self._single: async_sessionmaker[AsyncSession] | None = None

    def open(self) -> None:
        self._engine = create_async_engine(
            settings.database_url.get_secret_value(),
            pool_size=settings.database_pool_size,
            max_overflow=0,
            pool_timeout=settings.database_pool_timeout_seconds,
            pool_use_lifo=True,  # those that are in use stay so, and are seldom asked whether they work
            hide_parameters=True,  # errors are logged: titles, prompts and hashes of secrets have no business there
            connect_args={
                "timeout": 5,
                "command_timeout": 30,  # a database that hangs is answered as one that is away
                "server_settings": {
                    "timezone": "UTC",
                    "application_name": "dailies",
                    # A process frozen inside a transaction must not hold its rows for ever: others skip locked jobs.
                    # Jobs are rescued when their lease ends: no later than that.
                    "idle_in_transaction_session_timeout": f"{min(30, settings.job_lease_seconds)}s",
                },
            },
        )
        pool = self._engine.sync_engine.pool
        event.listen(pool, "checkin", _note_use)
        event.listen(pool, "checkout", _look_at)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        single = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._single = async_sessionmaker(single, expire_on_commit=False)

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = self._sessions = self._single = None

    @property
    def engine(self) -> AsyncEngine:
        if self._engine is None:
            raise RuntimeError("the database is not open")
        return self._engine

    def session(self) -> AsyncSession:
        if self._sessions is None:
            raise RuntimeError("the database is not open")
        return self._sessions()

    def single(self) -> AsyncSession:
        """A session in which each statement is a transaction of its own."""
        if self._single is None:
            raise RuntimeError("the database is not open")
        return self._single()


database = Database()


def _note_use(connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _look_at(connection: Any, record: Any, proxy: Any) -> None:
    """Raises InvalidatePoolError, on which the pool opens another, for a connection that has ended."""
    driver = connection.driver_connection
    if not driver.is_closed() and time.monotonic() - record.info.get("used_at", math.inf) > ASK_AFTER_SECONDS:
        try:
            connection.ping()
        except Exception:  # it may fail in any way once the other side is gone; what counts is looked at below
            if not driver.is_closed():
                raise
    if driver.is_closed():
        raise InvalidatePoolError("the connection has ended")


def is_away(error: BaseException) -> bool:
    """Whether this tells of the database's health (or a deadlock) rather than of what it was asked."""
    if isinstance(error, PoolTimeout | OperationalError | InterfaceError):
        return True
    if isinstance(error, OSError):  # of a connection, or a command that took too long; others' are none of ours
        frames = traceback.walk_tb(error.__traceback__)
        return any(frame.f_globals.get("__name__", "").startswith("asyncpg.") for frame, _ in frames)
    if not isinstance(error, DBAPIError):
        return False
    # Connection, transaction rollback (deadlock), resources, operator intervention ("the system is starting up").
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state.startswith(("08", "40", "53", "57P"))


#: What stands around each commit of the request at hand; it may still write to the transaction, or raise to undo it.
watch_commits: ContextVar[Callable[[AsyncSession], AbstractAsyncContextManager[None]] | None] = ContextVar(
    "watch_commits", default=None
)


def after_commit(session: AsyncSession, hook: AfterCommit) -> None:
    """Run `hook` once this session's transaction is committed; dropped on rollback. Its failures are logged only."""
    session.info.setdefault(_HOOKS, []).append(hook)


@asynccontextmanager
async def transaction() -> AsyncIterator[AsyncSession]:
    """One transaction: commits at the end, or rolls back when the block raises. The only place that commits."""
    async with database.session() as session:
        yield session
        watch = watch_commits.get()
        async with watch(session) if watch else nullcontext():
            await session.commit()
        hooks: list[AfterCommit] = session.info.pop(_HOOKS, [])
    if hooks:
        await _run(hooks)


@asynccontextmanager
async def autocommit() -> AsyncIterator[AsyncSession]:
    """For statements that stand alone: each is committed by itself, without the round trips of BEGIN and COMMIT.

    Without hooks. Where commits are watched it is one transaction all the same.
    """
    if watch_commits.get() is not None:
        async with transaction() as session:
            yield session
        return
    async with database.single() as session:
        yield session


async def _run(hooks: list[AfterCommit]) -> None:
    """The work is committed: whatever fails here is logged, and a bell that did not ring is mended by the sweep."""
    until = time.monotonic() + HOOKS_SECONDS
    for number, hook in enumerate(hooks):
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await hook()
        except Exception as error:
            log.warning("after_commit.failed", error=repr(error))
        if time.monotonic() >= until:
            log.warning("after_commit.gave_up", left=len(hooks) - number - 1)
            return


async def get_session() -> AsyncIterator[AsyncSession]:
    async with transaction() as session:
        yield session


async def get_read_session() -> AsyncIterator[AsyncSession]:
    async with autocommit() as session:
        yield session


# scope="function": the commit happens before the answer is sent, so that a failed commit is not a 200.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
#: For routes that only look: their statements stand alone.
ReadSessionDep = Annotated[AsyncSession, Depends(get_read_session, scope="function")]
