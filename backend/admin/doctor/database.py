"""Checks of Postgres: it answers, its schema is ours, its connections suffice, its clock is right."""

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy import text

from backend.admin.doctor.findings import Finding, check, clock, failed, ok, warning
from backend.admin.doctor.visit import NotTried, Visit
from backend.config import settings
from backend.core.db import transaction
from backend.core.web import ROOT

GROUP = "Database"
OLDEST = 14
#: Web processes that are running are not known: this many are reckoned with, beside the workers that are.
WEB_PROCESSES = 1


async def reached(visit: Visit) -> int:
    """The database's version (as 180004). Raises NotTried when it does not answer."""
    found = await visit.shared("database", _ask)
    if isinstance(found, str):
        raise NotTried("Not tried: the database does not answer.")
    return found


async def _ask() -> int | str:
    try:
        async with transaction() as session:
            return int(await session.scalar(text("SHOW server_version_num")) or 0)
    except Exception as error:  # whatever the driver raises, it does not answer us
        cause = getattr(error, "orig", None) or error
        return f"{type(cause).__name__}: {cause}"[:300]


@check(GROUP, "The database answers")
async def answers(visit: Visit) -> Finding:
    found = await visit.shared("database", _ask)
    if isinstance(found, str):
        fix = "Start Postgres, or set DATABASE_URL to its address, user, password and database"
        return failed("The database does not answer.", f"{fix} (compose: docker compose logs postgres).", found)
    if found < OLDEST * 10_000:
        fix = f"Upgrade to PostgreSQL {OLDEST} or later (docs/operations.md, Upgrade)."
        return failed(f"PostgreSQL {found // 10_000} is too old.", fix)
    return ok(f"PostgreSQL {found // 10_000}.{found % 10_000}.")


@check(GROUP, "The schema is the newest")
async def migrations(visit: Visit) -> Finding:
    await reached(visit)
    async with transaction() as session:
        there = await session.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
        here = sorted(await session.scalars(text("SELECT version_num FROM alembic_version"))) if there else []
    known, heads = await asyncio.to_thread(_revisions)
    return judge_schema(here, known, heads)


def _revisions() -> tuple[set[str], list[str]]:
    from alembic.config import Config  # nothing else in a web process needs it
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    return {each.revision for each in script.walk_revisions()}, sorted(script.get_heads())


def judge_schema(here: Sequence[str], known: set[str], heads: Sequence[str]) -> Finding:
    """`here` is the database's revision, `known` those of this code, `heads` the newest of them."""
    newest = ", ".join(heads)
    if list(here) == list(heads):
        return ok(f"Revision {newest}.")
    unknown = [revision for revision in here if revision not in known]
    if unknown:
        words = f"The database is at revision {', '.join(unknown)}, which this version does not know: it is older."
        return failed(words, "Run the newer version again, or restore the backup made before the upgrade.")
    at = f"is at revision {', '.join(here)}" if here else "is empty"
    fix = "Run `dailies migrate` (compose: docker compose run --rm migrate), then restart web and workers."
    return failed(f"The database {at}; this version needs {newest}.", fix)


@check(GROUP, "Connections suffice")
async def connections(visit: Visit) -> Finding:
    await reached(visit)
    async with transaction() as session:
        row = (
            await session.execute(
                text(
                    "SELECT current_setting('max_connections')::int"
                    " - current_setting('superuser_reserved_connections')::int, count(*)"
                    " FROM pg_stat_activity WHERE backend_type = 'client backend'"
                )
            )
        ).one()
        at_work = "SELECT count(*) FROM workers WHERE stopped_at IS NULL AND last_seen_at > now() - interval '15 s'"
        there = await session.scalar(text("SELECT to_regclass('workers') IS NOT NULL"))
        workers = int(await session.scalar(text(at_work)) or 0) if there else 0
    return judge_connections(limit=row[0], used=row[1], processes=workers + WEB_PROCESSES)


def judge_connections(*, limit: int, used: int, processes: int) -> Finding:
    """`limit` is what the database gives out, `processes` how many of ours may each fill a pool."""
    wanted = processes * settings.database_pool_size
    told = f"{used} of {limit} in use; {processes} processes may hold {settings.database_pool_size} each."
    fix = f"Set DATABASE_POOL_SIZE to at most {max(1, limit // processes - 1)}, or Postgres's max_connections to at"
    fix += f" least {wanted + 10}."
    if used >= limit - 1:
        return failed(f"The database has no connection left: {told}", fix)
    if wanted > limit:
        return warning(f"Under load connections will run out: {told}", fix)
    return ok(told)


@check(GROUP, "The database's clock")
async def time_there(visit: Visit) -> Finding:
    await reached(visit)
    async with transaction() as session:
        await session.execute(text("SELECT 1"))  # the connection is made now, and not measured
        before = time.time()
        there = await session.scalar(text("SELECT extract(epoch FROM clock_timestamp())::float8"))
        after = time.time()
    return clock(float(there or 0) - (before + after) / 2, "the database")


CHECKS = (answers, migrations, connections, time_there)
