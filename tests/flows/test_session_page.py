"""A session's page with an analysis that is there already: whom to follow, phases by hand, paper."""

import uuid
from pathlib import Path
from typing import Any

from playwright.async_api import expect
from sqlalchemy import select, update

from backend.coaching.models import Analysis
from backend.core.db import transaction
from tests.flows.browser import Visitor
from tests.flows.scenes import practice
from tests.flows.uploading import PICKER, id_of, in_state

READY = "[data-analysis][data-ready]"


async def test_a_click_on_somebody_else_analyses_the_video_again_with_them(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    there = await practice(visitor, tmp_path)
    await visitor.open(f"/sessions/{there.done}?analysis={there.analyses[0]}")
    await expect(page.locator(READY)).to_be_visible()
    await page.get_by_role("button", name="Follow somebody else").click()
    async with page.expect_navigation():
        await page.get_by_role("button", name="Follow person 2").click()
    await expect(page.get_by_text("The analysis is queued.")).to_be_visible()
    await expect(page.locator("#analyses [data-open]")).to_contain_text("the person you chose")
    made = page.url.partition("analysis=")[2].partition("&")[0]
    async with transaction() as session:
        analysis = await session.get_one(Analysis, uuid.UUID(made))
    # The middle of the person's frame.
    assert analysis.options["athlete"] == {"x": 680 / 832, "y": 240 / 468}


async def test_a_film_of_the_library_that_is_chosen_again_is_analysed_without_being_sent(
    visitor: Visitor, tmp_path: Path, clip: Path
) -> None:
    page = visitor.page
    there = await practice(visitor, tmp_path)
    await visitor.open("/upload")
    await page.locator(PICKER).set_input_files(clip)
    await in_state(page.locator(".up-row"), "ready")
    known = await id_of(page.locator(".up-row"))
    await visitor.open(f"/sessions/{there.empty}")
    await page.get_by_label("Frames a second").first.fill("5")
    await page.locator(PICKER).set_input_files(clip)
    await in_state(page.locator(".up-row"), "duplicate")
    await expect(page.locator("#analyses [data-id]")).to_have_count(1)
    async with transaction() as session:
        made = await session.scalar(select(Analysis).where(Analysis.session_id == uuid.UUID(there.empty)))
    assert made is not None
    assert (str(made.video_id), made.options["sample_fps"]) == (known, 5)


async def test_phases_are_set_one_by_one_where_none_were_found(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    there = await practice(visitor, tmp_path)
    async with transaction() as session:
        this = Analysis.id == uuid.UUID(there.analyses[0])
        summary = await session.scalar(select(Analysis.summary).where(this))
        nothing: dict[str, Any] = {"phases": None, "moments": None, "key_frames": [], "phases_reason": "None found."}
        await session.execute(update(Analysis).where(this).values(summary={**(summary or {}), **nothing}))
    await visitor.open(f"/sessions/{there.done}?analysis={there.analyses[0]}")
    await expect(page.locator(READY)).to_be_visible()
    await page.get_by_text("Set the phases").click()
    for time, words in ((1.0, "Load begins here"), (2.0, "Strike begins here")):
        await page.locator(".coach-stage video").evaluate("(video, time) => { video.currentTime = time; }", time)
        await page.get_by_role("button", name=words).click()
    await expect(page.get_by_text("Still to be said: Follow-through.")).to_be_visible()
    await page.locator(".coach-stage video").evaluate("video => { video.currentTime = 2.6; }")
    async with page.expect_event("load"):
        await page.get_by_role("button", name="Follow-through begins here").click()
    await expect(page.locator(".phase")).to_have_count(4)
    await expect(page.locator('.phase[data-phase="load"]')).to_contain_text("1.00 s")
    # Nothing was stored of these moments: they are drawn here.
    await expect(page.locator(".key-frames canvas[data-drawn]")).to_have_count(6)


async def test_a_report_is_printed_light_and_as_wide_as_the_paper(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    there = await practice(visitor, tmp_path)
    await page.emulate_media(color_scheme="dark")
    await visitor.open(f"/sessions/{there.done}/report?analysis={there.analyses[0]}")
    await expect(page.locator("html.dark")).to_have_count(1)
    await page.set_viewport_size({"width": 794, "height": 1123})
    await page.emulate_media(media="print")
    await expect(page.locator("html.dark")).to_have_count(0)
    sheet = await page.locator(".report").bounding_box()
    assert sheet is not None
    assert sheet["width"] > 700
