"""Byte quotas: counted with what is announced, at signing and at confirmation, however many ask at once."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.storage import storage
from backend.orgs.models import Project, ProjectMember
from backend.orgs.roles import Role
from backend.videos import sweep
from backend.videos.models import StoredObject, Upload
from tests.conftest import Person
from tests.videos.sending import adoptable, code, presign, put, send

MIB = 1024 * 1024
OPEN = "/api/uploads"


@pytest.fixture(autouse=True)
def three_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "user_quota_mb", 3)


async def announce(user: Person, size: int, **more: Any) -> httpx.Response:
    body = {"filename": "clip.mp4", "size": size, "content_type": "video/mp4", **more}
    return await user.client.post("/api/upload/presigned-url", json=body)


async def second_project(user: Person) -> str:
    async with transaction() as session:
        project = Project(name="Spring film", owner_id=uuid.UUID(user.id), personal=False)
        session.add(project)
        await session.flush()
        session.add(ProjectMember(project_id=project.id, user_id=project.owner_id, role=Role.OWNER))
    return str(project.id)


async def used(user: Person) -> tuple[int, int, int | None]:
    body = (await user.client.get("/api/usage")).json()
    return body["used_bytes"], body["reserved_bytes"], body["limit_bytes"]


async def test_what_is_stored_and_what_is_announced_both_count(user: Person, other: Person) -> None:
    assert await used(user) == (0, 0, 3 * MIB)
    video = await send(user, data=b"x" * MIB)
    assert await used(user) == (MIB, 0, 3 * MIB)
    assert (await announce(user, 2 * MIB + 1)).status_code == 409
    place = (await announce(user, 2 * MIB, multipart=True)).json()
    assert await used(user) == (MIB, 2 * MIB, 3 * MIB)
    refused = await announce(user, 1)
    assert (refused.status_code, code(refused)) == (409, "quota_exceeded")
    assert "Nothing is left" in refused.json()["error"]["message"]
    assert (await announce(other, 3 * MIB)).status_code == 200, "each has their own"
    await user.client.delete(f"/api/uploads/{place['upload_id']}")
    assert await used(user) == (MIB, 0, 3 * MIB)
    await user.client.delete(f"/api/videos/{video['id']}")
    assert await used(user) == (0, 0, 3 * MIB)
    assert (await announce(user, 3 * MIB)).status_code == 200


async def test_of_many_at_once_no_more_slip_through_than_fit(user: Person) -> None:
    answers = await asyncio.gather(*(announce(user, MIB) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 5


async def test_an_upload_that_has_expired_holds_no_place_and_is_weighed_again(user: Person) -> None:
    place = await presign(user, data=b"x" * (2 * MIB))
    stored = await put(place["upload_url"], b"x" * (2 * MIB), place["headers"])
    assert stored.status_code == 200
    async with transaction() as session:
        await session.execute(update(Upload).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    other = await send(user, data=b"y" * (2 * MIB))
    late = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    assert (late.status_code, code(late)) == (409, "quota_exceeded")
    await user.client.delete(f"/api/videos/{other['id']}")
    assert (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).status_code == 201


@pytest.mark.parametrize("given_up", [True, False], ids=["by its sender", "by the sweep"])
async def test_what_a_confirmation_is_refused_gives_its_bytes_back(
    user: Person, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    place = await presign(user, data=b"x" * (2 * MIB))
    assert (await put(place["upload_url"], b"x" * (2 * MIB), place["headers"])).status_code == 200
    monkeypatch.setattr(settings, "user_quota_mb", 1)
    for path, body in (("/api/videos", {"video_id": place["video_id"]}), (f"{OPEN}/{place['upload_id']}/complete", {})):
        refused = await user.client.post(path, json=body)
        assert (refused.status_code, code(refused)) == (409, "quota_exceeded")
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 0
    assert await used(user) == (0, 2 * MIB, MIB)
    assert (await user.client.get(f"{OPEN}/{place['upload_id']}")).json()["state"] == "waiting"
    assert await storage.head(place["s3_key"]) is None, "what is refused is not put together"
    assert len(await storage.list_multiparts(place["s3_key"])) == 1
    if given_up:
        assert (await user.client.delete(f"{OPEN}/{place['upload_id']}")).status_code == 204
        assert await storage.list_multiparts(place["s3_key"]) == [], "at once, not when a sweep comes"
    else:
        async with transaction() as session:
            ago = datetime.now(UTC) - timedelta(days=3)
            await session.execute(update(Upload).values(expires_at=ago, check_at=ago))
        await sweep.sweep()
    assert await used(user) == (0, 0, MIB)
    assert await storage.head(place["s3_key"]) is None
    assert await storage.list_multiparts(place["s3_key"]) == []
    assert (await put(place["upload_url"], b"x" * (2 * MIB), place["headers"])).status_code == 404
    async with transaction() as session:
        record = await session.get(StoredObject, place["s3_key"])
    assert record is not None
    assert record.buried_at is not None, "what is on its way is looked for again"
    assert (await announce(user, MIB)).status_code == 200


async def test_what_a_full_quota_refused_is_taken_when_there_is_room(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await presign(user, data=b"x" * (2 * MIB))
    assert (await put(place["upload_url"], b"x" * (2 * MIB), place["headers"])).status_code == 200
    for limit, status in ((1, 409), (3, 201)):
        monkeypatch.setattr(settings, "user_quota_mb", limit)
        answer = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
        assert answer.status_code == status, answer.text


async def test_an_adoption_that_does_not_fit_any_more_copies_nothing(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await adoptable(user, data=b"x" * (2 * MIB))
    with monkeypatch.context() as broken:

        async def away(*_: object, **__: object) -> bool:
            raise StorageUnavailable

        broken.setattr(storage, "copy", away)
        assert (await user.client.post("/api/videos", json=place)).status_code == 503
    monkeypatch.setattr(settings, "user_quota_mb", 1)
    refused = await user.client.post("/api/videos", json=place)
    assert (refused.status_code, code(refused)) == (409, "quota_exceeded")
    assert await storage.list_keys(f"videos/{user.id}/") == []


async def test_what_is_refused_says_that_all_of_it_is_there(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    place = (await announce(user, 2 * MIB, multipart=True)).json()
    signed = await user.client.post(f"{OPEN}/{place['upload_id']}/parts", json={"part_numbers": [1]})
    assert (await put(signed.json()["parts"][0]["url"], b"x" * (2 * MIB))).status_code == 200
    monkeypatch.setattr(settings, "user_quota_mb", 1)
    assert (await user.client.post(f"{OPEN}/{place['upload_id']}/complete")).status_code == 409
    seen = (await user.client.get(f"{OPEN}/{place['upload_id']}")).json()
    assert [(part["number"], part["size_bytes"]) for part in seen["parts"]] == [(1, 2 * MIB)]


async def test_an_upload_that_moves_between_projects_of_one_owner_counts_once(user: Person) -> None:
    second = await second_project(user)
    place = (await announce(user, 2 * MIB, multipart=True)).json()
    moved = await user.client.patch(f"{OPEN}/{place['upload_id']}", json={"project_id": second})
    assert (moved.status_code, moved.json()["project_id"]) == (200, second)
    assert await used(user) == (0, 2 * MIB, 3 * MIB)


async def test_what_was_sent_without_an_account_counts_when_it_is_adopted(user: Person) -> None:
    assert (await announce(user, 2 * MIB + MIB // 2)).status_code == 200
    answer = await user.client.post("/api/videos", json=await adoptable(user, data=b"x" * MIB))
    assert (answer.status_code, code(answer)) == (409, "quota_exceeded")


async def test_without_a_quota_there_is_no_limit(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "user_quota_mb", 0)
    assert (await announce(user, 1024 * MIB)).status_code == 200
    assert await used(user) == (0, 1024 * MIB, None)


async def test_the_dashboard_says_how_much_of_it_is_used(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    await send(user, data=b"x" * MIB)
    page = (await user.browser.get("/dashboard")).text
    assert "of 3.1 MB" in page
    monkeypatch.setattr(settings, "user_quota_mb", 0)
    assert "of 3.1 MB" not in (await user.browser.get("/dashboard")).text
