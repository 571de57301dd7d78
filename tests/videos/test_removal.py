"""Deleted videos: their objects go, whoever may still write them, and nothing is lost when the storage is away."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.core.errors import NotFound, StorageUnavailable
from backend.core.storage import storage
from backend.jobs import leases
from backend.videos import ledger, service, sweep
from backend.videos.models import StoredObject, Upload, Video
from tests.conftest import Person
from tests.orgs.acting import actor_of
from tests.videos.sending import RunJobs, adoptable, folder, make_due, presign, project_of, put, seen, send


async def let_time_pass(key: str) -> None:
    """Until no address by which somebody could write this key is good any more."""
    ago = datetime.now(UTC) - timedelta(days=2)
    async with transaction() as session:
        rows = update(StoredObject).where(StoredObject.key == key)
        await session.execute(rows.values(writable_until=ago, buried_at=ago, due_at=ago))


# --- removal ---------------------------------------------------------------------------------------------------------


async def test_deletion_waits_for_the_work_it_stops(user: Person, run_jobs: RunJobs, tmp_path: Path) -> None:
    sent = await send(user)
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
    key = f"videos/{user.id}/{sent['id']}/poster-late.jpg"
    async with transaction() as session:
        await ledger.record(
            session,
            key=key,
            kind=ledger.ObjectKind.POSTER,
            project_id=await project_of(user),
            video_id=uuid.UUID(sent["id"]),
        )
    await storage.put_file(key, late, content_type="image/jpeg")
    async with transaction() as session:
        await leases.confirm_cancel(session, job_id=held.id, token=held.lease_token)
    await make_due("purge_video")
    await run_jobs()
    assert await folder(user, sent) == []
    async with transaction() as session:
        assert await session.get(Video, uuid.UUID(sent["id"])) is None
        assert await session.scalar(select(Upload.id)) is None


async def test_what_is_put_on_a_url_after_the_deletion_is_removed_too(user: Person, run_jobs: RunJobs) -> None:
    answer = await user.client.post("/upload", json={"filename": "clip.mp4"})
    url, key = answer.json()["upload_url"], answer.json()["s3_path"]
    await put(url, b"x" * 340)
    video = (await user.client.post("/api/videos", json={"s3_key": key, "claim": answer.json()["claim"]})).json()
    await sweep.sweep()
    assert await storage.head(key) is None  # what anybody may write again was copied away
    await user.client.delete(f"/api/videos/{video['id']}")
    await run_jobs()
    assert await folder(user, video) == []
    assert (await put(url, b"y" * 340)).status_code == 200
    await sweep.sweep()
    assert await storage.head(key) is not None  # its URL still works: too early
    await let_time_pass(key)
    await sweep.sweep()
    assert await storage.head(key) is None
    async with transaction() as session:
        assert await session.get(StoredObject, key) is None


async def test_a_slow_request_that_ends_hours_after_its_address_is_removed_too(user: Person, tmp_path: Path) -> None:
    place = await adoptable(user)
    assert (await user.client.post("/api/videos", json=place)).status_code == 201
    (tmp_path / "late").write_bytes(b"late")

    async def hours_later(hours: int) -> None:
        ago = datetime.now(UTC) - timedelta(hours=hours)
        async with transaction() as session:
            row = update(StoredObject).where(StoredObject.key == place["s3_key"])
            await session.execute(row.values(writable_until=ago, buried_at=ago, due_at=ago))
        await sweep.sweep()

    await hours_later(23)
    assert await storage.head(place["s3_key"]) is None
    await storage.put_file(place["s3_key"], tmp_path / "late", content_type="video/mp4")  # it began in time
    await hours_later(25)
    assert await storage.head(place["s3_key"]) is None
    async with transaction() as session:
        assert await session.get(StoredObject, place["s3_key"]) is None


@pytest.mark.parametrize("broken_calls", [1, 2, 5])
async def test_a_key_that_cannot_be_removed_holds_no_other_up(
    user: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_calls: int
) -> None:
    project_id = await project_of(user)
    keys = [f"videos/{uuid.uuid4()}/{number}.jpg" for number in range(8)]
    (tmp_path / "object").write_bytes(b"x")
    for key in keys:
        async with transaction() as session:
            await ledger.record(
                session, key=key, kind=ledger.ObjectKind.POSTER, project_id=project_id, video_id=uuid.uuid4()
            )
        await storage.put_file(key, tmp_path / "object", content_type="image/jpeg")
    async with transaction() as session:
        await ledger.bury(session, keys)
    delete, asked = storage.delete, list[str]()

    async def mostly(which: list[str]) -> None:
        asked.extend(which)
        if len(asked) <= broken_calls:
            raise StorageUnavailable
        await delete(which)

    with monkeypatch.context() as broken:
        broken.setattr(storage, "delete", mostly)
        with pytest.raises(StorageUnavailable):
            await ledger.remove_buried()
    left = [key for key in keys if await storage.head(key) is not None]
    if broken_calls < 3:
        assert left == sorted(asked[:broken_calls], key=keys.index)
    else:
        assert len(asked) == 3, "a storage that is away is not asked for each key"
        assert left == keys
    async with transaction() as session:
        soon = StoredObject.due_at < func.now() + timedelta(minutes=1)
        due = list(await session.scalars(select(StoredObject.key).where(soon)))
        await session.execute(update(StoredObject).values(due_at=func.now()))
    assert sorted(due) == sorted(left), "what was removed is settled, what was not is due again soon"
    await sweep.sweep()
    assert [key for key in keys if await storage.head(key) is not None] == []


async def test_the_address_of_a_confirmed_upload_is_dead(user: Person, run_jobs: RunJobs) -> None:
    place = await presign(user)
    await put(place["upload_url"], b"x" * 340, place["headers"])
    await user.client.post("/api/videos", json={"video_id": place["video_id"]})
    assert (await put(place["upload_url"], b"y" * 340, place["headers"])).status_code == 404
    await user.client.delete(f"/api/videos/{place['video_id']}")
    await run_jobs()
    assert (await put(place["upload_url"], b"y" * 340, place["headers"])).status_code == 404
    assert await storage.list_keys(place["s3_key"]) == []


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
    assert (await user.client.get(f"/api/videos/{sent['id']}")).status_code == 404
    async with transaction() as session:
        await session.execute(update(StoredObject).values(due_at=func.now()))
    await sweep.sweep()
    assert await folder(user, sent) == []


# --- undo ------------------------------------------------------------------------------------------------------------


async def delete_with_grace(user: Person, video_id: str) -> None:
    actor = await actor_of(user)
    async with transaction() as session:
        video = await service.get_video(session, actor=actor, video_id=uuid.UUID(video_id))
        await service.delete_video(session, actor=actor, video=video, grace_seconds=600)


async def restore(user: Person, video_id: str) -> Video:
    async with transaction() as session:
        return await service.restore_video(session, actor=await actor_of(user), video_id=uuid.UUID(video_id))


async def test_a_deletion_with_grace_can_be_undone(user: Person, run_jobs: RunJobs) -> None:
    sent = await send(user)
    await delete_with_grace(user, sent["id"])
    assert (await user.client.get(f"/api/videos/{sent['id']}")).status_code == 404
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 0
    await run_jobs()
    assert len(await folder(user, sent)) >= 1
    restored = await restore(user, sent["id"])
    assert str(restored.id) == sent["id"]
    assert (await seen(user, sent))["status"] == "failed"  # it is no film
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 1
    await make_due("purge_video")
    await run_jobs()
    assert (await seen(user, sent))["status"] == "failed"  # it is no film
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


async def test_any_number_of_keys_is_buried_and_removed(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one statement takes: an analysis with a picture of each frame."""
    keys = [f"videos/many/{number:05d}.jpg" for number in range(17_000)]
    async with transaction() as session:
        await ledger.bury(session, keys)
        await ledger.bury(session, keys[:10])
        buried = await session.scalar(
            select(func.count()).select_from(StoredObject).where(StoredObject.buried_at.is_not(None))
        )
    assert buried == len(keys)
    gone: list[str] = []

    async def delete(names: list[str]) -> None:
        gone.extend(names)

    async def no_parts(_: str) -> None:
        return

    monkeypatch.setattr(storage, "delete", delete)
    monkeypatch.setattr(storage, "abort_multiparts", no_parts)
    assert await ledger.remove_buried(keys) == len(keys)
    assert sorted(gone) == keys
