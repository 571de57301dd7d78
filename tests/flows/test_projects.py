"""Projects in a real browser: a viewer who cannot, a key's life, and a webhook that fails and is sent again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import Live, free_port
from tests.flows.browser import Visitor, visit
from tests.flows.scenes import settled
from tests.webhooks.conftest import Receiver, answer

PORT = free_port()


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    """What an operator says who has receivers beside the platform; and a second try soon."""
    return {
        "OUTBOUND_PORTS": f"80,443,{PORT}",
        "ALLOWED_PRIVATE_TARGETS": "127.0.0.1/32",
        "WEBHOOK_RETRY_SECONDS": "300,600",
    }


@pytest.fixture
async def hall() -> AsyncIterator[Receiver]:
    """Somebody's own server, on the port that the operator opened."""
    opened = Receiver(PORT)
    async with await asyncio.start_server(opened.serve, "127.0.0.1", PORT):
        yield opened


@pytest.fixture
async def guest(chromium: Browser, live: Live, clean: None) -> AsyncIterator[Visitor]:
    async with visit(chromium, live.url) as visitor:
        yield visitor


async def make_project(visitor: Visitor, name: str) -> str:
    """By the page, as people do; answers its id."""
    page = visitor.page
    await visitor.open("/projects")
    await page.get_by_role("button", name="New project").click()
    dialog = page.get_by_role("dialog", name="New project")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await dialog.get_by_label("Name").fill(name)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    return page.url.rpartition("/projects/")[2].partition("/")[0]


async def shown_once(page: Page, label: str) -> str:
    secret = page.get_by_label(label, exact=True)
    await expect(secret).to_be_focused()
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.get_by_text("Copied.").last).to_be_visible()  # that of before may still be there
    text = await secret.input_value()
    await page.wait_for_function("text => navigator.clipboard.readText().then(copied => copied === text)", arg=text)
    await page.get_by_role("button", name="I have saved it").click()
    await expect(secret).to_have_count(0)
    return text


async def test_a_viewer_is_invited_and_sees_what_they_may(visitor: Visitor, guest: Visitor, clip: Path) -> None:
    page = visitor.page
    project_id = await make_project(visitor, "Spring film")
    await visitor.open(f"/dashboard?project={project_id}")
    video_id = await visitor.send(clip, title="Harbour at dawn")
    await visitor.open("/dashboard?project=all")
    await settled(visitor, 1)
    await visitor.api("POST", f"/api/videos/{video_id}/move", project_id=project_id)
    await visitor.open(f"/projects/{project_id}/members")
    await page.get_by_role("button", name="Invite").click()
    await expect(page.get_by_role("radio", name="Viewer")).to_be_checked()
    await page.get_by_role("button", name="Make link").click()
    link = await shown_once(page, "Link of the invitation")

    theirs = guest.page
    await theirs.goto(link)
    await expect(theirs.get_by_role("heading", name="invites you to “Spring film”")).to_be_visible()
    await theirs.get_by_role("link", name="Create an account").click()
    await theirs.get_by_label("Email").fill(guest.email)
    await theirs.get_by_label("Password").fill("correct horse battery")
    await theirs.get_by_role("button", name="Create account").click()
    await theirs.get_by_role("button", name="Accept").click()
    await expect(theirs.get_by_text("You are in.")).to_be_visible()
    tabs = theirs.get_by_role("navigation", name="Project").get_by_role("link")
    assert await tabs.all_inner_texts() == ["Videos", "Members"]
    await expect(theirs.get_by_role("button", name="Invite")).to_have_count(0)
    await expect(theirs.get_by_role("button", name="Remove")).to_have_count(0)

    await tabs.filter(has_text="Videos").click()
    await expect(theirs.get_by_role("link", name="Harbour at dawn").first).to_be_visible()
    await expect(theirs.get_by_role("main").get_by_role("link", name="Upload")).to_have_count(0)
    await theirs.get_by_role("button", name="Actions for Harbour at dawn").click()
    await expect(theirs.get_by_role("menuitem", name="View")).to_be_visible()
    for name in ("Edit", "Delete"):
        await expect(theirs.get_by_role("menuitem", name=name)).to_have_count(0)
    await theirs.get_by_role("menuitem", name="View").click()
    await expect(theirs.get_by_role("heading", name="Harbour at dawn")).to_be_visible()
    await expect(theirs.get_by_role("link", name="Download")).to_be_visible()
    for name in ("Edit", "Move", "Delete"):
        await expect(theirs.get_by_role("main").get_by_role("button", name=name)).to_have_count(0)

    place = {"filename": "mine.mp4", "size": 10, "content_type": "video/mp4", "project_id": project_id}
    for method, path, body in (
        ("PATCH", f"/api/videos/{video_id}", {"title": "Mine"}),
        ("DELETE", f"/api/videos/{video_id}", None),
        ("POST", f"/videos/{video_id}/delete", None),
        ("POST", "/api/upload/presigned-url", place),
        ("GET", f"/projects/{project_id}/keys", None),
        ("POST", f"/api/projects/{project_id}/invitations", {"role": "viewer"}),
    ):
        answered = await theirs.context.request.fetch(
            guest.url + path, method=method, data=body, headers={"Sec-Fetch-Site": "same-origin"}
        )
        assert answered.status == 403, (method, path, answered.status)

    await theirs.goto(link)
    await expect(theirs.get_by_role("heading", name="This invitation was used")).to_be_visible()


async def test_a_key_is_made_used_replaced_and_revoked(visitor: Visitor) -> None:
    page = visitor.page
    project_id = await make_project(visitor, "Robots")
    await page.get_by_role("link", name="API keys").click()
    await page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog", name="New API key")
    await dialog.get_by_label("Name", exact=True).fill("Nightly copy")
    await dialog.get_by_role("checkbox", name="Write").check()
    await dialog.get_by_label("It works for").select_option("a year")
    await dialog.get_by_role("button", name="Make key").click()
    first = await shown_once(page, "The new key")
    row = page.get_by_role("listitem").filter(has_text="Nightly copy")
    await expect(row).to_contain_text("Read, Write")
    await expect(row).to_contain_text("Never used")

    async def used(key: str) -> int:
        async with httpx.AsyncClient(base_url=visitor.url, headers={"X-API-Key": key}) as robot:
            return (await robot.get("/api/videos")).status_code

    assert await used(first) == 200
    await page.reload()
    await expect(row).to_contain_text("Used just now")
    await row.get_by_role("button", name="Replace Nightly copy").click()
    dialog = page.get_by_role("dialog", name="Replace “Nightly copy”")
    await expect(dialog.get_by_role("radio", name="One more day")).to_be_checked()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    assert page.url.endswith(f"/projects/{project_id}/keys")
    await row.get_by_role("button", name="Replace Nightly copy").click()
    await dialog.get_by_role("button", name="Make new key").click()
    second = await shown_once(page, "The new key")
    assert [await used(first), await used(second)] == [200, 200]
    old = row.filter(has_text="Replaced, ends")
    await old.get_by_role("button", name="Revoke").click()
    await page.get_by_role("alertdialog").or_(page.locator("#confirm")).get_by_role("button", name="Revoke").click()
    await expect(page.get_by_text("The key was revoked.")).to_be_visible()
    assert [await used(first), await used(second)] == [401, 200]
    await page.get_by_role("link", name="Activity").click()
    await expect(page.get_by_text("Revoked the key “Nightly copy”")).to_be_visible()


async def test_a_webhook_fails_is_mended_and_sent_again(visitor: Visitor, hall: Receiver) -> None:
    page = visitor.page
    hall.says(answer(500, "the disk is full"))
    await make_project(visitor, "Hall")
    await page.get_by_role("link", name="Webhooks").click()
    await page.get_by_role("button", name="Add webhook").click()
    dialog = page.get_by_role("dialog", name="Add a webhook")
    await dialog.get_by_label("Address").fill(hall.url())
    await expect(dialog.get_by_role("checkbox", name="All videos")).to_be_checked()
    await dialog.get_by_role("button", name="Add webhook").click()
    assert (await shown_once(page, "The secret")).startswith("whsec_")
    await page.get_by_role("button", name="Send a test event").click()
    delivery = page.locator(".delivery")
    await expect(delivery).to_contain_text("Answered 500")
    await expect(delivery).to_contain_text("tries again in")
    await expect(page.get_by_text("Failing, began")).to_be_visible()  # without loading the page again
    await delivery.locator("summary").first.click()
    await delivery.get_by_text("The answer").click()
    await expect(delivery).to_contain_text("the disk is full")

    hall.says(answer(204))
    await delivery.get_by_role("button", name="Send again").click()
    await expect(page.get_by_text("It is sent again.")).to_be_visible()
    await expect(delivery).to_contain_text("Delivered")
    await expect(page.get_by_text("Failing, began")).to_have_count(0)
    assert len({each.id for each in hall.received}) == 1
    assert len(hall.received) == 2

    hall.says(answer(410))
    await page.get_by_role("button", name="Send a test event").click()
    await expect(page.get_by_text("This webhook is off.")).to_be_visible()
    await page.get_by_role("button", name="Switch on").click()
    await expect(page.get_by_text("The webhook is on.")).to_be_visible()


async def test_who_is_removed_is_told_by_the_page_they_are_on(visitor: Visitor, guest: Visitor) -> None:
    page, theirs = visitor.page, guest.page
    project_id = await make_project(visitor, "Spring film")
    await guest.join()
    link = await visitor.api("POST", f"/api/projects/{project_id}/invitations", role="viewer")
    await guest.open(f"/invitations/{link['token']}")
    await theirs.get_by_role("button", name="Accept").click()
    await theirs.route("**/dashboard/live*", lambda route: route.abort())  # as when the stream has ended
    await guest.open(f"/dashboard?project={project_id}")
    await page.reload()
    await page.get_by_role("button", name=f"Remove {guest.email}").press("Space")
    await page.locator("#confirm").get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("They are no longer a member.")).to_be_visible()
    await expect(theirs.get_by_role("heading", name="Nothing here")).to_be_visible()
    await expect(theirs.locator(".toast")).to_have_count(0)
    guest.complaints.clear()  # the stream and what is gone


async def test_a_form_that_came_back_can_be_loaded_again_and_its_buttons_pressed_by_space(visitor: Visitor) -> None:
    page = visitor.page
    project_id = await make_project(visitor, "Robots")
    await page.get_by_role("button", name="Invite").press("Space")
    await page.get_by_role("dialog").get_by_label("For whom").fill("nobody")
    await page.get_by_role("button", name="Make link").click()
    await expect(page.get_by_text("must have an @-sign")).to_be_visible()
    await page.reload()
    assert page.url.endswith(f"/projects/{project_id}/members")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    visitor.complaints[:] = [text for text in visitor.complaints if "422" not in text]


async def test_the_switcher_narrows_the_library_by_keyboard_and_is_remembered(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    project_id = await make_project(visitor, "Spring film")
    await visitor.send(clip, title="At home")
    await settled(visitor, 1)
    switcher = page.get_by_role("button", name="Project: All projects")
    await switcher.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menuitemradio", name="All projects")).to_be_focused()
    await page.keyboard.press("s")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/dashboard?project={project_id}")
    await expect(page.get_by_text("Your videos will be here")).to_be_visible()
    await page.get_by_role("link", name="Upload a video").click()
    await page.locator('input[type="file"]').first.set_input_files(clip)
    await expect(page.locator('.up-row[data-state="ready"]')).to_have_count(1, timeout=30_000)
    await visitor.open("/dashboard")
    assert page.url.endswith(f"?project={project_id}")
    await expect(page.locator(".videos tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="Harbour at dawn").first.click()
    await page.get_by_role("button", name="Move").click()
    await page.get_by_label("Project", exact=True).select_option("Personal")
    await page.get_by_role("dialog", name="Move").get_by_role("button", name="Move").click()
    await expect(page.get_by_text("Moved to “Personal”.")).to_be_visible()
    await visitor.open("/dashboard")
    await expect(page.get_by_text("Your videos will be here")).to_be_visible()
