"""One video through the API: read, change, play, delete, try again; and never somebody else's."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.db import transaction
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.videos import service
from backend.videos.models import Video, VideoStatus
from tests.conftest import Person
from tests.videos.sending import BYTES, RunJobs, add_row, code, get, send

SHAPE = {
    "id", "project_id", "title", "description", "status", "phase", "playable", "not_playable_reason", "source",
    "filename", "content_type", "size_bytes", "missing_bytes", "duration", "width", "height", "coded_width",
    "coded_height", "rotation", "fps", "vfr", "bit_depth", "hdr", "container", "video_codec", "audio_codec",
    "has_audio", "poster_url", "error", "preview", "rendition", "has_ladder", "prompt", "orientation", "model_used",
    "job_id", "created_at", "updated_at", "completed_at",
}  # fmt: skip


async def test_a_video_has_the_shape_of_the_contract(user: Person) -> None:
    video_id = await add_row(
        user, "Clip", status=VideoStatus.FAILED, error_code="corrupt_media", error_message="It broke."
    )
    video = (await user.client.get(f"/api/videos/{video_id}")).json()
    assert set(video) == SHAPE
    assert video["error"] == {"code": "corrupt_media", "message": "It broke.", "retryable": False}
    assert video["created_at"] == "2026-01-01T00:00:00Z"


# --- change ----------------------------------------------------------------------------------------------------------


async def test_title_and_description_can_be_changed_one_by_one(user: Person) -> None:
    video_id = await add_row(user, "Old", description="Old words")
    path = f"/api/videos/{video_id}"
    changed = (await user.client.patch(path, json={"title": "  New \u2009 title "})).json()
    assert (changed["title"], changed["description"]) == ("New title", "Old words")
    changed = (await user.client.patch(path, json={"description": " Line one  \n\n\tLine two\n"})).json()
    assert (changed["title"], changed["description"]) == ("New title", "Line one\n\n\tLine two")
    changed = (await user.client.patch(path, json={"description": ""})).json()
    assert changed["description"] == ""
    assert datetime.fromisoformat(changed["updated_at"]) > datetime.fromisoformat(changed["created_at"])
    assert (await user.client.get(path)).json() == changed
    assert (await user.client.patch(path, json={})).json()["title"] == "New title"


async def test_texts_that_look_alike_are_the_same(user: Person) -> None:
    video_id = await add_row(user)
    changed = await user.client.patch(f"/api/videos/{video_id}", json={"title": "Cafe\u0301"})
    assert changed.json()["title"] == "Caf\u00e9"
    assert (await user.client.get("/api/videos", params={"q": "cafe\u0301"})).json()["pagination"]["total"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"title": ""},
        {"title": "   "},
        {"title": None},
        {"title": 5},
        {"title": "x" * 201},
        {"title": "a\nb"},
        {"title": "a\u0000b"},
        {"title": "a\u007fb"},
        {"description": None},
        {"description": "x" * 5001},
        {"description": "a\u0000b"},
        {"description": "a\u001bb"},
        {"status": "completed"},
        {"title": "Good", "owner_id": str(uuid.uuid4())},
        [],
        "title",
        None,
    ],
)
async def test_other_changes_are_refused(user: Person, body: object) -> None:
    video_id = await add_row(user, "Same")
    answer = await user.client.patch(f"/api/videos/{video_id}", json=body)
    assert (answer.status_code, code(answer)) == (422, "validation_failed")
    assert (await user.client.get(f"/api/videos/{video_id}")).json()["title"] == "Same"


@pytest.mark.parametrize(
    "title", ["<script>alert(1)</script>", "\u202egnp.exe", "日本語 🎬", "'; DROP TABLE videos;--"]
)
async def test_any_printable_title_is_kept_as_it_is(user: Person, title: str) -> None:
    video_id = await add_row(user)
    assert (await user.client.patch(f"/api/videos/{video_id}", json={"title": title})).json()["title"] == title


# --- play ------------------------------------------------------------------------------------------------------------


async def test_a_video_plays_with_ranges_over_a_signed_url(user: Person) -> None:
    video = await send(user, "Clip.MOV", BYTES, "video/quicktime")
    answer = await user.client.get(f"/api/videos/{video['id']}/playback-url")
    playback = answer.json()
    assert set(playback) == {"url", "content_type", "expires_in", "expires_at"}
    assert (playback["content_type"], playback["expires_in"]) == ("video/quicktime", 3600)
    left = datetime.fromisoformat(playback["expires_at"]) - datetime.now(UTC)
    assert 3590 < left.total_seconds() <= 3600
    part = await get(playback["url"], Range="bytes=4-7")
    assert (part.status_code, part.content) == (206, BYTES[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(BYTES)}"
    assert part.headers["content-type"] == "video/quicktime"
    shown = part.headers["content-disposition"]
    assert (shown.startswith("inline; filename="), part.headers["x-content-type-options"]) == (True, "nosniff")
    assert (await get(playback["url"].replace("X-Amz-Signature=", "X-Amz-Signature=0"))).status_code == 403


@pytest.mark.parametrize("name", ["plain.mp4", 'qu"ote\\s.mp4', "Ünïcödé 日本 🎬.mp4", "semi;colon, comma%41.mp4"])
async def test_a_download_is_saved_under_its_file_name(user: Person, name: str) -> None:
    video = await send(user, name)
    answer = await user.client.get(f"/api/videos/{video['id']}/playback-url", params={"download": "1"})
    fetched = await get(answer.json()["url"])
    assert fetched.status_code == 200
    disposition = fetched.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.isascii()
    assert unquote(disposition.partition("filename*=UTF-8''")[2]) == name


async def test_with_a_cdn_playing_goes_through_it_and_downloads_do_not(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = await add_row(user, s3_key="videos/a b/ü.mp4", poster_key="videos/a b/poster.jpg")
    monkeypatch.setattr(settings, "cdn_base_url", "https://cdn.example.org/media/")
    path = f"/api/videos/{video_id}/playback-url"
    assert (await user.client.get(path)).json()["url"] == "https://cdn.example.org/media/videos/a%20b/%C3%BC.mp4"
    assert "X-Amz-Signature" in (await user.client.get(path, params={"download": "1"})).json()["url"]
    video = (await user.client.get(f"/api/videos/{video_id}")).json()
    assert video["poster_url"] == "https://cdn.example.org/media/videos/a%20b/poster.jpg"


# --- delete ----------------------------------------------------------------------------------------------------------


async def test_a_deleted_video_is_gone_at_once_and_its_objects_right_after(user: Person, run_jobs: RunJobs) -> None:
    video = await send(user)
    folder = f"videos/{user.id}/{video['id']}/"
    assert len(await storage.list_keys(folder)) == 1
    answer = await user.client.delete(f"/api/videos/{video['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/retry"),
        ("GET", "/playback-url"),
    ):
        again = await user.client.request(
            method, f"/api/videos/{video['id']}{path}", json={"title": "x"} if method == "PATCH" else None
        )
        assert (again.status_code, code(again)) == (404, "not_found")
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 0
    # The upload cannot bring it back either.
    confirmed = await user.client.post("/api/videos", json={"video_id": video["id"]})
    assert confirmed.status_code == 404
    assert (await user.client.get(f"/api/jobs/{video['job_id']}")).json()["status"] == "cancelled"
    await run_jobs()
    assert await storage.list_keys(folder) == []
    async with transaction() as session:
        assert await session.get(Video, uuid.UUID(video["id"])) is None
    assert (await user.client.post("/api/videos", json={"video_id": video["id"]})).status_code == 404


async def test_of_many_deletions_at_once_one_counts(user: Person) -> None:
    video = await send(user)
    answers = await asyncio.gather(*(user.client.delete(f"/api/videos/{video['id']}") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 7
    async with transaction() as session:
        assert len((await session.scalars(select(Job).where(Job.kind == "purge_video"))).all()) == 1


# --- retry -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [VideoStatus.PROCESSING, VideoStatus.COMPLETED, VideoStatus.UPLOADED])
async def test_only_a_failed_video_is_tried_again(user: Person, status: VideoStatus) -> None:
    video_id = await add_row(user, status=status)
    answer = await user.client.post(f"/api/videos/{video_id}/retry")
    assert (answer.status_code, code(answer)) == (409, "invalid_state")


async def test_a_failed_video_is_processed_again_by_the_same_job(user: Person, run_jobs: RunJobs) -> None:
    video = await send(user)
    await run_jobs()
    failed = (await user.client.get(f"/api/videos/{video['id']}")).json()
    assert failed["status"] == "failed"
    answers = await asyncio.gather(*(user.client.post(f"/api/videos/{video['id']}/retry") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4
    again = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (again["status"], again["error"], again["job_id"]) == ("processing", None, video["job_id"])
    await run_jobs()
    failed = (await user.client.get(f"/api/videos/{video['id']}")).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "corrupt_media")


async def test_who_comes_a_moment_late_does_not_try_a_video_again(
    user: Person, run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = await send(user)
    await run_jobs()
    retry = service.retry_video

    async def after_another(session: AsyncSession, **given: Any) -> Video:
        monkeypatch.setattr(service, "retry_video", retry)
        assert (await user.client.post(f"/api/videos/{video['id']}/retry")).status_code == 200
        return await retry(session, **given)

    monkeypatch.setattr(service, "retry_video", after_another)
    late = await user.client.post(f"/api/videos/{video['id']}/retry")
    assert (late.status_code, code(late)) == (409, "invalid_state")


async def test_a_video_whose_job_was_cancelled_gets_a_new_one(user: Person) -> None:
    video = await send(user)
    assert (await user.client.post(f"/api/jobs/{video['job_id']}/cancel")).status_code in (200, 202)
    cancelled = (await user.client.get(f"/api/videos/{video['id']}")).json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("failed", "cancelled")
    again = await user.client.post(f"/api/videos/{video['id']}/retry")
    assert (again.status_code, again.json()["status"]) == (200, "processing")
    assert again.json()["job_id"] != video["job_id"]


# --- others ----------------------------------------------------------------------------------------------------------


async def test_the_videos_of_others_are_not_there(user: Person, other: Person) -> None:
    video_id = await add_row(user, "Secret")
    for method, tail in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/playback-url"),
        ("POST", "/retry"),
    ):
        bodies = []
        for wanted in (video_id, str(uuid.uuid4()), "nonsense", "0" * 5000):
            answer = await other.client.request(
                method, f"/api/videos/{wanted}{tail}", json={"title": "Mine now"} if method == "PATCH" else None
            )
            assert (answer.status_code, code(answer)) == (404, "not_found"), (method, tail, wanted)
            bodies.append({**answer.json()["error"], "request_id": ""})
        assert bodies == bodies[:1] * 4
    listed = (await other.client.get("/api/videos")).json()
    assert (listed["videos"], listed["pagination"]["total"]) == ([], 0)
    assert (await other.client.get("/api/videos", params={"q": "secret"})).json()["pagination"]["total"] == 0
    assert (await user.client.get(f"/api/videos/{video_id}")).json()["title"] == "Secret"


async def test_videos_need_somebody_signed_in(user: Person) -> None:
    video_id = await add_row(user)
    user.client.headers.pop("Authorization")
    for method, path in (
        ("GET", "/api/videos"),
        ("GET", f"/api/videos/{video_id}"),
        ("PATCH", f"/api/videos/{video_id}"),
        ("DELETE", f"/api/videos/{video_id}"),
        ("POST", f"/api/videos/{video_id}/retry"),
        ("GET", f"/api/videos/{video_id}/playback-url"),
    ):
        answer = await user.client.request(method, path, json={"title": "x"} if method == "PATCH" else None)
        assert (answer.status_code, code(answer)) == (401, "unauthenticated")
