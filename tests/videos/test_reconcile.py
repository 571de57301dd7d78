"""The storage and the ledger side by side: what is wrong is found and mended, and what is under way is left alone."""

import asyncio
import re
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete, select, update

from backend.config import settings
from backend.core import capabilities
from backend.core.db import transaction
from backend.core.storage import OpenMultipart, storage
from backend.jobs.models import Job
from backend.videos import ledger, reconcile, sweep
from backend.videos.models import StoredObject, Upload, Video
from backend.videos.reconcile import Finding, Reconciliation
from tests.conftest import Person
from tests.videos import media_corpus as corpus
from tests.videos.sending import BYTES, RunJobs, adoptable, get, presign, project_of, put, send

LONG_AGO = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture(autouse=True)
async def nothing_but_ours(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of other tests stay in the storage, so each test here looks only at its own; they are old by decree."""
    for each in await storage.list_multiparts():
        await storage.abort_multipart(each.key, each.upload_id)
    await storage.delete(await storage.list_keys(""))
    monkeypatch.setattr(reconcile, "safe_age", lambda key: timedelta(hours=-1))


async def found(*, fix: bool = False) -> list[Finding]:
    return [each async for each in Reconciliation(fix=fix).findings()]


async def troubles(*, fix: bool = False) -> list[tuple[str, str]]:
    return [(each.trouble.value, each.key) for each in await found(fix=fix)]


async def stored(key: str, tmp_path: Path) -> str:
    (tmp_path / "object").write_bytes(BYTES)
    await storage.put_file(key, tmp_path / "object", content_type="video/mp4")
    return key


async def written_down(user: Person, key: str, video_id: uuid.UUID | None = None) -> str:
    async with transaction() as session:
        await ledger.record(
            session, key=key, kind=ledger.ObjectKind.POSTER, project_id=await project_of(user), video_id=video_id
        )
    return key


async def test_what_is_as_it_should_be_is_not_listed(user: Person, run_jobs: RunJobs) -> None:
    sent = await send(user)
    await presign(user)
    begun = await presign(user)
    await put(begun["upload_url"], BYTES, begun["headers"])
    await user.client.post("/api/videos", json=await adoptable(user))
    gone = await send(user)
    await user.client.delete(f"/api/videos/{gone['id']}")
    cancelled = await presign(user)
    await user.client.delete(f"/api/uploads/{cancelled['upload_id']}")
    await run_jobs()
    await sweep.sweep()
    assert await found() == []
    assert (await user.client.get(f"/api/videos/{sent['id']}")).status_code == 200


async def test_objects_that_belong_to_nothing_are_removed(user: Person, tmp_path: Path) -> None:
    stray = await stored(f"videos/{uuid.uuid4()}/stray.mp4", tmp_path)
    unclaimed = (await adoptable(user))["s3_key"]
    unowned = await stored(await written_down(user, f"videos/{uuid.uuid4()}/unowned.jpg", uuid.uuid4()), tmp_path)
    sent = await send(user)
    async with transaction() as session:
        await session.execute(update(Video).values(status="failed"))
        await session.execute(update(Job).values(state="failed"))
    abandoned = await stored(
        await written_down(user, f"videos/x/{sent['id']}/old.jpg", uuid.UUID(sent["id"])), tmp_path
    )
    await storage.create_multipart(f"videos/{uuid.uuid4()}/parts.mp4", content_type="video/mp4")
    expected = {"open_parts", "unclaimed", "stray", "unowned", "abandoned"}
    assert {trouble for trouble, _ in await troubles()} == expected
    assert await troubles() == await troubles()
    mended = await found(fix=True)
    assert {each.mended for each in mended} == {"closed", "removed"}
    for key in (stray, unclaimed, unowned, abandoned):
        assert await storage.head(key) is None
    assert await storage.list_multiparts() == []
    assert await found() == []
    assert len(await storage.list_keys("")) == 1, "the video's own is still there"


async def test_records_without_objects_are_forgotten_or_said_to_be_missing(user: Person) -> None:
    empty = await written_down(user, f"videos/{uuid.uuid4()}/poster.jpg", uuid.uuid4())
    sent = await send(user)
    async with transaction() as session:
        await session.execute(update(Video).values(status="completed"))
    [key] = await storage.list_keys("")
    await storage.delete([key])
    assert sorted(await troubles()) == sorted([("empty", empty), ("missing", key)])
    assert {each.mended for each in await found(fix=True)} == {"forgotten", "video failed"}
    assert [each.trouble for each in await found()] == ["missing"]
    video = (await user.client.get(f"/api/videos/{sent['id']}")).json()
    assert (video["status"], video["error"]["code"]) == ("failed", "upload_missing")


async def test_an_object_that_something_refers_to_is_written_down_and_kept(user: Person) -> None:
    await send(user)
    place = await adoptable(user)
    async with transaction() as session:
        await session.execute(delete(StoredObject))
    keys = await storage.list_keys("")
    assert {trouble for trouble, _ in await troubles()} == {"stray", "unclaimed"}
    assert sorted(await each_mended()) == ["recorded", "removed"]
    assert await storage.list_keys("") == [key for key in keys if key != place["s3_key"]]
    assert await found() == []


async def each_mended() -> list[str]:
    return [each.mended or "" for each in await found(fix=True)]


async def test_what_is_young_is_never_touched(user: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    young = await stored(f"videos/{uuid.uuid4()}/young.mp4", tmp_path)
    await storage.create_multipart(f"videos/{uuid.uuid4()}/parts.mp4", content_type="video/mp4")
    mended = await found(fix=True)
    assert [(each.young, each.mended) for each in mended] == [(True, None)] * 2
    assert await storage.head(young) is not None
    assert len(await storage.list_multiparts()) == 1
    longest = timedelta(seconds=max(settings.upload_url_expiration, settings.presigned_url_expiration))
    assert reconcile.safe_age("videos/x") == longest + ledger.SLOW_ARRIVAL
    assert reconcile.safe_age("upload/x") == timedelta(days=7) + ledger.SLOW_ARRIVAL


async def test_thousands_of_keys_are_walked_in_pages_of_both(
    user: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_PAGE", 3)
    await asyncio.gather(*(send(user) for _ in range(8)))
    strays = [await stored(f"videos/{'é' if n % 2 else 'z'}{n}.mp4", tmp_path) for n in range(5)]
    empties = [await written_down(user, f"{'~' if n % 2 else '!'}/{n}.jpg", uuid.uuid4()) for n in range(7)]
    run = Reconciliation()
    seen = [each.key async for each in run.findings()]
    assert seen == sorted([*strays, *empties], key=str.encode)
    assert (run.totals.objects, run.totals.rows, run.totals.next_after) == (13, 15, None)
    part = Reconciliation(seconds=0)
    first = [each.key async for each in part.findings()]
    assert part.totals.next_after is not None
    rest = [each.key async for each in Reconciliation(after=part.totals.next_after).findings()]
    assert [*first, *rest] == seen


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")
async def test_what_a_long_optional_step_has_written_down_and_stored_is_left_alone(
    user: Person, run_jobs: RunJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ladder_heights", [144, 180])
    corpus.plain(tmp_path / "film.mp4")
    sent = await send(user, data=(tmp_path / "film.mp4").read_bytes())
    put_file, during = storage.put_file, list[Finding]()

    async def slowly(key: str, path: Path, *, content_type: str) -> None:
        await put_file(key, path, content_type=content_type)
        if "ladder-" in key and "-144p" in key:  # one is stored, the other not; and something of a third is open
            async with transaction() as session:
                await session.execute(update(StoredObject).values(recorded_at=LONG_AGO, writable_until=None))
                assert await session.scalar(select(Video.status)) == "completed"
            opened = await storage.create_multipart(key.replace("-144p", "-180p"), content_type=content_type)
            during.extend([*await found(fix=True), *await found(fix=True)])
            assert len(await storage.list_multiparts()) == 1
            await storage.abort_multipart(key.replace("-144p", "-180p"), opened)

    monkeypatch.setattr(storage, "put_file", slowly)
    await run_jobs()
    assert during == []
    for rung in ("144p", "180p"):
        playlist = (await user.client.get(f"/api/videos/{sent['id']}/hls/{rung}.m3u8")).text
        address = re.findall(r'MAP:URI="([^"]+)"', playlist)[0]
        assert (await get(address, Range="bytes=0-9")).status_code == 206
    assert await found() == []
    await user.client.delete(f"/api/videos/{sent['id']}")
    await run_jobs()
    assert await storage.list_keys("") == []


async def test_what_begins_to_be_used_while_it_is_looked_at_is_left_alone(
    user: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await send(user)
    async with transaction() as session:
        await session.execute(update(Video).values(status="completed"))
        await session.execute(update(Job).values(state="failed"))
    video_id = uuid.UUID(sent["id"])
    stored_one = await stored(await written_down(user, f"videos/x/{video_id}/a.jpg", video_id), tmp_path)
    empty_one = await written_down(user, f"videos/x/{video_id}/b.jpg", video_id)
    assert sorted(await troubles()) == [("abandoned", stored_one), ("empty", empty_one)]
    mend = reconcile._mend

    async def just_after(finding: Finding) -> str | None:
        async with transaction() as session:
            await session.execute(update(Job).values(state="queued"))
        return await mend(finding)

    monkeypatch.setattr(reconcile, "_mend", just_after)
    assert [each.mended for each in await found(fix=True)] == [None]
    async with transaction() as session:
        assert len((await session.scalars(select(StoredObject).where(StoredObject.buried_at.is_(None)))).all()) == 3
    assert await storage.head(stored_one) is not None


async def test_an_upload_that_is_under_way_is_left_alone(user: Person) -> None:
    place = await presign(user)
    async with transaction() as session:
        await session.execute(update(Upload).values(created_at=LONG_AGO))
        await session.execute(update(StoredObject).values(recorded_at=LONG_AGO, writable_until=LONG_AGO))
    assert await found(fix=True) == []
    assert (await put(place["upload_url"], BYTES, place["headers"])).status_code == 200


async def test_parts_of_a_buried_key_are_left_to_the_sweep_which_removes_them(user: Person) -> None:
    place = await presign(user)
    assert (await user.client.delete(f"/api/uploads/{place['upload_id']}")).status_code == 204
    await storage.create_multipart(place["s3_key"], content_type="video/mp4")  # as by a request that was under way
    assert await found(fix=True) == []
    assert len(await storage.list_multiparts()) == 1
    async with transaction() as session:
        over = {"recorded_at": LONG_AGO, "writable_until": LONG_AGO, "buried_at": LONG_AGO, "due_at": LONG_AGO}
        await session.execute(update(StoredObject).values(over))
    await sweep.sweep()
    assert await storage.list_multiparts() == []
    assert await found() == []


async def test_where_open_uploads_cannot_be_listed_each_key_of_the_ledger_is_asked_for(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, asked = storage.list_multiparts, list[str]()

    async def of_exact_keys(prefix: str = "") -> list[OpenMultipart]:
        asked.append(prefix)
        return [each for each in await listed(prefix) if each.key == prefix]

    monkeypatch.setattr(storage, "list_multiparts", of_exact_keys)
    monkeypatch.setattr(capabilities, "_HOSTS", {"127.0.0.1": "minio"})
    capabilities.forget()
    places = [await presign(user) for _ in range(3)]
    async with transaction() as session:
        await session.execute(update(Upload).values(check_at=None, state="expired"))
    unknown = f"videos/{uuid.uuid4()}/parts.mp4"
    await storage.create_multipart(unknown, content_type="video/mp4")
    run = Reconciliation(fix=True)
    seen = [(each.trouble.value, each.key, each.mended) async for each in run.findings()]
    keys = sorted(place["s3_key"] for place in places)
    assert [each for each in seen if each[0] == "open_parts"] == [("open_parts", key, "closed") for key in keys]
    assert run.totals.uploads_by_key, "that of the unknown key is not seen, and the answer says so"
    assert [each.key for each in await listed()] == [unknown]
    assert "" not in asked
    capabilities.forget()
