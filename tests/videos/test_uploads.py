"""Presigned uploads: what may be announced, what the storage then takes, and what a confirmation makes of it."""

import asyncio
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from backend.config import settings
from backend.core.db import transaction
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.videos.models import StoredObject, Upload, UploadState, Video
from tests.conftest import Person
from tests.videos.sending import BYTES, code, presign, put, send

GOOD = {"filename": "clip.mp4", "size": 1000, "content_type": "video/mp4"}


async def upload_state(user: Person, upload_id: str) -> str:
    answer = await user.client.get(f"/api/uploads/{upload_id}")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


async def let_expire(upload_id: str) -> None:
    async with transaction() as session:
        await session.execute(
            update(Upload)
            .where(Upload.id == uuid.UUID(upload_id))
            .values(expires_at=datetime.now(UTC) - timedelta(minutes=1))
        )


# --- announcing ------------------------------------------------------------------------------------------------------


async def test_an_upload_is_reserved(user: Person) -> None:
    answer = await user.client.post("/api/upload/presigned-url", json={**GOOD, "content_type": "Video/MP4"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {
        "upload_id", "video_id", "upload_url", "method", "headers", "s3_key", "expires_in", "expires_at",
    }  # fmt: skip
    assert (body["method"], body["headers"], body["expires_in"]) == ("PUT", {"Content-Type": "video/mp4"}, 900)
    assert re.fullmatch(rf"videos/{user.id}/{body['video_id']}/[0-9a-f-]{{36}}\.mp4", body["s3_key"])
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert 890 < left.total_seconds() <= 901
    upload = (await user.client.get(f"/api/uploads/{body['upload_id']}")).json()
    assert (upload["state"], upload["size_bytes"], upload["s3_key"]) == ("waiting", 1000, body["s3_key"])
    assert (upload["expires_at"], upload["video_id"]) == (body["expires_at"], body["video_id"])
    # The video is not there before its upload is confirmed.
    assert (await user.client.get(f"/api/videos/{body['video_id']}")).status_code == 404


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a.mp4", "video/mp4"),
        ("A.M4V", "video/x-m4v"),
        ("a.m4v", "video/mp4"),
        ("a.mov", "video/quicktime"),
        ("a.avi", "video/x-msvideo"),
        ("a.avi", "video/avi"),
        ("a.avi", "video/msvideo"),
        ("a.webm", "video/webm"),
        ("a.mkv", "video/x-matroska"),
        ("one.two.MKV", "video/matroska"),
    ],
)
async def test_every_allowed_type_goes_through(user: Person, filename: str, content_type: str) -> None:
    video = await send(user, filename, BYTES, content_type)
    assert (video["status"], video["filename"]) == ("processing", filename)


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a.mp4", "video/webm"),
        ("a.webm", "video/mp4"),
        ("a.mp4", "application/octet-stream"),
        ("a.mp4", "video/mp4; codecs=avc1"),
        ("a.mpg", "video/mpeg"),
        ("a.exe", "video/mp4"),
        ("mp4", "video/mp4"),
        (".mp4", "video/mp4"),
        ("a.mp4.", "video/mp4"),
        ("a.html", "text/html"),
    ],
)
async def test_other_types_are_refused(user: Person, filename: str, content_type: str) -> None:
    answer = await user.client.post(
        "/api/upload/presigned-url", json={**GOOD, "filename": filename, "content_type": content_type}
    )
    assert (answer.status_code, code(answer)) == (415, "unsupported_type")


async def test_a_file_may_be_as_large_as_the_limit_and_no_larger(user: Person) -> None:
    limit = 2048 * 1024 * 1024
    at_limit = await user.client.post("/api/upload/presigned-url", json={**GOOD, "size": limit})
    over = await user.client.post("/api/upload/presigned-url", json={**GOOD, "size": limit + 1})
    assert at_limit.status_code == 200
    assert (over.status_code, code(over)) == (413, "file_too_large")
    assert "2048 MB" in over.json()["error"]["message"]


@pytest.mark.parametrize("size", [0, -1, 1.5, 10.0, "10", True, None, 2**63, 10**400])
async def test_a_size_is_a_positive_whole_number(user: Person, size: object) -> None:
    answer = await user.client.post("/api/upload/presigned-url", json={**GOOD, "size": size})
    assert (answer.status_code, code(answer)) == (422, "validation_failed")
    assert "size" in answer.json()["error"]["fields"]


# --- what the storage takes ------------------------------------------------------------------------------------------


async def test_the_storage_refuses_another_length_or_type(user: Person) -> None:
    place = await presign(user)
    right = place["headers"]
    assert (await put(place["upload_url"], BYTES + b"x", right)).status_code == 403
    assert (await put(place["upload_url"], BYTES[:-1], right)).status_code == 403
    assert (await put(place["upload_url"], BYTES, {"Content-Type": "text/html"})).status_code == 403
    assert (await put(place["upload_url"], BYTES)).status_code == 403
    assert (await put(place["upload_url"].replace(".mp4?", ".mov?"), BYTES, right)).status_code == 403
    assert await storage.head(place["s3_key"]) is None
    assert (await put(place["upload_url"], BYTES, right)).status_code == 200


# --- confirming ------------------------------------------------------------------------------------------------------


async def test_a_confirmed_upload_is_a_video_in_processing(user: Person) -> None:
    place = await presign(user, "Mein  Film.final.mp4")
    await put(place["upload_url"], BYTES, place["headers"])
    answer = await user.client.post(
        "/api/videos",
        json={"video_id": place["video_id"], "title": "  A   day\u00a0out ", "description": "One\r\ntwo \n"},
    )
    assert answer.status_code == 201
    video = answer.json()
    assert video["id"] == place["video_id"]
    assert (video["title"], video["description"]) == ("A day out", "One\ntwo")
    assert (video["status"], video["source"], video["error"]) == ("processing", "upload", None)
    assert (video["filename"], video["size_bytes"]) == ("Mein Film.final.mp4", len(BYTES))
    assert video["poster_url"] is None
    assert (await user.client.get(f"/api/videos/{video['id']}")).json() == video
    job = (await user.client.get(f"/api/jobs/{video['job_id']}")).json()
    assert (job["kind"], job["status"], job["video_id"]) == ("process_video", "queued", video["id"])
    assert await upload_state(user, place["upload_id"]) == "completed"


async def test_without_a_title_the_file_gives_its_name(user: Person) -> None:
    assert (await send(user, "holiday_01.final.mp4"))["title"] == "holiday_01.final"
    assert (await send(user, "x" * 250 + ".mp4"))["title"] == "x" * 200


async def test_the_old_address_confirms_too(user: Person) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    answer = await user.client.post("/videos", json={"video_id": place["video_id"]})
    assert answer.status_code == 201


async def test_confirming_again_answers_the_same(user: Person) -> None:
    video = await send(user, title="First words")
    again = await user.client.post("/api/videos", json={"video_id": video["id"], "title": "Second words"})
    assert again.status_code == 200
    assert again.json() == video


async def test_of_twenty_confirmations_at_once_one_makes_the_video(user: Person) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    answers = await asyncio.gather(
        *(user.client.post("/api/videos", json={"video_id": place["video_id"]}) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.text for answer in answers}) == 1
    async with transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Video)) == 1
        assert await session.scalar(select(func.count()).select_from(Job)) == 1


async def test_nothing_is_confirmed_before_it_arrived(user: Person) -> None:
    place = await presign(user)
    early = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    assert (early.status_code, code(early)) == (409, "upload_missing")
    await put(place["upload_url"], BYTES, place["headers"])
    assert (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).status_code == 201


async def test_another_size_than_announced_is_refused_until_the_right_bytes_come(user: Person, tmp_path: Path) -> None:
    place = await presign(user)
    wrong = tmp_path / "wrong.mp4"
    wrong.write_bytes(BYTES + b"more")
    await storage.put_file(place["s3_key"], wrong, content_type="video/mp4")
    answer = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    assert (answer.status_code, code(answer)) == (409, "upload_mismatch")
    upload = (await user.client.get(f"/api/uploads/{place['upload_id']}")).json()
    assert (upload["state"], upload["error"]["code"]) == ("failed", "upload_mismatch")
    await put(place["upload_url"], BYTES, place["headers"])
    assert (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).status_code == 201
    upload = (await user.client.get(f"/api/uploads/{place['upload_id']}")).json()
    assert (upload["state"], upload["error"]) == ("completed", None)


async def test_an_expired_upload_is_gone_but_a_late_object_revives_it(user: Person) -> None:
    place = await presign(user)
    await let_expire(place["upload_id"])
    assert await upload_state(user, place["upload_id"]) == "expired"
    answer = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    assert (answer.status_code, code(answer)) == (410, "upload_expired")
    async with transaction() as session:
        assert await session.scalar(select(Upload.state)) == UploadState.EXPIRED
    await put(place["upload_url"], BYTES, place["headers"])
    assert (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"video_id": None},
        {"video_id": "nonsense"},
        {"video_id": 7},
        {"video_id": str(uuid.uuid4()), "s3_key": "upload/x.mp4", "claim": "x"},
        {"s3_key": "upload/x.mp4"},
        {"claim": "x"},
        {"video_id": str(uuid.uuid4()), "title": ""},
        {"video_id": str(uuid.uuid4()), "title": " \u2003 "},
        {"video_id": str(uuid.uuid4()), "title": "x" * 201},
        {"video_id": str(uuid.uuid4()), "title": "two\nlines"},
        {"video_id": str(uuid.uuid4()), "description": "x" * 5001},
        {"video_id": str(uuid.uuid4()), "colour": "blue"},
    ],
)
async def test_a_confirmation_names_exactly_one_upload_and_good_texts(user: Person, body: dict[str, object]) -> None:
    answer = await user.client.post("/api/videos", json=body)
    assert (answer.status_code, code(answer)) == (422, "validation_failed")


# --- giving up -------------------------------------------------------------------------------------------------------


async def test_an_upload_that_is_given_up_leaves_nothing(user: Person) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    gone = await user.client.delete(f"/api/uploads/{place['upload_id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert await storage.head(place["s3_key"]) is None
    assert await upload_state(user, place["upload_id"]) == "cancelled"
    assert (await user.client.delete(f"/api/uploads/{place['upload_id']}")).status_code == 204
    late = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    assert (late.status_code, code(late)) == (409, "invalid_state")


async def test_what_arrives_after_giving_up_has_nowhere_to_go(user: Person) -> None:
    place = await presign(user)
    await user.client.delete(f"/api/uploads/{place['upload_id']}")
    assert (await put(place["upload_url"], BYTES, place["headers"])).status_code == 404
    async with transaction() as session:
        tombstone = await session.get_one(StoredObject, place["s3_key"])
    assert tombstone.buried_at is not None
    assert tombstone.due_at is not None
    assert tombstone.due_at > datetime.fromisoformat(place["expires_at"])  # looked for once more then


async def test_an_upload_that_became_a_video_is_not_given_up(user: Person) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    answer = await user.client.delete(f"/api/uploads/{place['upload_id']}")
    assert (answer.status_code, code(answer)) == (409, "invalid_state")
    assert await storage.head(place["s3_key"]) is not None


# --- others ----------------------------------------------------------------------------------------------------------


async def test_the_uploads_of_others_are_not_there(user: Person, other: Person) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    missing = str(uuid.uuid4())
    for method, theirs, nowhere, body in (
        ("GET", f"/api/uploads/{place['upload_id']}", f"/api/uploads/{missing}", None),
        ("DELETE", f"/api/uploads/{place['upload_id']}", f"/api/uploads/{missing}", None),
        ("POST", "/api/videos", "/api/videos", place["video_id"]),
    ):
        first = await other.client.request(method, theirs, json={"video_id": body} if body else None)
        second = await other.client.request(method, nowhere, json={"video_id": missing} if body else None)
        for answer in (first, second):
            assert (answer.status_code, code(answer)) == (404, "not_found")
        assert first.json()["error"]["message"] == second.json()["error"]["message"]
    assert await upload_state(user, place["upload_id"]) == "waiting"


async def test_uploads_need_somebody_signed_in(user: Person) -> None:
    place = await presign(user)
    user.client.headers.pop("Authorization")
    for method, path in (
        ("POST", "/api/upload/presigned-url"),
        ("POST", "/api/videos"),
        ("GET", f"/api/uploads/{place['upload_id']}"),
        ("DELETE", f"/api/uploads/{place['upload_id']}"),
    ):
        answer = await user.client.request(method, path, json=GOOD if method == "POST" else None)
        assert (answer.status_code, code(answer)) == (401, "unauthenticated")


async def test_storage_that_does_not_answer_is_a_503_and_nothing_is_lost(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await presign(user)
    await put(place["upload_url"], BYTES, place["headers"])
    with monkeypatch.context() as broken:
        broken.setattr(settings, "s3_endpoint_url", "http://127.0.0.1:9")
        storage.close()
        storage.open()
        answer = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    storage.close()
    storage.open()
    assert (answer.status_code, code(answer)) == (503, "storage_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).status_code == 201
