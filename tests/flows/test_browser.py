"""The main job in a real browser: a video goes up, is seen being processed, found, changed, watched and removed."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from backend.core.storage import storage
from tests.conftest import Live
from tests.flows.browser import Visitor, make_clip, visit


@pytest.fixture
async def newcomer(chromium: Browser, live: Live, clean: None) -> AsyncIterator[Visitor]:
    """Somebody who registers as people do: on the page."""
    async with visit(chromium, live.url) as visitor:
        await visitor.register()
        yield visitor


async def test_the_main_job_from_registering_to_deleting(newcomer: Visitor, clip: Path) -> None:
    visitor, page = newcomer, newcomer.page

    # An empty library leads to the upload page.
    await expect(page.get_by_role("heading", name="Your videos will be here")).to_be_visible()
    await page.get_by_role("link", name="Upload a video").click()
    await page.wait_for_url("**/upload")

    # The file is chosen, sent and processed; the page follows without a reload.
    await page.evaluate("window.same = 'page'")
    await page.locator('input[type="file"]').set_input_files(clip)
    row = page.locator(".up-row")
    await row.get_by_label("Title of").fill("Harbour at dawn")
    await expect(row).to_have_attribute("data-state", "ready")
    assert await page.evaluate("window.same") == "page"

    # It is in the library, with its poster.
    await visitor.open("/dashboard")
    card = page.locator(".videos tbody tr")
    await expect(card.get_by_role("link", name="Harbour at dawn")).to_be_visible()
    await expect(card.locator(".status")).to_have_text("Ready")
    await expect(card.locator(".c-duration")).to_contain_text("0:06")
    await expect(card.locator("img")).to_have_js_property("naturalWidth", 640)

    # Search as one types, in the address too.
    await page.keyboard.press("/")
    await page.keyboard.type("harb")
    await page.wait_for_url("**/dashboard?q=harb")
    await expect(card).to_have_count(1)
    await page.keyboard.type("xyz")
    await expect(page.get_by_role("heading", name="Nothing matches “harbxyz”")).to_be_visible()
    await page.get_by_role("link", name="Clear the search").click()
    await expect(card).to_have_count(1)
    await page.wait_for_url("**/dashboard")

    # Edit the title from the card's menu.
    await card.get_by_role("button", name="Actions for Harbour at dawn").click()
    await page.get_by_role("menuitem", name="Edit").click()
    title = page.get_by_role("dialog").get_by_label("Title")
    await expect(title).to_be_focused()
    await title.fill("Harbour at dusk")
    await title.press("Enter")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(card.get_by_role("link", name="Harbour at dusk")).to_be_visible()

    # Play and seek.
    await card.get_by_role("link", name="Harbour at dusk").click()
    await page.wait_for_url("**/videos/*")
    video_id = page.url.rsplit("/", 1)[1]
    player = page.locator("video")
    await page.keyboard.press("k")
    await expect(player).to_have_js_property("paused", False)
    await visitor.until("document.querySelector('video').currentTime > 0.3")
    await page.keyboard.press("k")
    await page.keyboard.press("5")
    await expect(player).to_have_js_property("currentTime", 3)
    await page.keyboard.press(".")
    await expect(player).to_have_js_property("currentTime", 3.04)
    await visitor.until("!document.querySelector('video').seeking")
    assert await player.evaluate("video => video.readyState") >= 2
    await expect(page.locator(".facts").first).to_contain_text("640 × 360")

    # Delete it; after the time for undo its objects are gone too.
    account = (await visitor.api("GET", "/api/auth/me"))["id"]
    prefix = f"videos/{account}/{video_id}/"
    assert len(await storage.list_keys(prefix)) >= 2, "and soon the preview"
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await page.wait_for_url("**/dashboard")
    await expect(page.locator(".toast").last).to_contain_text("“Harbour at dusk” was deleted.")
    await expect(page.get_by_role("heading", name="Your videos will be here")).to_be_visible()
    deadline = time.monotonic() + 30
    while await storage.list_keys(prefix):
        assert time.monotonic() < deadline, "the objects are still there"
        await asyncio.sleep(0.5)


async def test_a_deletion_is_undone_from_its_toast(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await visitor.send(clip, title="Keep me")
    await visitor.open("/dashboard")
    card = page.locator(".videos tbody tr")
    await card.get_by_role("button", name="Actions for Keep me").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await expect(page.get_by_role("dialog")).to_contain_text("Delete “Keep me”?")
    await page.keyboard.press("Escape")
    await expect(card).to_have_count(1)
    await card.get_by_role("button", name="Actions for Keep me").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(card).to_have_count(0)
    await page.get_by_role("button", name="Undo").click()
    await expect(card).to_have_count(1)


async def test_an_open_library_follows_what_happens_elsewhere(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await expect(page.locator("#dashboard")).to_be_visible()
    await page.evaluate("window.same = 'page'")
    await visitor.send(clip, title="From another machine")
    card = page.locator(".videos tbody tr")
    await expect(card.get_by_role("link", name="From another machine")).to_be_visible()
    await expect(card.locator(".status")).to_have_text("Ready")
    await expect(card.locator("img")).to_be_visible()
    await expect(page.locator('[data-stat="total"]')).to_have_text("1")
    await expect(page.locator("#processing-title")).to_have_count(0)
    assert await page.evaluate("window.same") == "page"


async def test_a_video_in_work_becomes_its_player_without_a_reload(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    long = make_clip(tmp_path / "long.mp4", seconds=8, size="1280x720")
    video_id = await visitor.send(long, title="Soon")
    await visitor.open(f"/videos/{video_id}")
    await page.evaluate("window.same = 'page'")
    await expect(page.locator("video")).to_be_visible()
    await expect(page.locator(".history")).to_contain_text("Poster made")
    assert await page.evaluate("window.same") == "page"


async def test_filters_sorting_and_paging_live_in_the_address(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    for title in ("Beta", "alpha", "Gamma"):
        await visitor.send(clip, title=title)
    await visitor.open("/dashboard")
    titles = page.locator(".videos tbody .c-title a")
    await expect(titles).to_have_text(["Gamma", "alpha", "Beta"])
    await page.get_by_role("button", name="Table").click()
    await page.get_by_role("link", name="Title").click()
    await expect(titles).to_have_text(["alpha", "Beta", "Gamma"])
    assert page.url.endswith("/dashboard?sort=title")
    await expect(page.get_by_role("columnheader", name="Title")).to_have_attribute("aria-sort", "ascending")
    await page.get_by_role("link", name=re.compile("^Failed")).click()
    await expect(page.get_by_role("heading", name="No video has failed")).to_be_visible()
    await page.go_back()
    await expect(titles).to_have_text(["alpha", "Beta", "Gamma"])
    await page.reload()
    await expect(titles).to_have_text(["alpha", "Beta", "Gamma"])
    # The choice of view is kept in this browser, and known before the first paint.
    assert await page.evaluate("localStorage.getItem('library-view')") == "table"
    await expect(page.locator("html")).to_have_attribute("data-view", "table")


async def test_a_failure_is_told_in_words_and_tried_again(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 4000)
    video_id = await visitor.send(broken, title="Broken")
    await visitor.open(f"/videos/{video_id}")
    await expect(page.get_by_role("heading", name="This video could not be processed")).to_be_visible()
    await page.locator(".stage summary").click()
    await expect(page.get_by_text("corrupt_media")).to_be_visible()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator('.history [data-kind="failed"]')).to_have_count(2)
    await expect(page.get_by_role("heading", name="This video could not be processed")).to_be_visible()


async def test_the_player_goes_on_after_its_address_expired(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    video_id = await visitor.send(clip, title="Long pause")
    await visitor.open(f"/videos/{video_id}")
    player = page.locator("video")
    await expect(player).to_be_visible()
    await visitor.until("document.querySelector('video').readyState >= 1")
    await page.keyboard.press("5")
    await expect(player).to_have_js_property("currentTime", 3)
    # The address stops working; the next look asks for a fresh one and stays where it was.
    broken = await player.evaluate(
        "video => video.src = video.src.replace(/Signature=(.)/, (_, first) => `Signature=${first === '0' ? 1 : 0}`)"
    )
    await visitor.until("broken => document.querySelector('video').src !== broken", broken)
    await visitor.until("document.querySelector('video').readyState >= 2")
    visitor.complaints[:] = [text for text in visitor.complaints if "403" not in text]
    await page.keyboard.press("k")
    await expect(player).to_have_js_property("paused", False)


async def test_every_step_works_by_keyboard(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await visitor.send(clip, title="Keys only")
    await visitor.open("/dashboard")
    await expect(page.locator(".videos tbody tr .status")).to_have_text("Ready")
    actions = page.get_by_role("button", name="Actions for Keys only")
    await actions.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menuitem", name="View")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("menuitem", name="Edit")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_label("Title")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(actions).to_be_focused()
    await page.locator(".videos").get_by_role("link", name="Keys only").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/videos/*")
    await page.get_by_role("button", name="Edit").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Title")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Edit")).to_be_focused()
    # Keys of the player do not act while one types.
    await page.keyboard.press("Enter")
    await page.get_by_label("Title").press("End")
    await page.keyboard.type(" kmf")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Keys only kmf")).to_be_visible()
    await expect(page.locator("video")).to_have_js_property("muted", False)
    assert await page.title() == "Keys only kmf · Dailies"


async def test_two_people_never_see_each_others_videos(
    visitor: Visitor, chromium: Browser, live: Live, clip: Path
) -> None:
    video_id = await visitor.send(clip, title="Mine alone")
    async with visit(chromium, live.url) as stranger:
        await stranger.register()
        await expect(stranger.page.get_by_text("Mine alone")).to_have_count(0)
        await stranger.open(f"/videos/{video_id}")
        await expect(stranger.page.get_by_role("heading", name="Nothing here")).to_be_visible()
        stranger.complaints.clear()  # the browser reports the 404


async def test_without_live_events_the_library_looks_by_itself(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await page.route("**/dashboard/live*", lambda route: route.abort())
    await page.reload()
    await visitor.send(clip, title="Seen all the same")
    await expect(page.locator(".videos .status")).to_have_text("Ready")
    visitor.complaints[:] = [
        text for text in visitor.complaints if "ERR_FAILED" not in text and "[object Event]" not in text
    ]


async def test_a_server_that_is_away_is_said_once_and_asked_again(visitor: Visitor) -> None:
    page = visitor.page
    asked: list[str] = []
    page.on("requestfailed", lambda request: asked.append(request.url) if "/dashboard/now" in request.url else None)
    for path in ("**/dashboard/live*", "**/dashboard/now*"):
        await page.route(path, lambda route: route.abort())
    await page.reload()
    async with asyncio.timeout(60):
        while len(asked) < 2:
            await asyncio.sleep(0.2)
    await expect(page.locator(".toast")).to_have_text("The server does not answer. This page asks again by itself.")
    visitor.complaints.clear()  # the browser reports each


async def test_a_hidden_tab_gives_its_connection_back(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "/dashboard/live" in request.url else None)
    await page.clock.install()
    await page.reload()
    await visitor.send(clip, title="Before")
    await expect(page.locator(".videos .status")).to_have_text("Ready")
    before = streams[-1]
    streams.clear()
    look = (
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')) }"
    )
    await page.evaluate(look, True)
    await page.clock.fast_forward(31_000)
    await visitor.send(clip, title="Meanwhile")
    await expect(page.locator(".videos tbody tr")).to_have_count(1)
    assert streams == []
    await page.evaluate(look, False)
    await page.clock.fast_forward(1_000)
    await expect(page.locator(".videos tbody tr")).to_have_count(2)
    assert len(streams) == 1
    assert streams != [before]  # it names what it has seen


async def test_news_waits_while_somebody_is_busy(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await visitor.send(clip, title="First")
    await visitor.open("/dashboard")
    await expect(page.locator(".videos .status")).to_have_text("Ready")
    await page.get_by_role("button", name="Actions for First").click()
    await expect(page.get_by_role("menuitem", name="View")).to_be_focused()
    await visitor.send(clip, title="Second")
    await asyncio.sleep(1.5)
    await expect(page.get_by_role("menuitem", name="View")).to_be_focused()
    await expect(page.locator(".videos tbody tr")).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(page.locator(".videos tbody tr")).to_have_count(2)
    await expect(page.get_by_role("button", name="Actions for First")).to_be_focused()


async def test_a_refusal_is_one_sentence_in_a_corner(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    video_id = await visitor.send(clip, title="Done already")
    await visitor.open("/dashboard")
    await expect(page.locator(".videos .status")).to_have_text("Ready")
    job_id = (await visitor.api("GET", f"/api/videos/{video_id}"))["job_id"]
    await page.evaluate("id => htmx.ajax('POST', `/jobs/${id}/cancel`, {swap: 'none'})", job_id)
    await expect(page.locator(".toast")).to_have_text("This job has already ended.")
    visitor.complaints.clear()  # the browser reports the 409
