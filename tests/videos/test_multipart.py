"""Uploads in parts against the real S3 server: they can be left and taken up again, and only the whole file counts."""

import asyncio
import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from backend.config import settings
from backend.core.db import transaction
from backend.core.storage import storage
from backend.videos import sweep
from backend.videos.models import StoredObject, Upload, Video
from backend.videos.multipart import part_size_for
from tests.conftest import Person
from tests.videos.sending import code, get, put

MIB = 1024 * 1024
#: Two parts of the smallest size that S3 takes, and a bit.
FILE = bytes(range(256)) * (11 * MIB // 256) + b"the end"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "upload_part_size_mb", 5)


def part_of(data: bytes, number: int) -> bytes:
    return data[(number - 1) * 5 * MIB : number * 5 * MIB]


async def begin(user: Person, data: bytes = FILE, **more: Any) -> dict[str, Any]:
    body = {"filename": "long.mp4", "size": len(data), "content_type": "video/mp4", "multipart": True, **more}
    answer = await user.client.post("/api/upload/presigned-url", json=body)
    assert answer.status_code == 200, answer.text
    place: dict[str, Any] = answer.json()
    return place


async def sign(user: Person, place: dict[str, Any], *numbers: int) -> list[dict[str, Any]]:
    answer = await user.client.post(f"/api/uploads/{place['upload_id']}/parts", json={"part_numbers": list(numbers)})
    assert answer.status_code == 200, answer.text
    parts: list[dict[str, Any]] = answer.json()["parts"]
    return parts


async def send_parts(user: Person, place: dict[str, Any], *numbers: int, data: bytes = FILE) -> None:
    for part in await sign(user, place, *numbers):
        stored = await put(part["url"], part_of(data, part["number"]))
        assert stored.status_code == 200, stored.text


async def complete(user: Person, place: dict[str, Any], **texts: Any) -> httpx.Response:
    return await user.client.post(f"/api/uploads/{place['upload_id']}/complete", json=texts)


async def shown(user: Person, place: dict[str, Any]) -> dict[str, Any]:
    answer = await user.client.get(f"/api/uploads/{place['upload_id']}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def look_now() -> None:
    """Let the sweep look at every open upload."""
    async with transaction() as session:
        await session.execute(update(Upload).where(Upload.check_at.is_not(None)).values(check_at=func.now()))
    await sweep.sweep()


async def let_expire(place: dict[str, Any], ago: timedelta) -> None:
    async with transaction() as session:
        row = update(Upload).where(Upload.id == uuid.UUID(place["upload_id"]))
        await session.execute(row.values(expires_at=datetime.now(UTC) - ago))


# --- the way it should go --------------------------------------------------------------------------------------------


async def test_a_file_in_parts_arrives_byte_for_byte(user: Person) -> None:
    place = await begin(user)
    assert set(place) == {
        "upload_id", "video_id", "s3_key", "multipart", "part_size", "part_count", "expires_in", "expires_at",
    }  # fmt: skip
    assert (place["part_size"], place["part_count"]) == (5 * MIB, 3)
    assert (await shown(user, place))["state"] == "waiting"
    parts = await sign(user, place, 3, 1)
    assert [(part["number"], part["size_bytes"]) for part in parts] == [(1, 5 * MIB), (3, len(FILE) - 10 * MIB)]
    await send_parts(user, place, 3, 1)
    upload = await shown(user, place)
    assert (upload["state"], upload["video"], upload["multipart"]) == ("uploading", None, True)
    assert [(part["number"], part["size_bytes"]) for part in upload["parts"]] == [(1, 5 * MIB), (3, MIB + 7)]
    await send_parts(user, place, 2)
    answer = await complete(user, place, title="A long one", description="In parts")
    assert answer.status_code == 201, answer.text
    video = answer.json()
    assert (video["id"], video["title"], video["description"]) == (place["video_id"], "A long one", "In parts")
    assert (video["status"], video["size_bytes"]) == ("processing", len(FILE))
    again = await complete(user, place, title="Other words")
    assert (again.status_code, again.json()) == (200, video)
    upload = await shown(user, place)
    assert (upload["state"], upload["video"], upload["parts"]) == ("completed", place["video_id"], [])
    playback = (await user.client.get(f"/api/videos/{video['id']}/playback-url")).json()
    received = (await get(playback["url"])).content
    assert hashlib.sha256(received).digest() == hashlib.sha256(FILE).digest()


async def test_an_upload_in_parts_is_confirmed_by_its_video_as_well(user: Person) -> None:
    place = await begin(user)
    await send_parts(user, place, 1, 2, 3)
    answer = await user.client.post("/api/videos", json={"video_id": place["video_id"], "title": "So"})
    assert (answer.status_code, answer.json()["title"]) == (201, "So")


async def test_a_part_may_be_sent_again_before_the_end(user: Person) -> None:
    place = await begin(user)
    await send_parts(user, place, 1, 2, 3, data=b"\0" * len(FILE))
    await send_parts(user, place, 1, 2, 3)
    video = (await complete(user, place)).json()
    playback = (await user.client.get(f"/api/videos/{video['id']}/playback-url")).json()
    assert (await get(playback["url"])).content == FILE


@pytest.mark.parametrize(
    ("size", "speed", "most_mib", "part_mib"),
    [
        (1, None, 64, 16),
        (256 * MIB, None, 64, 16),
        (256 * MIB + 1, None, 64, 17),
        (1024 * MIB, None, 64, 32),
        (1024 * MIB, 100 * MIB, 64, 64),
        (1024 * MIB, 100 * MIB, 512, 64),
        (1024 * MIB, 10 * MIB, 64, 20),
        (1024 * MIB, 5 * MIB, 64, 10),
        (1024 * MIB, 1, 64, 8),
        (1024 * MIB, 1, 5, 5),
        (640_000 * MIB, None, 64, 64),
        (640_000 * MIB + 1, None, 64, 65),
        (5 * 1024 * 1024 * MIB, 1, 64, 525),
        (1, None, 8, 8),
        (1024 * MIB, None, 8, 8),
        (80_000 * MIB + 1, None, 8, 9),
    ],
)
def test_parts_are_large_for_large_files_and_quick_lines_but_none_larger_than_proxies_are_said_to_take(
    monkeypatch: pytest.MonkeyPatch, size: int, speed: int | None, most_mib: int, part_mib: int
) -> None:
    monkeypatch.setattr(settings, "upload_part_size_mb", most_mib)
    assert part_size_for(size, speed) == part_mib * MIB
    assert -(-size // part_size_for(size, speed)) <= 10_000


async def test_whoever_says_how_quick_the_line_is_gets_parts_that_suit_it(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "upload_part_size_mb", 64)
    sizes = [
        (await begin(user, size=1024 * MIB, bytes_per_second=speed))["part_size"] // MIB
        for speed in (None, 500_000_000, 400_000)
    ]
    assert sizes == [32, 64, 8]


async def test_open_uploads_are_listed_to_be_taken_up_again(user: Person, other: Person) -> None:
    first = await begin(user, title="First", checksum="ab" * 32)
    second = await begin(user)
    over = await begin(user)
    await user.client.delete(f"/api/uploads/{over['upload_id']}")
    listed = (await user.client.get("/api/uploads?state=open")).json()["uploads"]
    assert [upload["id"] for upload in listed] == [second["upload_id"], first["upload_id"]]
    assert (listed[1]["title"], listed[1]["checksum"], listed[1]["parts"]) == ("First", "ab" * 32, None)
    assert (await other.client.get("/api/uploads?state=open")).json()["uploads"] == []
    assert (await user.client.get("/api/uploads?state=all")).status_code == 422


async def test_what_was_typed_is_kept_with_the_upload(user: Person) -> None:
    place = await begin(user, title="At first")
    path = f"/api/uploads/{place['upload_id']}"
    changed = await user.client.patch(path, json={"title": "Then", "description": "Words"})
    assert (changed.status_code, changed.json()["title"], changed.json()["description"]) == (200, "Then", "Words")
    assert (await user.client.patch(path, json={"description": "Others"})).json()["title"] == "Then"
    wrong = await user.client.patch(path, json={"project_id": str(uuid.uuid4())})
    assert (wrong.status_code, code(wrong)) == (422, "validation_failed")
    await send_parts(user, place, 1, 2, 3)
    await look_now()  # the tab was closed: nobody completes it
    video = (await user.client.get(f"/api/videos/{place['video_id']}")).json()
    assert (video["title"], video["description"], video["status"]) == ("Then", "Others", "processing")
    late = await user.client.patch(path, json={"title": "Late"})
    assert (late.status_code, code(late)) == (409, "invalid_state")


async def test_the_same_file_is_found_by_its_checksum(user: Person, other: Person) -> None:
    place = await begin(user, checksum="cd" * 32)
    path = f"/api/uploads/duplicates?fingerprint={'cd' * 32}"
    assert (await user.client.get(path)).json() == {"duplicates": []}
    await send_parts(user, place, 1, 2, 3)
    await complete(user, place, title="Here already")
    found = (await user.client.get(path)).json()["duplicates"]
    assert found == [{"video_id": place["video_id"], "title": "Here already"}]
    assert (await other.client.get(path)).json() == {"duplicates": []}
    await user.client.delete(f"/api/videos/{place['video_id']}")
    assert (await user.client.get(path)).json() == {"duplicates": []}
    for wrong in ("", "xyz", "CD" * 32, "cd" * 31):
        assert (await user.client.get(f"/api/uploads/duplicates?fingerprint={wrong}")).status_code == 422


# --- nobody there ----------------------------------------------------------------------------------------------------


async def test_parts_that_are_all_there_become_a_video_without_anybody(user: Person) -> None:
    place = await begin(user)
    await send_parts(user, place, 1, 2)
    await look_now()
    assert (await shown(user, place))["state"] == "uploading"
    await send_parts(user, place, 3)
    await look_now()
    assert (await shown(user, place))["state"] == "completed"
    # Whoever comes back after all says what it is called, once.
    first = await complete(user, place, title="Named late")
    assert (first.status_code, first.json()["title"]) == (201, "Named late")
    second = await complete(user, place, title="Named again")
    assert (second.status_code, second.json()["title"]) == (200, "Named late")


async def test_of_many_sweeps_and_completions_at_once_one_makes_the_video(user: Person) -> None:
    place = await begin(user)
    await send_parts(user, place, 1, 2, 3)
    async with transaction() as session:
        await session.execute(update(Upload).values(check_at=func.now()))
    answers = await asyncio.gather(
        *(complete(user, place) for _ in range(20)), *(sweep.settle_uploads() for _ in range(3))
    )
    statuses = sorted(answer.status_code for answer in answers if isinstance(answer, httpx.Response))
    assert statuses == [200] * 19 + [201]
    async with transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Video)) == 1


async def test_an_upload_goes_on_after_its_addresses_have_ended(user: Person) -> None:
    place = await begin(user)
    async with httpx.AsyncClient() as browser:
        settings_before = settings.presigned_url_expiration
        settings.presigned_url_expiration = 1
        try:
            [part] = await sign(user, place, 1)
        finally:
            settings.presigned_url_expiration = settings_before
        await asyncio.sleep(2.1)
        assert (await browser.put(part["url"], content=part_of(FILE, 1))).status_code == 403
    await send_parts(user, place, 1, 2, 3)
    assert (await complete(user, place)).status_code == 201


async def test_what_arrived_is_removed_only_when_the_upload_is_over(user: Person) -> None:
    place = await begin(user)
    await send_parts(user, place, 1)
    await let_expire(place, timedelta(minutes=1))  # a part may still be on its way
    await look_now()
    assert (await shown(user, place))["state"] == "expired"
    assert len(await storage.list_multiparts(place["s3_key"])) == 1
    await send_parts(user, place, 2, 3)  # and goes on
    await look_now()
    assert (await shown(user, place))["state"] == "completed"

    place = await begin(user)
    await send_parts(user, place, 1)
    await let_expire(place, timedelta(hours=1))
    await look_now()
    assert (await shown(user, place))["state"] == "expired"
    assert await storage.list_multiparts(place["s3_key"]) == []
    for answer in (
        await complete(user, place),
        await user.client.post(f"/api/uploads/{place['upload_id']}/parts", json={"part_numbers": [2]}),
    ):
        assert (answer.status_code, code(answer)) == (410, "upload_expired")


async def test_an_upload_is_kept_from_its_last_part_on_not_from_its_beginning(user: Person) -> None:
    place = await begin(user)
    await let_expire(place, timedelta(days=-1))  # it began long ago: a day is left
    await send_parts(user, place, 1)
    left = datetime.fromisoformat((await shown(user, place))["expires_at"]) - datetime.now(UTC)
    assert left > timedelta(days=settings.upload_keep_days - 1)
    await let_expire(place, timedelta(days=30))
    await look_now()
    refused = await complete(user, place)
    assert (refused.status_code, code(refused)) == (410, "upload_expired")
    assert "Not all of the file arrived" in refused.json()["error"]["message"]


async def test_a_whole_file_that_comes_as_the_time_ends_is_not_removed(user: Person) -> None:
    place = await begin(user)
    await send_parts(user, place, 1, 2, 3)
    await let_expire(place, timedelta(days=30))
    await look_now()
    assert (await shown(user, place))["state"] == "completed"


async def test_cancelling_leaves_no_part(user: Person) -> None:
    place = await begin(user)
    await send_parts(user, place, 1, 2)
    assert (await user.client.delete(f"/api/uploads/{place['upload_id']}")).status_code == 204
    assert await storage.list_multiparts(place["s3_key"]) == []
    assert await storage.list_keys(place["s3_key"]) == []
    async with transaction() as session:
        tombstone = await session.get_one(StoredObject, place["s3_key"])
    assert tombstone.buried_at is not None
