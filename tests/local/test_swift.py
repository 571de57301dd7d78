"""Where Swift as it comes differs from other S3: nothing may stay of what was given up, and listings heal."""

import asyncio
import hashlib
import http.client
import os
import pickle
import time
import uuid
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from backend.core.storage import NoSuchMultipart, Part, PartsChanged, storage
from backend.local.stack import Stack
from backend.local.swift import ACCESS_KEY
from tests.videos.sending import begin_put, end_put, get, put

MIB = 1024 * 1024
GOOD = b"good." * MIB
OTHER = b"other" * MIB


@pytest.fixture
def key(app: FastAPI) -> str:
    return f"swift/{uuid.uuid4()}.mp4"


def files_of(stack: Stack, word: str) -> int:
    """How many files on the storage's disk are of objects with this word in their name."""
    files = (stack.data_dir / "s3" / "device" / "objects").rglob("*.data")
    return sum(word.encode() in os.getxattr(path, "user.swift.metadata") for path in files)


async def part_of(key: str, upload_id: str) -> str:
    return await storage.presign_part(key, upload_id, 1, size_bytes=5 * MIB, expires_seconds=60)


async def completed(key: str) -> str:
    """An upload of one part, complete; answers its id."""
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    assert (await put(await part_of(key, upload_id), GOOD)).status_code == 200
    await storage.complete_multipart(key, upload_id, await storage.list_parts(key, upload_id))
    return upload_id


async def is_good(key: str) -> bool:
    answer = await get(await storage.presign_get(key, expires_seconds=60))
    return answer.status_code == 200 and hashlib.sha256(answer.content).digest() == hashlib.sha256(GOOD).digest()


async def test_a_part_that_is_under_way_while_its_upload_is_given_up_leaves_nothing(stack: Stack, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    sender = await begin_put(await part_of(key, upload_id), GOOD)
    await storage.abort_multipart(key, upload_id)
    assert await end_put(sender, GOOD) == 404
    assert files_of(stack, key) == 0


async def test_a_part_that_is_under_way_while_its_upload_is_completed_changes_nothing(stack: Stack, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    url = await part_of(key, upload_id)
    assert (await put(url, GOOD)).status_code == 200
    senders = [await begin_put(url, OTHER) for _ in range(3)]
    await storage.complete_multipart(key, upload_id, await storage.list_parts(key, upload_id))
    for sender in senders:
        assert await end_put(sender, OTHER) == 404
    assert await is_good(key)
    assert files_of(stack, key) == 2, "the object and its one part"


async def test_parts_that_end_while_their_upload_is_completed_are_in_it_or_refused(key: str) -> None:
    for _ in range(5):
        upload_id = await storage.create_multipart(key, content_type="video/mp4")
        url = await part_of(key, upload_id)
        assert (await put(url, GOOD)).status_code == 200
        named = await storage.list_parts(key, upload_id)
        sent = asyncio.gather(*(put(url, OTHER) for _ in range(3)))
        try:
            await storage.complete_multipart(key, upload_id, named)
        except PartsChanged:  # one had replaced the part: nothing is put together
            assert 200 in [answer.status_code for answer in await sent]
            assert await storage.head(key) is None
            await storage.abort_multipart(key, upload_id)
        else:
            assert {answer.status_code for answer in await sent} <= {404, 503}
            assert await is_good(key)
            await storage.delete([key])


async def test_to_complete_again_is_fine_and_to_abort_then_changes_nothing(key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    assert (await put(await part_of(key, upload_id), GOOD)).status_code == 200
    parts = await storage.list_parts(key, upload_id)
    for _ in range(2):
        await storage.complete_multipart(key, upload_id, parts)
    await storage.abort_multipart(key, upload_id)
    assert await is_good(key)


async def test_an_upload_that_a_refused_completion_interrupted_goes_on(key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    url = await part_of(key, upload_id)
    sender = await begin_put(url, GOOD)
    with pytest.raises(PartsChanged):
        await storage.complete_multipart(key, upload_id, [Part(1, 5 * MIB, "0" * 32)])
    assert await end_put(sender, GOOD) == 503
    assert (await put(url, GOOD)).status_code == 200
    await storage.complete_multipart(key, upload_id, await storage.list_parts(key, upload_id))
    assert await is_good(key)


async def test_a_server_that_was_killed_before_it_forgot_a_completed_upload_takes_no_part_of_it(
    stack: Stack, key: str
) -> None:
    upload_id = await completed(key)
    await mark_as_open(stack, key, upload_id)
    assert [each.upload_id for each in await storage.list_multiparts(key)] == [upload_id]
    assert (await put(await part_of(key, upload_id), OTHER)).status_code == 404
    assert await is_good(key)
    await storage.abort_multipart(key, upload_id)
    assert await is_good(key), "its parts are the object's"
    assert await storage.list_multiparts(key) == []


async def mark_as_open(stack: Stack, key: str, upload_id: str) -> None:
    """Put back what tells Swift that an upload is open: what a kill just before its removal leaves."""
    url = urlsplit(str(stack.env()["S3_ENDPOINT_URL"]))
    async with httpx.AsyncClient(base_url=f"http://{url.netloc}") as swift:
        who = {"X-Auth-User": ACCESS_KEY, "X-Auth-Key": stack.secrets.s3_secret}
        known = await swift.get("/auth/v1.0", headers=who)
        path = f"{urlsplit(known.headers['X-Storage-Url']).path}/dailies+segments/{key}/{upload_id}"
        headers = {"X-Auth-Token": known.headers["X-Auth-Token"]}
        assert (await swift.put(path, content=b"", headers=headers)).status_code == 201


async def test_giving_up_removes_every_part(stack: Stack, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    for number in (1, 2, 3):
        url = urlsplit(await storage.presign_part(key, upload_id, number, size_bytes=9, expires_seconds=60))
        sender = http.client.HTTPConnection(url.netloc, timeout=30)
        sender.request("PUT", f"{url.path}?{url.query}", b"some part")
        assert sender.getresponse().status == 200
        sender.close()
    assert files_of(stack, key) == 4
    await storage.abort_multipart(key, upload_id)
    assert files_of(stack, key) == 0
    with pytest.raises(NoSuchMultipart):
        await storage.list_parts(key, upload_id)


async def test_a_listing_that_could_not_be_told_heals_by_itself(stack: Stack, key: str) -> None:
    stamp = f"{time.time():016.5f}"
    headers = {"x-timestamp": stamp, "x-size": "7", "x-content-type": "video/mp4", "x-etag": "0" * 32}
    note = {"op": "PUT", "account": "AUTH_dailies", "container": "dailies", "obj": key, "headers": headers}
    folder = stack.data_dir / "s3" / "device" / "async_pending" / "abc"
    folder.mkdir(parents=True)
    (folder / f"{'0' * 32}-{stamp}").write_bytes(pickle.dumps(note, protocol=2))
    until = time.monotonic() + 30
    while await storage.list_keys(key) != [key]:
        assert time.monotonic() < until
        await asyncio.sleep(0.2)
    assert not folder.exists()
    await storage.delete([key])
