"""Uploads that do not keep to the rules, against the real S3 server (the invariants are in conftest.py)."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx

from backend.config import settings
from backend.core.storage import storage
from tests.conftest import Person
from tests.videos.abuse import LARGE, OTHER, SMALL, Case
from tests.videos.sending import adoptable, code, put

# --- one request -----------------------------------------------------------------------------------------------------


async def refused(case: Case, place: dict[str, Any], answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in (statuses or (403,)), answer.text
    missing = await case.confirm(place)
    assert (missing.status_code, code(missing)) == (409, "upload_missing")


async def test_more_bytes_than_announced(case: Case) -> None:
    place = await case.single()
    await refused(case, place, await put(place["upload_url"], SMALL + b"x", place["headers"]))


async def test_fewer_bytes_than_announced(case: Case) -> None:
    place = await case.single()
    await refused(case, place, await put(place["upload_url"], SMALL[:-1], place["headers"]))


async def test_no_bytes(case: Case) -> None:
    place = await case.single()
    await refused(case, place, await put(place["upload_url"], b"", place["headers"]))


async def test_a_length_that_is_not_said(case: Case) -> None:
    place = await case.single()

    async def chunks() -> AsyncIterator[bytes]:
        yield SMALL

    async with httpx.AsyncClient() as client:
        answer = await client.put(place["upload_url"], content=chunks(), headers=place["headers"])
    await refused(case, place, answer, 403, 411)


async def test_a_length_that_is_a_lie(case: Case) -> None:
    place = await case.single()
    match = re.match(r"http://([^/:]+):(\d+)(/.*)", place["upload_url"])
    assert match
    reader, writer = await asyncio.open_connection(match[1], int(match[2]))
    head = f"PUT {match[3]} HTTP/1.1\r\nHost: {match[1]}:{match[2]}\r\nContent-Type: video/mp4\r\n"
    writer.write(f"{head}Content-Length: {len(SMALL)}\r\n\r\n".encode() + SMALL[:-1])
    await writer.drain()
    writer.close()  # the last byte never comes
    await reader.read()
    missing = await case.confirm(place)
    assert (missing.status_code, code(missing)) == (409, "upload_missing")


async def test_another_type(case: Case) -> None:
    place = await case.single()
    await refused(case, place, await put(place["upload_url"], SMALL, {"Content-Type": "text/html"}))


async def test_no_type(case: Case) -> None:
    place = await case.single()
    await refused(case, place, await put(place["upload_url"], SMALL))


async def test_another_key(case: Case) -> None:
    place, victim = await case.single(), await case.filled()
    url = place["upload_url"].replace(place["s3_key"], victim["s3_key"])
    await refused(case, place, await put(url, SMALL, place["headers"]))
    assert (await case.confirm(victim)).status_code == 201


async def test_another_signature(case: Case) -> None:
    place = await case.single()
    await refused(case, place, await put(place["upload_url"][:-4] + "0000", SMALL, place["headers"]))


async def test_a_longer_life(case: Case) -> None:
    place = await case.single()
    url = re.sub(r"X-Amz-Expires=\d+", "X-Amz-Expires=604800", place["upload_url"])
    await refused(case, place, await put(url, SMALL, place["headers"]))


async def test_an_address_that_has_ended(case: Case) -> None:
    settings.presigned_url_expiration, before = 1, settings.presigned_url_expiration
    try:
        place = await case.single()
    finally:
        settings.presigned_url_expiration = before
    await asyncio.sleep(2.1)
    assert (await put(place["upload_url"], SMALL, place["headers"])).status_code == 403
    gone = await case.confirm(place)
    assert (gone.status_code, code(gone)) == (410, "upload_expired")


async def test_another_part_number(case: Case) -> None:
    place = await case.single()
    url = place["upload_url"].replace("partNumber=1", "partNumber=2")
    await refused(case, place, await put(url, SMALL, place["headers"]))


async def test_another_upload_id(case: Case) -> None:
    place, victim = await case.single(), await case.single()
    theirs = re.search(r"uploadId=([^&]+)", victim["upload_url"])
    assert theirs
    url = re.sub(r"uploadId=[^&]+", theirs[0], place["upload_url"])
    await refused(case, place, await put(url, SMALL, place["headers"]))


async def test_other_methods(case: Case) -> None:
    place = await case.filled()
    async with httpx.AsyncClient() as client:
        for method in ("GET", "POST", "DELETE", "HEAD"):
            answer = await client.request(method, place["upload_url"], headers=place["headers"])
            assert answer.status_code in (403, 405, 501), method
    assert (await case.confirm(place)).status_code == 201


async def test_an_object_of_somebody_else_as_the_source(case: Case) -> None:
    victim = await case.filled()
    assert (await case.confirm(victim)).status_code == 201
    place = await case.single()
    source = {"x-amz-copy-source": f"/{settings.s3_bucket}/{victim['s3_key']}"}
    for body in (SMALL, b""):
        answer = await put(place["upload_url"], body, {**place["headers"], **source})
        assert answer.status_code in (400, 403), answer.text
    missing = await case.confirm(place)
    assert (missing.status_code, code(missing)) == (409, "upload_missing")


async def test_the_same_address_after_the_confirmation(case: Case) -> None:
    place = await case.filled()
    assert (await case.confirm(place)).status_code == 201
    for data in (OTHER, SMALL, OTHER + b"x"):
        assert (await put(place["upload_url"], data, place["headers"])).status_code in (403, 404)
    assert (await case.confirm(place)).status_code == 200


async def test_the_same_address_after_giving_up(case: Case) -> None:
    place = await case.filled()
    assert (await case.abort(place)).status_code == 204
    assert (await put(place["upload_url"], SMALL, place["headers"])).status_code == 404
    assert (await case.confirm(place)).status_code == 409
    assert await storage.list_keys(place["s3_key"]) == []


async def test_twenty_confirmations_at_once(case: Case) -> None:
    place = await case.filled()
    answers = await asyncio.gather(*(case.confirm(place) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]


async def test_confirmations_and_giving_up_at_once(case: Case) -> None:
    place = await case.filled()
    answers = await asyncio.gather(*(f(place) for f in (case.confirm, case.abort) * 5))
    assert {answer.status_code for answer in answers} in ({201, 200, 409}, {204, 409})


async def test_the_upload_of_somebody_else(case: Case) -> None:
    place, large = await case.filled(), await case.large()
    by = case.other
    for answer in (
        await case.confirm(place, by),
        await case.complete(place, by),
        await case.abort(place, by),
        await case.sign(large, 1, by=by),
        await by.client.get(f"/api/uploads/{place['upload_id']}"),
        await by.client.patch(f"/api/uploads/{place['upload_id']}", json={"title": "Mine"}),
    ):
        assert (answer.status_code, code(answer)) == (404, "not_found")


async def test_more_than_is_allowed(case: Case) -> None:
    for more in ({}, {"multipart": True}):
        body = {"filename": "a.mp4", "size": settings.max_upload_bytes + 1, "content_type": "video/mp4", **more}
        answer = await case.user.client.post("/api/upload/presigned-url", json=body)
        assert (answer.status_code, code(answer)) == (413, "file_too_large")


async def test_somebody_elses_project(case: Case) -> None:
    theirs = (await case.other.client.get("/api/projects")).json()["projects"][0]["id"]
    body = {"filename": "a.mp4", "size": 5, "content_type": "video/mp4", "project_id": theirs}
    answer = await case.user.client.post("/api/upload/presigned-url", json=body)
    assert (answer.status_code, code(answer)) == (422, "validation_failed")
    place = await case.filled()
    path = f"/api/uploads/{place['upload_id']}"
    assert (await case.user.client.patch(path, json={"project_id": theirs})).status_code == 422
    assert (await case.user.client.post(f"{path}/complete", json={"project_id": theirs})).status_code == 422


# --- without an account ----------------------------------------------------------------------------------------------


async def adopt(case: Case, place: dict[str, str], by: Person | None = None) -> httpx.Response:
    answer = await (by or case.user).client.post("/api/videos", json=place)
    if answer.status_code == 201:
        case.sent[answer.json()["id"]] = SMALL
    return answer


async def test_what_was_adopted_is_sent_again(case: Case) -> None:
    place, url = await case.adopted()
    assert (await adopt(case, place)).status_code == 201
    assert (await put(url, OTHER)).status_code == 200  # nobody can forbid that, and it goes nowhere
    assert (await adopt(case, place)).status_code == 200


async def test_something_enormous_after_the_adoption(case: Case) -> None:
    place, url = await case.adopted()
    assert (await adopt(case, place)).status_code == 201
    assert (await put(url, LARGE)).status_code == 200
    assert (await adopt(case, place)).status_code == 200


async def test_two_people_adopt_the_same(case: Case) -> None:
    place, _ = await case.adopted()
    answers = await asyncio.gather(*(adopt(case, place, by) for by in (case.user, case.other) * 4))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [201] + [404] * 4


async def test_a_claim_for_something_else(case: Case) -> None:
    place, _ = await case.adopted()
    victim = await adoptable(case.other)
    answer = await adopt(case, {"s3_key": victim["s3_key"], "claim": place["claim"]})
    assert (answer.status_code, code(answer)) == (422, "validation_failed")
    own = await case.filled()
    answer = await adopt(case, {"s3_key": own["s3_key"], "claim": place["claim"]})
    assert answer.status_code == 422


async def test_ids_of_nothing(case: Case) -> None:
    nothing = {"upload_id": str(uuid.uuid4()), "video_id": str(uuid.uuid4())}
    for answer in (await case.confirm(nothing), await case.complete(nothing), await case.sign(nothing, 1)):
        assert (answer.status_code, code(answer)) == (404, "not_found")
