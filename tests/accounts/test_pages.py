"""Accounts in a browser: the sign-in and sign-up forms, the cookie, the way back, and settings."""

import re

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import func, select

from backend.accounts.models import LoginSession, User
from backend.config import settings
from backend.core.db import transaction
from tests.conftest import PASSWORD, MakeUser, Person, http_client

HTML = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


async def cookie_attributes(answer: httpx.Response) -> dict[str, str]:
    parts = [part.strip().partition("=") for part in answer.headers["set-cookie"].split(";")]
    return {name.lower(): value for name, _, value in parts}


# --- in and out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_the_pages_show_a_form_that_keeps_its_way_back(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"{path}?next=/videos/7%3Fa%3D1", headers=HTML)
    assert answer.status_code == 200
    assert f'action="{path}"' in answer.text
    assert 'value="/videos/7?a=1"' in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_a_new_person_signs_up_and_is_signed_in(client: httpx.AsyncClient) -> None:
    form = {"email": "ada@example.org", "password": PASSWORD, "name": "Ada", "next": "/upload"}
    answer = await client.post("/register", data=form, headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/upload")
    me = await client.get("/me")
    assert me.json()["name"] == "Ada"
    projects = await client.get("/api/projects")
    assert len(projects.json()["projects"]) == 1


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(user: Person, client: httpx.AsyncClient) -> None:
    form = {"email": user.email, "password": user.password}
    attributes = await cookie_attributes(await client.post("/login", data=form, headers=HTML))
    assert {"dailies", "httponly", "samesite", "path", "max-age"} <= set(attributes)
    assert (attributes["samesite"].lower(), attributes["path"]) == ("lax", "/")
    assert "secure" not in attributes, "plain http would lose it"
    assert "domain" not in attributes


async def test_over_https_the_cookie_is_secure_and_bound_to_the_host(
    user: Person, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "public_url", "https://video.example.org")
    form = {"email": user.email, "password": user.password}
    async with http_client(app, **HTML) as browser:
        browser.base_url = httpx.URL("https://video.example.org")
        attributes = await cookie_attributes(await browser.post("/login", data=form))
        assert {"__host-dailies", "secure", "httponly"} <= set(attributes)
        assert (await browser.get("/me")).status_code == 200


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_wrong_login_says_so_and_keeps_what_was_entered(
    client: httpx.AsyncClient, user: Person, multipart: bool
) -> None:
    form = {"email": user.email, "password": "wrong horse battery", "next": "/upload"}
    if multipart:
        answer = await client.post("/login", files={name: (None, value) for name, value in form.items()}, headers=HTML)
    else:
        answer = await client.post("/login", data=form, headers=HTML)
    assert answer.status_code == 401
    assert "The email or the password is not right." in answer.text
    assert f'value="{user.email}"' in answer.text
    assert 'value="/upload"' in answer.text
    assert "wrong horse battery" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({}, 422, "Please fill this in."),
        ({"email": "", "password": ""}, 422, "Please fill this in."),
        ({"email": "ada", "password": PASSWORD}, 422, "@-sign"),
        ({"email": "ada@example.org", "password": "short"}, 422, "Use at least 8 characters."),
        ({"email": "ada@example.org", "password": "password1"}, 422, "too easy to guess"),
        ({"email": "ada@example.org", "password": "x" * 1025}, 422, "Use at most 1024 characters."),
        ({"email": "a\x00da@example.org", "password": PASSWORD}, 422, "control characters"),
        ({"email": "taken@example.org", "password": PASSWORD}, 409, "There is an account with this email."),
        ({"email": "ada@example.org", "password": PASSWORD, "name": "x" * 201}, 422, "Use at most 200 characters."),
    ],
    ids=str,
)
async def test_a_sign_up_that_fails_says_why_in_words(
    make_user: MakeUser, client: httpx.AsyncClient, form: dict[str, str], status: int, words: str
) -> None:
    await make_user("taken@example.org")
    answer = await client.post("/register", data=form, headers={**HTML, "Content-Type": FORM})
    assert answer.status_code == status
    assert words in answer.text
    assert "text/html" in answer.headers["content-type"]
    assert "string" not in answer.text.lower()


FORM = "application/x-www-form-urlencoded"


async def test_what_was_entered_is_shown_as_text(client: httpx.AsyncClient) -> None:
    form = {"email": '"><script>alert(1)</script>', "name": "<b>", "password": "short"}
    answer = await client.post("/register", data=form, headers=HTML)
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text


async def test_too_many_logins_are_refused_on_the_page(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "login_attempts_per_minute", 1)
    form = {"email": "ada@example.org", "password": "wrong horse"}
    await client.post("/login", data=form, headers=HTML)
    answer = await client.post("/login", data=form, headers=HTML)
    assert answer.status_code == 429
    assert "Too many requests" in answer.text
    assert 'value="ada@example.org"' in answer.text
    assert int(answer.headers["retry-after"]) > 0


async def test_a_closed_door_says_so(user: Person, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "open_registration", False)
    assert "New accounts are not open here" in (await client.get("/register", headers=HTML)).text
    form = {"email": "ada@example.org", "password": PASSWORD}
    answer = await client.post("/register", data=form, headers=HTML)
    assert answer.status_code == 403
    assert "New accounts are not open here" in answer.text


@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_whoever_is_signed_in_goes_on(user: Person, path: str) -> None:
    for query, target in (("", "/dashboard"), ("?next=/upload", "/upload"), ("?next=//evil.example", "/dashboard")):
        answer = await user.browser.get(f"{path}{query}")
        assert (answer.status_code, answer.headers["location"]) == (303, target)


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/videos/7?a=1&b=2#t", "/videos/7?a=1&b=2#t"),
        ("/", "/"),
        ("", "/dashboard"),
        ("videos", "/dashboard"),
        ("//evil.example", "/dashboard"),
        ("///evil.example", "/dashboard"),
        ("/\\evil.example", "/dashboard"),
        ("\\\\evil.example", "/dashboard"),
        ("/a\\..\\evil", "/dashboard"),
        ("https://evil.example", "/dashboard"),
        ("https:evil.example", "/dashboard"),
        ("javascript:alert(1)", "/dashboard"),
        ("data:text/html,x", "/dashboard"),
        (" /dashboard", "/dashboard"),
        ("/ /evil.example", "/dashboard"),
        ("/\t/evil.example", "/dashboard"),
        ("/\n/evil.example", "/dashboard"),
        ("/\r\nSet-Cookie: a=b", "/dashboard"),
        ("/\x00", "/dashboard"),
        ("@evil.example", "/dashboard"),
        ("/@evil.example", "/@evil.example"),
        ("http://127.0.0.1:8000/upload", "/dashboard"),
    ],
)
async def test_a_login_leads_to_a_path_of_ours_only(
    user: Person, client: httpx.AsyncClient, target: str, goes_to: str
) -> None:
    form = {"email": user.email, "password": user.password, "next": target}
    answer = await client.post("/login", data=form, headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, goes_to)


async def test_a_new_login_ends_the_browsers_old_session(user: Person) -> None:
    old = user.browser.cookies["dailies"]
    form = {"email": user.email, "password": user.password}
    assert (await user.browser.post("/login", data=form)).status_code == 303
    new = user.browser.cookies["dailies"]
    assert new != old
    user.browser.cookies.clear()
    user.browser.cookies.set("dailies", old)
    assert (await user.browser.get("/me")).status_code == 401


async def test_logging_out_ends_the_session_and_takes_the_cookie(user: Person) -> None:
    cookie = user.browser.cookies["dailies"]
    answer = await user.browser.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "dailies" not in user.browser.cookies
    user.browser.cookies.set("dailies", cookie)
    assert (await user.browser.get("/me")).status_code == 401
    assert (await user.client.get("/me")).status_code == 200, "the program's session is another one"


async def test_logging_out_twice_is_fine(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await client.post("/logout", headers=HTML)).status_code == 303


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", ""])
async def test_a_login_that_is_neither_form_nor_json_is_refused(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await client.post("/login", content=b"x", headers={"Content-Type": content_type})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 422), (b"[]", 422), (b"{", 400), (b'{"email": "a", "password": "b", "c": 1}', 422)]
)
async def test_the_json_alias_reads_as_strictly_as_the_api(
    client: httpx.AsyncClient, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    alias = await client.post("/login", content=content, headers=headers)
    canonical = await client.post("/api/auth/login", content=content, headers=headers)
    assert alias.status_code == canonical.status_code == status
    assert alias.json()["error"].get("fields", {}).keys() == canonical.json()["error"].get("fields", {}).keys()


# --- sent to the login page ------------------------------------------------------------------------------------------


async def test_a_page_asks_whoever_is_not_signed_in_to_do_so_and_comes_back(client: httpx.AsyncClient) -> None:
    answer = await client.get("/settings?done=profile", headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/settings%3Fdone%3Dprofile"


async def test_a_fragment_sends_the_whole_page_to_the_login(client: httpx.AsyncClient) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://127.0.0.1:8000/dashboard?q=a"}
    answer = await client.get("/settings", headers=headers)
    assert answer.headers["hx-redirect"] == "/login?next=/dashboard%3Fq%3Da"


async def test_a_forged_current_address_leads_nowhere_else(client: httpx.AsyncClient) -> None:
    for forged in ("http://127.0.0.1:8000//evil.example", "http://[::1/settings"):
        headers = {"HX-Request": "true", "HX-Current-URL": forged}
        answer = await client.get("/settings", headers=headers)
        assert answer.headers["hx-redirect"] == "/login"


async def test_a_dead_cookie_shows_the_login_page(user: Person) -> None:
    await user.browser.post("/api/auth/logout")
    user.browser.cookies.set("dailies", "anything")
    answer = await user.browser.get("/settings")
    assert answer.status_code == 303
    assert (await user.browser.get("/login")).status_code == 200


async def test_a_form_that_cannot_be_taken_is_answered_with_a_page(user: Person) -> None:
    answer = await user.browser.post("/settings/sessions/x/revoke")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
    answer = await user.browser.post("/settings/sessions/revoke-others", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "came from another site" in answer.text
    assert "text/html" in answer.headers["content-type"]


# --- settings --------------------------------------------------------------------------------------------------------


async def test_the_name_is_changed(user: Person) -> None:
    answer = await user.browser.post("/settings/profile", data={"name": " Ada <b> "})
    assert answer.headers["location"] == "/settings?done=profile"
    page = await user.browser.get(answer.headers["location"])
    assert "Saved." in page.text
    assert 'value="Ada &lt;b&gt;"' in page.text
    assert (await user.client.get("/me")).json()["name"] == "Ada <b>"


async def test_a_name_that_is_too_long_is_shown_with_the_reason(user: Person) -> None:
    answer = await user.browser.post("/settings/profile", data={"name": "x" * 201})
    assert answer.status_code == 422
    assert "Use at most 200 characters." in answer.text


async def test_a_new_password_ends_all_other_sessions(user: Person, client: httpx.AsyncClient) -> None:
    form = {"current_password": user.password, "new_password": "another good password"}
    answer = await user.browser.post("/settings/password", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/settings?done=password")
    assert (await user.browser.get("/me")).status_code == 200
    ended = await user.client.get("/me")
    assert (ended.status_code, ended.json()["error"]["code"]) == (401, "session_revoked")
    for password, status in ((user.password, 401), ("another good password", 200)):
        again = await client.post("/api/auth/login", json={"email": user.email, "password": password})
        assert again.status_code == status


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "Please fill this in."),
        ({"current_password": "wrong", "new_password": "another good password"}, "not your current password"),
        ({"current_password": PASSWORD, "new_password": "short"}, "Use at least 8 characters."),
        ({"current_password": PASSWORD, "new_password": "qwertyuiop"}, "too easy to guess"),
    ],
    ids=str,
)
async def test_a_password_is_not_changed_without_the_present_one_and_a_good_new_one(
    user: Person, form: dict[str, str], words: str
) -> None:
    answer = await user.browser.post("/settings/password", data=form, headers={"Content-Type": FORM})
    assert answer.status_code == 422
    assert words in answer.text
    assert PASSWORD not in answer.text
    assert (await user.client.get("/me")).status_code == 200


async def test_guessing_the_present_password_is_throttled(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "login_attempts_per_minute", 1)
    form = {"current_password": "wrong", "new_password": "another good password"}
    statuses = [(await user.browser.post("/settings/password", data=form)).status_code for _ in range(2)]
    assert statuses == [422, 429]


async def test_settings_list_the_devices_and_end_one(user: Person) -> None:
    async with transaction() as session:
        program = await session.scalar(select(LoginSession.id).where(LoginSession.cookie_hash.is_(None)))
        own = await session.scalar(select(LoginSession.id).where(LoginSession.cookie_hash.is_not(None)))
    page = await user.browser.get("/settings")
    assert f"/settings/sessions/{program}/revoke" in page.text
    assert f"/settings/sessions/{own}/revoke" not in page.text, "this device is logged out by the menu"
    for _ in range(2):
        answer = await user.browser.post(f"/settings/sessions/{program}/revoke")
        assert (answer.status_code, answer.headers["location"]) == (303, "/settings?done=session")
    assert (await user.client.get("/me")).json()["error"]["code"] == "session_revoked"
    assert str(program) not in (await user.browser.get("/settings")).text


async def test_all_other_devices_are_ended_at_once(user: Person, other: Person) -> None:
    assert (await user.browser.post("/settings/sessions/revoke-others")).status_code == 303
    assert (await user.client.get("/me")).status_code == 401
    assert (await user.browser.get("/me")).status_code == 200
    assert (await other.client.get("/me")).status_code == 200


async def test_ending_this_very_session_logs_out(user: Person) -> None:
    async with transaction() as session:
        own = await session.scalar(select(LoginSession.id).where(LoginSession.cookie_hash.is_not(None)))
    answer = await user.browser.post(f"/settings/sessions/{own}/revoke")
    assert answer.headers["location"] == "/login"
    assert "dailies" not in user.browser.cookies


async def test_anothers_session_is_not_there(user: Person, other: Person) -> None:
    async with transaction() as session:
        theirs = await session.scalar(select(LoginSession.id).join(User).where(User.email == other.email).limit(1))
    for id in (str(theirs), "00000000-0000-4000-8000-000000000000", "x"):
        answer = await user.browser.post(f"/settings/sessions/{id}/revoke", headers={"Accept": "*/*"})
        assert answer.status_code == 404
    assert (await other.client.get("/me")).status_code == 200


async def test_a_users_devices_are_told_apart_by_what_they_said(user: Person) -> None:
    form = {"email": user.email, "password": user.password}
    agent = "Mozilla/5.0 (X11; Linux) \x7f<script>" + "x" * 500
    await user.browser.post("/login", data=form, headers={"User-Agent": agent})
    async with transaction() as session:
        kept = await session.scalar(
            select(LoginSession.user_agent).order_by(func.length(LoginSession.user_agent).desc())
        )
    assert kept is not None
    assert len(kept) <= 400
    assert kept.isprintable()
    assert not re.search("<script>x", (await user.browser.get("/settings")).text)


async def test_changes_of_the_key_sign_api_clients_out_and_leave_browsers(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "secret_key", SecretStr("n" * 32))
    assert (await user.client.get("/me")).status_code == 401
    assert (await user.browser.get("/me")).status_code == 200
