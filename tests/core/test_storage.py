"""The S3 path against the real server: what is signed holds, what is gone is gone."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from fastapi import FastAPI

from backend.config import settings
from backend.core.errors import StorageUnavailable
from backend.core.storage import Storage, disposition, storage


@pytest.fixture
def key(app: FastAPI) -> str:
    return f"test/{secrets.token_hex(8)}.mp4"


async def put(url: str, body: bytes, **headers: str) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.put(url, content=body, headers=headers)).status_code


async def test_a_signed_put_takes_only_the_declared_length_and_type(key: str) -> None:
    url = await storage.presign_put(key, expires_seconds=60, content_type="video/mp4", size_bytes=4)
    assert await put(url, b"longer", **{"Content-Type": "video/mp4"}) == 403
    assert await put(url, b"abc", **{"Content-Type": "video/mp4"}) == 403
    assert await put(url, b"four", **{"Content-Type": "text/html"}) == 403
    assert await storage.head(key) is None
    assert await put(url, b"four", **{"Content-Type": "video/mp4"}) == 200
    info = await storage.head(key)
    assert info is not None
    assert (info.size_bytes, info.content_type) == (4, "video/mp4")


async def test_a_signed_get_reads_a_range_under_the_type_and_name_we_choose(key: str, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"0123456789")
    await storage.put_file(key, tmp_path / "clip", content_type="video/mp4")
    url = await storage.presign_get(
        key, expires_seconds=60, content_type="application/octet-stream", filename='na"me é.mp4', download=True
    )
    async with httpx.AsyncClient() as client:
        answer = await client.get(url, headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "filename*=UTF-8''na%22me%20%C3%A9.mp4" in answer.headers["content-disposition"]


async def test_a_large_file_goes_in_parts_and_arrives_whole(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = TransferConfig(multipart_threshold=6 * 1024**2, multipart_chunksize=5 * 1024**2)
    monkeypatch.setattr("backend.core.storage._TRANSFER", small)
    data = secrets.token_bytes(11 * 1024**2)
    (tmp_path / "film").write_bytes(data)
    await storage.put_file(key, tmp_path / "film", content_type="video/mp4")
    info = await storage.head(key)
    assert info is not None
    assert info.content_type == "video/mp4"
    assert info.etag.endswith("-3"), "three parts"
    async with httpx.AsyncClient() as client:
        assert (await client.get(await storage.presign_get(key, expires_seconds=60))).content == data


async def test_who_stops_sending_waits_until_nothing_is_sent_any_more(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = TransferConfig(multipart_threshold=6 * 1024**2, multipart_chunksize=5 * 1024**2, use_threads=False)
    monkeypatch.setattr("backend.core.storage._TRANSFER", small)
    (tmp_path / "film").write_bytes(bytes(60 * 1024**2))
    sending = asyncio.create_task(storage.put_file(key, tmp_path / "film", content_type="video/mp4"))
    await asyncio.sleep(0.05)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await storage.head(key) is None


async def test_a_file_that_cannot_be_stored_is_said_so(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film").write_bytes(b"x")
    monkeypatch.setattr(settings, "s3_bucket", "nobodys-bucket")
    with pytest.raises(StorageUnavailable):
        await storage.put_file(key, tmp_path / "film", content_type="video/mp4")


async def test_deleting_twice_is_fine_and_a_listing_shows_what_is_left(key: str, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"x")
    await storage.put_file(key, tmp_path / "clip", content_type="video/mp4")
    assert await storage.list_keys(key) == [key]
    await storage.delete([key])
    await storage.delete([key])
    assert await storage.list_keys(key) == []


async def test_a_storage_that_does_not_answer_is_said_so(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "s3_endpoint_url", "http://127.0.0.1:9")
    away = Storage()
    away.open()
    with pytest.raises(StorageUnavailable):
        await away.head(key)
    away.close()


@pytest.fixture
async def silent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A storage that takes connections and never answers."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setattr(settings, "s3_endpoint_url", address)
    for module in ("storage", "storage_parts"):
        monkeypatch.setattr(f"backend.core.{module}.ANSWER_SECONDS", 0.5)
    yield
    for writer in held:
        writer.transport.abort()
    server.close()


async def test_a_storage_that_hangs_is_not_waited_for(key: str, silent: None) -> None:
    hung = Storage()
    hung.open()
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await hung.head(key)
    with pytest.raises(StorageUnavailable):
        await hung.ping()
    with pytest.raises(StorageUnavailable):
        await hung.list_parts(key, "an upload")
    assert time.monotonic() - began < 30, "boto3 alone waits for a minute, and again"
    hung.close()


def test_a_download_name_cannot_break_out_of_its_header() -> None:
    assert disposition('a"b\r\nX: y\\.mp4', download=True).startswith('attachment; filename="a_b__X: y_.mp4"')
