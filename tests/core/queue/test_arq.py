"""What the bell over ARQ adds to the contract: those who listen wait for its rings, and poll only now and then."""

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from backend.config import settings
from backend.core.queue import arq_queue
from backend.core.redis import redis
from tests.core.queue.conftest import ArqBells, Listening, until

Listen = Callable[..., Listening]

#: Longer than any test here may take: who hears a ring before was woken by it.
NEVER = 3600


@pytest.fixture
def only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listeners that nothing wakes do not poll."""
    monkeypatch.setattr(arq_queue, "WAIT_SECONDS", NEVER)


async def entries(queue: str) -> int:
    """How many that listen to the queue would be woken."""
    return await cast("Awaitable[int]", redis.client.llen(arq_queue.wake_name(queue)))


async def waits(queue: str, listeners: int = 1) -> None:
    """Until so many listeners are in their blocking read."""

    async def holds() -> bool:
        commands = [client["cmd"] for client in await redis.client.client_list(_type="normal")]
        return commands.count("blpop") >= listeners

    await until(holds)


@pytest.mark.usefixtures("only_woken")
async def test_each_ring_wakes_one_of_those_who_wait(arq_bells: ArqBells, listening: Listen) -> None:
    bell, queue = arq_bells.make(), await arq_bells.queue()
    ears = [listening(slots=1).start(arq_bells.make(), queue) for _ in range(3)]
    await waits(queue, 3)
    for ring in range(1, 7):
        await bell.ring(uuid.uuid4(), queue)
        async with asyncio.timeout(30):
            while sum(ear.ended for ear in ears) < ring:
                await asyncio.sleep(0.005)
    assert [ear.begun for ear in ears] == [2, 2, 2], "who waited longest is the next"


@pytest.mark.usefixtures("only_woken")
async def test_who_is_woken_when_the_slots_were_filled_meanwhile_wakes_another(
    arq_bells: ArqBells, listening: Listen
) -> None:
    bell, queue = arq_bells.make(), await arq_bells.queue()
    filled = listening().start(arq_bells.make(), queue)
    await waits(queue)
    filled.slots = 0
    idle = listening().start(arq_bells.make(), queue)
    await waits(queue, 2)
    await bell.ring(uuid.uuid4(), queue)
    await idle.hears(1)
    assert filled.begun == 0


@pytest.mark.usefixtures("only_woken")
async def test_rings_that_waited_for_a_slot_are_heard_without_being_rung_again(
    arq_bells: ArqBells, listening: Listen
) -> None:
    bell, queue = arq_bells.make(), await arq_bells.queue()
    ear = listening(lambda: asyncio.sleep(0.2), slots=1).start(arq_bells.make(), queue)
    for _ in range(5):
        await bell.ring(uuid.uuid4(), queue)
    await ear.hears(5)
    assert ear.most <= settings.worker_slots


@pytest.mark.usefixtures("only_woken")
async def test_more_rings_than_are_answered_at_once_are_heard_without_being_rung_again(
    arq_bells: ArqBells, listening: Listen
) -> None:
    bell, queue = arq_bells.make(), await arq_bells.queue()
    ear = listening(slots=1000).start(arq_bells.make(), queue)
    await waits(queue)
    await asyncio.gather(*(bell.ring(uuid.uuid4(), queue) for _ in range(5 * settings.worker_slots)))
    await ear.hears(5 * settings.worker_slots)


@pytest.mark.usefixtures("only_woken")
async def test_those_who_wait_are_woken_after_all_of_redis_was_flushed(arq_bells: ArqBells, listening: Listen) -> None:
    bell, queue = arq_bells.make(), await arq_bells.queue()
    ear = listening().start(arq_bells.make(), queue)
    await waits(queue)
    await redis.client.flushall()
    await bell.ring(uuid.uuid4(), queue)
    await ear.hears(1)


@pytest.mark.usefixtures("only_woken")
async def test_those_who_wait_find_out_that_their_connection_was_cut(arq_bells: ArqBells, listening: Listen) -> None:
    bell, queue = arq_bells.make(), await arq_bells.queue()
    ear = listening().start(arq_bells.make(), queue)
    await waits(queue)
    await redis.client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.5)
    await bell.ring(uuid.uuid4(), queue)
    await ear.hears(1)


async def test_a_ring_that_woke_nobody_is_heard_all_the_same(
    arq_bells: ArqBells, listening: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arq_queue, "WAIT_SECONDS", 1)
    bell, queue = arq_bells.make(), await arq_bells.queue()
    ear = listening().start(arq_bells.make(), queue)
    await waits(queue)
    # As when the entry went to a worker that died before it polled.
    await redis.client.zadd(arq_queue.queue_name("aside"), {"x": 1})
    await bell.ring(uuid.uuid4(), "aside")
    await redis.client.rename(arq_queue.queue_name("aside"), arq_queue.queue_name(queue))
    await ear.hears(1)


async def test_rings_that_nobody_hears_do_not_pile_up(arq_bells: ArqBells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arq_queue, "MAX_WAITING_RINGS", 7)
    bell, queue = arq_bells.make(), f"q{secrets.token_hex(4)}"
    for _ in range(20):
        await bell.ring(uuid.uuid4(), queue)
    assert (await arq_bells.waiting(queue), await entries(queue)) == (7, 7)
    assert 0 < await redis.client.ttl(arq_queue.wake_name(queue)) <= arq_queue.RING_EXPIRES_SECONDS
