"""Processing as jobs: what they leave behind, also when they are stopped, fail or come late."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.queue import registry
from backend.core.storage import storage
from backend.videos import media
from backend.videos.models import Video
from tests.conftest import Person
from tests.videos import media_corpus as corpus
from tests.videos.sending import RunJobs, adoptable, folder, get, make_due, presign, put, seen, send

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    corpus.plain(path)
    return path.read_bytes()


# --- processing ------------------------------------------------------------------------------------------------------


async def test_a_film_becomes_a_video_with_facts_and_poster(user: Person, run_jobs: RunJobs, film: bytes) -> None:
    sent = await send(user, data=film)
    assert await run_jobs() == 3, "the file is looked at, then come poster and preview"
    video = await seen(user, sent)
    assert (video["status"], video["phase"], video["error"]) == ("completed", None, None)
    assert (video["width"], video["height"], video["fps"], video["rotation"]) == (320, 180, 25.0, 0)
    assert (video["container"], video["video_codec"], video["audio_codec"]) == ("mp4", "h264", "aac")
    assert abs(video["duration"] - 2) < 0.1
    assert (video["has_audio"], video["playable"], video["not_playable_reason"]) == (True, True, None)
    assert video["completed_at"] >= video["created_at"]
    poster = await get(video["poster_url"])
    assert (poster.status_code, poster.headers["content-type"]) == (200, "image/jpeg")
    assert poster.content.startswith(b"\xff\xd8\xff")
    assert len(await folder(user, video)) == 3
    listed = (await user.client.get("/api/videos")).json()["videos"]
    assert [{**row, "poster_url": ""} for row in listed] == [{**video, "poster_url": ""}]
    job = (await user.client.get(f"/api/jobs/{video['job_id']}")).json()
    assert (job["status"], job["progress"], job["attempt"]) == ("completed", 100, 1)


async def test_what_is_there_of_a_film_that_was_cut_off_plays_and_the_rest_is_told(
    user: Person, run_jobs: RunJobs, film: bytes
) -> None:
    sent = await send(user, data=film[: len(film) * 6 // 10])
    assert sent["missing_bytes"] is None, "nothing is known of it yet"
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["playable"]) == ("completed", True)
    assert video["missing_bytes"] == len(film) - video["size_bytes"]
    assert video["preview"] is not None
    assert video["rendition"]["kind"] == "remux", "browsers stop at the last piece, of which only a part is there"
    assert 0 < video["duration"] < 1.8, "of 2 seconds"
    [listed] = (await user.client.get("/api/videos")).json()["videos"]
    assert listed["missing_bytes"] == video["missing_bytes"]


async def test_what_is_missing_is_found_out_anew_by_each_processing(
    user: Person, run_jobs: RunJobs, film: bytes
) -> None:
    sent = await send(user, data=film)
    async with transaction() as session:
        await session.execute(update(Video).values(missing_bytes=999, status="failed", job_id=None))
    assert (await user.client.post(f"/api/videos/{sent['id']}/retry")).status_code < 300
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["missing_bytes"]) == ("completed", None)


async def test_an_adopted_film_is_processed_alike(user: Person, run_jobs: RunJobs, film: bytes) -> None:
    sent = (await user.client.post("/api/videos", json=await adoptable(user, data=film))).json()
    await run_jobs()
    video = await seen(user, sent)
    assert video["status"] == "completed"
    assert len(await folder(user, video)) == 3
    await user.client.delete(f"/api/videos/{video['id']}")
    async with transaction() as session:
        key = await session.scalar(select(Video.s3_key))
    assert key is not None
    await run_jobs()
    assert await folder(user, video) == []
    assert await storage.head(key) is None


async def test_a_file_that_is_no_video_ends_failed_with_words(user: Person, run_jobs: RunJobs) -> None:
    sent = await send(user)
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["phase"]) == ("failed", None)
    assert video["error"]["code"] == "corrupt_media"
    assert len(video["error"]["message"]) > 10
    assert video["error"]["retryable"] is False
    assert (video["poster_url"], video["duration"], video["completed_at"]) == (None, None, None)


async def test_the_phase_follows_the_work(
    user: Person, run_jobs: RunJobs, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[str | None] = []
    sent = await send(user, data=film)

    def spied(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def look_first(*args: Any, **options: Any) -> Any:
            phases.append((await seen(user, sent))["phase"])
            return await work(*args, **options)

        return look_first

    monkeypatch.setattr(media, "probe", spied(media.probe))
    monkeypatch.setattr(media, "poster", spied(media.poster))
    await run_jobs()
    assert phases == ["probe", "poster"]


async def test_an_object_that_vanished_fails_the_video(user: Person, run_jobs: RunJobs) -> None:
    place = await presign(user)
    await put(place["upload_url"], b"x" * 340, place["headers"])
    sent = (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).json()
    await storage.delete([place["s3_key"]])
    await run_jobs()
    assert (await seen(user, sent))["error"]["code"] == "upload_missing"


async def test_storage_trouble_is_tried_again_and_the_video_stays_in_processing(
    user: Person, run_jobs: RunJobs, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await send(user, data=film)
    with monkeypatch.context() as broken:

        async def away(*_: object, **__: object) -> None:
            raise StorageUnavailable

        broken.setattr(storage, "put_file", away)
        for _ in range(registry.get("make_poster").max_attempts + 1):
            assert await run_jobs() >= 1
            assert (await seen(user, sent))["status"] == "processing"
            await make_due("make_poster")
    await run_jobs()
    assert (await seen(user, sent))["status"] == "completed"


async def test_a_file_replaced_after_its_confirmation_never_becomes_a_ready_video(
    user: Person, run_jobs: RunJobs, film: bytes, tmp_path: Path
) -> None:
    sent = await send(user, data=film)
    other = tmp_path / "other.mp4"
    other.write_bytes(bytes(reversed(film)))
    [key] = await folder(user, sent)
    await storage.put_file(key, other, content_type="video/mp4")  # nobody's address does that any more
    await run_jobs()
    shown = await seen(user, sent)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "upload_mismatch")
