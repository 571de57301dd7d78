"""An admin in front of the queue page: watch a job run, cancel one, retry what failed, pause a queue."""

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect
from sqlalchemy import text

from backend.core.db import transaction
from backend.core.queue import registry
from backend.jobs.models import JobState
from backend.local.stack import Stack
from tests.admin.conftest import many
from tests.conftest import ROOT, environment
from tests.flows.browser import Visitor
from tests.jobs import worker_under_test
from tests.jobs.conftest import Jobs

KIND = worker_under_test.KIND
LOOKS: list[tuple[Literal["light", "dark"], int]] = [("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390)]


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """The slow worker's kind, so that it can be started here."""
    registry.add(worker_under_test.TASK)
    yield
    registry.remove(KIND)


@pytest.fixture
async def mine(visitor: Visitor) -> Jobs:
    """The jobs of the one in front of the page, who is the installation's admin."""
    me = await visitor.api("GET", "/api/auth/me")
    projects = await visitor.api("GET", "/api/projects")
    return Jobs(uuid.UUID(projects["projects"][0]["id"]), uuid.UUID(me["id"]))


@pytest.fixture
def slow_worker(stack: Stack, tmp_path: Path) -> Iterator[None]:
    """A worker whose jobs go on until they are told to end."""
    with (tmp_path / "worker.log").open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.worker_under_test"],
            cwd=ROOT,
            env={**environment(stack), "WORKER_QUEUES": "test", "WORKER_SLOTS": "2"},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    yield
    process.terminate()
    process.wait(30)


@pytest.fixture
async def page(visitor: Visitor) -> Page:
    return visitor.page


async def grave(page: Page) -> list[str]:
    """What axe finds that keeps people from using the page."""
    found = (await Axe().run(page)).response["violations"]
    return [f"{each['id']}: {each['nodes']}" for each in found if each["impact"] in ("serious", "critical")]


async def test_a_job_is_watched_from_its_start_to_its_end(
    visitor: Visitor, page: Page, mine: Jobs, slow_worker: None, tmp_path: Path
) -> None:
    job = await mine.start(KIND, args={"notes": str(tmp_path / "notes"), "go": str(tmp_path / "go")})
    await visitor.open("/admin/queue")
    shown = page.locator(f"#job-{job.id}")
    await expect(shown).to_contain_text("Running 50%", timeout=30_000)
    await expect(page.locator("#running")).to_contain_text("50%")
    await expect(page.locator("#workers").get_by_text("Alive", exact=True)).to_have_count(2, timeout=30_000)
    (tmp_path / "go").touch()
    await expect(shown).to_contain_text("Completed")
    await expect(page.locator("#running")).to_contain_text("No job runs at the moment.")


async def test_a_running_job_is_cancelled_from_its_row(
    visitor: Visitor, page: Page, mine: Jobs, slow_worker: None, tmp_path: Path
) -> None:
    job = await mine.start(KIND, args={"notes": str(tmp_path / "notes"), "go": str(tmp_path / "go")})
    await visitor.open("/admin/queue")
    shown = page.locator(f"#job-{job.id}")
    await expect(shown).to_contain_text("Running", timeout=30_000)
    await shown.get_by_role("button", name=re.compile("^Cancel")).click()
    question = page.get_by_role("dialog", name="Cancel this job?")
    await question.get_by_role("button", name="Cancel the job").click()
    await expect(page.locator(".toast")).to_contain_text("The job is told to stop.")
    await expect(shown).to_contain_text("Cancelled")
    assert (await mine.read(job.id)).state == JobState.CANCELLED
    await expect(page.locator("#deeds")).to_contain_text("Cancelled a job")


async def test_a_failed_job_is_retried_on_its_own_page(visitor: Visitor, page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 4000)
    await visitor.send(broken, title="Broken")
    await visitor.open("/admin/queue")
    first = page.locator(".job-rows tbody tr").first
    await expect(first.locator(".c-state")).to_contain_text("Failed")
    await first.get_by_role("link", name="Process video").click()
    await page.wait_for_url("**/admin/jobs/*")
    timeline = page.locator("#job-timeline")
    await expect(timeline).to_contain_text("Attempt 1: failed")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator(".toast")).to_contain_text("The job is in the queue again.")
    await expect(timeline).to_contain_text("Tried again by hand")
    await expect(timeline).to_contain_text(visitor.email)
    await expect(timeline).to_contain_text("Attempt 2: failed")


async def test_all_failed_jobs_that_match_are_retried_with_their_number_before_and_after(
    visitor: Visitor, page: Page, mine: Jobs
) -> None:
    await many(mine, 1000, kind="make_preview", queue="nobody")
    await many(mine, 50, kind="purge_video", queue="nobody")
    await visitor.open("/admin/queue")
    await page.get_by_role("link", name="Failed", exact=True).click()
    await expect(page.locator(".job-rows .c-state").get_by_text("Failed")).to_have_count(50)
    await page.get_by_role("button", name="Kind: all").click()
    await page.get_by_role("menuitemradio", name="Make preview").click()
    await expect(page).to_have_url(re.compile("state=failed&kind=make_preview"))
    await page.get_by_role("button", name="Retry all failed that match").click()
    question = page.get_by_role("dialog", name="Retry 200 jobs?")
    await expect(question).to_contain_text("All failed jobs that match kind: make_preview.")
    await question.get_by_role("button", name="Retry 200 jobs").click()
    await expect(page.get_by_text("200 jobs were queued again.")).to_be_visible(timeout=60_000)
    await expect(page.locator(".job-rows .c-state").get_by_text("Waiting")).to_have_count(50)
    async with transaction() as session:
        left = await session.scalar(text("SELECT count(*) FROM jobs WHERE state = 'failed'"))
    assert left == 10, "those of the other kind"


async def test_the_selected_jobs_are_cancelled(visitor: Visitor, page: Page, mine: Jobs) -> None:
    await many(mine, 60, kind="process_video", queue="nobody")
    await visitor.open("/admin/queue?state=queued")
    boxes = page.locator("[data-pick]")
    await expect(boxes).to_have_count(6)
    await boxes.nth(0).check()
    await boxes.nth(3).check()
    await expect(page.get_by_text("2 selected")).to_be_visible()
    await page.wait_for_timeout(2500)  # the rows are fetched again meanwhile
    assert [await boxes.nth(number).is_checked() for number in range(6)] == [True, False, False, True, False, False]
    await page.locator("#cancel-selected").click()
    await page.get_by_role("dialog", name="Cancel 2 jobs?").get_by_role("button", name="Cancel 2 jobs").click()
    await expect(page.get_by_text("2 jobs were cancelled or stopping.")).to_be_visible()
    await expect(page.locator(".job-rows .c-state").get_by_text("Cancelled")).to_have_count(2)
    await expect(boxes.nth(0)).not_to_be_checked()


async def test_jobs_are_searched_while_one_types_and_the_address_keeps_it(
    visitor: Visitor, page: Page, mine: Jobs
) -> None:
    await many(mine, 100, kind="process_video", queue="nobody")
    await visitor.open("/admin/queue")
    await page.get_by_role("searchbox", name="Search jobs").fill("damaged: number 12")
    await expect(page.locator(".job-rows tbody tr")).to_have_count(1)
    await expect(page).to_have_url(re.compile("text=damaged"))
    await page.reload()
    await expect(page.locator(".job-rows tbody tr")).to_have_count(1)
    await page.get_by_role("searchbox", name="Search jobs").fill("nothing like this")
    await page.get_by_role("link", name="Show all jobs").click()
    await expect(page.locator(".job-rows tbody tr")).to_have_count(50)
    await expect(page.get_by_role("searchbox", name="Search jobs")).to_have_value("")


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(
    visitor: Visitor, page: Page, mine: Jobs, slow_worker: None, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    args = {"notes": str(tmp_path / "notes"), "go": str(tmp_path / "go")}
    await mine.wait_for((await mine.start(KIND, args=args)).id, "completed")
    await visitor.open("/admin/queue")
    await page.get_by_role("button", name="Pause test").click()
    await expect(page.locator("#queue-test")).to_contain_text(f"Paused by {visitor.email}", use_inner_text=True)
    job = await mine.start(KIND, args=args)
    await expect(page.get_by_role("link", name="Show 1 newer job")).to_be_visible()
    await page.get_by_role("link", name="Show 1 newer job").click()
    await expect(page.locator(f"#job-{job.id}")).to_contain_text("Waiting")
    assert (await mine.read(job.id)).state == JobState.QUEUED
    await page.get_by_role("button", name="Resume test").click()
    await expect(page.locator(f"#job-{job.id}")).to_contain_text("Completed")
    await expect(page.get_by_role("button", name="Pause test")).to_be_visible()


async def test_both_pages_can_be_used_by_everybody(visitor: Visitor, page: Page, mine: Jobs) -> None:
    await many(mine, 100, kind="process_video", queue="nobody")
    async with transaction() as session:
        await session.execute(
            text(
                """
                WITH chosen AS (SELECT id FROM jobs WHERE state = 'failed' LIMIT 1)
                INSERT INTO job_attempts (lease_token, job_id, attempt, worker, finished_at, outcome, error_code,
                    error_message, command, log_tail)
                SELECT gen_random_uuid(), id, 1, 'a-worker', now(), 'failed', 'corrupt_media', 'The file is damaged.',
                    'ffmpeg -i <file>', 'moov atom not found' FROM chosen
                """
            )
        )
        job_id = await session.scalar(text("SELECT job_id FROM job_attempts WHERE worker = 'a-worker'"))
        await session.execute(text("INSERT INTO queues (name, paused_at, paused_by) VALUES ('gpu', now(), 'ada')"))
        await session.execute(
            text(
                """
                UPDATE jobs SET state = 'running', attempt = 1, lease_token = gen_random_uuid(), worker = 'a-worker',
                    lease_until = now() + interval '1 hour', started_at = now(), progress = 40, stage = 'probe'
                WHERE id = (SELECT id FROM jobs WHERE state = 'queued' LIMIT 1)
                """
            )
        )
    for path in ("/admin/queue", f"/admin/jobs/{job_id}", "/admin/queue?text=nothing+like+this"):
        await visitor.open(path)
        await page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        for theme, width in (*LOOKS, ("light", 1024), ("light", 768)):
            await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            await page.set_viewport_size({"width": width, "height": 844})
            look = f"{path}, {theme}, {width} wide"
            assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth"), f"too wide: {look}"
            assert await grave(page) == [], look
