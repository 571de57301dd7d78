"""Writes that a browser sends with its cookie are taken from our own pages only."""

import httpx
import pytest

from tests.conftest import PASSWORD, Person

OURS = "http://127.0.0.1:8000"


async def write(person: Person, headers: dict[str, str]) -> httpx.Response:
    """One write with the session cookie; the path is one that changes nothing that a test looks at."""
    person.browser.headers.pop("sec-fetch-site", None)
    return await person.browser.post("/settings/sessions/revoke-others", headers={"Accept": "*/*", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": OURS},
        {"Origin": OURS},
    ],
    ids=str,
)
async def test_a_write_from_our_own_page_is_taken(user: Person, headers: dict[str, str]) -> None:
    assert (await write(user, {**headers, "Content-Type": "application/x-www-form-urlencoded"})).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "Same-Origin, cross-site"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "cross-site", "Origin": OURS},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": f"{OURS}.evil.example"},
        {"Origin": "http://evil.example/127.0.0.1:8000"},
        {"Origin": "http://[::1"},
        {},
        {"Referer": f"{OURS}/settings"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Basic YTpi", "Origin": "https://evil.example"},
        {"Authorization": ""},
    ],
    ids=str,
)
async def test_a_write_from_anywhere_else_is_refused(user: Person, headers: dict[str, str]) -> None:
    answer = await write(user, headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_failed")
    assert (await user.client.get("/me")).status_code == 200, "nothing was done"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_bearer_token_needs_no_such_check(user: Person, site: str) -> None:
    user.client.cookies.set("dailies", user.browser.cookies["dailies"])
    answer = await user.client.post("/api/auth/logout", headers={"Sec-Fetch-Site": site})
    assert answer.status_code == 204
    assert (await user.browser.get("/me")).status_code == 200, "the token speaks, not the cookie beside it"


async def test_an_api_key_beside_a_cookie_does_not_let_the_cookie_speak(user: Person) -> None:
    answer = await write(user, {"X-API-Key": "anything", "Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.headers.get("location", "/login")) in ((303, "/login"), (401, "/login"))
    assert (await user.client.get("/me")).status_code == 200, "nothing was done"


async def test_a_worthless_bearer_token_opens_no_way_around_the_check(user: Person) -> None:
    answer = await write(user, {"Authorization": "Bearer x", "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code in (303, 401)
    assert "login" in answer.headers.get("location", "login")
    assert (await user.client.get("/me")).status_code == 200, "nothing was done"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_every_unsafe_method_is_checked(user: Person, method: str) -> None:
    answer = await user.browser.request(
        method, "/api/auth/me", headers={"Sec-Fetch-Site": "cross-site", "Accept": "*/*"}
    )
    assert answer.status_code == 403


async def test_reading_is_free(user: Person) -> None:
    answer = await user.browser.get("/me", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/login", "/register", "/logout"])
async def test_nobody_is_signed_in_or_out_by_another_sites_form(client: httpx.AsyncClient, path: str) -> None:
    form = {"email": "eve@example.org", "password": PASSWORD}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        answer = await client.post(path, data=form, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


async def test_a_program_without_cookie_or_token_needs_no_origin(client: httpx.AsyncClient) -> None:
    body = {"email": "ada@example.org", "password": PASSWORD}
    answer = await client.post("/api/auth/register", json=body, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 201


async def test_an_api_that_is_asked_across_origins_allows_none(client: httpx.AsyncClient) -> None:
    answer = await client.options(
        "/api/auth/login",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert not [name for name in answer.headers if name.startswith("access-control-")]
