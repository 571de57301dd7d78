"""Parts that do not keep to the rules, against the real S3 server (the invariants are in conftest.py)."""

import asyncio
import re
from typing import Any

import httpx

from backend.core.storage import storage
from tests.videos.abuse import LARGE, MIB, Case
from tests.videos.sending import code, put

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


async def test_a_part_that_is_replaced_while_it_is_completed(case: Case) -> None:
    place = await case.large()
    await case.fill(place)
    url = await case.url(place, 3)
    case.sent[place["video_id"]] = LARGE  # the same bytes: whichever comes last, the file is whole
    answers = await asyncio.gather(case.complete(place), *(put(url, b"the end") for _ in range(5)))
    assert answers[0].status_code == 201
