"""The storage by R2's rules: parts of one length, no forms, no trailing checksums, nothing that R2 has not."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from fastapi import FastAPI

from backend.config import settings
from backend.core import capabilities
from backend.core.storage import Part, PartsChanged, storage
from tests.conftest import Person
from tests.core.r2_rules import R2, r2_in_front
from tests.generation.conftest import make_tasks, tasks, told
from tests.generation.tasking import Tasks, Told, run_queue

__all__ = ["make_tasks", "tasks", "told"]  # fixtures

PIECE = 5 * 1024**2


@pytest.fixture
async def r2(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[R2]:
    """The application's storage is behind it, for itself and for browsers."""
    behind = settings.s3_endpoint_url
    assert behind is not None
    async with r2_in_front(behind.rstrip("/")) as rules:
        monkeypatch.setattr(settings, "s3_endpoint_url", rules.url)
        monkeypatch.setattr(settings, "s3_public_url", rules.url)
        storage.close()
        storage.open()
        yield rules
    monkeypatch.undo()
    storage.close()
    storage.open()
    capabilities.forget()


async def test_everything_that_is_done_with_objects_is_done_by_its_rules(
    r2: R2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = TransferConfig(multipart_threshold=PIECE + 1, multipart_chunksize=PIECE)
    monkeypatch.setattr("backend.core.storage._TRANSFER", small)
    folder = f"test/{secrets.token_hex(8)}"
    for name, size in (("small", 1000), ("large", 2 * PIECE + 1)):
        (tmp_path / name).write_bytes(secrets.token_bytes(size))
        await storage.put_file(f"{folder}/{name}", tmp_path / name, content_type="video/mp4")
        found = await storage.head(f"{folder}/{name}")
        assert found is not None
        assert (found.size_bytes, found.content_type) == (size, "video/mp4")
        url = await storage.presign_get(f"{folder}/{name}", expires_seconds=60, content_type="video/mp4")
        async with httpx.AsyncClient() as client:
            part = await client.get(url, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, (tmp_path / name).read_bytes()[10:20])
        assert await storage.copy(f"{folder}/{name}", f"{folder}/{name}-2", etag=found.etag, content_type="video/mp4")
    assert len(await storage.list_keys(folder)) == 4
    await storage.delete(await storage.list_keys(folder))
    assert await storage.list_keys(folder) == []
    assert r2.refused == []
    assert {"POST uploads", "PUT partNumber,uploadId", "POST uploadId"} <= set(r2.calls)


async def test_parts_of_different_lengths_are_refused_by_it(r2: R2) -> None:
    # That the rules are there at all.
    key = f"test/{secrets.token_hex(8)}"
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    parts = []
    async with httpx.AsyncClient() as client:
        for number, size in ((1, PIECE), (2, PIECE + 1), (3, 1)):
            url = await storage.presign_part(key, upload_id, number, size_bytes=size, expires_seconds=60)
            answer = await client.put(url, content=bytes(size))
            parts.append(Part(number, size, answer.headers["etag"].strip('"')))
    with pytest.raises(PartsChanged):
        await storage.complete_multipart(key, upload_id, parts)
    assert r2.refused == ["POST uploadId=" + upload_id + ": InvalidPart"]
    await storage.abort_multiparts(key)


async def test_an_upload_in_parts_becomes_a_video(user: Person, r2: R2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "upload_part_size_mb", 5)
    size = 2 * PIECE + 7
    wanted = {"filename": "a.mp4", "size": size, "content_type": "video/mp4", "multipart": True}
    begun = (await user.client.post("/api/upload/presigned-url", json=wanted)).json()
    numbers = list(range(1, begun["part_count"] + 1))
    path = f"/api/uploads/{begun['upload_id']}"
    signed = (await user.client.post(f"{path}/parts", json={"part_numbers": numbers})).json()["parts"]
    async with httpx.AsyncClient() as client:
        for number, part in zip(numbers, signed, strict=True):
            length = min(begun["part_size"], size - (number - 1) * begun["part_size"])
            sent = await client.put(part["url"], content=bytes(length), headers=part.get("headers", {}))
            assert sent.status_code == 200, sent.text
    done = await user.client.post(f"{path}/complete")
    assert done.status_code in (200, 201), done.text
    assert r2.refused == []


async def test_a_small_file_goes_up_with_a_signed_put(user: Person, r2: R2) -> None:
    wanted = {"filename": "a.mp4", "size": 4, "content_type": "video/mp4"}
    begun = (await user.client.post("/api/upload/presigned-url", json=wanted)).json()
    assert begun["method"] == "PUT"
    async with httpx.AsyncClient() as client:
        assert (await client.put(begun["upload_url"], content=b"four", headers=begun["headers"])).status_code == 200
    confirmed = await user.client.post("/api/videos", json={"video_id": begun["video_id"], "title": "A"})
    assert confirmed.status_code == 201, confirmed.text
    assert r2.refused == []


@pytest.mark.parametrize(
    ("task_type", "place"),
    [
        ("generate_video", "video/{}/output.mp4"),
        ("generate_image", "image/{}/output.jpg"),
        ("process_audio", "audio/{}/output.mp3"),
    ],
)
async def test_a_tasks_result_lies_at_its_key(tasks: Tasks, told: Told, r2: R2, task_type: str, place: str) -> None:
    task_id = await tasks.submit(task_type)
    await run_queue()
    assert ((await tasks.status(task_id))["status"], r2.refused) == ("completed", [])
    assert await storage.head(f"projects/{tasks.project_id}/{place.format(task_id)}") is not None
