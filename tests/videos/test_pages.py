"""The library and a video's page, as a browser asks for them."""

import asyncio
import json
import re
import subprocess
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from backend.accounts.models import User
from backend.accounts.sessions import Identity
from backend.core.db import transaction
from backend.core.security import read_access_token
from backend.orgs.access import Actor, load_actor
from backend.videos.live import library_events
from backend.videos.models import Video
from tests.conftest import Person
from tests.videos.sending import add_row, send

RunJobs = Callable[[], Awaitable[int]]
HTMX = {"HX-Request": "true", "Accept": "*/*"}


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds that every browser plays."""
    path = tmp_path_factory.mktemp("clip") / "two seconds.mp4"
    command = "ffmpeg -v error -f lavfi -i testsrc=size=320x180:rate=25:duration=2 -pix_fmt yuv420p -c:v libx264"
    subprocess.run([*command.split(), str(path)], check=True)
    return path


async def upload(user: Person, path: Path, *, title: str) -> dict[str, Any]:
    """A confirmed upload, its processing queued."""
    return await send(user, path.name, path.read_bytes(), title=title)


@pytest.fixture
async def video(user: Person, clip: Path, run_jobs: RunJobs) -> dict[str, Any]:
    """A processed video."""
    made = await upload(user, clip, title="Harbour at dawn")
    await run_jobs()
    return made


def rows(html: str) -> list[str]:
    """The titles in the library, in order."""
    return re.findall(r'class="c-title"><a href="[^"]*"><bdi>([^<]*)<', html)


# --- the library -----------------------------------------------------------------------------------------------------


async def test_the_front_page_is_the_library(user: Person) -> None:
    answer = await user.browser.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")


async def test_whoever_is_not_signed_in_is_sent_to_the_login_page_and_back(client: httpx.AsyncClient) -> None:
    page = await client.get("/dashboard?q=sea", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/dashboard%3Fq%3Dsea")
    fragment = await client.get("/dashboard/now", headers=HTMX)
    assert fragment.headers["HX-Redirect"].startswith("/login")


async def test_an_empty_library_offers_the_one_next_step(user: Person) -> None:
    html = (await user.browser.get("/dashboard")).text
    assert "Your videos will be here" in html
    assert 'href="/upload"' in html
    assert '<div class="library-bar" hidden>' in html


async def test_the_first_account_is_told_that_it_is_the_administrator(user: Person, other: Person) -> None:
    words = "You are an administrator of this server."
    assert words in (await user.browser.get("/dashboard")).text
    assert words not in (await other.browser.get("/dashboard")).text


async def test_a_processed_video_is_a_card_with_poster_duration_and_status(user: Person, video: dict[str, Any]) -> None:
    html = (await user.browser.get("/dashboard")).text
    assert rows(html) == ["Harbour at dawn"]
    assert f'id="poster-{video["id"]}"' in html
    assert 'data-status="completed"' in html
    assert "0:02" in html
    assert '<dd data-stat="total">1</dd>' in html


async def test_htmx_gets_the_list_alone_and_history_gets_the_whole_page(user: Person, video: dict[str, Any]) -> None:
    fragment = await user.browser.get("/dashboard?sort=title", headers=HTMX)
    assert "<html" not in fragment.text
    assert rows(fragment.text) == ["Harbour at dawn"]
    assert "HX-Request" in fragment.headers["vary"]
    assert fragment.headers["cache-control"] == "no-store"
    restored = await user.browser.get("/dashboard", headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert "<!doctype html>" in restored.text.lower()


async def test_search_filter_and_order_come_from_the_address(user: Person, clip: Path, run_jobs: RunJobs) -> None:
    for title in ("Quarry", "Harbour", "Zebra crossing"):
        await upload(user, clip, title=title)
    await run_jobs()
    await upload(user, clip, title="Airfield")

    async def titles(query: str) -> list[str]:
        return rows((await user.browser.get(f"/dashboard?{query}")).text)

    assert await titles("") == ["Airfield", "Zebra crossing", "Harbour", "Quarry"]
    assert await titles("sort=title") == ["Airfield", "Harbour", "Quarry", "Zebra crossing"]
    assert await titles("sort=title&order=desc") == ["Zebra crossing", "Quarry", "Harbour", "Airfield"]
    assert await titles("status=processing") == ["Airfield"]
    assert await titles("status=completed&q=zeb+cross") == ["Zebra crossing"]


async def test_a_column_says_how_it_is_sorted_and_turns_round(user: Person, video: dict[str, Any]) -> None:
    html = (await user.browser.get("/dashboard?sort=title&status=completed")).text
    heading = re.search(r'<th[^>]*c-title[^>]*aria-sort="(\w+)"[^>]*><a id="sort-title" href="([^"]*)"', html)
    assert heading is not None
    assert heading.groups() == ("ascending", "/dashboard?status=completed&amp;sort=title&amp;order=desc")


async def test_a_search_that_finds_nothing_offers_to_clear_it(user: Person, video: dict[str, Any]) -> None:
    html = (await user.browser.get("/dashboard?q=%3Cb%3Enothing")).text
    assert "Nothing matches “&lt;b&gt;nothing”" in html
    assert "Clear the search" in html
    assert "<b>nothing" not in html


async def test_a_page_beyond_the_end_shows_the_last_page(user: Person, video: dict[str, Any]) -> None:
    assert rows((await user.browser.get("/dashboard?page=7")).text) == ["Harbour at dawn"]


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "sort=colour", "status=lost", "order=up", "q=" + "x" * 201]
)
async def test_what_makes_no_sense_in_an_address_is_left_out(user: Person, video: dict[str, Any], query: str) -> None:
    answer = await user.browser.get(f"/dashboard?{query}")
    assert answer.status_code == 200
    assert rows(answer.text) == ["Harbour at dawn"]


async def test_what_does_make_sense_in_an_address_is_kept(user: Person, video: dict[str, Any]) -> None:
    assert rows((await user.browser.get("/dashboard?page=-1&status=failed")).text) == []
    assert (await user.client.get("/api/videos?page=-1")).status_code == 422, "programs are told"


async def test_an_unreadable_address_is_said_so_in_words(user: Person) -> None:
    answer = await user.browser.get("/dashboard?q=%00")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")


async def test_work_is_listed_with_its_stage_and_can_be_cancelled(user: Person, clip: Path) -> None:
    made = await upload(user, clip, title="Rushes 4")
    html = (await user.browser.get("/dashboard/now", headers=HTMX)).text
    assert "Rushes 4" in html
    assert "Waiting for a worker" in html
    assert 'id="count-processing" hx-swap-oob="innerHTML">1<' in html
    cancelled = await user.browser.post(f"/jobs/{made['job_id']}/cancel", headers=HTMX)
    assert "Cancelled" in cancelled.text
    assert "work-title" not in (await user.browser.get("/dashboard/now", headers=HTMX)).text
    page = (await user.browser.get(f"/videos/{made['id']}")).text
    assert "Processing was cancelled" in page


async def test_nothing_in_work_leaves_no_empty_panel(user: Person, video: dict[str, Any]) -> None:
    assert "processing-title" not in (await user.browser.get("/dashboard")).text


async def test_what_people_type_never_becomes_markup(user: Person, clip: Path, run_jobs: RunJobs) -> None:
    title = """<img src=x onerror=alert(1)>" hx-get='/x' ${7*7} {{7*7}}"""
    made = await upload(user, clip, title=title)
    await run_jobs()
    for path in ("/dashboard", "/dashboard/now", f"/videos/{made['id']}", f"/videos/{made['id']}/edit"):
        html = (await user.browser.get(path)).text
        assert "<img src=x" not in html, path
        assert "49" not in re.sub(r"[0-9a-f-]{36}|X-Amz[^\"]*", "", html) or "{{7*7}}" in html, path


async def test_another_persons_videos_are_nowhere(other: Person, video: dict[str, Any]) -> None:
    assert rows((await other.browser.get("/dashboard")).text) == []
    for path in ("", "/row", "/heading", "/edit", "/live", "/download"):
        answer = await other.browser.get(f"/videos/{video['id']}{path}")
        assert answer.status_code == 404, path
    for action in ("edit", "delete", "retry", "restore"):
        answer = await other.browser.post(f"/videos/{video['id']}/{action}", data={"title": "mine"})
        assert answer.status_code == 404, action
    cancelled = await other.browser.post(f"/jobs/{video['job_id']}/cancel")
    assert cancelled.status_code == 404


# --- one video -------------------------------------------------------------------------------------------------------


async def test_a_video_has_a_page_for_browsers_and_json_for_programs(
    user: Person, client: httpx.AsyncClient, video: dict[str, Any]
) -> None:
    page = await user.browser.get(f"/videos/{video['id']}")
    assert "data-player" in page.text
    assert "320 × 180" in page.text
    assert "Metadata read" in page.text
    assert "Poster made" in page.text
    program = await user.client.get(f"/videos/{video['id']}")
    assert program.json() == (await user.client.get(f"/api/videos/{video['id']}")).json() | {
        "poster_url": program.json()["poster_url"]
    }
    assert (await client.get(f"/videos/{video['id']}")).status_code == 401
    away = await client.get(f"/videos/{video['id']}", headers={"Accept": "text/html"})
    assert (away.status_code, away.headers["location"]) == (303, f"/login?next=/videos/{video['id']}")


async def test_a_failed_video_says_why_and_can_be_tried_again(user: Person, tmp_path: Path, run_jobs: RunJobs) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 4000)
    made = await upload(user, broken, title="Broken")
    await run_jobs()
    page = (await user.browser.get(f"/videos/{made['id']}")).text
    assert "This video could not be processed" in page
    assert "<code>corrupt_media</code>" in page
    again = await user.browser.post(f"/videos/{made['id']}/retry", headers=HTMX)
    assert again.status_code == 200
    assert "Waiting for a worker" in again.text
    twice = await user.browser.post(f"/videos/{made['id']}/retry", headers=HTMX)
    assert twice.status_code == 409


async def test_the_download_keeps_the_files_name(user: Person, video: dict[str, Any], clip: Path) -> None:
    answer = await user.browser.get(f"/videos/{video['id']}/download")
    assert answer.status_code == 303
    async with httpx.AsyncClient() as storage:
        file = await storage.get(answer.headers["location"])
    assert file.content == clip.read_bytes()
    assert "two%20seconds.mp4" in file.headers["content-disposition"]


# --- changing and deleting -------------------------------------------------------------------------------------------


async def test_an_edit_is_saved_and_the_page_told(user: Person, video: dict[str, Any]) -> None:
    form = (await user.browser.get(f"/videos/{video['id']}/edit", headers=HTMX)).text
    assert 'value="Harbour at dawn"' in form
    saved = await user.browser.post(
        f"/videos/{video['id']}/edit", headers=HTMX, data={"title": " Häfen ", "description": "Zwei\r\nZeilen"}
    )
    assert saved.status_code == 204
    assert {"video:saved", "library:changed", "toast"} <= json.loads(saved.headers["HX-Trigger"]).keys()
    now = (await user.client.get(f"/api/videos/{video['id']}")).json()
    assert (now["title"], now["description"]) == ("Häfen", "Zwei\nZeilen")


async def test_an_edit_works_without_scripts(user: Person, video: dict[str, Any]) -> None:
    saved = await user.browser.post(f"/videos/{video['id']}/edit", data={"title": "By form", "place": "page"})
    assert (saved.status_code, saved.headers["location"]) == (303, f"/videos/{video['id']}")
    assert (await user.client.get(f"/api/videos/{video['id']}")).json()["title"] == "By form"


async def test_a_bad_edit_comes_back_with_a_sentence_and_what_was_typed(user: Person, video: dict[str, Any]) -> None:
    path = f"/videos/{video['id']}/edit"
    blank = await user.browser.post(path, headers=HTMX, data={"title": "  ", "description": "kept"})
    assert blank.status_code == 422
    assert "Please fill this in." in blank.text
    assert ">kept</textarea>" in blank.text
    long = await user.browser.post(path, headers=HTMX, data={"title": "x" * 201, "place": "page"})
    assert "Use at most 200 characters." in long.text
    odd = await user.browser.post(path, headers=HTMX, data={"title": "a\x00b"})
    assert odd.status_code == 422
    assert (await user.client.get(f"/api/videos/{video['id']}")).json()["title"] == "Harbour at dawn"


async def test_a_deletion_can_be_undone(user: Person, video: dict[str, Any]) -> None:
    deleted = await user.browser.post(f"/videos/{video['id']}/delete", headers=HTMX)
    toast = json.loads(deleted.headers["HX-Trigger"])["toast"]
    assert toast["message"] == "“Harbour at dawn” was deleted."
    assert (await user.browser.get(f"/videos/{video['id']}")).status_code == 404
    assert rows((await user.browser.get("/dashboard")).text) == []
    restored = await user.browser.post(toast["undo_url"], headers=HTMX)
    assert restored.status_code == 204
    assert rows((await user.browser.get("/dashboard")).text) == ["Harbour at dawn"]


async def test_deleting_from_the_videos_page_leads_to_the_library(user: Person, video: dict[str, Any]) -> None:
    deleted = await user.browser.post(f"/videos/{video['id']}/delete?leave=true", headers=HTMX)
    assert deleted.headers["HX-Redirect"] == "/dashboard"
    assert "toast" in deleted.headers["HX-Trigger"]


@pytest.mark.parametrize("action", ["edit", "delete", "retry", "restore"])
async def test_another_site_cannot_make_changes(user: Person, video: dict[str, Any], action: str) -> None:
    answer = await user.browser.post(
        f"/videos/{video['id']}/{action}", data={"title": "x"}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


# --- live ------------------------------------------------------------------------------------------------------------


async def test_the_librarys_stream_says_what_to_fetch_again(user: Person, clip: Path, run_jobs: RunJobs) -> None:
    from backend.core.events import hub

    actor = await actor_of(user)
    seen: list[str] = []

    async def follow() -> None:
        async for event in library_events(actor=actor, seen=None):
            seen.append(str(event.event))
            if event.event == f"video-{made['id']}":
                return

    made: dict[str, Any] = {"id": None}
    following = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(60):
            while not (hub.connected and hub.streams):
                await asyncio.sleep(0.02)
        made.update(await upload(user, clip, title="Live"))
        await run_jobs()
        await asyncio.wait_for(following, 60)
    finally:
        following.cancel()
    assert {"now", "library"} <= set(seen)


async def test_a_stream_that_comes_back_is_told_what_it_missed(user: Person, video: dict[str, Any]) -> None:
    events = library_events(actor=await actor_of(user), seen="0.0.0.0")  # noqa: S104
    missed = [str((await anext(events)).event) for _ in range(2)]
    await events.aclose()  # type: ignore[attr-defined]
    assert missed == ["now", "library"]


async def actor_of(person: Person) -> Actor:
    """The actor behind a person's token."""
    claims = read_access_token(person.token)
    async with transaction() as session:
        user = await session.get_one(User, claims.user_id)
        return await load_actor(session, Identity(user=user, session_id=claims.session_id, via="bearer"))


async def test_a_stream_ends_when_its_session_does(user: Person) -> None:
    actor = await actor_of(user)
    await user.client.post("/api/auth/logout")
    assert [event async for event in library_events(actor=actor, seen=None)] == []


async def test_what_one_cancelled_is_not_called_a_failure(user: Person, video: dict[str, Any]) -> None:
    async with transaction() as session:
        await session.execute(update(Video).values(status="failed", error_code="cancelled", error_message="Stopped."))
    for path in ("/dashboard", f"/videos/{video['id']}"):
        page = (await user.browser.get(path)).text
        assert 'data-status="cancelled"' in page
        assert 'data-status="failed"' not in page


async def test_the_progress_of_several_videos_is_told_as_the_library_tells_it(
    user: Person, other: Person, clip: Path, run_jobs: RunJobs
) -> None:
    video = await upload(user, clip, title="Quarry")
    address = f"/videos/progress?id={video['id']}&id={uuid.uuid4()}"
    [told] = (await user.browser.get(address)).json()
    assert told == {
        "id": video["id"],
        "status": "processing",
        "words": "Waiting for a worker",
        "percent": 0,
        "running": False,
    }
    assert "Waiting for a worker" in (await user.browser.get("/dashboard")).text
    assert (await other.browser.get(address)).json() == []
    await run_jobs()
    assert (await user.browser.get(address)).json() == [{"id": video["id"], "status": "completed"}]
    user.browser.cookies.clear()
    assert (await user.browser.get(address)).status_code == 401


@pytest.mark.parametrize(("missing", "share"), [(1000, "50%"), (1, "less than 1%"), (10**6, "more than 99%")])
async def test_the_page_of_a_film_that_was_cut_off_says_so(user: Person, missing: int, share: str) -> None:
    whole, cut = await add_row(user, "Whole"), await add_row(user, "Cut", missing_bytes=missing)
    page = (await user.browser.get(f"/videos/{cut}")).text
    assert f"The file ends early: {share} of it is missing." in page
    assert "Missing at its end" in page
    assert "The file itself is fine" not in page
    page = (await user.browser.get(f"/videos/{whole}")).text
    assert "ends early" not in page
    assert "Missing at its end" not in page
