"""A session that ends while something is on its way: the page stays, says so, and loses nothing of what was typed."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.flows.browser import PASSWORD, Visitor
from tests.flows.uploading import MB, PICKER, Line, Sent, id_of, in_state, make_film, row_of, until_percent

LOGGED_OUT = "You were logged out. Log in to go on."


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"UPLOAD_SWEEP_SECONDS": "1"}


async def log_in(page: Page, visitor: Visitor) -> None:
    await page.get_by_label("Email").fill(visitor.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/upload")


async def logged_out_on_the_way(
    page: Page, visitor: Visitor, film: Path, *, mb_s: float, percent: int, title: str
) -> tuple[Locator, Line]:
    """A file on a slow line whose sender's session ends so far in; its title is typed after that."""
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=mb_s)
    await page.locator(PICKER).set_input_files(film)
    row = row_of(page, film)
    await until_percent(row, percent)
    await page.context.clear_cookies()
    await row.get_by_label("Title of").fill(title)
    return row, line


def without_refusals(visitor: Visitor) -> None:
    visitor.complaints[:] = [text for text in visitor.complaints if "401" not in text]


async def test_what_is_on_its_way_arrives_and_is_named_after_the_login(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    row, line = await logged_out_on_the_way(page, visitor, clip, mb_s=0.2, percent=30, title="Sent by nobody")
    await line.set()
    await in_state(row, "loggedout")
    await expect(row).to_contain_text(LOGGED_OUT)
    assert page.url.endswith("/upload"), "the page stays"
    seen = asyncio.Event()

    async def later(route: Route) -> None:
        await seen.wait()  # it would be done before the second page has looked
        await route.continue_()

    await page.route("**/api/uploads/*/complete", later)
    async with page.context.expect_page() as opened:
        await row.get_by_role("link", name="Log in").click()
    second = await opened.value
    await log_in(second, visitor)
    await expect(second.get_by_text("on its way in another tab")).to_be_visible()
    seen.set()
    await second.close()
    await page.bring_to_front()
    await in_state(row, "ready", 60)
    video = await visitor.api("GET", f"/api/videos/{await id_of(row)}")
    assert video["title"] == "Sent by nobody"
    without_refusals(visitor)


async def test_a_file_chosen_without_a_session_waits_for_it(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await visitor.open("/upload")
    await page.context.clear_cookies()
    await page.locator(PICKER).set_input_files(clip)
    row = row_of(page, clip)
    await in_state(row, "loggedout")
    await expect(row).to_contain_text(LOGGED_OUT)
    await row.get_by_label("Title of").fill("Chosen by nobody")
    second = await page.context.new_page()
    await second.goto(f"{visitor.url}/login?next=/upload")
    await log_in(second, visitor)
    await second.close()
    await page.bring_to_front()
    await in_state(row, "ready", 60)
    video = await visitor.api("GET", f"/api/videos/{await id_of(row)}")
    assert video["title"] == "Chosen by nobody"
    without_refusals(visitor)


async def test_parts_travel_on_and_the_row_is_there_with_its_text_after_the_login(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    page = visitor.page
    film = make_film(tmp_path / "long.mp4", clip, 70 * MB)
    sent = Sent(page)
    row, _ = await logged_out_on_the_way(page, visitor, film, mb_s=8, percent=10, title="Typed by nobody")
    await in_state(row, "loggedout", 60)
    assert set(sent.numbers) == {1, 2, 3, 4, 5}, "what was signed is sent"

    # Somebody who goes to the login in this tab finds the row, and what was typed, afterwards: it came without them.
    await page.close(run_before_unload=False)
    visitor.page = page = await page.context.new_page()
    await visitor.open("/login?next=/upload")
    await log_in(page, visitor)
    row = row_of(page, film)
    await in_state(row, "ready", 60)
    await expect(row.get_by_label("Title of")).to_have_value("Typed by nobody")
    video = await visitor.api("GET", f"/api/videos/{await id_of(row)}")
    assert video["title"] == "Typed by nobody"
    without_refusals(visitor)


async def test_an_unfinished_row_keeps_what_the_server_was_not_told(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    page = visitor.page
    film = make_film(tmp_path / "long.mp4", clip, 70 * MB)
    await logged_out_on_the_way(page, visitor, film, mb_s=8, percent=10, title="Half of it")
    await page.close(run_before_unload=False)
    visitor.page = page = await page.context.new_page()
    await visitor.open("/login?next=/upload")
    await log_in(page, visitor)
    row = row_of(page, film)
    await in_state(row, "unfinished")
    await expect(row.get_by_label("Title of")).to_have_value("Half of it")
    (upload,) = (await visitor.api("GET", "/api/uploads?state=open"))["uploads"]
    for _ in range(50):
        if (await visitor.api("GET", f"/api/uploads/{upload['id']}"))["title"] == "Half of it":
            break
        await page.wait_for_timeout(100)
    else:
        raise AssertionError("the server was not told")
    without_refusals(visitor)
