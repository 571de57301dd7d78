"""The message that says that a session's video is there, where SQS is the doorbell."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import doorbell, make_doorbell, sqs_queue
from backend.jobs.models import Job, JobState
from backend.local.stack import Stack
from backend.videos import verification
from tests.coaching.coaches import API, analysis, complete, initiate, new_session, put, short_clip
from tests.conftest import Person
from tests.core.queue.conftest import ACCOUNT, Listening, SqsBells, listening, sqs_bells, sqs_server, until
from tests.core.queue.test_doorbells import line_of, process

__all__ = ["listening", "sqs_bells", "sqs_server"]


@pytest.fixture
async def queue(sqs_bells: SqsBells, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of the queue of analyses, by a name of its own, and SQS as the bell of this process."""
    made = await asyncio.to_thread(sqs_bells.client.create_queue, QueueName=f"coach-{uuid.uuid4().hex}")
    assert f"/{ACCOUNT}/" in made["QueueUrl"]
    monkeypatch.setattr(settings, "sqs_video_analysis_queue_url", made["QueueUrl"])
    before = doorbell._bell
    doorbell.hang(make_doorbell())
    yield made["QueueUrl"]
    await doorbell.close()
    if before is not None:
        doorbell.hang(before)


async def messages(bells: SqsBells, url: str) -> list[Any]:
    def receive() -> list[Any]:
        found: list[Any] = list(bells.client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []))
        return found

    return await asyncio.to_thread(receive)


async def test_the_message_names_the_job_the_session_and_the_object(
    user: Person, tmp_path: Path, sqs_bells: SqsBells, queue: str
) -> None:
    assert sqs_queue.queue_url("analysis") == queue
    session = await new_session(user)
    place = await initiate(user, session["id"], sample_fps=12, include_frames=True)
    await put(place["presigned_url"], short_clip(tmp_path))
    done = (await complete(user, place["job_id"])).json()
    [message] = await messages(sqs_bells, queue)
    assert done["sqs_message_id"] == message["MessageId"]
    found = await analysis(user, place["job_id"])
    assert json.loads(message["Body"]) == {
        "job_id": place["job_id"],
        "queue": "analysis",
        "session_id": session["id"],
        "sample_fps": 12,
        "include_frames": True,
        "s3_bucket": settings.s3_bucket,
        "s3_key": found["s3_key"],
    }
    assert (await complete(user, place["job_id"])).json() == done
    assert await messages(sqs_bells, queue) == []  # hidden or not, there is no second one
    assert await sqs_bells.waiting("analysis") == 1


async def test_without_sqs_the_analysis_is_queued_all_the_same(
    user: Person, tmp_path: Path, sqs_bells: SqsBells, queue: str
) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    await put(place["presigned_url"], short_clip(tmp_path))
    await sqs_bells.line.cut()
    done = await complete(user, place["job_id"])
    assert (done.status_code, done.json()["sqs_message_id"]) == (200, None)
    assert (await analysis(user, place["job_id"]))["status"] == "processing"


async def sent(user: Person, folder: Path) -> dict[str, Any]:
    """The place of a session's video that has arrived."""
    place = await initiate(user, (await new_session(user))["id"], sample_fps=12)
    await put(place["presigned_url"], short_clip(folder))
    assert (await complete(user, place["job_id"])).status_code == 200
    return place


async def test_what_is_tried_again_is_told_in_the_same_words(
    user: Person, tmp_path: Path, sqs_bells: SqsBells, queue: str
) -> None:
    place = await sent(user, tmp_path)
    [first] = await messages(sqs_bells, queue)
    one = f"{API}/analysis-jobs/{place['job_id']}"
    async with transaction() as session:
        await session.execute(update(Job).values(state=JobState.FAILED, error_code="analysis_failed"))
    assert (await user.client.post(f"{one}/retry")).json()["status"] == "processing"
    [again] = await messages(sqs_bells, queue)
    assert json.loads(again["Body"]) == json.loads(first["Body"])
    assert again["MessageId"] != first["MessageId"]
    assert (await complete(user, place["job_id"])).json()["sqs_message_id"] == again["MessageId"]
    assert (await user.client.post(f"{one}/cancel")).status_code == 200
    assert (await user.client.post(f"{one}/retry")).json()["status"] == "processing"
    [anew] = await messages(sqs_bells, queue)
    assert json.loads(anew["Body"]) == json.loads(first["Body"])


async def test_a_commit_that_fails_sends_no_message(
    user: Person, tmp_path: Path, sqs_bells: SqsBells, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await initiate(user, (await new_session(user))["id"])
    await put(place["presigned_url"], short_clip(tmp_path))

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("just before the commit")

    with monkeypatch.context() as patch:
        patch.setattr(verification, "on_arrival", [*verification.on_arrival, broken])
        assert (await complete(user, place["job_id"])).status_code == 500
    assert (await analysis(user, place["job_id"]))["status"] == "queued"
    assert await sqs_bells.waiting("analysis") == 0


async def test_after_three_failed_answers_it_is_a_dead_letter_that_can_be_rung_again(
    user: Person, tmp_path: Path, sqs_bells: SqsBells, queue: str, listening: Callable[..., Listening]
) -> None:
    def give_up_after_three() -> str:
        dead = sqs_bells.client.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
        arn = f"arn:aws:sqs:{settings.aws_region}:{ACCOUNT}:{dead.rpartition('/')[2]}"
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
        sqs_bells.client.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy})
        return dead

    dead = await asyncio.to_thread(give_up_after_three)
    place = await sent(user, tmp_path)

    async def fail() -> None:
        raise RuntimeError("the database is away")

    bell = sqs_bells.make(visibility_seconds=1)
    failing = listening(fail).start(bell, "analysis")
    letters: list[Any] = []

    async def arrived() -> bool:
        letters.extend(await messages(sqs_bells, dead))
        return bool(letters)

    await until(arrived)
    await failing.stop()
    assert failing.begun == 3
    assert json.loads(letters[0]["Body"])["job_id"] == place["job_id"]
    assert (await analysis(user, place["job_id"]))["status"] == "processing", "the job is in Postgres, and waits"

    def show_again() -> None:
        sqs_bells.client.change_message_visibility(
            QueueUrl=dead, ReceiptHandle=letters[0]["ReceiptHandle"], VisibilityTimeout=0
        )

    await asyncio.to_thread(show_again)
    assert await bell.redrive("analysis") == 1
    [again] = await messages(sqs_bells, queue)
    assert again["Body"] == letters[0]["Body"]


async def test_the_message_of_a_killed_worker_comes_again_with_all_its_words(
    user: Person, tmp_path: Path, sqs_bells: SqsBells, queue: str, stack: Stack
) -> None:
    killed = process(stack, "tests.core.queue.listener_under_test", "analysis", SQS_VIDEO_ANALYSIS_QUEUE_URL=queue)
    assert await asyncio.to_thread(line_of, killed) == b"listening\n"
    place = await sent(user, tmp_path)
    assert await asyncio.to_thread(line_of, killed) == b"taken\n"
    # Longer than it hides a message at once: its heartbeat keeps it hidden.
    await asyncio.sleep(4)
    assert await messages(sqs_bells, queue) == []
    killed.kill()
    await asyncio.to_thread(killed.wait, 30)
    again: list[Any] = []

    async def back() -> bool:
        again.extend(await messages(sqs_bells, queue))
        return bool(again)

    await until(back)
    words = json.loads(again[0]["Body"])
    assert (words["job_id"], words["sample_fps"]) == (place["job_id"], 12)
    assert words["s3_key"] == (await analysis(user, place["job_id"]))["s3_key"]
