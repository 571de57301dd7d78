"""A practice session in a real browser: from the film to what to work on."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from backend.coaching.readiness import coach_report
from tests.coaching import mannequin
from tests.flows.browser import Visitor
from tests.flows.uploading import PICKER

pytestmark = [
    pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed"),
    pytest.mark.skipif(not coach_report().ready, reason="the pose analysis is not installed"),
]

#: An analysis of four seconds on a machine that has other things to do.
LONG = 240_000


@pytest.fixture(scope="module")
def strokes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same figure, filmed twice: wide and upright."""
    place = tmp_path_factory.mktemp("strokes")
    return [
        mannequin.film(place / "wide_stroke.mp4", mannequin.LANDSCAPE, fps=15),
        mannequin.film(place / "upright_stroke.mp4", mannequin.PORTRAIT, fps=15),
    ]


async def make_session(visitor: Visitor, title: str) -> None:
    page = visitor.page
    await page.get_by_role("link", name="Sessions").first.click()
    await page.get_by_role("button", name="Make the first session").click()
    dialog = page.get_by_role("dialog", name="New session")
    await dialog.get_by_label("Title").fill(title)
    await dialog.get_by_label("Players").fill("Ann")
    await dialog.get_by_label("Camera").select_option("From the front")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=title)).to_be_visible()


async def at(page: Page) -> float:
    return float(await page.locator(".coach-stage video").first.evaluate("video => video.currentTime"))


DRAWN = """picture => {
    const blank = Object.assign(document.createElement('canvas'), { width: picture.width, height: picture.height });
    return picture.toDataURL() !== blank.toDataURL();
}"""


async def is_drawn(page: Page) -> bool:
    """Whether there is a skeleton over the picture."""
    return bool(await page.locator(".coach-stage canvas").first.evaluate(DRAWN))


async def test_a_film_becomes_charts_that_follow_the_player_a_comparison_and_an_export(
    visitor: Visitor, strokes: list[Path], tmp_path: Path
) -> None:
    page = visitor.page
    await make_session(visitor, "Nets, Tuesday")
    await page.locator(PICKER).set_input_files(strokes)
    rows = page.locator("[data-id]")
    await expect(rows).to_have_count(2)
    # Without a click: it waits, begins, tells how far it is, and is there.
    await expect(page.get_by_text("Finding the athlete").first).to_be_visible(timeout=LONG)
    analysis = page.locator("[data-analysis][data-ready]")
    await expect(analysis).to_be_visible(timeout=LONG)
    await expect(page.locator('#analyses .status[data-status="completed"]')).to_have_count(2, timeout=LONG)

    # The skeleton, the charts and the phases go with the player.
    figures = page.locator(".chart")
    assert await figures.count() >= 5
    before = await figures.first.locator(".chart-values").inner_text()
    await page.get_by_role("button", name="Impact", exact=False).first.click()
    impact = await at(page)
    assert impact > mannequin.TURN - 0.5
    await expect(figures.first.locator(".chart-values")).not_to_have_text(before)
    await expect(page.locator('.phase[data-phase="strike"]')).to_have_attribute("data-now", "")
    assert await is_drawn(page)
    await page.get_by_role("button", name="Skeleton").click()
    assert not await is_drawn(page)
    await page.get_by_role("button", name="Skeleton").click()
    await page.get_by_role("button", name="Frame forward").click()
    await visitor.until(f"document.querySelector('.coach-stage video').currentTime > {impact + 0.05}")
    await page.keyboard.press(",")
    await visitor.until(f"Math.abs(document.querySelector('.coach-stage video').currentTime - {impact}) < 0.15")
    await page.get_by_label("Speed").select_option("0.25×")
    await page.get_by_role("button", name="Play", exact=True).click()
    await visitor.until(f"document.querySelector('.coach-stage video').currentTime > {impact + 0.1}")
    await page.get_by_role("button", name="Pause", exact=True).click()
    plot = figures.first.locator(".u-over")
    width = await plot.evaluate("plot => plot.clientWidth")
    await plot.click(position={"x": width / 4, "y": 20})
    await visitor.until("Math.abs(document.querySelector('.coach-stage video').currentTime - 1) < 0.3")

    # A phase is corrected: the numbers are worked out anew.
    await page.get_by_text("Correct the phases").click()
    await page.locator('.phase[data-phase="load"]').click()
    await page.get_by_role("button", name="Frame forward").click()
    async with page.expect_event("load"):
        await page.get_by_role("button", name="Load begins here").click()
    await expect(analysis).to_be_visible()
    # Back at that frame, and the picture of the moment that was moved is drawn here.
    await visitor.until("document.querySelector('.coach-stage video').currentTime > 0.5")
    await expect(page.get_by_role("button", name="Impact is here")).to_be_visible()
    await expect(page.locator("canvas[data-drawn]")).not_to_have_count(0)

    # The table of angles, as a file.
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Angles (CSV)").click()
    table = tmp_path / "angles.csv"
    await (await coming.value).save_as(table)
    head, *lines = table.read_text().splitlines()
    assert head.startswith("t,frame,phase,")
    assert len(lines) == 40

    # A report for paper.
    await page.get_by_role("link", name="Report").click()
    await expect(page.get_by_role("heading", name="Not measured")).to_be_visible()
    await page.emulate_media(media="print")
    await expect(page.get_by_role("button", name="Print or save as PDF")).to_be_hidden()
    sheet = await page.locator(".report").bounding_box()
    assert sheet is not None
    assert sheet["width"] > 1100
    assert (await page.pdf(format="A4")).startswith(b"%PDF")
    await page.emulate_media(media="screen")
    await page.get_by_role("link", name="Back to the session").click()

    # Both, in step, laid on each other at the strike.
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator("[data-comparison][data-ready]")).to_be_visible()
    await expect(page.locator("[data-relative]")).to_have_text(re.compile(r"^0\.0\d s (before|after) the strike$"))
    await page.get_by_role("button", name="Play", exact=True).click()
    await visitor.until("document.querySelector('.coach-stage video').currentTime > 2.6")
    await page.get_by_role("button", name="Pause", exact=True).click()
    times = await page.locator(".coach-stage video").evaluate_all("videos => videos.map((each) => each.currentTime)")
    assert abs(times[0] - times[1]) < 0.4
    await expect(page.get_by_role("row", name=re.compile("Elbow, right"))).not_to_have_count(0)

    # The player's numbers over sessions.
    await page.get_by_role("link", name="Nets, Tuesday").click()
    await page.get_by_role("link", name="Ann").click()
    await expect(page.locator("[data-history][data-ready] canvas")).to_be_visible()
    await expect(page.locator("tr[data-value]")).to_have_count(2)


async def test_an_analysis_is_stopped_tried_again_and_deleted(
    visitor: Visitor, strokes: list[Path], tmp_path: Path
) -> None:
    page, film = visitor.page, tmp_path / "long.mp4"
    again = ["ffmpeg", "-v", "error", "-stream_loop", "20", "-i", str(strokes[0]), "-c", "copy", str(film)]
    subprocess.run(again, check=True)
    await make_session(visitor, "Range")
    await page.locator(PICKER).set_input_files(film)
    await page.get_by_role("button", name="Stop").click(timeout=LONG)
    await expect(page.locator('#analyses .status[data-status="cancelled"]')).to_be_visible(timeout=LONG)
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_text("It is tried again.")).to_be_visible()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("button", name="Delete this analysis")).to_be_visible(timeout=LONG)
    await page.get_by_role("button", name="Delete this analysis").click()
    await page.locator("#confirm").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("The analysis is deleted.")).to_be_visible()
    await expect(page.locator("[data-id]")).to_have_count(0)
