"""An admin gives orders about many jobs, clicks while the page is renewed, and leaves before all is done."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Dialog, Page, Route, expect

import backend.kinds  # noqa: F401
from backend.jobs.models import JobState
from tests.admin.conftest import many
from tests.flows.browser import Visitor
from tests.jobs.conftest import Jobs


@pytest.fixture
async def mine(visitor: Visitor) -> Jobs:
    """The jobs of the one in front of the page, who is the installation's admin."""
    me = await visitor.api("GET", "/api/auth/me")
    projects = await visitor.api("GET", "/api/projects")
    return Jobs(uuid.UUID(projects["projects"][0]["id"]), uuid.UUID(me["id"]))


@pytest.fixture
async def page(visitor: Visitor) -> Page:
    return visitor.page


async def order_all_failed(visitor: Visitor, page: Page, then: Callable[[Route], Awaitable[None]]) -> None:
    """Order 200 jobs to be retried: 50 are, and the rest becomes of what `then` does."""
    lots = iter(range(100))

    async def answer(route: Route) -> None:
        if next(lots):
            await then(route)
        else:
            await route.fulfill(
                json={"done": 50, "skipped": 0, "more": True, "cursor": "next", "order": str(uuid.uuid4())}
            )

    await page.route("**/api/admin/jobs/bulk", answer)
    await visitor.open("/admin/queue?state=failed")
    await page.get_by_role("button", name="Retry all failed", exact=True).click()
    question = page.get_by_role("dialog", name="Retry 200 jobs?")
    await expect(question).to_contain_text("All failed jobs of every queue, project and owner.")
    await question.get_by_role("button", name="Retry 200 jobs").click()


async def test_an_order_that_fails_midway_says_how_much_was_done(visitor: Visitor, page: Page, mine: Jobs) -> None:
    async def fail(route: Route) -> None:
        await expect(page.get_by_text("50 of 200 so far. Stay on this page.")).to_be_visible()
        await route.fulfill(status=503, json={"error": {"code": "busy", "message": "The server is busy."}})

    await many(mine, 1000, kind="make_preview", queue="nobody")
    await order_all_failed(visitor, page, fail)
    said = "50 of 200 jobs were queued again, then: The server is busy. Do it again to go on."
    await expect(page.get_by_text(said)).to_be_visible()
    await expect(page.get_by_text("so far")).to_have_count(0)
    assert "503" in visitor.complaints.pop()


async def test_who_leaves_before_an_order_is_done_is_asked_and_told_how_far_it_came(
    visitor: Visitor, page: Page, mine: Jobs
) -> None:
    over = asyncio.Event()

    async def hang(route: Route) -> None:
        await over.wait()

    asked: list[str] = []

    async def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.accept()

    page.on("dialog", leave)
    await many(mine, 1000, kind="make_preview", queue="nobody")
    await order_all_failed(visitor, page, hang)
    await expect(page.get_by_text("50 of 200 so far.")).to_be_visible()
    await page.goto(f"{visitor.url}/settings")
    told = page.locator(".toast")
    await expect(told).to_have_count(1)
    await expect(told).to_contain_text("The page was left: 50 of 200 jobs, or a few more, were queued again.")
    assert asked == ["beforeunload"]
    over.set()


async def test_a_click_is_not_lost_when_the_row_changes_under_the_pointer(
    visitor: Visitor, page: Page, mine: Jobs
) -> None:
    job = await mine.start("make_preview", delay_seconds=600)
    failure = {"error_code": "x", "error_message": "before", "error_retryable": False}
    await mine.change(job.id, state="failed", queue="nobody", **failure)
    await visitor.open("/admin/queue")
    button = page.locator(f"#act-{job.id}")
    await button.hover()
    await page.mouse.down()
    await mine.change(job.id, error_message="after")
    await page.wait_for_timeout(4500)  # two ticks, of which each would replace the row
    async with page.expect_response(f"**/admin/jobs/{job.id}/retry") as sent:
        await page.mouse.up()
    assert (await sent.value).status == 204
    assert (await mine.read(job.id)).state == JobState.QUEUED
    await expect(page.locator(f"#job-{job.id}")).to_contain_text("Waiting")


async def test_an_empty_list_fills_by_itself(visitor: Visitor, page: Page, mine: Jobs) -> None:
    await visitor.open("/admin/queue?state=queued")
    await expect(page.get_by_text("No job fits")).to_be_visible()
    job = await mine.start("make_preview", delay_seconds=600)
    await expect(page.locator(f"#job-{job.id}")).to_be_visible()
    await expect(page.get_by_text("newer job")).to_have_count(0)


async def test_a_cancelled_job_is_started_again_from_its_row_and_its_page_leads_to_the_new_one(
    visitor: Visitor, page: Page, mine: Jobs
) -> None:
    job = await mine.start("make_preview", delay_seconds=600)
    await visitor.open("/admin/queue")
    await page.locator(f"#act-{job.id}").click()
    question = page.get_by_role("dialog", name="Cancel this job?")
    await expect(question.get_by_role("button", name="Keep it")).to_be_visible()
    await question.get_by_role("button", name="Cancel the job").click()
    await expect(page.locator(".toast")).to_contain_text("The job is cancelled.")
    await page.locator(f"#job-{job.id}").get_by_role("button", name="again").click()
    await expect(page.get_by_text("A new job is in the queue: it does the same work.")).to_be_visible()
    await expect(page.locator(f"#job-{job.id}")).to_contain_text("started again as another job")
    await visitor.open(f"/admin/jobs/{job.id}")
    await page.locator("#job-timeline").get_by_role("link", name="the new job").click()
    await page.wait_for_url("**/admin/jobs/*")
    await expect(page.locator("#job-head")).to_contain_text("Make preview")


async def test_the_list_of_actions_can_be_used_by_everybody(visitor: Visitor, page: Page, mine: Jobs) -> None:
    await many(mine, 100, kind="make_preview", queue="nobody")
    await visitor.api("POST", "/api/admin/jobs/bulk", action="cancel", filter={"kind": "make_preview"})
    await visitor.open("/admin/queue")
    await page.get_by_role("link", name="All actions").click()
    await expect(page.get_by_text("Cancelled 10 jobs")).to_be_visible()
    for theme in ("light", "dark"):
        for width in (1280, 390):
            await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            await page.set_viewport_size({"width": width, "height": 844})
            assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth"), (theme, width)
            found = (await Axe().run(page)).response["violations"]
            assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == [], (theme, width)
