"""Statements asked of the driver itself fail as those of a session do, and leave the pool whole."""

import asyncio

import pytest
from sqlalchemy import bindparam, func, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from backend.core.db import database, is_away, transaction
from backend.core.direct import Direct

pytestmark = pytest.mark.usefixtures("client")


async def all_given_back() -> bool:
    """The application itself may be using one for a moment."""
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    async with asyncio.timeout(30):
        while pool.checkedout():
            await asyncio.sleep(0.01)
    return True


async def test_a_statement_answers_with_what_it_was_given() -> None:
    double = Direct(select(bindparam("number", type_=literal(1).type) * 2))
    assert [list(row) for row in await double.rows({"number": 21})] == [[42]]
    assert await all_given_back()


async def test_what_the_database_refuses_is_no_outage() -> None:
    with pytest.raises(DBAPIError) as refused:
        await Direct(select(literal(1) / bindparam("by", type_=literal(1).type))).rows({"by": 0})
    assert not is_away(refused.value)
    assert await all_given_back()


async def test_a_connection_that_ends_is_an_outage_and_the_next_is_another() -> None:
    ends = Direct(select(func.pg_terminate_backend(func.pg_backend_pid())))
    with pytest.raises((DBAPIError, OSError)) as ended:
        await ends.rows({})
    assert is_away(ended.value)
    assert [list(row) for row in await Direct(select(literal(7))).rows({})] == [[7]]
    assert await all_given_back()


async def test_one_that_is_cancelled_leaves_no_half_answer_behind() -> None:
    asleep = asyncio.create_task(Direct(select(func.pg_sleep(60))).rows({}))
    await asyncio.sleep(0.2)
    asleep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asleep
    for number in range(12):
        assert [list(row) for row in await Direct(select(literal(number))).rows({})] == [[number]]
    assert await all_given_back()


async def test_its_changes_are_there_at_once() -> None:
    async with transaction() as session:
        await session.execute(text("CREATE TABLE IF NOT EXISTS direct_probe (n int)"))
    try:
        await Direct(text("INSERT INTO direct_probe VALUES (:n)")).write({"n": 5})
        async with transaction() as session:
            assert await session.scalar(text("SELECT sum(n) FROM direct_probe")) == 5
    finally:
        async with transaction() as session:
            await session.execute(text("DROP TABLE direct_probe"))
