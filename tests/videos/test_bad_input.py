"""Whatever is sent to the video routes, the answer is the contract's and nothing breaks."""

import json

import httpx
import pytest

from tests.conftest import Person
from tests.videos.sending import add_row, code

ROUTES = [
    ("POST", "/upload", {"filename": "a.mp4"}),
    ("POST", "/api/upload/presigned-url", {"filename": "a.mp4", "size": 10, "content_type": "video/mp4"}),
    ("POST", "/api/videos", {"video_id": "00000000-0000-4000-8000-000000000000"}),
    ("POST", "/videos", {"video_id": "00000000-0000-4000-8000-000000000000"}),
    ("PATCH", "/api/videos/{id}", {"title": "a"}),
]
MALFORMED = {
    "half": b'{"filename": "a.mp4"',
    "no_utf8": b'{"filename": "\xff\xfe.mp4"}',
    "deep": b'{"filename": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "digits": b'{"size": ' + b"9" * 5000 + b"}",
    "two": b"{} {}",
}


async def send(user: Person, method: str, path: str, body: bytes, kind: str = "application/json") -> httpx.Response:
    path = path.replace("{id}", await add_row(user)) if "{id}" in path else path
    return await user.client.request(method, path, content=body, headers={"Content-Type": kind})


@pytest.mark.parametrize(("method", "path"), [route[:2] for route in ROUTES])
@pytest.mark.parametrize("name", MALFORMED)
async def test_a_body_that_cannot_be_read_is_400(user: Person, method: str, path: str, name: str) -> None:
    answer = await send(user, method, path, MALFORMED[name])
    assert (answer.status_code, code(answer)) == (400, "malformed_body")


@pytest.mark.parametrize(("method", "path", "good"), ROUTES)
async def test_every_field_refuses_what_it_cannot_hold(
    user: Person, method: str, path: str, good: dict[str, object]
) -> None:
    values: tuple[object, ...] = (
        "a\u0000b.mp4",
        "\ud800.mp4",
        "a\u0085b.mp4",
        "",
        "  ",
        "\u200b\u2060\ufeff",
        [],
        {},
        True,
        None,
        7.5,
        "x" * 6000,
        -1,
    )
    for field, value in ((field, value) for field in good for value in values):
        answer = await send(user, method, path, json.dumps({**good, field: value}).encode())
        assert (answer.status_code, code(answer)) == (422, "validation_failed"), (field, value, answer.text)
        fields = answer.json()["error"]["fields"]
        assert field in fields or "body" in fields
    for extra in (b"NaN", b"Infinity", b'"x"'):
        body = json.dumps(good)[:-1].encode() + b', "extra": ' + extra + b"}"
        assert (await send(user, method, path, body)).status_code == 422
    for body in (b"[]", b'"x"', b"7", b"null"):
        assert (await send(user, method, path, body)).status_code == 422


@pytest.mark.parametrize(("method", "path"), [route[:2] for route in ROUTES])
async def test_other_types_and_large_bodies_are_refused(user: Person, method: str, path: str) -> None:
    wrong = await send(user, method, path, b"{}", "text/plain")
    assert (wrong.status_code, code(wrong)) == (415, "unsupported_media_type")
    large = await send(user, method, path, b'{"a": "' + b"x" * 1_000_001 + b'"}')
    assert (large.status_code, code(large)) == (413, "body_too_large")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=1.5",
        "page=0",
        "page=-1",
        "page=100001",
        "page=" + "9" * 5000,
        "sort=password",
        "sort=created_at;drop",
        "order=up",
        "status=deleted",
        "source=mars",
        "q=" + "x" * 201,
        "q=a%00b",
        "q=a%1Fb",
        "page=1&cursor=abc",
    ],
)
async def test_a_list_asked_for_badly_is_422(user: Person, query: str) -> None:
    answer = await user.client.get(f"/api/videos?{query}")
    assert (answer.status_code, code(answer)) == (422, "validation_failed")


@pytest.mark.parametrize("cursor", ["x", "e30", "!!", "W10", "A" * 3000])
async def test_a_bad_cursor_is_400(user: Person, cursor: str) -> None:
    answer = await user.client.get("/api/videos", params={"cursor": cursor})
    assert (answer.status_code, code(answer)) == (400, "bad_cursor")


@pytest.mark.parametrize(
    "q", ["'", '"', "\\", "a & | ! ( ) :*", ":*", "<->", "%", "_", "a:b", "\U0001f3ac", "\t\n", "\u202e"]
)
async def test_no_search_breaks_the_list(user: Person, q: str) -> None:
    assert (await user.client.get("/api/videos", params={"q": q})).status_code == 200
