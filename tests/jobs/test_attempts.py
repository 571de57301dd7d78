"""What an attempt tells of itself."""

import asyncio

from backend.jobs.attempts import COMMAND_BYTES, LOG_BYTES, Notes, without_signatures
from backend.jobs.running import JobError, Run, run_next
from tests.jobs.conftest import Declare, Jobs

SIGNED = "http://user:word@s3.example.org:9000/b/videos/a.mp4?X-Amz-Credential=abc&X-Amz-Signature=deadbeef"


def test_signatures_are_cut_from_addresses_and_the_rest_stays() -> None:
    cut = without_signatures(f"ffmpeg -i '{SIGNED}' -y file:/t/x.jpg")
    assert cut == "ffmpeg -i 'http://s3.example.org:9000/b/videos/a.mp4?…' -y file:/t/x.jpg"


def test_the_end_of_the_log_and_the_beginning_of_the_commands_are_kept() -> None:
    notes = Notes()
    for number in range(3000):
        notes.note(f"line {number} é\x00\ud800")
        notes.command(f"tool {number}\nmore")
    assert notes.log_tail is not None
    assert notes.commands is not None
    assert len(notes.log_tail.encode()) <= LOG_BYTES
    assert len(notes.commands.encode()) <= COMMAND_BYTES
    assert notes.log_tail.endswith("line 2999 é\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}")
    assert notes.commands.startswith("tool 0 more\n")


async def test_notes_are_written_with_the_end_of_the_attempt(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        run.note("looked")
        run.command(f"ffprobe {SIGNED}")
        if run.attempt == 1:
            raise JobError("again", "Again.", retryable=True)
        async with run.finishing():
            pass

    job = await jobs.start(declare(handler, backoff_seconds=0))
    while await run_next(worker="tester"):
        pass
    attempts = await jobs.attempts(job.id)
    assert [(each.outcome, each.log_tail) for each in attempts] == [("failed", "looked"), ("completed", "looked")]
    assert {each.command for each in attempts} == {"ffprobe http://s3.example.org:9000/b/videos/a.mp4?…"}


async def test_an_attempt_that_only_has_to_wait_is_not_spent(jobs: Jobs, declare: Declare) -> None:
    async def handler(run: Run) -> None:
        raise JobError("disk_full", "No room now.", retryable=True, spends_attempt=False)

    job = await jobs.start(declare(handler, max_attempts=1, backoff_seconds=10_000, backoff_limit_seconds=10_000))
    await run_next(worker="tester")
    waiting = await jobs.read(job.id)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    assert [each.outcome for each in await jobs.attempts(job.id)] == ["released"]
    assert not await run_next(worker="tester")


async def test_notes_reach_the_row_while_the_work_runs(jobs: Jobs, declare: Declare) -> None:
    go = asyncio.Event()

    async def handler(run: Run) -> None:
        run.note("still at it")
        await go.wait()

    job = await jobs.start(declare(handler))
    running = asyncio.create_task(run_next(worker="tester"))
    async with asyncio.timeout(60):
        while not (attempts := await jobs.attempts(job.id)) or attempts[0].log_tail is None:
            await asyncio.sleep(0.05)
    go.set()
    await running
    [attempt] = await jobs.attempts(job.id)
    assert (attempt.outcome, attempt.log_tail) == ("completed", "still at it")
