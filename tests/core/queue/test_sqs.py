"""What SQS does beyond the contract: rings that come again, dead letters, and the way back from there."""

import asyncio
import json
import uuid
from collections.abc import Callable

import pytest

from backend.core.queue import sqs_queue
from backend.local.stack import Stack
from tests.core.queue.conftest import Listening, SqsBells, until
from tests.core.queue.test_doorbells import line_of, process, start_listener

Listen = Callable[..., Listening]


async def empty(bells: SqsBells, queue: str) -> None:
    async def nothing() -> bool:
        return await bells.waiting(queue) == 0

    await until(nothing)


async def test_a_ring_says_which_job_and_which_queue() -> None:
    job_id = uuid.uuid4()
    assert json.loads(sqs_queue.body_of(job_id, "media")) == {"job_id": str(job_id), "queue": "media"}


async def test_a_ring_may_hold_more_than_we_know(sqs_bells: SqsBells, listening: Listen) -> None:
    queue = await sqs_bells.queue()
    await sqs_bells.put(queue, json.dumps({"job_id": str(uuid.uuid4()), "queue": queue, "trace": {"a": [1]}, "v": 2}))
    await listening().start(sqs_bells.make(), queue).hears(1)
    await empty(sqs_bells, queue)


async def test_a_ring_that_takes_long_to_answer_is_kept_from_others(sqs_bells: SqsBells, listening: Listen) -> None:
    queue = await sqs_bells.queue()
    slow = listening(lambda: asyncio.sleep(9)).start(sqs_bells.make(visibility_seconds=4), queue)
    await sqs_bells.make().ring(uuid.uuid4(), queue)
    async with asyncio.timeout(60):
        while not slow.begun:
            await asyncio.sleep(0.02)
    other = listening().start(sqs_bells.make(visibility_seconds=4), queue)
    await slow.hears(1)
    await empty(sqs_bells, queue)
    assert (slow.begun, other.begun) == (1, 0)


async def test_the_ring_of_a_killed_listener_comes_again(sqs_bells: SqsBells, stack: Stack, listening: Listen) -> None:
    queue = await sqs_bells.queue()
    killed = await start_listener(stack, queue)
    await sqs_bells.make().ring(uuid.uuid4(), queue)
    assert await asyncio.to_thread(line_of, killed) == b"taken\n"
    killed.kill()
    await asyncio.to_thread(killed.wait, 30)
    await listening().start(sqs_bells.make(), queue).hears(1)
    await empty(sqs_bells, queue)


async def test_a_listener_that_stops_gives_its_ring_back_at_once(sqs_bells: SqsBells, listening: Listen) -> None:
    queue = await sqs_bells.queue()
    first = listening(lambda: asyncio.sleep(3600)).start(sqs_bells.make(visibility_seconds=600), queue)
    await sqs_bells.make().ring(uuid.uuid4(), queue)
    async with asyncio.timeout(60):
        while not first.begun:
            await asyncio.sleep(0.02)
    await first.stop()
    await listening().start(sqs_bells.make(), queue).hears(1)


async def test_what_comes_to_a_poll_nobody_waits_for_goes_back(sqs_bells: SqsBells, listening: Listen) -> None:
    queue = await sqs_bells.queue()
    gone = listening().start(sqs_bells.make(visibility_seconds=600), queue)
    await asyncio.sleep(1)
    await gone.stop()  # its poll goes on
    await sqs_bells.make().ring(uuid.uuid4(), queue)
    await listening().start(sqs_bells.make(), queue).hears(1)
    assert gone.begun == 0


async def test_a_ring_that_no_slot_is_left_for_goes_to_another(sqs_bells: SqsBells, listening: Listen) -> None:
    queue = await sqs_bells.queue()
    busy = listening(slots=1).start(sqs_bells.make(visibility_seconds=600), queue)
    await asyncio.sleep(1)  # it polls, and then its slot is taken
    busy.slots = 0
    await sqs_bells.make().ring(uuid.uuid4(), queue)
    await asyncio.sleep(1)
    await listening().start(sqs_bells.make(), queue).hears(1)
    assert busy.begun == 0


async def test_a_ring_whose_deletion_fails_comes_again(sqs_bells: SqsBells, listening: Listen) -> None:
    queue = await sqs_bells.queue()
    ear = listening(sqs_bells.line.cut).start(sqs_bells.make(visibility_seconds=2), queue)
    await sqs_bells.make().ring(uuid.uuid4(), queue)
    await ear.hears(1)
    ear._answer = None
    await asyncio.sleep(0.5)
    await sqs_bells.line.mend()
    await ear.hears(2, seconds=60)
    await empty(sqs_bells, queue)


async def test_what_keeps_failing_is_a_dead_letter_and_redrive_brings_it_back(
    sqs_bells: SqsBells, listening: Listen
) -> None:
    queue = await sqs_bells.queue(max_receives=2)

    async def fail() -> None:
        raise RuntimeError("the database is away")

    bell = sqs_bells.make(visibility_seconds=1)
    failing = listening(fail).start(bell, queue)
    for _ in range(3):
        await bell.ring(uuid.uuid4(), queue)

    async def dead() -> bool:
        return await sqs_bells.waiting(f"{queue}-dead") == 3

    await until(dead)
    assert failing.begun == 6
    await failing.stop()
    assert await bell.redrive(queue, limit=2) == 2
    assert await bell.redrive(queue) == 1
    assert await bell.redrive(queue) == 0
    await listening().start(sqs_bells.make(), queue).hears(3)
    await empty(sqs_bells, queue)
    assert await sqs_bells.waiting(f"{queue}-dead") == 0


@pytest.mark.parametrize("known", [True, False])
async def test_redrive_says_why_it_cannot(sqs_bells: SqsBells, known: bool) -> None:
    queue = await sqs_bells.queue() if known else "unknown"
    words = "no redrive policy" if known else "NonExistentQueue"
    with pytest.raises(sqs_queue.RedriveFailed, match=words):
        await sqs_bells.make().redrive(queue)


async def test_an_operator_redrives_by_a_command(sqs_bells: SqsBells, stack: Stack) -> None:
    queue = await sqs_bells.queue(max_receives=1)
    await sqs_bells.put(f"{queue}-dead", sqs_queue.body_of(uuid.uuid4(), queue))

    def run(name: str) -> tuple[int, str]:
        with process(stack, "backend.cli", "redrive", name) as command:
            told, _ = command.communicate(timeout=60)
            return command.returncode, told.decode()

    assert await asyncio.to_thread(run, queue) == (0, f"1 dead letters are back in the queue {queue}\n")
    assert await sqs_bells.waiting(queue) == 1
    assert (await asyncio.to_thread(run, "unknown"))[0] == 1


async def test_a_queue_that_is_not_there_is_waited_for(sqs_bells: SqsBells, listening: Listen) -> None:
    ear = listening().start(sqs_bells.make(), name := f"late{uuid.uuid4().hex[:6]}")
    await asyncio.sleep(1)
    await asyncio.to_thread(sqs_bells.client.create_queue, QueueName=f"dailies-{name}")
    await sqs_bells.make().ring(uuid.uuid4(), name)
    await ear.hears(1, seconds=60)


async def test_a_worker_answers_over_sqs_and_ends_when_told(sqs_bells: SqsBells, stack: Stack) -> None:
    queue = await sqs_bells.queue()
    worker = process(stack, "backend.cli", "worker", WORKER_QUEUES=queue)
    try:
        await sqs_bells.make().ring(uuid.uuid4(), queue)
        await empty(sqs_bells, queue)
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 15) == 0
    finally:
        worker.kill()
        worker.wait()
