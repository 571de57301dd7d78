"""Parts that do not keep to the rules, against the real S3 server (the invariants are in conftest.py)."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from backend.core.storage import Part, storage
from tests.videos.abuse import LARGE, MIB, OTHER, Case
from tests.videos.sending import begin_put, code, end_put, get, put

# --- in parts --------------------------------------------------------------------------------------------------------


async def invalid(case: Case, place: dict[str, Any], words: str) -> None:
    for answer in (await case.complete(place), await case.confirm(place)):
        assert (answer.status_code, code(answer)) == (409, "parts_invalid")
        assert words in answer.json()["error"]["message"]


async def test_a_gap(case: Case) -> None:
    place = await case.large()
    await case.fill(place, 1, 3)
    await invalid(case, place, "Part 2 is missing")


async def test_no_last_part(case: Case) -> None:
    place = await case.large()
    await case.fill(place, 1, 2)
    await invalid(case, place, "Part 3 is missing")


async def test_a_middle_part_that_is_short(case: Case) -> None:
    place = await case.large()
    await case.fill(place, 1, 3)
    assert (await put(await case.url(place, 2), LARGE[: 5 * MIB - 1])).status_code == 403
    upload = (await storage.list_multiparts(place["s3_key"]))[0]
    ours = await storage.presign_part(place["s3_key"], upload.upload_id, 2, size_bytes=9, expires_seconds=60)
    assert (await put(ours, b"too short")).status_code == 200  # only we can sign that
    await invalid(case, place, "Part 2 is of another size")


async def test_a_last_part_that_is_long(case: Case) -> None:
    place = await case.large()
    await case.fill(place, 1, 2)
    assert (await put(await case.url(place, 3), b"the end and more")).status_code == 403
    upload = (await storage.list_multiparts(place["s3_key"]))[0]
    ours = await storage.presign_part(place["s3_key"], upload.upload_id, 3, size_bytes=16, expires_seconds=60)
    assert (await put(ours, b"the end and more")).status_code == 200
    await invalid(case, place, "Part 3 is of another size")


async def test_a_part_beyond_the_end(case: Case) -> None:
    place = await case.large()
    await case.fill(place)
    assert (await case.sign(place, 4)).status_code == 422
    upload = (await storage.list_multiparts(place["s3_key"]))[0]
    ours = await storage.presign_part(place["s3_key"], upload.upload_id, 4, size_bytes=4, expires_seconds=60)
    assert (await put(ours, b"more")).status_code == 200
    await invalid(case, place, "Part 4 is not of this file, which has 3")


async def test_parts_that_are_none(case: Case) -> None:
    place = await case.large()
    for numbers in ([0], [-1], [4], [10_001], [2**70], ["1"], [True], [1.5], [None], [], list(range(1, 102)), [1, 0]):
        answer = await case.sign(place, *numbers)
        assert (answer.status_code, code(answer)) == (422, "validation_failed"), numbers


async def test_parts_of_an_upload_in_one_request(case: Case) -> None:
    answer = await case.sign(await case.single(), 1)
    assert (answer.status_code, code(answer)) == (409, "invalid_state")


async def test_completing_before_anything_came(case: Case) -> None:
    answer = await case.complete(await case.large())
    assert (answer.status_code, code(answer)) == (409, "upload_missing")


async def test_twenty_completions_at_once(case: Case) -> None:
    place = await case.large()
    await case.fill(place)
    answers = await asyncio.gather(*(case.complete(place) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]


async def test_completing_what_was_given_up(case: Case) -> None:
    place = await case.large()
    await case.fill(place)
    assert (await case.abort(place)).status_code == 204
    for answer in (await case.complete(place), await case.confirm(place), await case.sign(place, 1)):
        assert (answer.status_code, code(answer)) == (409, "invalid_state")
    assert await storage.list_keys(place["s3_key"]) == []


async def test_giving_up_what_is_complete(case: Case) -> None:
    place = await case.large()
    await case.fill(place)
    assert (await case.complete(place)).status_code == 201
    for answer in (await case.abort(place), await case.sign(place, 1)):
        assert (answer.status_code, code(answer)) == (409, "invalid_state")


async def test_a_part_after_the_end(case: Case) -> None:
    place = await case.large()
    url = await case.url(place, 1)
    await case.fill(place)
    assert (await case.complete(place)).status_code == 201
    assert (await put(url, b"\0" * 5 * MIB)).status_code == 404


async def test_a_part_with_the_id_of_another_upload(case: Case) -> None:
    place, victim = await case.large(), await case.large()
    url, theirs = await case.url(place, 1), await case.url(victim, 1)
    there = re.search(r"uploadId=[^&]+", theirs)
    assert there
    assert (await put(re.sub(r"uploadId=[^&]+", there[0], url), LARGE[: 5 * MIB])).status_code == 403
    assert (await case.complete(victim)).status_code == 409


async def test_completing_in_the_storage_by_the_address_of_a_part(case: Case) -> None:
    place = await case.large()
    url = await case.url(place, 1)
    await case.fill(place, 1)
    body = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
    async with httpx.AsyncClient() as client:
        for method in ("POST", "DELETE", "GET"):
            assert (await client.request(method, url, content=body)).status_code in (403, 501)
    assert await storage.head(place["s3_key"]) is None


async def test_a_part_that_is_lost_between_looking_and_completing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await case.large()
    await case.fill(place, 1, 2)
    looks, listed = [], storage.list_parts

    async def with_the_lost(key: str, upload_id: str) -> list[Part]:
        looks.append(key)
        return [*await listed(key, upload_id), *([Part(3, 7, "0" * 32)] if len(looks) == 1 else [])]

    with monkeypatch.context() as once:
        once.setattr(storage, "list_parts", with_the_lost)
        await invalid(case, place, "Part 3 is missing")
    assert len(looks) == 3, "looked at twice by the first"
    assert await storage.head(place["s3_key"]) is None
    await case.fill(place, 3)
    assert (await case.complete(place)).status_code == 201


async def test_a_part_that_is_replaced_while_it_is_completed(case: Case) -> None:
    place = await case.large()
    await case.fill(place)
    url, other = await case.url(place, 3), LARGE[:-7] + b"THE END"
    slow = [await begin_put(url, b"THE END") for _ in range(2)]
    answers = await asyncio.gather(case.complete(place), *(put(url, b"THE END") for _ in range(5)))
    assert answers[0].status_code == 201
    assert [await end_put(sender, b"THE END") for sender in slow] == [404, 404]
    stored = await get(await storage.presign_get(place["s3_key"], expires_seconds=60))
    assert stored.content in (LARGE, other), "one of both, and never unreadable"
    case.sent[place["video_id"]] = stored.content


async def test_a_request_that_goes_on_after_the_confirmation(case: Case) -> None:
    place = await case.filled()
    slow = await begin_put(place["upload_url"], OTHER, place["headers"])
    assert (await case.confirm(place)).status_code == 201
    assert await end_put(slow, OTHER) == 404
    assert (await case.confirm(place)).status_code == 200
