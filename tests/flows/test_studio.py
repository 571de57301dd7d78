"""Generating and the gallery in a real browser: from a prompt to what plays."""

import re
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.conftest import Live
from tests.flows.browser import Visitor, visit

PROMPT = "A lighthouse in fog at dawn. Gulls lift off the rail."
PLAYS = """selector => {
  const media = document.querySelector(selector);
  if (media.paused) { media.muted = true; media.play().catch(() => {}); }
  return media.currentTime > 0.3 && !media.error;
}"""


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"GENERATIONS_PER_HOUR": "50"}


def make_pictures(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"scene_{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        drawn = f"color=c={('red', 'green', 'blue')[number % 3]}:size=360x640"
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", drawn, "-frames:v", "1", str(path)], check=True)
    return paths


async def drop(page: Page, name: str) -> None:
    """A picture dragged from elsewhere and let go over the page."""
    drawn = """async name => {
      const canvas = new OffscreenCanvas(90, 160);
      canvas.getContext('2d').fillRect(0, 0, 50, 50);
      const files = new DataTransfer();
      files.items.add(new File([await canvas.convertToBlob()], name, { type: 'image/png' }));
      for (const kind of ['dragenter', 'dragover', 'drop']) {
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
      }
    }"""
    await page.evaluate(drawn, name)


async def compose(
    page: Page, prompt: str = PROMPT, *, kind: str = "Video", shape: str = "", length: str = "4 s"
) -> None:
    """Fill the composer in, and press its button."""
    await page.get_by_label("Prompt").fill(prompt)
    await page.locator(".segments label", has_text=kind).click()
    if shape:
        await page.locator(".shape", has_text=shape).click()
    if kind == "Video":
        await page.locator(".segments label", has_text=re.compile(f"^{length}$")).click()
    await page.get_by_role("button", name="Generate").click()


def newest(page: Page) -> Locator:
    """What was asked for last."""
    return page.locator(".making").first


async def made(page: Page) -> str:
    """Wait until it is there; answers its id."""
    await expect(newest(page)).to_have_attribute("data-look", "ready", timeout=90_000)
    return str(await newest(page).get_attribute("id")).removeprefix("made-")


@pytest.mark.parametrize(("shape", "size"), [("Portrait", [720, 1280]), ("Landscape", [1280, 720])])
async def test_a_prompt_becomes_a_film_that_is_watched_being_made_and_plays(
    visitor: Visitor, shape: str, size: list[int]
) -> None:
    page = visitor.page
    await page.get_by_role("link", name="Generate").first.click()
    await expect(page.get_by_label("Prompt")).to_be_focused()
    await compose(page, shape=shape)
    await expect(newest(page)).to_have_attribute("data-look", "working")
    await expect(newest(page).locator(".making-stage")).to_have_attribute("data-shape", shape.lower())
    await expect(newest(page).locator("progress")).to_have_attribute("value", re.compile(r"^[2-9]|^\d\d"))
    await expect(newest(page).locator("img.making-picture")).to_be_visible()
    made_id = await made(page)
    assert page.url == f"{visitor.url}/generate", "the result appears where it was watched"
    assert await page.get_by_label("Prompt").input_value() == PROMPT
    await visitor.until(PLAYS, f"#made-{made_id} video")
    shown = await page.evaluate(
        "s => [document.querySelector(s).videoWidth, document.querySelector(s).videoHeight]", f"#made-{made_id} video"
    )
    assert shown == size

    await page.get_by_role("link", name="Gallery").first.click()
    tile = page.locator(f"#tile-{made_id}")
    await expect(tile.locator("img.tile-picture")).to_be_visible()  # its poster comes a moment later, by itself
    await expect(tile.locator(".tile-words")).to_have_css("opacity", "0")
    await tile.hover()
    await expect(tile.locator(".tile-words")).to_have_css("opacity", "1")
    await tile.locator(".tile-link").click()
    await expect(page.get_by_role("heading", name=PROMPT)).to_be_visible()
    await visitor.until(PLAYS, "video")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download").click()
    assert (await download.value).suggested_filename.startswith("a-lighthouse-in-fog")
    await page.get_by_role("link", name="In the library").click()
    await expect(page.locator("[data-player]")).to_be_visible()


async def test_an_image_and_a_sound_come_where_they_were_asked_for(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/generate")
    await compose(page, kind="Image", shape="Square")
    image = await made(page)
    await visitor.until("s => document.querySelector(s).naturalWidth === 1024", f"#made-{image} .making-stage img")
    await compose(page, "The sea was quiet that night.", kind="Sound")
    await expect(page.locator(".making")).to_have_count(2)
    sound = await made(page)
    await visitor.until(PLAYS, f"#made-{sound} audio")
    await visitor.open("/gallery")
    await page.locator("#kind-audio").click()
    await page.wait_for_url("**/gallery?kind=audio")
    await expect(page.locator(".tile")).to_have_count(1)


async def test_what_is_being_made_is_cancelled_and_made_after_all(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/generate")
    await compose(page, length="30 s")
    await expect(newest(page).locator("progress")).to_have_attribute("value", re.compile(r"^\d\d"))
    await newest(page).get_by_role("button", name="Cancel").click()
    await expect(newest(page)).to_have_attribute("data-look", "cancelled")
    await expect(newest(page).get_by_role("heading", name="Cancelled")).to_be_visible()
    await newest(page).get_by_role("button", name="Try again").click()
    await expect(newest(page)).to_have_attribute("data-look", "working")
    await newest(page).get_by_role("button", name="Cancel").click()
    await expect(newest(page)).to_have_attribute("data-look", "cancelled")


async def test_again_with_changes_begins_with_what_it_was_made_from(visitor: Visitor) -> None:
    page = visitor.page
    body = {"prompt": PROMPT, "kind": "image", "orientation": "portrait"}
    first = (await visitor.api("POST", "/api/generations", **body))["generation"]["id"]
    await visitor.open("/gallery")
    await expect(page.locator(f"#tile-{first}")).to_have_attribute("data-look", "ready")
    await page.locator(f"#tile-{first}").hover()
    await page.get_by_role("button", name=re.compile("^Actions for A lighthouse")).click()
    await page.get_by_role("menuitem", name="Again with changes").click()
    await expect(page.get_by_label("Prompt")).to_have_value(PROMPT)
    await expect(page.get_by_role("radio", name="Image")).to_be_checked()
    await expect(page.get_by_role("radio", name="Portrait")).to_be_checked()
    await compose(page, f"{PROMPT} At night.", kind="Image", shape="Landscape")
    await expect(page.locator(".making")).to_have_count(2)
    second = await made(page)
    await visitor.open("/gallery")
    await expect(page.locator(".tile")).to_have_count(2)
    assert await page.locator(f"#tile-{second}").get_attribute("data-shape") == "landscape"


async def test_a_storyboard_is_dropped_put_in_order_and_filmed(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    await visitor.open("/generate")
    pictures = make_pictures(tmp_path, 3)
    await page.locator("[data-pick]").set_input_files(pictures)
    frames = page.locator(".storyboard-frame")
    await expect(frames).to_have_count(3)
    await expect(page.locator('.storyboard-frame[data-state="ready"]')).to_have_count(3)
    order = await frames.locator("input").evaluate_all("all => all.map(each => each.value)")
    await frames.nth(2).get_by_role("button", name="Earlier").click()
    await frames.nth(0).get_by_role("button", name="Remove").click()
    assert await frames.locator("input").evaluate_all("all => all.map(each => each.value)") == [order[2], order[1]]
    await drop(page, "fourth.png")
    await expect(page.locator('.storyboard-frame[data-state="ready"]')).to_have_count(3)
    await frames.nth(2).get_by_role("button", name="Remove").click()
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    await page.locator("[data-pick]").set_input_files(notes)
    await expect(page.get_by_text("“notes.txt” is not a picture we take.")).to_be_visible()
    await compose(page)
    made_id = await made(page)
    spec = (await visitor.api("GET", f"/api/generations/{made_id}"))["spec"]
    assert [each["image_id"] for each in spec["images"]] == [order[2], order[1]]
    await visitor.open(f"/generate?again={made_id}")
    await expect(frames).to_have_count(2)


async def test_what_was_deleted_comes_back_by_its_undo(visitor: Visitor) -> None:
    page = visitor.page
    ids = [
        (await visitor.api("POST", "/api/generations", prompt=f"Shot {n}", kind="image"))["generation"]["id"]
        for n in range(2)
    ]
    await visitor.open("/gallery")
    await expect(page.locator('.tile[data-look="ready"]')).to_have_count(2)
    await page.locator(f"#tile-{ids[0]}").hover()
    await page.get_by_role("button", name="Actions for Shot 0").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await expect(page.locator(f"#tile-{ids[0]}")).to_have_count(0)
    await expect(page.locator(f"#tile-{ids[1]} .tile-link")).to_be_focused()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(f"#tile-{ids[0]}")).to_be_visible()


async def test_the_wall_follows_the_search_and_what_happens_elsewhere(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/gallery")
    await expect(page.get_by_role("heading", name="What you make will hang here")).to_be_visible()
    await visitor.until("document.querySelector('[data-live]') !== null")
    await visitor.api("POST", "/api/generations", prompt="A quarry at noon", kind="image")
    await expect(page.locator(".tile")).to_have_count(1)
    await expect(page.locator('.tile[data-look="ready"] img')).to_be_visible()
    await visitor.api("POST", "/api/generations", prompt="A harbour", kind="image")
    await expect(page.locator('.tile[data-look="ready"]')).to_have_count(2)
    await page.keyboard.press("/")
    await page.keyboard.type("quar")
    await expect(page.locator(".tile")).to_have_count(1)
    await page.wait_for_url("**/gallery?q=quar")
    await page.keyboard.type("tz")
    await expect(page.get_by_role("heading", name="Nothing matches “quartz”")).to_be_visible()
    await page.get_by_role("link", name="Clear the search").click()
    await expect(page.locator(".tile")).to_have_count(2)


async def test_a_prompt_without_words_is_refused_where_it_is_typed(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/generate")
    await page.get_by_label("Prompt").fill("   ")
    await page.get_by_role("button", name="Generate").click()
    await expect(page.get_by_text("Prompt: say what you want to see or hear.")).to_be_visible()
    await expect(page.get_by_label("Prompt")).to_be_focused()
    await compose(page, "Fog", kind="Image")
    await expect(page.get_by_text("say what you want")).to_have_count(0)
    await made(page)
    visitor.complaints[:] = [text for text in visitor.complaints if "422" not in text]


async def test_it_all_works_without_scripts(chromium: Browser, live: Live, clean: None) -> None:
    async with visit(chromium, live.url, java_script_enabled=False) as reader:
        page = reader.page
        await reader.join()
        await page.get_by_role("link", name="Generate").first.click()
        await compose(page, "Fog over the harbour", kind="Image", shape="Square")
        await expect(newest(page).locator(".making-stage img[width]")).to_be_visible(
            timeout=60_000
        )  # it reloads by itself
        await page.get_by_role("link", name="Gallery").first.click()
        await page.locator(".tile-link").click()
        await page.get_by_role("link", name="Again with changes").click()
        await expect(page.get_by_label("Prompt")).to_have_value("Fog over the harbour")
        await page.go_back()
        await page.get_by_role("button", name="Delete").click()
        await expect(page.locator(".tile")).to_have_count(0)
        await page.get_by_role("button", name="Undo").click()
        await expect(page.get_by_role("heading", name="Fog over the harbour")).to_be_visible()
