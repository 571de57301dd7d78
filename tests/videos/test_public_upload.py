"""UPLOAD-URL: a place to send one file to, without an account; and its adoption by somebody who has one."""

import asyncio
import re
from datetime import datetime

import httpx
import pytest
from sqlalchemy import func, select

from backend.config import settings
from backend.core.db import database, transaction
from backend.core.security import sign_claim
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.videos.models import Upload, Video
from tests.conftest import Person
from tests.videos.sending import BYTES, adoptable, code, get, put


async def test_anybody_gets_a_url_that_takes_any_type_for_thirty_minutes(client: httpx.AsyncClient) -> None:
    answer = await client.post("/upload", json={"filename": "My Holiday.MP4"})
    assert answer.status_code == 200
    body = answer.json()
    assert re.fullmatch(r"upload/[0-9a-f-]{36}\.mp4", body["s3_path"])
    assert body["expires_in"] == 1800
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now().astimezone()
    assert 1795 < left.total_seconds() <= 1800
    for kind in ("video/mp4", "application/octet-stream"):
        assert (await put(body["upload_url"], BYTES, {"Content-Type": kind})).status_code == 200
    found = await storage.head(body["s3_path"])
    assert found is not None
    assert found.size_bytes == len(BYTES)


@pytest.mark.parametrize(
    ("filename", "extension"),
    [
        ("a.mov", "mov"),
        ("archive.tar.gz", "gz"),
        ("../../etc/passwd.mkv", "mkv"),
        ("C:\\fakepath\\clip.AVI", "avi"),
        ("clip.m p-4", "mp4"),
        ("clip.mp4?x=1#y", "mp4x1y"),
        ("clip." + "a" * 100, "a" * 16),
        ("what.ever", "ever"),
        ("Ünïcode — név.webm", "webm"),
    ],
)
async def test_the_key_keeps_a_clean_extension(client: httpx.AsyncClient, filename: str, extension: str) -> None:
    answer = await client.post("/upload", json={"filename": filename})
    assert answer.status_code == 200
    assert re.fullmatch(rf"upload/[0-9a-f-]{{36}}\.{extension}", answer.json()["s3_path"])


@pytest.mark.parametrize("filename", ["clip", ".mp4", "clip.", "clip.***", "dir.d/clip", "..", "x/.mp4", "clip.видео"])
async def test_a_name_without_an_extension_is_refused(client: httpx.AsyncClient, filename: str) -> None:
    answer = await client.post("/upload", json={"filename": filename})
    assert answer.status_code == 422
    assert code(answer) == "validation_failed"
    assert "filename" in answer.json()["error"]["fields"]


async def test_it_writes_nothing_and_needs_no_database(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_sessions", "_single"):
        monkeypatch.setattr(database, name, None)
    assert (await client.post("/upload", json={"filename": "a.mp4"})).status_code == 200


async def test_it_can_be_switched_off(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "public_upload_enabled", False)
    for body in ({"filename": "a.mp4"}, {}):
        answer = await client.post("/upload", json=body)
        assert answer.status_code == 404
        assert code(answer) == "not_found"


async def test_an_address_that_asks_too_often_has_to_wait(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "public_uploads_per_minute", 3)
    answers = [await client.post("/upload", json={"filename": "a.mp4"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert code(answers[3]) == "rate_limited"
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 61


# --- adoption --------------------------------------------------------------------------------------------------------


async def test_a_signed_in_user_adopts_the_object(user: Person) -> None:
    place = await adoptable(user, "Summer trip.mp4")
    answer = await user.client.post("/api/videos", json=place)
    assert answer.status_code == 201, answer.text
    video = answer.json()
    assert (video["title"], video["status"], video["size_bytes"]) == ("Summer trip", "processing", len(BYTES))
    assert (video["filename"], video["content_type"]) == ("Summer trip.mp4", "video/mp4")
    playback = (await user.client.get(f"/api/videos/{video['id']}/playback-url")).json()
    assert (await get(playback["url"])).content == BYTES


async def test_adopting_twice_answers_the_same_video(user: Person) -> None:
    place = await adoptable(user)
    first = await user.client.post("/api/videos", json={**place, "title": "Mine"})
    second = await user.client.post("/api/videos", json={**place, "title": "Other words"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


async def test_many_adoptions_at_once_make_one_video(user: Person) -> None:
    place = await adoptable(user)
    answers = await asyncio.gather(*(user.client.post("/api/videos", json=place) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    async with transaction() as session:
        for table in (Video, Upload, Job):
            assert await session.scalar(select(func.count()).select_from(table)) == 1


async def test_what_somebody_adopted_is_not_there_for_others(user: Person, other: Person) -> None:
    place = await adoptable(user)
    assert (await user.client.post("/api/videos", json=place)).status_code == 201
    stolen = await other.client.post("/api/videos", json=place)
    assert (stolen.status_code, code(stolen)) == (404, "not_found")


async def test_nobody_adopts_without_the_claim(user: Person) -> None:
    place, another = await adoptable(user), await adoptable(user)
    for claim in (
        "nonsense",
        another["claim"],
        place["claim"][:-3] + "abc",
        sign_claim("upload", {"key": place["s3_key"]}, -60),
        sign_claim("something_else", {"key": place["s3_key"]}, 60),
    ):
        answer = await user.client.post("/api/videos", json={"s3_key": place["s3_key"], "claim": claim})
        assert (answer.status_code, code(answer)) == (422, "validation_failed")
    without = await user.client.post("/api/videos", json={"s3_key": place["s3_key"]})
    assert without.status_code == 422


async def test_only_videos_that_arrived_are_adopted(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    async def adopt(place: dict[str, str]) -> tuple[int, str]:
        answer = await user.client.post("/api/videos", json=place)
        return answer.status_code, code(answer)

    assert await adopt(await adoptable(user, "notes.txt")) == (415, "unsupported_type")
    assert await adopt(await adoptable(user, data=None)) == (409, "upload_missing")
    assert await adopt(await adoptable(user, data=b"")) == (409, "upload_mismatch")
    monkeypatch.setattr(settings, "max_upload_size_mb", 1)
    assert await adopt(await adoptable(user, data=b"x" * 1_048_577)) == (413, "file_too_large")


async def test_adoption_needs_somebody_signed_in(client: httpx.AsyncClient, user: Person) -> None:
    answer = await client.post("/api/videos", json=await adoptable(user))
    assert (answer.status_code, code(answer)) == (401, "unauthenticated")
