"""What every request meets before a route: ids, headers, bodies that can be read, addresses without tricks."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from backend.core import middleware
from tests.conftest import Person

LOGIN = "/api/auth/login"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def post(client: httpx.AsyncClient, content: bytes, kind: str = "application/json") -> httpx.Response:
    return await client.post(LOGIN, content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b'{"email": "\xc3("}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"email": ' + b"9" * 5000 + b"}",
        b"nonsense",
    ],
    ids=["cut", "not-utf8", "bad-utf8", "nested", "5000-digits", "words"],
)
async def test_a_body_that_cannot_be_read_is_malformed(client: httpx.AsyncClient, content: bytes) -> None:
    assert code(await post(client, content)) == (400, "malformed_body")


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity"])
async def test_what_is_not_a_number_is_refused(client: httpx.AsyncClient, value: bytes) -> None:
    assert code(await post(client, b'{"email": ' + value + b"}")) == (422, "validation_failed")


@pytest.mark.parametrize(
    "email", ["a\x00@example.org", "a\ud800@example.org", "a\x1b@example.org", " ", "", 7, None, [], {}]
)
async def test_values_no_field_can_hold_are_validation_errors(client: httpx.AsyncClient, email: object) -> None:
    answer = await post(client, json.dumps({"email": email, "password": "x" * 10}).encode())
    assert code(answer) == (422, "validation_failed")
    assert "email" in answer.json()["error"]["fields"]


async def test_an_unknown_field_is_named(client: httpx.AsyncClient) -> None:
    answer = await post(client, b'{"email": "a@example.org", "password": "x", "colour": 1}')
    assert code(answer) == (422, "validation_failed")
    assert "colour" in answer.json()["error"]["fields"]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", ""])
async def test_another_content_type_is_unsupported(client: httpx.AsyncClient, kind: str) -> None:
    assert code(await post(client, b'{"email": "a@example.org"}', kind)) == (415, "unsupported_media_type")


async def test_a_body_over_one_megabyte_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    assert code(await post(client, b" " * 1_000_001)) == (413, "body_too_large")

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 50_000

    answer = await client.post(LOGIN, content=stream(), headers={"Content-Type": "application/json"})
    assert code(answer) == (413, "body_too_large")


async def test_a_body_that_drips_is_given_up(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(1)
        yield b"}"

    answer = await client.post(LOGIN, content=drip(), headers={"Content-Type": "application/json"})
    assert code(answer) == (400, "malformed_body")


@pytest.mark.parametrize("path", ["/health?x=%00", "/health?x=%ff", "/health?x=a%1bb", "/videos/%00", "/videos/%ff"])
async def test_an_address_with_control_characters_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"Accept": "application/json"})
    assert code(answer) == (422, "validation_failed")


async def test_every_answer_carries_the_security_headers_and_an_id(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/nowhere", LOGIN):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert len(headers["x-request-id"]) >= 8


async def test_a_given_request_id_is_kept_only_when_it_is_harmless(client: httpx.AsyncClient) -> None:
    kept = await client.get("/nowhere", headers={"X-Request-Id": "abc-12345678"})
    assert kept.headers["x-request-id"] == kept.json()["error"]["request_id"] == "abc-12345678"
    made = await client.get("/nowhere", headers={"X-Request-Id": "<script>alert(1)</script>"})
    assert "script" not in made.text


async def test_a_missing_route_is_json_for_programs_and_a_page_for_browsers(client: httpx.AsyncClient) -> None:
    program = await client.get("/nowhere")
    assert code(program) == (404, "not_found")
    browser = await client.get("/nowhere", headers={"Accept": "text/html"})
    assert browser.status_code == 404
    assert "<html" in browser.text
    api = await client.get("/api/nowhere", headers={"Accept": "text/html"})
    assert code(api) == (404, "not_found")


async def test_a_wrong_method_says_which_are_right(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/health")
    assert code(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


async def test_private_answers_stay_out_of_every_cache(user: Person) -> None:
    for path in ("/api/videos", "/api/jobs", "/api/projects", "/videos", "/nowhere"):
        answer = await user.client.get(path, headers={"Accept": "application/json"})
        assert answer.headers["cache-control"] == "no-store", path


async def test_a_body_of_unknown_names_gets_a_short_answer(client: httpx.AsyncClient) -> None:
    names = {f"name-{number}": 1 for number in range(20_000)} | {"long" * 1000: 1}
    answer = await post(client, json.dumps(names).encode())
    assert code(answer) == (422, "validation_failed")
    assert len(answer.content) < 20_000


async def test_a_missing_page_is_framed_like_all_others_for_who_is_logged_in(user: Person) -> None:
    known = await user.browser.get("/nowhere")
    assert known.status_code == 404
    assert 'action="/logout"' in known.text
    user.browser.cookies.clear()
    assert 'action="/logout"' not in (await user.browser.get("/nowhere")).text
