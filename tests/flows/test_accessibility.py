"""Nothing serious, by axe, on any page: in both themes, wide and narrow, empty, full, busy and failed."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.conftest import Live
from tests.flows.browser import Visitor, visit
from tests.flows.scenes import busy_project, one_of_each, practice
from tests.flows.studio_scenes import studio, synced
from tests.flows.uploading import MB, PICKER, Line, in_state, make_film, row_of, until_percent

LOOKS: list[tuple[Literal["light", "dark"], int]] = [("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390)]
GRAVE = ("serious", "critical")


async def grave(page: Page) -> list[dict[str, Any]]:
    """What axe finds that keeps people from using the page: rule, and the elements it is about."""
    results = await Axe().run(page)
    return [
        {"rule": found["id"], "where": [(node["target"], node.get("failureSummary")) for node in found["nodes"]]}
        for found in results.response["violations"]
        if found["impact"] in GRAVE
    ]


async def check(page: Page, name: str) -> None:
    """The page as it stands, in every look. What is being fetched is dimmed: that has to be over."""
    await expect(page.locator(".htmx-request")).to_have_count(0)
    for theme, width in LOOKS:
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        await page.set_viewport_size({"width": width, "height": 844})
        look = f"{name}, {theme}, {width} wide"
        too_wide = "document.documentElement.scrollWidth > innerWidth"
        if await page.evaluate(too_wide):  # what scripts lay out follows the window a moment later
            await page.wait_for_timeout(300)
            assert not await page.evaluate(too_wide), f"too wide: {look}"
        if await grave(page):  # a part may have been fetched, and dimmed, just then
            await expect(page.locator(".htmx-request")).to_have_count(0)
            await page.wait_for_timeout(300)
            assert await grave(page) == [], look


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"GENERATIONS_PER_HOUR": "6"}  # as many as `studio` makes: its composer has none left


@pytest.fixture
async def reader(chromium: Browser, live: Live, clean: None) -> AsyncIterator[Visitor]:
    async with visit(chromium, live.url) as visitor:
        yield visitor


async def test_every_page_can_be_used_by_everybody(reader: Visitor, tmp_path: Path) -> None:
    page = reader.page
    for path in ("/login", "/register"):
        await reader.open(path)
        await check(page, path)
    await reader.register()
    await check(page, "empty library")
    for path in ("/upload", "/settings"):
        await reader.open(path)
        await check(page, path)

    scene = await one_of_each(reader, tmp_path)
    await reader.open("/dashboard")
    await check(page, "library as a grid")
    await page.get_by_role("button", name="Table").click()
    await check(page, "library as a table")
    await page.get_by_role("button", name="Actions for Old camera").click()
    await expect(page.get_by_role("menuitem", name="View")).to_be_focused()
    await check(page, "card menu")
    await page.get_by_role("menuitem", name="Edit").click()
    await expect(page.get_by_role("dialog").get_by_label("Title")).to_be_focused()
    await check(page, "editor")
    await page.get_by_role("dialog").get_by_label("Title").fill(" ")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Please fill this in.")).to_be_visible()
    await check(page, "editor with a mistake")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Actions for Old camera").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await expect(page.get_by_role("heading", name="Delete “Old camera”?")).to_be_visible()
    await check(page, "confirmation")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".toast")).to_be_visible()
    await check(page, "toast")
    await page.get_by_role("button", name="Undo").click()
    await reader.open("/dashboard?q=nothing+like+this")
    await check(page, "search without a result")

    for name, video_id in vars(scene).items():
        await reader.open(f"/videos/{video_id}")
        await page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        await check(page, f"{name} video")
    await page.get_by_role("button", name="Edit").click()
    await expect(page.get_by_label("Title")).to_be_focused()
    await check(page, "editor in place")

    await reader.open("/videos/00000000-0000-4000-8000-000000000000")
    await check(page, "not found")
    reader.complaints[:] = [text for text in reader.complaints if "404" not in text and "422" not in text]


async def test_uploads_that_stopped_can_be_used_by_everybody(reader: Visitor, clip: Path, tmp_path: Path) -> None:
    page = reader.page
    await reader.register()
    film = make_film(tmp_path / "long.mp4", clip, 70 * MB)
    await reader.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=20)
    await page.locator(PICKER).set_input_files(film)
    await until_percent(row_of(page, film), 30)
    await line.set(upload_mb_s=0.5)  # so that it is still under way when all was looked at
    await check(page, "an upload under way")
    await row_of(page, film).get_by_role("button", name="Pause").click()
    await check(page, "a paused upload")
    await page.close(run_before_unload=False)
    reader.page = page = await page.context.new_page()
    await reader.open("/upload")
    await in_state(row_of(page, film), "unfinished")
    notes = tmp_path / "notes.pdf"
    notes.write_bytes(b"no video")
    await page.locator(PICKER).set_input_files([clip, notes])
    await in_state(row_of(page, clip), "ready", 30)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    await page.locator(PICKER).set_input_files(copy)
    await in_state(row_of(page, copy), "duplicate")
    await page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
    await check(page, "uploads that stopped")
    await reader.open("/dashboard")
    await in_state(row_of(page, film), "unfinished")
    await check(page, "library with an unfinished upload")


async def test_projects_keys_and_webhooks_can_be_used_by_everybody(reader: Visitor) -> None:
    page = reader.page
    await reader.register()
    there = await busy_project(reader)
    project, organization = f"/projects/{there.project}", f"/orgs/{there.organization}"
    for path in (
        "/projects?ask=project",
        "/projects",
        f"{project}/members",
        f"{project}/members?ask=invite",
        f"{project}/keys",
        f"{project}/keys?ask=key",
        f"{project}/webhooks",
        f"{project}/webhooks?ask=webhook",
        f"{project}/activity",
        f"{project}/settings",
        organization,
        f"{organization}/members",
        f"{organization}/activity",
        f"{organization}/settings",
        f"{project}/settings?ask=delete",
        f"{project}/webhooks/{there.silent}",
        f"{project}/webhooks/{there.webhook}?ask=edit",
        f"/invitations/{there.invitation}",
        f"/dashboard?project={there.project}",
    ):
        await reader.open(path)
        await check(page, path)
    await reader.open(f"{project}/webhooks/{there.webhook}")
    await page.locator(".delivery summary").first.click()
    await expect(page.get_by_role("button", name="Send again")).to_be_visible()
    await page.evaluate("for (const folded of document.querySelectorAll('.delivery-body details')) folded.open = true")
    await check(page, "a webhook with a delivery unfolded")
    await page.set_viewport_size({"width": 1280, "height": 844})
    await page.get_by_role("button", name="Project: Spring film").click()
    await expect(page.get_by_role("menuitemradio", name="Spring film")).to_be_focused()
    await check(page, "the switcher")


async def test_the_studio_can_be_used_by_everybody(reader: Visitor) -> None:
    page = reader.page
    await reader.register()
    for path in ("/generate", "/gallery"):
        await reader.open(path)
        await check(page, f"empty {path}")
    there = await studio(reader)
    for path in ("/generate", "/gallery", "/gallery?q=zebra", f"/generate?again={there.film}"):
        await reader.open(path)
        await check(page, path)
    await reader.open("/gallery")
    await page.get_by_role("button", name="Actions for A lighthouse").click()
    await expect(page.get_by_role("menuitem", name="Open")).to_be_focused()
    await check(page, "a tile's menu")
    for name, generation_id in vars(there).items():
        await reader.open(f"/gallery/{generation_id}")
        await page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        await check(page, f"{name}'s page")


async def test_a_projects_cms_can_be_used_by_everybody(reader: Visitor) -> None:
    await reader.register()
    project = await reader.api("POST", "/api/projects", name="Spring film")
    await synced(uuid.UUID(project["id"]))
    for path in (f"/projects/{project['id']}/cms", f"/projects/{project['id']}/cms?ask=cms"):
        await reader.open(path)
        await check(reader.page, path)


async def test_practice_sessions_can_be_used_by_everybody(reader: Visitor, tmp_path: Path) -> None:
    page = reader.page
    await reader.register()
    for path in ("/sessions", "/sessions?ask=session"):
        await reader.open(path)
        await check(page, path)
    there = await practice(reader, tmp_path)
    session = f"/sessions/{there.done}"
    left, right = there.analyses
    for path in (
        "/sessions",
        "/sessions?q=nothing",
        f"/sessions/{there.empty}",
        f"{session}?ask=edit",
        f"{session}?ask=analyse",
        f"{session}/report?analysis={left}",
    ):
        await reader.open(path)
        await check(page, path)
    for path in (session, f"{session}/compare?left={left}&right={right}", "/players/Ann"):
        await reader.open(path)
        await expect(page.locator("[data-ready]")).to_be_visible()
        await page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        await check(page, path)
    await reader.open(session)
    await expect(page.locator("[data-ready]")).to_be_visible()
    await page.get_by_role("button", name="Follow somebody else").click()
    await expect(page.get_by_role("button", name="Follow person 2")).to_be_visible()
    await check(page, "choosing whom to follow")
