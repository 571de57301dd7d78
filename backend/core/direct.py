"""Statements asked of the driver itself, for the few that nearly every request asks.

A session costs several times what asyncpg does for the same statement. What is lost: the rows are no objects, and there
is no transaction. docs/performance.md names who does this.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import ClauseElement, Executable
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import greenlet_spawn

from backend.core.db import database, transaction, watch_commits


class Direct:
    """A statement that is made once and stands alone. It must neither take nor answer JSON: drivers do not read it."""

    def __init__(self, statement: Executable) -> None:
        compiled = cast(SQLCompiler, cast(ClauseElement, statement).compile(dialect=dialect()))  # type: ignore[no-untyped-call]
        self._statement = statement
        self._sql = str(compiled)
        self._fixed = dict(compiled.params)
        self._names: Sequence[str] = compiled.positiontup or ()

    async def rows(self, given: Mapping[str, object]) -> Sequence[asyncpg.Record]:
        """What it answers. Raises what a session would: DBAPIError, PoolTimeout, OSError."""
        values = {**self._fixed, **given}
        async with _connection() as connection:
            found: Sequence[asyncpg.Record] = await connection.fetch(self._sql, *[values[name] for name in self._names])
            return found

    async def write(self, given: Mapping[str, object]) -> Sequence[Sequence[Any]]:
        """The same for one that changes something: where commits are watched it is one transaction all the same."""
        if watch_commits.get() is None:
            return await self.rows(given)
        async with transaction() as session:
            return (await session.execute(self._statement, given)).all()


@asynccontextmanager
async def _connection() -> AsyncIterator[Any]:
    """A connection of the pool, as the driver has it."""
    pooled = await greenlet_spawn(database.engine.sync_engine.pool.connect)
    try:
        yield pooled.driver_connection
    except asyncpg.PostgresError as error:
        raise DBAPIError(None, None, error, hide_parameters=True) from error
    except asyncpg.InterfaceError as error:
        raise InterfaceError(None, None, error, hide_parameters=True) from error
    except BaseException:  # cancelled, or out of time: an answer may still be on its way
        pooled.invalidate()
        raise
    finally:
        if pooled.is_valid:
            pooled.close()
