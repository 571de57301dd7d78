"""The contract of a doorbell: each test runs on all of them, against their real servers."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import text

from backend.config import Settings, settings
from backend.core.db import after_commit, transaction
from backend.core.queue import Doorbell, DoorbellHolder
from backend.jobs.models import Job
from backend.jobs.running import Run, Runner
from backend.jobs.tasks import sweep
from backend.local.stack import Stack
from tests.conftest import ROOT, environment
from tests.core.queue.conftest import Bells, Listening, until
from tests.jobs.conftest import Declare, Jobs

Listen = Callable[..., Listening]


async def test_a_ring_is_answered(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    ear = listening().start(bell, queue)
    await bell.ring(uuid.uuid4(), queue)
    await ear.hears(1)
    await until(lambda: nothing_waits(bells, queue))
    assert ear.begun == 1


async def test_a_ring_waits_for_a_listener(bells: Bells, listening: Listen) -> None:
    queue = await bells.queue()
    await bells.make().ring(uuid.uuid4(), queue)
    assert await bells.waiting(queue) == 1
    await listening().start(bells.make(), queue).hears(1)


async def test_a_listener_hears_all_its_queues_and_no_other(bells: Bells, listening: Listen) -> None:
    bell = bells.make()
    ours, other = [await bells.queue() for _ in range(3)], await bells.queue()
    ear = listening().start(bells.make(), *ours)
    for queue in (*ours, other):
        await bell.ring(uuid.uuid4(), queue)
    await ear.hears(3)
    assert (ear.begun, await bells.waiting(other)) == (3, 1)


async def test_no_ring_is_taken_while_no_slot_is_free_and_none_is_lost(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    ear = listening(slots=0).start(bells.make(), queue)
    await bell.ring(uuid.uuid4(), queue)
    await asyncio.sleep(1)
    assert (ear.begun, await bells.waiting(queue)) == (0, 1)
    ear.slots = 1
    await ear.hears(1)


async def test_what_a_full_listener_leaves_another_takes(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    full = listening(slots=0).start(bells.make(), queue)
    idle = listening().start(bells.make(), queue)
    await bell.ring(uuid.uuid4(), queue)
    await idle.hears(1)
    assert full.begun == 0


async def test_many_rings_at_once_are_all_answered_within_the_slots(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    ear = listening(lambda: asyncio.sleep(0.01), slots=settings.worker_slots).start(bells.make(), queue)
    await asyncio.gather(*(bell.ring(uuid.uuid4(), queue) for _ in range(60)))
    await ear.hears(60)
    await until(lambda: nothing_waits(bells, queue))
    assert ear.most <= settings.worker_slots


async def test_garbage_is_removed_and_ignored(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    await bells.put_garbage(queue)
    ear = listening().start(bells.make(), queue)
    await bell.ring(uuid.uuid4(), queue)
    await ear.hears(1)
    await until(lambda: nothing_waits(bells, queue))
    assert ear.begun == 1


async def test_an_answer_that_fails_does_not_end_its_listener(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    failures = ["the database is away"]

    async def answer() -> None:
        if failures:
            raise RuntimeError(failures.pop())

    ear = listening(answer).start(bells.make(), queue)
    await bell.ring(uuid.uuid4(), queue)
    async with asyncio.timeout(60):
        while failures:
            await asyncio.sleep(0.02)
    await bell.ring(uuid.uuid4(), queue)
    await ear.hears(1)


# --- the end of a process --------------------------------------------------------------------------------------------


async def test_listening_stops_soon_with_nothing_to_hear(bells: Bells, listening: Listen) -> None:
    ear = listening().start(bells.make(), await bells.queue(), await bells.queue())
    await asyncio.sleep(1)  # its polls are under way
    async with asyncio.timeout(10):  # of the twenty seconds that a poll may take
        await ear.stop()


async def test_listening_stops_soon_in_the_middle_of_an_answer(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    ear = listening(lambda: asyncio.sleep(3600)).start(bells.make(), queue)
    await bell.ring(uuid.uuid4(), queue)
    async with asyncio.timeout(60):
        while not ear.begun:
            await asyncio.sleep(0.02)
    async with asyncio.timeout(60):
        await ear.stop()
    assert ear.now == 0


async def test_closing_twice_does_no_harm(bells: Bells) -> None:
    bell, queue = bells.make(), await bells.queue()
    await bell.ring(uuid.uuid4(), queue)
    async with asyncio.timeout(60):
        await bell.close()
        await bell.close()


async def test_a_process_that_listened_ends_soon(bells: Bells, stack: Stack) -> None:
    """Threads that poll must not keep the interpreter."""
    listener = await start_listener(stack, await bells.queue())
    await asyncio.sleep(2)  # its polls are under way
    listener.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(listener.wait, 15) != 0


async def test_a_job_whose_listener_was_killed_is_run_all_the_same(
    bells: Bells, stack: Stack, listening: Listen, jobs: Jobs, declare: Declare
) -> None:
    queue = await bells.queue()
    ran: list[uuid.UUID] = []

    async def work(run: Run) -> None:
        ran.append(run.job_id)

    job = await jobs.start(declare(work, queue=queue))
    await bells.make().ring(job.id, queue)
    killed = await start_listener(stack, queue)
    assert await asyncio.to_thread(line_of, killed) == b"taken\n"
    killed.kill()
    await asyncio.to_thread(killed.wait, 30)
    runner = Runner(worker="second", queues=[queue], slots=1)
    listening(runner.answer).start(bells.make(), queue)
    sweeping = asyncio.create_task(sweep(runner))
    await jobs.wait_for(job.id, "completed")
    runner.closed = True
    await sweeping
    assert ran == [job.id]


async def start_listener(stack: Stack, queue: str) -> subprocess.Popen[bytes]:
    listener = process(stack, "tests.core.queue.listener_under_test", queue)
    assert await asyncio.to_thread(line_of, listener) == b"listening\n"
    return listener


def process(stack: Stack, module: str, *arguments: str, **changes: str) -> subprocess.Popen[bytes]:
    """A process of ours that rings and listens as `settings` say now."""
    names = ("doorbell", "sqs_queue_url_prefix", "sqs_endpoint_url", "sqs_access_key_id")
    ours = {name.upper(): str(getattr(settings, name) or "") for name in names}
    ours["SQS_SECRET_ACCESS_KEY"] = settings.sqs_secret_access_key.get_secret_value()
    env = {**environment(stack), "PATH": os.environ["PATH"], **{k: v for k, v in ours.items() if v}, **changes}
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, env=env, stdout=subprocess.PIPE)


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


# --- without the server ----------------------------------------------------------------------------------------------


async def committed(bell: Doorbell, queue: str) -> None:
    """A transaction that rings when it is committed, as `jobs.service.start` does."""
    holder = DoorbellHolder()
    holder.hang(bell)
    async with transaction() as session:
        await session.execute(text("SELECT 1"))
        after_commit(session, lambda: holder.ring(uuid.uuid4(), queue))


async def test_a_commit_that_cannot_ring_is_a_commit(bells: Bells) -> None:
    bell, queue = bells.make(), await bells.queue()
    await bells.line.cut()
    await committed(bell, queue)
    with pytest.raises(Exception, match=r"."):
        await bell.ring(uuid.uuid4(), queue)
    await bells.line.mend()
    await committed(bell, queue)
    assert await bells.waiting(queue) == 1


async def test_a_server_that_hangs_holds_up_a_commit_for_seconds_only(bells: Bells) -> None:
    bell, queue = bells.make(), await bells.queue()
    await committed(bell, queue)
    bells.line.freeze()
    async with asyncio.timeout(40):
        await committed(bell, queue)
    await bells.line.cut()  # what the server has not read yet is gone
    await bells.line.mend()
    await committed(bell, queue)
    assert await bells.waiting(queue) >= 2


async def test_a_listener_outlives_its_server(bells: Bells, listening: Listen) -> None:
    bell, queue = bells.make(), await bells.queue()
    ear = listening().start(bells.make(), queue)
    await bell.ring(uuid.uuid4(), queue)
    await ear.hears(1)
    await bells.line.cut()
    await asyncio.sleep(2)
    await bells.line.mend()
    await bell.ring(uuid.uuid4(), queue)
    await ear.hears(2, seconds=60)


async def test_a_listener_may_begin_while_its_server_is_away(bells: Bells, listening: Listen) -> None:
    queue = await bells.queue()
    await bells.line.cut()
    ear = listening().start(bells.make(), queue)
    await asyncio.sleep(1)
    await bells.line.mend()
    await bells.make().ring(uuid.uuid4(), queue)
    await ear.hears(1, seconds=60)


# --- with jobs -------------------------------------------------------------------------------------------------------


async def test_a_ring_starts_a_job_and_is_gone_whatever_becomes_of_it(
    bells: Bells, listening: Listen, jobs: Jobs, declare: Declare
) -> None:
    queue = await bells.queue()

    async def broken(run: Run) -> None:
        raise ValueError("it fails each time")

    ended: list[Job] = []
    runner = Runner(worker="tester", queues=[queue], slots=2)
    listening(runner.answer).start(bells.make(), queue)
    for kind in (declare(queue=queue), declare(broken, queue=queue, max_attempts=1)):
        job = await jobs.start(kind)
        await bells.make().ring(job.id, queue)
        ended.append(await jobs.wait_for(job.id, "completed", "failed"))
    assert [job.state for job in ended] == ["completed", "failed"]
    await until(lambda: nothing_waits(bells, queue))


async def nothing_waits(bells: Bells, queue: str) -> bool:
    return await bells.waiting(queue) == 0


def test_a_bell_over_sqs_needs_the_address_of_its_queues() -> None:
    good = {"secret_key": "k" * 32, "database_url": "postgresql+asyncpg://x", "redis_url": "redis://x"}
    with pytest.raises(Exception, match="SQS_QUEUE_URL_PREFIX"):
        Settings(_env_file=None, doorbell="sqs", **good).check()  # type: ignore[arg-type]
