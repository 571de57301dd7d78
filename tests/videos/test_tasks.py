"""Processing and removal as jobs: what they leave behind, also when they are stopped, fail or come late."""

import asyncio
import shutil
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.core.errors import NotFound, StorageUnavailable
from backend.core.queue import registry
from backend.core.storage import storage
from backend.jobs import leases
from backend.jobs.models import Job
from backend.videos import media, service, tasks
from backend.videos.models import Upload, Video
from tests.conftest import Person
from tests.videos import media_corpus as corpus
from tests.videos.sending import RunJobs, adoptable, get, presign, project_of, put, send

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    corpus.plain(path)
    return path.read_bytes()


async def seen(user: Person, video: dict[str, Any]) -> dict[str, Any]:
    answer = await user.client.get(f"/api/videos/{video['id']}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def folder(user: Person, video: dict[str, Any]) -> list[str]:
    return await storage.list_keys(f"videos/{user.id}/{video['id']}/")


async def make_due(kind: str) -> None:
    """Let waiting jobs of a kind run now, whatever they wait for."""
    async with transaction() as session:
        await session.execute(update(Job).where(Job.kind == kind, Job.state == "queued").values(run_at=func.now()))


# --- processing ------------------------------------------------------------------------------------------------------


async def test_a_film_becomes_a_video_with_facts_and_poster(user: Person, run_jobs: RunJobs, film: bytes) -> None:
    sent = await send(user, data=film)
    assert await run_jobs() == 1
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
    assert len(await folder(user, video)) == 2
    listed = (await user.client.get("/api/videos")).json()["videos"]
    assert [{**row, "poster_url": ""} for row in listed] == [{**video, "poster_url": ""}]
    job = (await user.client.get(f"/api/jobs/{video['job_id']}")).json()
    assert (job["status"], job["progress"], job["attempt"]) == ("completed", 100, 1)


async def test_an_adopted_film_is_processed_alike(user: Person, run_jobs: RunJobs, film: bytes) -> None:
    sent = (await user.client.post("/api/videos", json=await adoptable(user, data=film))).json()
    await run_jobs()
    video = await seen(user, sent)
    assert video["status"] == "completed"
    assert len(await folder(user, video)) == 1  # the poster; the original stays where it was sent
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
        for _ in range(registry.get("process_video").max_attempts + 1):
            assert await run_jobs() >= 1
            assert (await seen(user, sent))["status"] == "processing"
            await make_due("process_video")
    await run_jobs()
    assert (await seen(user, sent))["status"] == "completed"


async def test_a_poster_that_is_being_stored_when_its_job_is_stopped_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stored = asyncio.Event()
    begun = asyncio.Event()

    async def slow(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        stored.set()

    monkeypatch.setattr(storage, "put_file", slow)
    work = asyncio.create_task(tasks._store_poster("key", tmp_path / "poster.jpg"))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert stored.is_set()


# --- removal ---------------------------------------------------------------------------------------------------------


async def test_deletion_waits_for_the_work_it_stops(
    user: Person, run_jobs: RunJobs, film: bytes, tmp_path: Path
) -> None:
    sent = await send(user, data=film)
    async with transaction() as session:
        held = await leases.claim(session, worker="elsewhere", queues=["media"], kinds=["process_video"])
    assert held is not None
    assert held.lease_token is not None
    assert (await user.client.delete(f"/api/videos/{sent['id']}")).status_code == 204
    await run_jobs()
    assert len(await folder(user, sent)) == 1
    # The other worker stores its poster late, and only then hears that it was stopped.
    late = tmp_path / "poster.jpg"
    late.write_bytes(b"late")
    await storage.put_file(f"videos/{user.id}/{sent['id']}/poster-late.jpg", late, content_type="image/jpeg")
    async with transaction() as session:
        await leases.confirm_cancel(session, job_id=held.id, token=held.lease_token)
    await make_due("purge_video")
    await run_jobs()
    assert await folder(user, sent) == []
    async with transaction() as session:
        assert await session.get(Video, uuid.UUID(sent["id"])) is None
        assert await session.scalar(select(Upload.id)) is None


async def test_what_is_put_on_a_url_after_the_deletion_is_removed_too(user: Person, run_jobs: RunJobs) -> None:
    place = await presign(user)
    await put(place["upload_url"], b"x" * 340, place["headers"])
    await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    await user.client.delete(f"/api/videos/{place['video_id']}")
    await run_jobs()
    assert (await put(place["upload_url"], b"x" * 340, place["headers"])).status_code == 200
    await run_jobs()
    assert await storage.head(place["s3_key"]) is not None  # its URL still works: too early
    await make_due("purge_objects")
    await run_jobs()
    assert await storage.head(place["s3_key"]) is None


async def test_storage_trouble_delays_a_deletion_and_never_loses_it(
    user: Person, run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await send(user)
    await user.client.delete(f"/api/videos/{sent['id']}")
    with monkeypatch.context() as broken:

        async def away(*_: object, **__: object) -> None:
            raise StorageUnavailable

        broken.setattr(storage, "delete", away)
        await run_jobs()
    assert len(await folder(user, sent)) == 1
    await make_due("purge_video")
    await run_jobs()
    assert await folder(user, sent) == []


# --- undo ------------------------------------------------------------------------------------------------------------


async def actor_of(user: Person) -> Any:
    project_id = await project_of(user)
    return SimpleNamespace(user_id=uuid.UUID(user.id), project_ids=(project_id,), personal_project_id=project_id)


async def delete_with_grace(user: Person, video_id: str) -> None:
    actor = await actor_of(user)
    async with transaction() as session:
        video = await service.get_video(session, actor=actor, video_id=uuid.UUID(video_id))
        await service.delete_video(session, actor=actor, video=video, grace_seconds=600)


async def restore(user: Person, video_id: str) -> Video:
    async with transaction() as session:
        return await service.restore_video(session, actor=await actor_of(user), video_id=uuid.UUID(video_id))


async def test_a_deletion_with_grace_can_be_undone(user: Person, run_jobs: RunJobs, film: bytes) -> None:
    sent = await send(user, data=film)
    await delete_with_grace(user, sent["id"])
    assert (await user.client.get(f"/api/videos/{sent['id']}")).status_code == 404
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 0
    await run_jobs()
    assert len(await folder(user, sent)) >= 1
    restored = await restore(user, sent["id"])
    assert str(restored.id) == sent["id"]
    assert (await seen(user, sent))["status"] == "completed"
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 1
    await make_due("purge_video")
    await run_jobs()
    assert (await seen(user, sent))["status"] == "completed"
    # And it can be deleted and undone again.
    await delete_with_grace(user, sent["id"])
    await restore(user, sent["id"])


async def test_nothing_is_undone_once_removal_has_begun_or_by_others(
    user: Person, other: Person, run_jobs: RunJobs
) -> None:
    sent = await send(user)
    with pytest.raises(NotFound):
        await restore(user, sent["id"])  # it is not deleted
    await delete_with_grace(user, sent["id"])
    with pytest.raises(NotFound):
        await restore(other, sent["id"])
    await make_due("purge_video")
    await run_jobs()
    with pytest.raises(NotFound):
        await restore(user, sent["id"])
    assert await folder(user, sent) == []


async def test_a_file_replaced_after_its_confirmation_never_becomes_a_ready_video(
    user: Person, run_jobs: RunJobs, film: bytes
) -> None:
    place = await presign(user, data=film)
    await put(place["upload_url"], film, place["headers"])
    confirmed = await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    other_bytes = bytes(reversed(film))
    assert (await put(place["upload_url"], other_bytes, place["headers"])).status_code == 200
    await run_jobs()
    shown = await seen(user, confirmed.json())
    assert (shown["status"], shown["error"]["code"]) == ("failed", "upload_mismatch")
