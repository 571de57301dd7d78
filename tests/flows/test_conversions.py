"""A file that browsers do not play, seen through the eyes of its owner: the page follows until it plays."""

from pathlib import Path

from playwright.async_api import expect

from tests.flows.browser import Visitor
from tests.videos import media_corpus as corpus


async def test_the_page_follows_a_conversion_until_the_player_is_there(visitor: Visitor, tmp_path: Path) -> None:
    film = tmp_path / "old.avi"
    words = [*corpus.picture(60, "960x540", 30), *corpus.tone(60), "-c:v", "mpeg4", "-q:v", "4"]
    corpus.ffmpeg(*words, "-c:a", "libmp3lame", film)
    video_id = await visitor.send(film, title="From the attic")
    page = visitor.page

    # The library tells of the whole, with the poster as soon as there is one.
    await visitor.open("/dashboard")
    await expect(page.locator(".work-state")).to_contain_text("Converting for browsers", timeout=30_000)
    await expect(page.locator(".videos tbody tr img")).to_have_js_property("naturalWidth", 960)

    # So does its own page; then the player comes by itself, and plays.
    await visitor.open(f"/videos/{video_id}")
    await page.evaluate("window.same = 'page'")
    await expect(page.locator(".stage-working img")).to_have_js_property("naturalWidth", 960)
    await expect(page.locator(".stage-progress")).to_contain_text("Converting for browsers")
    await expect(page.locator("video")).to_be_attached(timeout=90_000)
    assert await page.evaluate("window.same") == "page"
    await visitor.until("document.querySelector('video').readyState >= 1")
    assert await page.locator("video").evaluate("video => [video.videoWidth, video.videoHeight]") == [960, 540]
    await page.locator("video").evaluate("video => { video.muted = true; return video.play(); }")
    await visitor.until("document.querySelector('video').currentTime > 0")
    await expect(page.locator(".history")).to_contain_text("Converted for browsers")
