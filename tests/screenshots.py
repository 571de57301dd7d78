"""`make screenshots`: every page in light and dark, wide and narrow, into `screenshots/`, on a throw-away stack.

Run by pytest for its fixtures; the name keeps it out of the suite.
"""

import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.conftest import ROOT, Live
from tests.flows.browser import Visitor, make_clip, visit
from tests.flows.conftest import chromium  # noqa: F401  # a fixture
from tests.flows.scenes import busy_project, clips, full, many, practice
from tests.flows.studio_scenes import studio, synced
from tests.flows.uploading import PICKER, Line, in_state, make_film, row_of, until_percent

FOLDER = ROOT / "screenshots"
LOOKS = [("light", 1280, 900), ("dark", 1280, 900), ("light", 390, 844), ("dark", 390, 844)]
#: Taller than this a picture is cut: nobody looks at the hundredth card.
TALLEST = 2400


@pytest.fixture(scope="module", autouse=True)
def folder() -> Path:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    return FOLDER


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"GENERATIONS_PER_HOUR": "6"}  # as many as `studio` makes: its composer has none left


@pytest.fixture
async def visitor(chromium: Browser, live: Live, clean: None) -> AsyncIterator[Visitor]:  # noqa: F811
    async with visit(chromium, live.url, strict=False) as visitor:
        yield visitor


async def shoot(page: Page, name: str) -> None:
    """The page as it stands, in every look. Pictures are loaded first; the window grows to the page's height."""
    await expect(page.locator(".htmx-request")).to_have_count(0)
    for theme, width, height in LOOKS:
        await page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
        await page.set_viewport_size({"width": width, "height": height})
        tall = min(TALLEST, await page.evaluate("document.documentElement.scrollHeight"))
        await page.set_viewport_size({"width": width, "height": max(height, tall)})
        await page.evaluate(
            "Promise.all([...document.images].filter(i => !i.complete && i.src)"
            ".map(i => new Promise(r => { i.onload = i.onerror = r; setTimeout(r, 3000) })))"
        )
        await page.screenshot(path=FOLDER / f"{name}-{theme}-{width}.png")
    await page.set_viewport_size({"width": 1280, "height": 900})


async def test_signed_out(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/login")
    await shoot(page, "login")
    await page.get_by_label("Email").fill("nobody@example.org")
    await page.get_by_label("Password").fill("wrong password")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await shoot(page, "login-refused")
    await visitor.open("/register")
    await shoot(page, "register")


async def test_a_newcomer(visitor: Visitor) -> None:
    await visitor.register()
    await shoot(visitor.page, "library-empty")
    for name in ("upload", "settings"):
        await visitor.open(f"/{name}")
        await shoot(visitor.page, name)
    await visitor.open("/videos/00000000-0000-4000-8000-000000000000")
    await shoot(visitor.page, "not-found")


async def test_the_library(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    await visitor.register()
    scene = await full(visitor, tmp_path)
    await visitor.open("/dashboard")
    await shoot(page, "library-grid")
    await page.get_by_role("button", name="Table").click()
    await shoot(page, "library-table")
    await page.get_by_role("button", name="Grid", exact=True).click()
    actions = page.get_by_role("button", name="Actions for Old camera")
    await actions.click()
    await page.get_by_role("menuitem", name="Edit").click()
    await expect(page.get_by_role("dialog").get_by_label("Title")).to_be_focused()
    await shoot(page, "library-editor")
    await page.keyboard.press("Escape")
    await actions.click()
    await page.get_by_role("menuitem", name="Delete").click()
    await shoot(page, "library-delete")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".toast")).to_be_visible()
    await shoot(page, "library-undo")
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_role("button", name="Dismiss").click()
    await visitor.open("/dashboard?q=zebra+crossing")
    await shoot(page, "library-nothing-found")
    await visitor.open("/dashboard?status=failed")
    await shoot(page, "library-failed")
    for name, video_id in vars(scene).items():
        await visitor.open(f"/videos/{video_id}")
        if name == "ready":
            await visitor.until("document.querySelector('video').readyState >= 2")
        await shoot(page, f"video-{name}")
    await visitor.open(f"/videos/{scene.ready}")
    await page.get_by_role("button", name="Edit").click()
    await expect(page.get_by_label("Title")).to_be_focused()
    await shoot(page, "video-editor")


async def test_a_long_library(visitor: Visitor, tmp_path: Path) -> None:
    await visitor.register()
    async with many(visitor, tmp_path, 60):
        await visitor.open("/dashboard?page=2")
        await shoot(visitor.page, "library-page-2")


async def test_uploading(visitor: Visitor, tmp_path: Path) -> None:
    """One file that travels, one that is ready, one that is refused."""
    page = visitor.page
    await visitor.register()
    scene_files = await clips(tmp_path)
    wrong = tmp_path / "notes.pdf"
    wrong.write_bytes(b"%PDF-1.4 not a video")
    await visitor.open("/upload")
    picker = page.locator(PICKER)
    await picker.set_input_files([scene_files[0], wrong])
    await expect(page.locator('.up-row[data-state="ready"]')).to_have_count(1)
    await page.route(lambda url: "X-Amz-Signature" in url, never)
    await picker.set_input_files(scene_files[1])
    await expect(page.locator('.up-row[data-state="uploading"]')).to_have_count(1)
    await shoot(page, "upload-busy")


async def test_upload_stops(visitor: Visitor, tmp_path: Path) -> None:
    """Every way in which an upload does not simply run: paused, cut off, interrupted, here already, refused, failed."""
    page = visitor.page
    await visitor.register()
    clip = make_clip(tmp_path / "harbour.mp4", seconds=3, seed=11)
    films = [make_film(tmp_path / f"day_{number}.mp4", clip, 70_000_000 + number, seed=number) for number in range(3)]
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=30)
    await page.locator(PICKER).set_input_files(films[0])
    await until_percent(row_of(page, films[0]), 75)
    await page.close(run_before_unload=False)

    visitor.page = page = await page.context.new_page()
    await visitor.open("/upload")
    await in_state(row_of(page, films[0]), "unfinished")
    await shoot(page, "upload-unfinished")
    await visitor.open("/dashboard")
    await expect(page.locator(".up-row")).to_have_count(1)
    await shoot(page, "library-unfinished")
    await visitor.open("/upload")

    await page.locator(PICKER).set_input_files(clip)
    await in_state(row_of(page, clip), "ready", 30)
    copy = tmp_path / "the same again.mp4"
    copy.write_bytes(clip.read_bytes())
    wrong = tmp_path / "notes.pdf"
    wrong.write_bytes(b"%PDF-1.4 not a video")
    await page.locator(PICKER).set_input_files([copy, wrong])
    await in_state(row_of(page, copy), "duplicate")
    other = make_clip(tmp_path / "too_much.mp4", seconds=2, seed=5)
    words = "1.2 MB are left of your storage. Delete videos or give up open uploads to make room."
    answer = {"error": {"code": "quota_exceeded", "message": words, "retryable": False}}
    await page.route("**/api/upload/presigned-url", lambda route: route.fulfill(status=409, json=answer))
    await page.locator(PICKER).set_input_files(other)
    await in_state(row_of(page, other), "failed")
    await page.unroute_all()
    line = await Line.of(page)
    await line.set(upload_mb_s=5)
    await page.locator(PICKER).set_input_files(films[1:])
    for film in films[1:]:
        await until_percent(row_of(page, film), 5)
    await row_of(page, films[1]).get_by_role("button", name="Pause").click()
    await line.set(cut=True)
    await in_state(row_of(page, films[2]), "offline")
    await shoot(page, "upload-stops")


async def test_projects(visitor: Visitor) -> None:
    """Projects, organizations, members, keys and webhooks; dialogs and what is shown once."""
    page = visitor.page
    await visitor.register()
    await visitor.open("/projects")
    await shoot(page, "projects-new")
    nothing = (await visitor.api("POST", "/api/projects", name="Autumn film"))["id"]
    for name in ("keys", "webhooks"):
        await visitor.open(f"/projects/{nothing}/{name}")
        await shoot(page, f"project-{name}-empty")
    there = await busy_project(visitor)
    project, organization = f"/projects/{there.project}", f"/orgs/{there.organization}"
    hook = f"{project}/webhooks/{there.webhook}"
    for name, path in {
        "projects": "/projects",
        "projects-dialog": "/projects?ask=project",
        "project-members": f"{project}/members",
        "project-invite": f"{project}/members?ask=invite",
        "project-keys": f"{project}/keys",
        "project-key-new": f"{project}/keys?ask=key",
        "project-webhooks": f"{project}/webhooks",
        "project-webhook-new": f"{project}/webhooks?ask=webhook",
        "project-webhook": hook,
        "project-webhook-edit": f"{hook}?ask=edit",
        "project-webhook-secret": f"{hook}?ask=secret",
        "project-webhook-off": f"{project}/webhooks/{there.silent}",
        "project-activity": f"{project}/activity",
        "project-settings": f"{project}/settings",
        "project-delete": f"{project}/settings?ask=delete",
        "project-library": f"/dashboard?project={there.project}",
        "organization": organization,
        "organization-members": f"{organization}/members",
        "organization-activity": f"{organization}/activity",
        "organization-settings": f"{organization}/settings",
        "invitation": f"/invitations/{there.invitation}",
    }.items():
        await visitor.open(path)
        await shoot(page, name)
    await visitor.open(hook)
    await page.locator(".delivery summary").first.click()
    await expect(page.get_by_role("button", name="Send again")).to_be_visible()
    await page.evaluate("for (const folded of document.querySelectorAll('.delivery-body details')) folded.open = true")
    await shoot(page, "project-delivery")
    await visitor.open(f"{project}/members?ask=invite")
    await page.get_by_role("button", name="Make link").click()
    await expect(page.get_by_label("Link of the invitation")).to_be_focused()
    await shoot(page, "project-invitation-made")
    await page.get_by_text("earlier one").click()
    await shoot(page, "project-invitations-ended")
    await visitor.open(f"{project}/webhooks?ask=webhook")
    await page.get_by_role("dialog").get_by_label("Address").fill("http://10.0.0.1/hook")
    await page.get_by_role("dialog").get_by_role("button", name="Add webhook").click()
    await expect(page.locator("[data-error]")).to_be_visible()
    await shoot(page, "project-webhook-refused")
    await visitor.open(f"{project}/keys?ask=key")
    await page.get_by_role("button", name="Make key").click()
    await expect(page.locator("[data-error]")).to_be_visible()
    await shoot(page, "project-key-refused")
    await page.get_by_role("dialog").get_by_role("textbox", name="Name").fill("Mirror")
    await page.get_by_role("button", name="Make key").click()
    await expect(page.get_by_label("The new key")).to_be_focused()
    await shoot(page, "project-key-made")
    await page.get_by_role("button", name="Replace Mirror").click()
    await shoot(page, "project-key-replace")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Project: Spring film").first.click()
    await page.screenshot(path=FOLDER / "project-switcher.png")
    shared = await visitor.api("POST", f"/api/projects/{there.project}/invitations", role="viewer")
    await page.context.clear_cookies()
    await visitor.open(f"/invitations/{there.invitation}")
    await shoot(page, "invitation-signed-out")
    visitor.email = "per@example.org"
    await visitor.join()
    await visitor.open(f"/invitations/{shared['token']}")
    await page.get_by_role("button", name="Accept").click()
    await expect(page.get_by_text("You are in.")).to_be_visible()
    await shoot(page, "viewer-joined")
    for name, path in {
        "viewer-projects": "/projects",
        "viewer-library": f"/dashboard?project={there.project}",
        "viewer-upload": "/upload",
        "viewer-refused": f"{project}/keys",
        "invitation-used": f"/invitations/{shared['token']}",
    }.items():
        await visitor.open(path)
        await shoot(page, name)


async def test_the_player(visitor: Visitor, tmp_path: Path) -> None:
    """The bar with a look at another moment, and a card under the pointer."""
    page = visitor.page
    await visitor.register()
    film = make_clip(tmp_path / "harbour.mp4", seconds=8)
    video_id = await visitor.send(film, title="Harbour at dawn")
    while not (await visitor.api("GET", f"/api/videos/{video_id}"))["preview"]:
        await page.wait_for_timeout(300)
    await visitor.open(f"/videos/{video_id}")
    await visitor.until("document.querySelector('video').readyState >= 2")
    await page.get_by_role("slider", name="Position").hover()
    await expect(page.locator("[data-look][data-drawn]")).to_be_visible()
    await page.screenshot(path=FOLDER / "player-look.png")
    await visitor.open("/dashboard")
    await page.locator(".videos .poster").hover(force=True)
    await expect(page.locator(".scrub[data-drawn]")).to_be_visible()
    await page.screenshot(path=FOLDER / "library-scrub.png")


async def test_the_studio(visitor: Visitor) -> None:
    """The composer and the gallery: empty, busy, with what failed; one thing's page in each state."""
    page = visitor.page
    await visitor.register()
    for name in ("generate", "gallery"):
        await visitor.open(f"/{name}")
        await shoot(page, f"{name}-empty")
    there = await studio(visitor)
    await visitor.open("/gallery")
    await expect(page.locator('.tile[data-look="ready"] img')).to_have_count(5)
    await expect(page.locator("img.making-picture")).to_be_visible()
    await shoot(page, "gallery")
    await page.locator(f"#tile-{there.film}").hover()
    await page.screenshot(path=FOLDER / "gallery-hover.png")
    await page.get_by_role("button", name="Actions for A lighthouse").click()
    await page.screenshot(path=FOLDER / "gallery-menu.png")
    for name, query in (
        ("failed", "state=failed"),
        ("nothing-found", "q=zebra"),
        ("nothing-of-kind", "kind=audio&state=failed"),
    ):
        await visitor.open(f"/gallery?{query}")
        await shoot(page, f"gallery-{name}")
    await visitor.open("/generate")
    await shoot(page, "generate-quota")
    await visitor.open(f"/generate?again={there.film}")
    await page.get_by_label("Prompt").fill("")
    await page.evaluate("document.querySelector('#make').disabled = false")
    await page.get_by_role("button", name="Generate").click()
    await expect(page.locator("#composer-problem .notice")).to_be_visible()
    await shoot(page, "generate-refused")
    for name, generation_id in vars(there).items():
        await visitor.open(f"/gallery/{generation_id}")
        if name == "film":
            await visitor.until("document.querySelector('video').readyState >= 2")
        await shoot(page, f"made-{name}")


async def test_a_projects_cms(visitor: Visitor) -> None:
    await visitor.register()
    project = await visitor.api("POST", "/api/projects", name="Spring film")
    base = f"/projects/{project['id']}/cms"
    await visitor.open(base)
    await shoot(visitor.page, "project-cms-empty")
    await visitor.open(f"{base}?ask=cms")
    await shoot(visitor.page, "project-cms-dialog")
    await synced(uuid.UUID(project["id"]))
    await visitor.open(base)
    await shoot(visitor.page, "project-cms")


async def test_practice(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    await visitor.register()
    await visitor.open("/sessions")
    await shoot(page, "sessions-empty")
    await visitor.open("/sessions?ask=session")
    await shoot(page, "sessions-new")
    there = await practice(visitor, tmp_path)
    session = f"/sessions/{there.done}"
    left, right = there.analyses
    await visitor.open("/sessions")
    await shoot(page, "sessions")
    await visitor.open(f"/sessions/{there.empty}")
    await shoot(page, "session-empty")
    for name, path in {
        "session": session,
        "session-compare": f"{session}/compare?left={left}&right={right}",
        "player": "/players/Ann",
    }.items():
        await visitor.open(path)
        await expect(page.locator("[data-ready]")).to_be_visible()
        await shoot(page, name)
    await visitor.open(f"{session}/report?analysis={left}")
    await shoot(page, "session-report")


async def never(route: Route) -> None:
    """A connection on which nothing moves."""


if __name__ == "__main__":
    began = time.monotonic()
    code = pytest.main(
        [str(Path(__file__)), "-q", "--no-header", "--show-capture=no", "-p", "no:cacheprovider", *sys.argv[1:]]
    )
    sys.stdout.write(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER} after {time.monotonic() - began:.0f} s\n")
    sys.exit(code)
