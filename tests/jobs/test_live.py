"""Following jobs: over HTTP as clients do, and in this process where it matters what is held meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sse_starlette import ServerSentEvent

from backend.core import events as core_events
from backend.core.db import database, transaction
from backend.core.events import hub
from backend.core.redis import redis
from backend.jobs import live, progress, service
from backend.jobs.running import JobError, Run, run_next
from backend.orgs.streams import Follower
from tests.conftest import Person
from tests.jobs.conftest import Declare, Jobs
from tests.orgs.acting import actor_of


@dataclass
class Event:
    name: str
    id: str
    data: Any


class Paced:
    """Work that goes on when told."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[float | None] = asyncio.Queue()

    async def __call__(self, run: Run) -> None:
        while (percent := await self.steps.get()) is not None:
            await run.report("probe", percent)


@asynccontextmanager
async def streamed(
    address: str, path: str, person: Person, last_event_id: str | None = None
) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[Event]]]:
    headers = {"Authorization": f"Bearer {person.token}".encode(), "Accept": b"text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id.encode("latin-1")
    async with (
        httpx.AsyncClient(base_url=address, timeout=30) as client,
        client.stream("GET", path, headers={name.encode(): value for name, value in headers.items()}) as response,
    ):
        yield response, parsed(response)


async def parsed(response: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = fields[name] + "\n" + value if name == "data" and "data" in fields else value
        elif "data" in fields:
            yield Event(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}


async def following(events: AsyncIterator[Event], seconds: float = 60) -> Event:
    async with asyncio.timeout(seconds):
        return await anext(events)


# --- over HTTP -------------------------------------------------------------------------------------------------------


async def test_a_stream_begins_with_a_snapshot_goes_on_and_ends_with_the_job(
    address: str, user: Person, jobs: Jobs, declare: Declare
) -> None:
    work = Paced()
    job = await jobs.start(declare(work))
    async with streamed(address, f"/api/jobs/{job.id}/stream", user) as (response, events):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        first = await following(events)
        assert (first.name, first.data["status"], first.data["progress"]) == ("progress", "queued", 0)
        running = asyncio.create_task(run_next(worker="tester"))
        assert (await following(events)).data["status"] == "running"
        seen = []
        for percent in (10, 60):
            work.steps.put_nowait(percent)
            seen.append(await following(events))
        assert [(event.name, event.data["stage"], event.data["progress"]) for event in seen] == [
            ("progress", "probe", 10),
            ("progress", "probe", 60),
        ]
        work.steps.put_nowait(None)
        end = await following(events)
        assert (end.name, end.data["status"], end.data["progress"]) == ("complete", "completed", 100)
        assert {"video_id", "video_url", "videoUrl"} <= set(end.data)
        with pytest.raises(StopAsyncIteration):
            await following(events)
        await running


@pytest.mark.parametrize("path", ["/api/jobs/{}/stream", "/jobs/{}/stream", "/api/videos/jobs/{}/stream"])
async def test_who_comes_late_gets_only_the_end(
    address: str, user: Person, jobs: Jobs, declare: Declare, path: str
) -> None:
    async def failing(run: Run) -> None:
        raise JobError("corrupt_media", "The file is broken.")

    job = await jobs.start(declare(failing))
    await run_next(worker="tester")
    async with streamed(address, path.format(job.id), user) as (_, events):
        got = [event async for event in events]
    [end] = got
    assert (end.name, end.data["status"]) == ("error", "failed")
    assert end.data["error"] == {"code": "corrupt_media", "message": "The file is broken.", "retryable": False}


async def test_a_cancelled_job_ends_its_stream(address: str, user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    async with streamed(address, f"/api/jobs/{job.id}/stream", user) as (_, events):
        await following(events)
        await user.client.post(f"/api/jobs/{job.id}/cancel")
        end = await following(events)
    assert (end.name, end.data["error"]["code"]) == ("error", "cancelled")


async def test_a_client_that_has_the_end_is_told_not_to_come_back(
    address: str, user: Person, jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare())
    await run_next(worker="tester")
    async with streamed(address, f"/api/jobs/{job.id}/stream", user) as (_, events):
        end = await following(events)
    async with streamed(address, f"/api/jobs/{job.id}/stream", user, end.id) as (response, _):
        assert response.status_code == 204


async def test_a_client_that_comes_back_is_sent_nothing_older(
    address: str, user: Person, jobs: Jobs, declare: Declare
) -> None:
    work = Paced()
    job = await jobs.start(declare(work))
    running = asyncio.create_task(run_next(worker="tester"))
    work.steps.put_nowait(50)
    async with streamed(address, f"/api/jobs/{job.id}/stream", user) as (_, events):
        while (last := await following(events)).data["progress"] != 50:
            pass
    await redis.client.flushdb()  # the row may be behind what the client saw
    async with streamed(address, f"/api/jobs/{job.id}/stream", user, last.id) as (_, events):
        work.steps.put_nowait(70)
        later = await following(events)
        while later.data["progress"] == 50:
            later = await following(events)
        assert later.data["progress"] == 70
    work.steps.put_nowait(None)
    await running


async def test_nonsense_in_last_event_id_does_no_harm(address: str, user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    await run_next(worker="tester")
    for nonsense in ("", "x", "1-2-3", "-1", "9" * 5000, "²-1"):
        async with streamed(address, f"/api/jobs/{job.id}/stream", user, nonsense) as (response, events):
            assert response.status_code == 200
            assert (await following(events)).name == "complete"


async def test_anothers_stream_is_not_there(
    address: str, user: Person, other: Person, jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare())
    async with streamed(address, f"/api/jobs/{job.id}/stream", other) as (response, _):
        assert response.status_code == 404


async def test_an_open_stream_holds_no_database_connection(
    address: str, user: Person, jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare())
    async with streamed(address, f"/api/jobs/{job.id}/stream", user) as (_, events):
        await following(events)
        async with asyncio.timeout(60):
            while database.engine.pool.checkedout():  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
        assert hub.streams == 1
    async with asyncio.timeout(60):
        while hub.streams:
            await asyncio.sleep(0.01)


async def test_an_event_of_another_version_makes_a_stream_read_the_truth(
    address: str, user: Person, jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare())
    async with streamed(address, f"/api/jobs/{job.id}/stream", user) as (_, events):
        await following(events)
        strange = progress.state_of(await jobs.read(job.id)).payload()
        strange["job"]["status"] = "of_the_next_version"
        await core_events.publish([progress.job_topic(job.id)], strange)
        async with transaction() as session:
            await service.cancel_job(session, actor=None, job=job)
        while (event := await following(events)).name == "progress":
            pass  # the truth, read again
        assert event.name == "error"


# --- without Redis ---------------------------------------------------------------------------------------------------


async def test_a_stream_goes_on_from_postgres_when_redis_is_away(
    user: Person, jobs: Jobs, declare: Declare, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "connected", False)
    job = await jobs.start(declare())
    events = live.follow(job.id, follower=Follower(await actor_of(user), job.project_id))
    assert (await frame(events)).event == "progress"
    async with transaction() as session:
        await service.cancel_job(session, actor=None, job=job)
    monkeypatch.setattr(hub, "_topics", {})  # no event arrives
    assert (await frame(events)).event == "error"


async def frame(events: AsyncIterator[ServerSentEvent], seconds: float = 60) -> ServerSentEvent:
    async with asyncio.timeout(seconds):
        return await anext(events)
