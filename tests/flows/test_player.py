"""The player and the cards in a real browser: its bar, its keys, looks at any moment, several sizes of one film."""

import asyncio
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.conftest import Live
from tests.flows.browser import Visitor, make_clip, visit
from tests.flows.scenes import settled
from tests.flows.test_accessibility import check


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"LADDER_HEIGHTS": "360,240,144"}


@pytest.fixture
async def video_id(visitor: Visitor, clip: Path) -> str:
    """A video whose preview and sizes are made."""
    return await processed(visitor, clip)


async def processed(visitor: Visitor, clip: Path) -> str:
    video_id = await visitor.send(clip, title="Harbour at dawn")
    for _ in range(600):
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
    await expect(sizes.locator("option")).to_have_text(["Auto", "360p", "240p", "144p"])
    await sizes.select_option("144p")
    await visitor.until("document.querySelector('video').videoHeight === 144", seconds=20)
    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(player).to_have_js_property("paused", True)


async def test_a_film_larger_than_its_sizes_plays_as_it_is_until_one_is_chosen(
    visitor: Visitor, tmp_path: Path
) -> None:
    page = visitor.page
    video_id = await processed(visitor, make_clip(tmp_path / "large.mp4", seconds=6, size="1280x720"))
    await visitor.open(f"/videos/{video_id}")
    sizes = page.get_by_role("combobox", name="Size")
    await expect(sizes.locator("option")).to_have_text(["Original", "Auto", "360p", "240p", "144p"])
    await expect(sizes).to_have_value("file")
    await page.get_by_role("button", name="Play", exact=True).click()
    await visitor.until("document.querySelector('video').currentTime > 0.5")
    assert await page.locator("video").evaluate("video => video.videoHeight") == 720
    await sizes.select_option("240p")
    await visitor.until("document.querySelector('video').videoHeight === 240", seconds=20)
    await visitor.until("document.querySelector('video').currentTime > 1")
    await sizes.select_option("Original")
    await visitor.until("document.querySelector('video').videoHeight === 720", seconds=20)
    await visitor.until("document.querySelector('video').currentTime > 1.2")


async def test_every_picture_of_the_bar_is_there_when_it_changes(visitor: Visitor, video_id: str) -> None:
    page = visitor.page
    await visitor.open(f"/videos/{video_id}")
    for name in ("Sound off", "Full screen", "Play"):
        await page.get_by_role("button", name=name, exact=True).click()
        missing = await page.evaluate(
            """async () => {
                const uses = [...document.querySelectorAll('use')].map((use) => use.getAttribute('href').split('#'));
                const sprite = await (await fetch(uses[0][0])).text();
                return uses.map(([, name]) => name).filter((name) => !sprite.includes(`id="${name}"`));
            }"""
        )
        assert missing == [], f"after {name}"
    await page.get_by_role("button", name="Leave full screen").click()
    await page.get_by_role("button", name="Pause", exact=True).click()
    await check(page, "player")


async def test_a_short_film_without_sound_says_so(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    silent = tmp_path / "silent.mp4"
    drawn = "ffmpeg -v error -y -f lavfi -i testsrc2=size=320x240:rate=25:duration=0.6 -pix_fmt yuv420p -c:v libx264"
    subprocess.run([*drawn.split(), str(silent)], check=True)
    video_id = await visitor.send(silent, title="Silent")
    await settled(visitor, 1)
    await visitor.open(f"/videos/{video_id}")
    await expect(page.get_by_role("button", name="No sound")).to_be_disabled()
    await expect(page.get_by_role("slider", name="Volume")).to_have_count(0)
    await expect(page.locator("[data-time]")).to_have_text("0:00 / 0:01")
    await page.keyboard.press("m")
    await check(page, "player of a silent film")


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


async def test_loudness_is_remembered_and_speed_until_the_tab_is_closed(visitor: Visitor, video_id: str) -> None:
    page = visitor.page
    await visitor.open(f"/videos/{video_id}")
    player = page.locator("video")
    volume, speed = page.get_by_role("slider", name="Volume"), page.get_by_role("combobox", name="Speed")
    await expect(volume).to_have_attribute("aria-valuetext", "100%")
    await volume.focus()
    for _ in range(8):
        await page.keyboard.press("ArrowDown")
    await expect(volume).to_have_attribute("aria-valuetext", "60%")
    await page.keyboard.press("m")
    await expect(volume).to_have_attribute("aria-valuetext", "Off")
    await page.get_by_role("button", name="Sound on").click()
    await expect(player).to_have_js_property("volume", 0.6)
    await page.keyboard.press("ArrowUp")  # the button has the focus: it is the player's key
    await expect(volume).to_have_attribute("aria-valuetext", "65%")
    await volume.focus()
    await page.keyboard.press("Home")
    await expect(page.get_by_role("button", name="Sound on")).to_be_visible()
    await expect(speed.locator("option")).to_have_count(8)
    await speed.select_option("1.5×")
    await expect(player).to_have_js_property("playbackRate", 1.5)

    await page.reload()
    await expect(volume).to_have_attribute("aria-valuetext", "65%")  # a silent film would seem to be broken
    await expect(speed).to_have_value("1.5")
    await page.get_by_role("button", name="Play", exact=True).click()
    await visitor.until("document.querySelector('video').currentTime > 0.3")
    await expect(player).to_have_js_property("playbackRate", 1.5)
    another = await page.context.new_page()
    await another.goto(f"{visitor.url}/videos/{video_id}")
    await expect(another.get_by_role("slider", name="Volume")).to_have_attribute("aria-valuetext", "65%")
    await expect(another.get_by_role("combobox", name="Speed")).to_have_value("1")


async def test_a_finger_on_the_bar_sees_where_it_goes_before_it_lets_go(
    chromium: Browser, live: Live, clean: None, clip: Path
) -> None:
    async with visit(chromium, live.url, has_touch=True, viewport={"width": 390, "height": 844}) as visitor:
        await visitor.register()
        await visitor.open(f"/videos/{await processed(visitor, clip)}")
        page = visitor.page
        await visitor.until("document.querySelector('video').readyState >= 1")
        box = await page.get_by_role("slider", name="Position").bounding_box()
        assert box is not None
        finger = await page.context.new_cdp_session(page)

        async def touch(kind: str, part: float | None = None) -> None:
            points = [] if part is None else [{"x": box["x"] + box["width"] * part, "y": box["y"] + box["height"] / 2}]
            await finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        await touch("touchStart", 0.1)
        await expect(page.locator("[data-look][data-drawn] canvas")).to_be_visible()
        early = await picture(page, "[data-look] canvas")
        for part in (0.3, 0.5, 0.7, 0.9):
            await touch("touchMove", part)
        await expect(page.locator("[data-look-time]")).to_have_text("0:05")
        await expect(page.locator("[data-time]")).to_have_text("0:05 / 0:06")
        assert await picture(page, "[data-look] canvas") != early
        assert await page.locator("video").evaluate("video => video.currentTime") < 1, "nothing is fetched on the way"
        await touch("touchEnd")
        await expect(page.locator("[data-look]")).to_be_hidden()
        await visitor.until("Math.abs(document.querySelector('video').currentTime - 5.4) < 0.3")
        await expect(page.get_by_role("slider", name="Volume")).to_be_hidden()


async def test_a_film_in_sizes_goes_on_when_its_addresses_have_expired(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    video_id = await processed(visitor, make_clip(tmp_path / "long.mp4", seconds=90, size="320x240", seed=3))
    asked: Counter[str] = Counter()
    expired: set[str] = set()

    async def storage(route: Route) -> None:
        """The first addresses end while the film plays; those that are signed after that are good."""
        url = route.request.url
        asked[url] += 1
        if url not in expired and (expired or asked[url] <= 3):
            await route.continue_()
            return
        expired.update(asked)
        await asyncio.sleep(1.1)  # what is signed in the same second is the same
        body = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
        await route.fulfill(status=403, headers={"Access-Control-Allow-Origin": "*"}, body=body)

    await page.route(lambda url: "X-Amz-Signature" in url and ".mp4" in url, storage)
    await visitor.open(f"/videos/{video_id}")
    await page.get_by_role("combobox", name="Speed").select_option("2×")
    await page.get_by_role("button", name="Play", exact=True).click()
    await visitor.until("document.querySelector('video').currentTime > 2")
    await visitor.until(
        "(({buffered}) => buffered.length && buffered.end(buffered.length - 1) > 40)(document.querySelector('video'))",
        seconds=30,
    )
    assert expired, "the first addresses ended"
    assert set(asked) - expired, "and others were asked for"
    player = page.locator("video")
    now = await player.evaluate("video => video.currentTime")
    await visitor.until(f"document.querySelector('video').currentTime > {now + 1}")
    await expect(player).to_have_js_property("playbackRate", 2)
    assert (await player.evaluate("video => video.src")).startswith("blob:"), "the sizes, not the file"
    visitor.complaints[:] = [text for text in visitor.complaints if "403" not in text]


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
    async with asyncio.timeout(30):
        while await picture(page, ".scrub") == early:
            await asyncio.sleep(0.05)
    await page.mouse.move(5, 5)
    await expect(page.locator(".scrub")).to_have_count(0)
    await page.mouse.click(box["x"] + 20, box["y"] + 20)
    await page.wait_for_url(f"**/videos/{video_id}")
