"""Generations through the API: what is taken, listed, changed and deleted, and who may."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, update

from backend.config import settings
from backend.core.db import transaction
from backend.core.storage import storage
from backend.generation import pictures, preview
from backend.generation.models import Generation, SourceImage
from backend.videos import ledger
from backend.videos.models import Video
from tests.conftest import Person
from tests.generation.scripted import SENT, Offer, Scripted, Studio
from tests.generation.tasking import make_due, run_queue
from tests.orgs.acting import join, project


async def refusal(studio: Studio, **body: Any) -> tuple[int, str, dict[str, str]]:
    answer = await studio.person.client.post("/api/generations", json=body)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error.get("fields", {})


# --- starting --------------------------------------------------------------------------------------------------------


async def test_what_is_usual_is_filled_in(studio: Studio) -> None:
    video, image, sound = [await studio.start(kind=kind) for kind in ("video", "image", "audio")]
    assert (video["orientation"], video["seconds"], video["spec"]["width"], video["spec"]["fps"]) == (
        "portrait",
        7,
        720,
        24,
    )
    assert (image["orientation"], image["spec"]["width"], image["spec"]["height"]) == ("square", 1024, 1024)
    assert (sound["orientation"], sound["seconds"]) == (None, None)
    assert {each["status"] for each in (video, image, sound)} == {"pending"}


async def test_the_answer_says_where_to_follow_it(studio: Studio) -> None:
    answer = await studio.person.client.post("/api/generations", json={"prompt": "A harbour", "kind": "image"})
    body = answer.json()
    assert (body["job"]["status"], body["job"]["kind"]) == ("queued", "generate")
    assert body["stream_url"] == f"/api/jobs/{body['job']['id']}/stream"
    assert (await studio.person.client.get(f"/api/jobs/{body['job']['id']}")).json()["queue"] == "generation"


async def test_the_provider_is_told_all_that_was_asked_for(studio: Studio, scripted: Scripted) -> None:
    wish = {"orientation": "landscape", "seconds": 4, "seed": 11, "model": "large", "voice": "de", "pace": "slow"}
    made = await studio.make("Möwen im Wind", emotion="calm", background_noise="sea", **wish)
    [spec] = scripted.specs
    assert {name: getattr(spec, name) for name in wish} == wish
    assert (str(spec.id), spec.prompt, spec.width, spec.height) == (made["id"], "Möwen im Wind", 1280, 720)
    assert (spec.emotion, spec.background_noise) == ("calm", "sea")


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": ""},
        {"prompt": "  \n "},
        {"prompt": "\u200b"},
        {"prompt": "x" * 1001},
        {"prompt": "a\x00b"},
        {"prompt": 5},
        {},
        {"prompt": "x", "kind": "smell"},
        {"prompt": "x", "orientation": "diagonal"},
        {"prompt": "x", "seconds": 0.5},
        {"prompt": "x", "seconds": 61},
        {"prompt": "x", "seed": -1},
        {"prompt": "x", "seed": 2**31},
        {"prompt": "x", "seed": "7"},
        {"prompt": "x", "colour": "red"},
        {"prompt": "x", "provider": "nobody"},
        {"prompt": "x", "images": [{}]},
        {"prompt": "x", "images": [{"image_id": str(uuid.uuid4())}]},
        {"prompt": "x", "images": [{"url": "http://127.0.0.1/a.png"}]},
        {"prompt": "x", "images": [{"url": "http://93.184.216.34/a.png"}] * 25},
        {"prompt": "x", "project_id": str(uuid.uuid4())},
    ],
)
async def test_what_makes_no_sense_is_refused(studio: Studio, wrong: dict[str, Any]) -> None:
    status, code, _ = await refusal(studio, **wrong)
    assert (status, code in ("validation_failed", "url_not_allowed")) == (422, True)


async def test_a_provider_is_asked_only_for_what_it_makes(studio: Studio, offer: Offer) -> None:
    offer(Scripted(name="painter", kinds=frozenset({"image"})))  # type: ignore[arg-type]
    assert (await studio.start(kind="image", provider="painter"))["provider"] == "painter"
    status, _, fields = await refusal(studio, prompt="x", kind="video", provider="painter")
    assert (status, set(fields)) == (422, {"provider"})


async def test_work_for_a_gpu_waits_for_a_worker_that_has_one(studio: Studio, offer: Offer) -> None:
    offer(Scripted(name="own", queue="gpu"))
    made = await studio.start(provider="own")
    job = (await studio.person.client.get(f"/api/jobs/{made['job_id']}")).json()
    assert (job["kind"], job["queue"], await run_queue("generation")) == ("generate_gpu", "gpu", 0)
    assert await run_queue("gpu") == 1
    assert (await studio.get(made))["status"] == "completed"


async def test_a_full_storage_is_told_before_anything_is_made(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    await studio.make()
    monkeypatch.setattr(settings, "user_quota_mb", 1)
    async with transaction() as session:
        await session.execute(update(Video).values(size_bytes=1024 * 1024))
    status, code, _ = await refusal(studio, prompt="One more")
    assert (status, code) == (409, "quota_exceeded")


# --- pictures to work from -------------------------------------------------------------------------------------------


async def sent_picture(studio: Studio, data: bytes, kind: str = "image/jpeg") -> str:
    place = await studio.person.client.post("/api/generations/images", json={"content_type": kind, "size": len(data)})
    assert place.status_code == 201, place.text
    body = place.json()
    async with httpx.AsyncClient() as anybody:
        stored = await anybody.put(body["upload_url"], content=data, headers=body["headers"])
    assert stored.status_code == 200, stored.text
    return str(body["image_id"])


async def test_a_storyboard_reaches_the_provider_in_its_order(
    studio: Studio, scripted: Scripted, picture_bytes: bytes
) -> None:
    seen: list[list[bytes]] = []
    run = scripted.run

    async def look(spec: Any, **more: Any) -> Any:
        seen.append([each.read_bytes() for each in spec.images])
        async for event in run(spec, **more):
            yield event

    scripted.run = look  # type: ignore[method-assign]
    first, second = await sent_picture(studio, picture_bytes), await sent_picture(studio, picture_bytes)
    made = await studio.make(images=[{"image_id": second}, {"image_id": first}])
    assert (made["status"], made["spec"]["images"]) == ("completed", [{"image_id": second}, {"image_id": first}])
    assert [each[:8] for each in seen[0]] == [b"\x89PNG\r\n\x1a\n"] * 2


async def test_a_picture_that_never_came_or_is_none_is_told(studio: Studio) -> None:
    place = await studio.person.client.post("/api/generations/images", json={"content_type": "image/png", "size": 10})
    absent = await studio.make(images=[{"image_id": place.json()["image_id"]}])
    assert absent["error"]["code"] == "image_unavailable"
    broken = await studio.make(images=[{"image_id": await sent_picture(studio, b"no picture", "image/png")}])
    assert (broken["status"], broken["error"]["code"]) == ("failed", "unsupported_container")


async def test_a_picture_is_of_one_project_and_not_too_large(
    studio: Studio, other: Person, picture_bytes: bytes
) -> None:
    image_id = await sent_picture(studio, picture_bytes)
    theirs = await other.client.post("/api/generations", json={"prompt": "x", "images": [{"image_id": image_id}]})
    assert (theirs.status_code, set(theirs.json()["error"]["fields"])) == (422, {"images"})
    elsewhere = await project(studio.person)
    status, _, fields = await refusal(studio, prompt="x", project_id=elsewhere, images=[{"image_id": image_id}])
    assert (status, set(fields)) == (422, {"images"})
    large = {"content_type": "image/png", "size": settings.source_image_max_mb * 1024 * 1024 + 1}
    answer = await studio.person.client.post("/api/generations/images", json=large)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "file_too_large")


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_lists_are_searched_and_narrowed(studio: Studio, scripted: Scripted) -> None:
    gulls = await studio.make("Gulls over a harbour", kind="image")
    scripted.scripts.append([*SENT, ZeroDivisionError()] * 1)
    rain = await studio.start("Rain on a roof", kind="audio")
    assert [each["id"] for each in await studio.list()] == [rain["id"], gulls["id"]]
    assert [each["id"] for each in await studio.list(q="harb")] == [gulls["id"]]
    assert [each["id"] for each in await studio.list(kind="audio")] == [rain["id"]]
    assert [each["id"] for each in await studio.list(state="pending")] == [rain["id"]]
    assert [each["id"] for each in await studio.list(state="completed", q="gulls")] == [gulls["id"]]
    assert await studio.list(door="tasks") == []
    assert await studio.list(project_id=str(uuid.uuid4())) == []


async def test_pages_and_cursors_lead_to_each_once(studio: Studio) -> None:
    made = [(await studio.start(f"Number {number}", kind="image"))["id"] for number in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        body = (await studio.person.client.get("/api/generations", params=query)).json()
        seen += [each["id"] for each in body["generations"]]
        cursor = body["pagination"]["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    second = (await studio.person.client.get("/api/generations", params={"limit": 2, "page": 2})).json()
    assert [each["id"] for each in second["generations"]] == made[::-1][2:4]
    assert (second["pagination"]["total"], second["pagination"]["total_pages"]) == (5, 3)
    bad = await studio.person.client.get("/api/generations", params={"cursor": "nonsense"})
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "bad_cursor")


async def test_one_whose_video_was_deleted_is_not_listed(studio: Studio) -> None:
    made = await studio.make()
    await studio.person.client.delete(f"/api/videos/{made['video_id']}")
    assert await studio.list() == []
    assert (await studio.get(made))["url"] is None


# --- one of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video", "image", "audio"])
async def test_a_result_is_read_and_downloaded_under_a_name(studio: Studio, kind: str) -> None:
    made = await studio.make("Gulls over a harbour", kind=kind)
    path = f"/api/generations/{made['id']}/file"
    shown = (await studio.person.client.get(path)).json()
    saved = (await studio.person.client.get(path, params={"download": "true"})).json()
    ending = {"video": "mp4", "image": "jpg", "audio": "mp3"}[kind]
    assert saved["filename"] == f"gulls-over-a-harbour.{ending}"
    async with httpx.AsyncClient() as anybody:
        for url, way in ((made["url"], "inline"), (shown["url"], "inline"), (saved["url"], "attachment")):
            read = await anybody.get(url)
            assert (read.status_code, len(read.content)) == (200, made["size_bytes"])
            assert read.headers["content-disposition"].startswith(way)


async def test_there_is_no_file_before_there_is_a_result(studio: Studio) -> None:
    made = await studio.start()
    for path in ("file", "preview"):
        assert (await studio.person.client.get(f"/api/generations/{made['id']}/{path}")).status_code == 404


async def test_a_preview_is_shown_while_it_is_made(studio: Studio, picture_bytes: bytes, tmp_path: Path) -> None:
    made = await studio.start()
    (tmp_path / "p.jpg").write_bytes(picture_bytes)
    await preview.put(uuid.UUID(made["id"]), tmp_path / "p.jpg")
    answer = await studio.person.client.get(f"/api/generations/{made['id']}/preview")
    assert (answer.headers["content-type"], answer.content) == ("image/jpeg", picture_bytes)


async def test_again_with_changes_is_a_new_one(studio: Studio, scripted: Scripted) -> None:
    first = await studio.make("Gulls", seed=5, orientation="landscape", voice="de")
    answer = await studio.post(first, "again", prompt="Terns", seconds=3)
    assert answer.status_code == 202, answer.text
    second = answer.json()["generation"]
    assert (second["id"] != first["id"], second["prompt"], second["seconds"]) == (True, "Terns", 3)
    assert (second["spec"]["seed"], second["orientation"], second["spec"]["voice"]) == (5, "landscape", "de")
    same = (await studio.post(first, "again", orientation="square")).json()["generation"]
    assert (same["prompt"], same["spec"]["width"]) == ("Gulls", 720)


async def test_only_what_fails_is_tried_again(studio: Studio, scripted: Scripted) -> None:
    made = await studio.start()
    for verb in ("retry", "resubmit"):
        assert (await studio.post(made, verb)).status_code == 409
    await studio.post(made, "cancel")
    assert (await studio.get(made))["status"] == "cancelled"
    assert (await studio.post(made, "cancel")).status_code == 409


# --- deleting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video", "image"])
async def test_deleting_takes_all_that_came_of_it(studio: Studio, kind: str) -> None:
    made = await studio.make(kind=kind)
    row = await studio.row(made)
    assert (await studio.person.client.delete(f"/api/generations/{made['id']}")).status_code == 204
    assert (await studio.person.client.get(f"/api/generations/{made['id']}")).status_code == 404
    assert (await studio.person.client.get(f"/api/videos/{made['id']}")).status_code == 404
    await make_due("purge_generation", "purge_video")
    await run_queue("default", "media")
    await ledger.remove_buried()
    assert row.s3_key is not None
    assert await storage.head(row.s3_key) is None


async def test_bare_rows_of_long_ago_go_with_the_next_deletion(studio: Studio) -> None:
    first, second = await studio.start(kind="image"), await studio.start(kind="image")
    await studio.person.client.delete(f"/api/generations/{first['id']}")
    await make_due("purge_generation")
    await run_queue("default")
    async with transaction() as session:
        gone = update(Generation).where(Generation.deleted_at.is_not(None))
        await session.execute(gone.values(deleted_at=func.now() - timedelta(days=2)))
    await studio.person.client.delete(f"/api/generations/{second['id']}")
    await make_due("purge_generation")
    await run_queue("default")
    async with transaction() as session:
        assert await session.get(Generation, uuid.UUID(first["id"])) is None
        assert await session.get(Generation, uuid.UUID(second["id"])) is not None


async def test_pictures_that_nothing_is_made_from_go_after_a_day(studio: Studio, picture_bytes: bytes) -> None:
    used, unused = await sent_picture(studio, picture_bytes), await sent_picture(studio, picture_bytes)
    await studio.start(images=[{"image_id": used}])
    async with transaction() as session:
        await session.execute(update(SourceImage).values(created_at=func.now() - timedelta(hours=25)))
    async with transaction() as session:
        assert await pictures.remove_unused(session) == 1
        assert await session.get(SourceImage, uuid.UUID(used)) is not None
        assert await session.get(SourceImage, uuid.UUID(unused)) is None


# --- who may ---------------------------------------------------------------------------------------------------------


async def test_a_viewer_looks_and_changes_nothing(studio: Studio, other: Person) -> None:
    place = await project(studio.person)
    await join(studio.person, other, f"/api/projects/{place}", "viewer")
    made = await studio.start(project_id=place)
    path = f"/api/generations/{made['id']}"
    assert (await other.client.get(path)).status_code == 200
    for verb in ("cancel", "retry", "resubmit", "again"):
        answer = await other.client.post(f"{path}/{verb}", json={} if verb == "again" else None)
        assert answer.status_code == 403, verb
    assert (await other.client.delete(path)).status_code == 403
    started = await other.client.post("/api/generations", json={"prompt": "x", "project_id": place})
    assert started.status_code == 403


async def test_a_strangers_are_not_there(studio: Studio, other: Person) -> None:
    made = await studio.start()
    path = f"/api/generations/{made['id']}"
    answers = [await other.client.get(f"{path}{more}") for more in ("", "/file", "/preview")]
    answers += [await other.client.post(f"{path}/{verb}") for verb in ("cancel", "retry", "resubmit")]
    answers += [await other.client.delete(path)]
    assert {answer.status_code for answer in answers} == {404}
    assert (await other.client.get("/api/generations")).json()["generations"] == []
