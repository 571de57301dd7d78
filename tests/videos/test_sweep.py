"""Uploads that nobody confirmed: what arrived becomes a video all the same, and what did not is given up in the end."""

import asyncio
import os
import signal
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, update

from backend.config import settings
from backend.core import capabilities
from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.storage import storage
from backend.local.stack import Stack
from backend.videos import sweep
from backend.videos.models import Upload, Video
from tests.conftest import Person
from tests.videos.sending import BYTES, RunJobs, adoptable, code, presign, put

TOKEN = "a token of the storage's own"


async def look_now(**values: Any) -> None:
    """Let the sweep look at every upload that may still arrive."""
    async with transaction() as session:
        open_ones = update(Upload).where(Upload.check_at.is_not(None))
        await session.execute(open_ones.values(check_at=func.now(), **values))
    await sweep.sweep()


async def shown(user: Person, place: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (await user.client.get(f"/api/uploads/{place['upload_id']}")).json()
    return body


async def check_at(place: dict[str, Any]) -> datetime | None:
    async with transaction() as session:
        return await session.scalar(select(Upload.check_at).where(Upload.id == uuid.UUID(place["upload_id"])))


async def test_a_file_that_arrived_before_its_tab_was_closed_becomes_a_video(user: Person, run_jobs: RunJobs) -> None:
    place = await presign(user, "Last words.mp4")
    await look_now()
    assert (await shown(user, place))["state"] == "waiting"
    await put(place["upload_url"], BYTES, place["headers"])
    await look_now()
    assert (await shown(user, place))["state"] == "completed"
    video = (await user.client.get(f"/api/videos/{place['video_id']}")).json()
    assert (video["title"], video["status"]) == ("Last words", "processing")
    assert await run_jobs() >= 1
    assert await check_at(place) is None


async def test_a_client_that_confirms_after_the_sweep_is_answered_as_ever(user: Person) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    await look_now()
    answers = await asyncio.gather(
        *(user.client.post("/api/videos", json={"video_id": place["video_id"], "title": "Mine"}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
    assert {answer.json()["title"] for answer in answers} == {"Mine"}


async def test_looks_become_rarer_and_only_one_sweep_looks(user: Person) -> None:
    place = await presign(user)
    await look_now()
    soon = await check_at(place)
    assert soon is not None
    assert timedelta(0) < soon - datetime.now(UTC) <= timedelta(seconds=settings.upload_sweep_seconds + 1)
    await look_now(created_at=datetime.now(UTC) - timedelta(hours=8))
    later = await check_at(place)
    assert later is not None
    assert timedelta(minutes=9) < later - datetime.now(UTC) <= timedelta(minutes=10)
    assert await sweep.settle_uploads() == 0, "it is not due"


async def test_nothing_is_given_up_while_a_slow_line_may_still_bring_it(user: Person) -> None:
    place = await presign(user)
    await look_now(expires_at=datetime.now(UTC) - timedelta(hours=23))
    assert (await shown(user, place))["state"] == "expired"
    assert len(await storage.list_multiparts(place["s3_key"])) == 1
    # A request that began in time ends now; its address itself is longer dead.
    [part] = await storage.list_multiparts(place["s3_key"])
    url = await storage.presign_part(place["s3_key"], part.upload_id, 1, size_bytes=len(BYTES), expires_seconds=60)
    assert (await put(url, BYTES)).status_code == 200
    await look_now()
    assert (await shown(user, place))["state"] == "completed"

    place = await presign(user)
    await look_now(expires_at=datetime.now(UTC) - timedelta(hours=25))
    assert (await shown(user, place))["state"] == "expired"
    assert await storage.list_multiparts(place["s3_key"]) == []
    assert await check_at(place) is None
    answer = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    assert (answer.status_code, code(answer)) == (410, "upload_expired")


async def test_a_storage_that_is_away_fails_and_ends_nothing(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    with monkeypatch.context() as broken:

        async def away(*_: object, **__: object) -> None:
            raise StorageUnavailable

        broken.setattr(storage, "list_parts", away)
        with pytest.raises(StorageUnavailable):
            await look_now(expires_at=datetime.now(UTC) - timedelta(days=40))
    assert (await shown(user, place))["state"] == "expired"
    assert len(await storage.list_multiparts(place["s3_key"])) == 1
    await look_now()
    assert (await shown(user, place))["state"] == "completed"


async def test_a_storage_that_hangs_is_not_waited_for(
    stack: Stack, user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    for module in ("storage", "storage_parts"):
        monkeypatch.setattr(f"backend.core.{module}.ANSWER_SECONDS", 0.5)
    child = stack.parts[2].child
    assert child is not None
    os.killpg(child.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(15):  # boto3 alone waits for most of a minute
            for answer in (
                await user.client.get(f"/api/uploads/{place['upload_id']}"),
                await user.client.post("/api/videos", json={"video_id": place["video_id"]}),
            ):
                assert (answer.status_code, code(answer)) == (503, "storage_unavailable")
    finally:
        os.killpg(child.pid, signal.SIGCONT)
    monkeypatch.undo()
    assert (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).status_code == 201


async def test_an_upload_whose_verifier_died_is_taken_up_by_another(user: Person) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    async with transaction() as session:
        dead = {"state": "verifying", "check_at": datetime.now(UTC) - timedelta(seconds=1)}
        await session.execute(update(Upload).values(dead))
    await sweep.sweep()
    assert (await shown(user, place))["state"] == "completed"


async def test_a_place_that_the_storage_could_not_open_does_not_count(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        async def away(*_: object, **__: object) -> str:
            raise StorageUnavailable

        broken.setattr(storage, "create_multipart", away)
        body = {"filename": "clip.mp4", "size": 1000, "content_type": "video/mp4"}
        answer = await user.client.post("/api/upload/presigned-url", json=body)
        assert (answer.status_code, code(answer)) == (503, "storage_unavailable")
    assert (await user.client.get("/api/usage")).json()["reserved_bytes"] == 0


async def test_an_adoption_that_broke_off_is_finished(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await adoptable(user)
    with monkeypatch.context() as broken:

        async def away(*_: object, **__: object) -> bool:
            raise StorageUnavailable

        broken.setattr(storage, "copy", away)
        assert (await user.client.post("/api/videos", json={**place, "title": "Kept"})).status_code == 503
    await look_now()
    async with transaction() as session:
        assert await session.scalar(select(Video.title)) == "Kept"
    assert await storage.head(place["s3_key"]) is None


# --- told by the storage ---------------------------------------------------------------------------------------------


@pytest.fixture
def told(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that tells of new objects; the embedded one refuses to replace what is there."""
    monkeypatch.setattr(settings, "storage_events_token", SecretStr(TOKEN))
    monkeypatch.setattr(capabilities, "current", lambda: capabilities.KNOWN["swift"])


def event(key: str, bucket: str = "dailies") -> dict[str, Any]:
    """As MinIO sends it, cut short."""
    return {
        "EventName": "s3:ObjectCreated:Put",
        "Key": f"{bucket}/{key}",
        "Records": [
            {
                "eventVersion": "2.0",
                "eventName": "s3:ObjectCreated:Put",
                "s3": {"bucket": {"name": bucket}, "object": {"key": key.replace("/", "%2F"), "size": 5}},
            }
        ],
    }


@pytest.mark.usefixtures("told")
async def test_an_event_makes_the_next_sweep_look_at_once(user: Person, client: httpx.AsyncClient) -> None:
    place = await presign(user)
    assert place["headers"]["If-None-Match"] == "*"
    assert (await put(place["upload_url"], BYTES, place["headers"])).status_code == 200
    await sweep.sweep()
    assert (await shown(user, place))["state"] == "waiting", "it is not yet due"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for body in (event("videos/nowhere"), event(place["s3_key"], "another")):
        assert (await client.post("/api/storage/events", json=body, headers=headers)).status_code == 204
        await sweep.sweep()
    assert (await shown(user, place))["state"] == "waiting"
    answer = await client.post("/api/storage/events", json=event(place["s3_key"]), headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    await sweep.sweep()
    assert (await shown(user, place))["state"] == "completed"
    # What is there is not replaced, whatever its address says.
    assert (await put(place["upload_url"], BYTES[::-1], place["headers"])).status_code == 412
    assert (await put(place["upload_url"], BYTES[::-1], {"Content-Type": "video/mp4"})).status_code == 403


@pytest.mark.usefixtures("told")
async def test_an_event_alone_proves_nothing(user: Person, client: httpx.AsyncClient) -> None:
    place = await presign(user)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert (await client.post("/api/storage/events", json=event(place["s3_key"]), headers=headers)).status_code == 204
    await sweep.sweep()
    assert (await shown(user, place))["state"] == "waiting"


async def test_events_need_the_token(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await client.post("/api/storage/events", json=event("videos/x"))
    assert (answer.status_code, code(answer)) == (404, "not_found")
    monkeypatch.setattr(settings, "storage_events_token", SecretStr(TOKEN))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN[:-1]}):
        answer = await client.post("/api/storage/events", json=event("videos/x"), headers=headers)
        assert (answer.status_code, code(answer)) == (401, "unauthenticated")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    wrong: list[Any] = [[], {"Records": 5}, {"Records": [{"s3": {"object": {"key": 7}}}]}]
    for body in wrong:
        assert (await client.post("/api/storage/events", json=body, headers=headers)).status_code == 422
    assert (await client.post("/api/storage/events", json={}, headers=headers)).status_code == 204
