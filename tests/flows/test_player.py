"""The player and the cards in a real browser: its bar, its keys, looks at any moment, several sizes of one film."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.flows.browser import Visitor


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"LADDER_HEIGHTS": "240,144"}


@pytest.fixture
async def video_id(visitor: Visitor, clip: Path) -> str:
    """A video whose preview and sizes are made."""
    video_id = await visitor.send(clip, title="Harbour at dawn")
    for _ in range(300):
        video = await visitor.api("GET", f"/api/videos/{video_id}")
        if video["preview"] and video["has_ladder"]:
            break
        await asyncio.sleep(0.2)
    else:
        raise AssertionError(f"no preview or no ladder: {video}")
    return video_id


async def picture(page: Page, canvas: str) -> list[int]:
    """Where a canvas was drawn from: sheets come from the storage, and their pixels are not ours to read."""
    found: list[int] = await page.locator(canvas).evaluate("canvas => [canvas.wanted.x, canvas.wanted.y]")
    return found


async def test_the_player_plays_the_sizes_and_lets_one_be_chosen(visitor: Visitor, video_id: str) -> None:
    page = visitor.page
    playlists: list[str] = []
    page.on("request", lambda request: playlists.append(request.url) if ".m3u8" in request.url else None)
    await visitor.open(f"/videos/{video_id}")
    player = page.locator("video")
    assert not await player.evaluate("video => video.controls")
    await page.get_by_role("button", name="Play", exact=True).click()
    await visitor.until("document.querySelector('video').currentTime > 0.5")
    assert (await player.evaluate("video => video.src")).startswith("blob:")
    assert any("master.m3u8" in url for url in playlists)
    sizes = page.get_by_role("combobox", name="Size")
    await expect(sizes.locator("option")).to_have_text(["Auto", "240p", "144p"])
    await sizes.select_option("144p")
    await visitor.until("document.querySelector('video').videoHeight === 144", seconds=20)
    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(player).to_have_js_property("paused", True)


async def test_the_bar_looks_ahead_and_moves_by_keys(visitor: Visitor, video_id: str) -> None:
    page = visitor.page
    await visitor.open(f"/videos/{video_id}")
    await visitor.until("document.querySelector('video').readyState >= 1")
    seek = page.get_by_role("slider", name="Position")
    box = await seek.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    await expect(page.locator("[data-look]")).to_be_visible()
    await expect(page.locator("[data-look][data-drawn] canvas")).to_be_visible()
    early = await picture(page, "[data-look] canvas")
    await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    await expect(page.locator("[data-look-time]")).to_have_text("0:05")
    assert await picture(page, "[data-look] canvas") != early
    await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await visitor.until("Math.abs(document.querySelector('video').currentTime - 3) < 0.2")
    await seek.focus()
    await page.keyboard.press("ArrowRight")
    await visitor.until("document.querySelector('video').currentTime > 5")
    await page.keyboard.press("Home")
    await expect(seek).to_have_attribute("aria-valuetext", "0:00 of 0:06")
    await page.keyboard.press("m")
    await expect(page.get_by_role("button", name="Sound on")).to_be_visible()
    await page.keyboard.press("f")
    await expect(page.get_by_role("button", name="Leave full screen")).to_be_visible()
    await page.keyboard.press("f")
    await expect(page.get_by_role("button", name="Full screen", exact=True)).to_be_visible()


async def test_a_card_shows_its_film_under_the_pointer(visitor: Visitor, video_id: str) -> None:
    page = visitor.page
    await visitor.open("/dashboard")
    poster = page.locator(".videos .poster")
    box = await poster.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 20)
    await expect(page.locator(".scrub[data-drawn]")).to_be_visible()
    early = await picture(page, ".scrub")
    await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 20)
    await asyncio.sleep(0.2)
    assert await picture(page, ".scrub") != early
    await page.mouse.move(5, 5)
    await expect(page.locator(".scrub")).to_have_count(0)
    await page.mouse.click(box["x"] + 20, box["y"] + 20)
    await page.wait_for_url(f"**/videos/{video_id}")
