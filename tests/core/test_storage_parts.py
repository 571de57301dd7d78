"""Uploads in parts against the real server: what is signed holds, and what is over is over."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.exceptions import ConnectionClosedError
from fastapi import FastAPI

from backend.core.storage import NoSuchMultipart, Part, PartsChanged, storage

MIB = 1024 * 1024


@pytest.fixture
def key(app: FastAPI) -> str:
    return f"test/{secrets.token_hex(8)} é.mp4"


async def put(url: str, body: bytes, **headers: str) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.put(url, content=body, headers=headers)).status_code


async def sent(key: str, upload_id: str, number: int, body: bytes) -> None:
    url = await storage.presign_part(key, upload_id, number, size_bytes=len(body), expires_seconds=60)
    assert await put(url, body) == 200


async def test_parts_become_an_object_only_when_they_are_put_together(key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    await sent(key, upload_id, 2, b"end")
    await sent(key, upload_id, 1, b"x" * 5 * MIB)
    parts = await storage.list_parts(key, upload_id)
    assert [(part.number, part.size_bytes) for part in parts] == [(1, 5 * MIB), (2, 3)]
    assert await storage.head(key) is None
    assert [each.upload_id for each in await storage.list_multiparts(key)] == [upload_id]
    await storage.complete_multipart(key, upload_id, parts)
    found = await storage.head(key)
    assert found is not None
    assert (found.size_bytes, found.content_type) == (5 * MIB + 3, "video/mp4")
    assert await storage.list_multiparts(key) == []
    late = await storage.presign_part(key, upload_id, 2, size_bytes=3, expires_seconds=60)
    assert await put(late, b"bad") == 404
    await storage.delete([key])
    with pytest.raises(NoSuchMultipart):
        await storage.complete_multipart(key, upload_id, parts)


async def test_an_upload_whose_begin_had_to_be_asked_for_twice_is_open_once(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = storage._send

    def lose_the_answer(*asked: Any) -> Any:
        assert send(*asked).status_code == 200
        raise ConnectionClosedError(endpoint_url="the storage")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "_send", lose_the_answer)
        upload_id = await storage.create_multipart(key, content_type="video/mp4")
    assert [each.upload_id for each in await storage.list_multiparts(key)] == [upload_id]
    await storage.abort_multipart(key, upload_id)


async def test_a_signed_part_takes_only_its_length_and_type(key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    url = await storage.presign_part(key, upload_id, 1, size_bytes=4, expires_seconds=60, content_type="video/mp4")
    assert await put(url, b"longer", **{"Content-Type": "video/mp4"}) == 403
    assert await put(url, b"abc", **{"Content-Type": "video/mp4"}) == 403
    assert await put(url, b"four", **{"Content-Type": "text/html"}) == 403
    assert await put(url, b"four") == 403
    assert await storage.list_parts(key, upload_id) == []
    assert await put(url, b"four", **{"Content-Type": "video/mp4"}) == 200
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;content-type;host"]
    await storage.abort_multipart(key, upload_id)


async def test_what_is_signed_is_what_the_sdk_would_sign(key: str) -> None:
    ours = await storage.presign_part(key, "an id", 7, size_bytes=9, expires_seconds=60)
    theirs = storage.sign_call("upload_part", Key=key, UploadId="an id", PartNumber=7, ContentLength=9)
    one, other = urlsplit(ours), urlsplit(theirs)
    assert one.path == other.path
    names = ("partNumber", "uploadId", "X-Amz-SignedHeaders", "X-Amz-Expires", "X-Amz-Algorithm")
    first, second = parse_qs(one.query), parse_qs(other.query)
    assert [first[name] for name in names] == [second[name] for name in names]
    if first["X-Amz-Date"] == second["X-Amz-Date"]:
        assert first["X-Amz-Signature"] == second["X-Amz-Signature"]


async def test_only_the_named_parts_are_put_together(key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    await sent(key, upload_id, 1, b"first")
    named = await storage.list_parts(key, upload_id)
    await sent(key, upload_id, 1, b"other")
    with pytest.raises(PartsChanged):
        await storage.complete_multipart(key, upload_id, named)
    with pytest.raises(PartsChanged):
        await storage.complete_multipart(key, upload_id, [*named, Part(2, 5, "0" * 32)])
    assert await storage.head(key) is None
    await storage.abort_multiparts(key)


async def test_to_abort_removes_the_parts_and_again_is_fine(key: str) -> None:
    first = await storage.create_multipart(key, content_type="video/mp4")
    await storage.create_multipart(key, content_type="video/mp4")
    other = await storage.create_multipart(f"{key}.other", content_type="video/mp4")
    await sent(key, first, 1, b"part")
    await storage.abort_multipart(key, first)
    await storage.abort_multipart(key, first)
    with pytest.raises(NoSuchMultipart):
        await storage.list_parts(key, first)
    assert await storage.abort_multiparts(key) == 1
    assert [each.upload_id for each in await storage.list_multiparts(key)] == [other]
    await storage.abort_multipart(f"{key}.other", other)


async def test_a_copy_is_made_of_what_was_looked_at_and_nothing_else(key: str, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"bytes")
    await storage.put_file(key, tmp_path / "clip", content_type="text/html")
    found = await storage.head(key)
    assert found is not None
    assert not await storage.copy(key, f"{key}.copy", etag="0" * 32, content_type="video/mp4")
    assert not await storage.copy(f"{key}.gone", f"{key}.copy", etag=found.etag, content_type="video/mp4")
    assert await storage.head(f"{key}.copy") is None
    assert await storage.copy(key, f"{key}.copy", etag=found.etag, content_type="video/mp4")
    copied = await storage.head(f"{key}.copy")
    assert copied is not None
    assert (copied.size_bytes, copied.content_type) == (5, "video/mp4")


async def test_a_listing_goes_on_from_a_key_in_the_order_of_bytes(app: FastAPI, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"bytes")
    prefix = f"test/{secrets.token_hex(8)}/"
    names = ["A", "Z", "a", "z", "é", "~", "日本"]
    for name in names:
        await storage.put_file(prefix + name, tmp_path / "clip", content_type="video/mp4")
    ordered = sorted((prefix + name for name in names), key=str.encode)
    listed = [each async for each in storage.list_objects(prefix)]
    assert [each.key for each in listed] == ordered
    assert {each.size_bytes for each in listed} == {5}
    assert [each.key async for each in storage.list_objects(prefix, after=ordered[3])] == ordered[4:]
