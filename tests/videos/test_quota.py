"""Byte quotas: counted with what is announced, at signing and at confirmation, however many ask at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from backend.config import settings
from backend.core.db import transaction
from backend.videos.models import Upload
from tests.conftest import Person
from tests.videos.sending import adoptable, code, presign, put, send

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def three_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "user_quota_mb", 3)


async def announce(user: Person, size: int, **more: Any) -> httpx.Response:
    body = {"filename": "clip.mp4", "size": size, "content_type": "video/mp4", **more}
    return await user.client.post("/api/upload/presigned-url", json=body)


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
