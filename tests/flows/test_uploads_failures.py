"""Each thing that can go wrong with an upload has its own words, and a button that helps."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, Page, Request, Route, expect

from tests.flows.browser import Visitor
from tests.flows.uploading import MB, PICKER, Line, in_state, make_film, row_of, until_percent

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, x-amz-error-code",
    "Content-Type": "application/xml",
}


#: The first two parts are cut on their way, as by a line that breaks: the browser's network cannot be told to.
CUT_TWO = """(() => {
  const { send } = XMLHttpRequest.prototype;
  let left = 2;
  XMLHttpRequest.prototype.send = function (body) {
    if (body instanceof Blob && left-- > 0) {
      this.upload.addEventListener('progress', ({ loaded }) => {
        const { onerror } = this;
        if (loaded < 2e6 || !onerror) return;
        this.onload = this.onerror = null;
        this.abort();
        onerror.call(this);
      });
    }
    return send.call(this, body);
  };
})()"""


@pytest.fixture
async def page(visitor: Visitor) -> Page:
    await visitor.open("/upload")
    return visitor.page


def to_storage(url: str) -> bool:
    return "X-Amz-Signature" in url


def refusing(status: int, code: str) -> Callable[[Route], Any]:
    """The storage's own words."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>"
    return lambda route: route.fulfill(status=status, headers=CORS, body=body)


def answering(status: int, code: str, message: str) -> Callable[[Route], Any]:
    """An error of our own API."""
    body = json.dumps({"error": {"code": code, "message": message, "retryable": False}})
    return lambda route: route.fulfill(status=status, content_type="application/json", body=body)


async def choose(page: Page, path: Path) -> Locator:
    await page.locator(PICKER).set_input_files(path)
    return row_of(page, path)


async def says(row: Locator, *words: str) -> None:
    for each in words:
        await expect(row.get_by_role("alert")).to_contain_text(each)


async def test_what_cannot_be_taken_is_said_before_a_byte_is_sent(page: Page, tmp_path: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method in ("PUT", "POST") else None)
    notes = tmp_path / "notes.pdf"
    notes.write_bytes(b"%PDF-1.4 no video")
    row = await choose(page, notes)
    await in_state(row, "refused")
    await says(row, "This is not a video format we take.", "Choose MP4")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    await says(await choose(page, empty), "The file is empty.")
    huge = tmp_path / "huge.mp4"
    with huge.open("wb") as file:
        file.truncate(3 * 1024**3)  # sparse: it takes no room
    await says(await choose(page, huge), "The file is too large.", "It has 3.22 GB", "at most 2.15 GB")
    await expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    assert sent == []


async def test_a_refusal_of_the_storage_is_the_storages_and_can_be_tried_again(
    visitor: Visitor, page: Page, clip: Path
) -> None:
    await page.route(to_storage, refusing(403, "AccessDenied"))
    row = await choose(page, clip)
    await in_state(row, "failed")
    await says(row, "The storage refused the file.", "That is on our side, not yours.")
    await page.unroute(to_storage)
    await row.get_by_role("button", name="Try again").click()
    await in_state(row, "ready", 30)
    visitor.complaints[:] = [text for text in visitor.complaints if "403" not in text]


async def test_a_limit_on_the_way_is_not_called_a_file_that_is_too_large(
    visitor: Visitor, page: Page, clip: Path
) -> None:
    await page.route(to_storage, refusing(413, "EntityTooLarge"))
    row = await choose(page, clip)
    await says(row, "Something on the way takes no pieces of this size.", "Your file is not too large")
    visitor.complaints[:] = [text for text in visitor.complaints if "413" not in text]


async def test_an_address_that_expired_is_signed_again(
    visitor: Visitor, page: Page, clip: Path, tmp_path: Path
) -> None:
    film = make_film(tmp_path / "slow.mp4", clip, 70 * MB)
    refused: set[str] = set()

    async def once(route: Route) -> None:
        part = urlsplit(route.request.url).query.partition("partNumber=")[2].partition("&")[0]
        if part in refused or len(refused) == 3:
            await route.continue_()
        else:
            refused.add(part)
            await refusing(403, "RequestExpired")(route)

    await page.route(to_storage, once)
    row = await choose(page, film)
    await in_state(row, "ready", 60)
    assert len(refused) == 3
    visitor.complaints[:] = [text for text in visitor.complaints if "403" not in text]


async def test_an_address_that_ended_before_its_turn_is_replaced(visitor: Visitor, page: Page, clip: Path) -> None:
    reserved: list[str] = []
    lost: list[Route] = []

    async def nearly_over(route: Route) -> None:
        if reserved and not lost:  # the line breaks between giving the old one up and the new one
            lost.append(route)
            await route.abort()
            return
        answer = await route.fetch()
        place = await answer.json()
        reserved.append(place["upload_id"])
        if len(reserved) == 1:
            place |= {"expires_in": 5, "upload_url": place["upload_url"] + "0"}
        await route.fulfill(response=answer, json=place)

    await page.route("**/api/upload/presigned-url", nearly_over)
    row = await choose(page, clip)
    await in_state(row, "ready", 60)
    assert (len(reserved), len(lost)) == (2, 1)
    assert (await visitor.api("GET", f"/api/uploads/{reserved[0]}"))["state"] == "cancelled"
    assert (await visitor.api("GET", "/api/videos"))["pagination"]["total"] == 1
    visitor.complaints[:] = [text for text in visitor.complaints if "ERR_FAILED" not in text]


async def test_an_upload_whose_time_is_over_starts_again(visitor: Visitor, page: Page, clip: Path) -> None:
    await page.route(to_storage, refusing(403, "AccessDenied"))
    await page.route("**/api/uploads/*", answering(410, "upload_expired", "The time for this upload is over."))
    await page.route("**/api/uploads/*/complete", answering(410, "upload_expired", "The time for this upload is over."))
    row = await choose(page, clip)
    await in_state(row, "failed")
    await says(row, "The time for this upload is over.", "sends the file from the beginning")
    await page.unroute_all()
    await row.get_by_role("button", name="Try again").click()
    await in_state(row, "ready", 30)
    visitor.complaints[:] = [text for text in visitor.complaints if "403" not in text and "410" not in text]


async def test_a_full_quota_says_how_much_is_left(visitor: Visitor, page: Page, clip: Path) -> None:
    words = "1.2 MB are left of your storage. Delete videos or give up open uploads to make room."
    await page.route("**/api/upload/presigned-url", answering(409, "quota_exceeded", words))
    row = await choose(page, clip)
    await in_state(row, "failed")
    await says(row, "Your storage is full.", words)
    await page.unroute_all()
    await row.get_by_role("button", name="Try again").click()
    await in_state(row, "ready", 30)
    visitor.complaints[:] = [text for text in visitor.complaints if "409" not in text]


async def test_without_a_network_it_waits_and_goes_on_by_itself(
    visitor: Visitor, page: Page, clip: Path, tmp_path: Path
) -> None:
    line = await Line.of(page)
    await line.set(cut=True)
    row = await choose(page, clip)
    await in_state(row, "offline")
    await expect(row).to_contain_text("Goes on by itself when the connection is back")
    await asyncio.sleep(1)
    await line.set()
    await in_state(row, "ready", 30)
    visitor.complaints[:] = [text for text in visitor.complaints if "ERR_INTERNET_DISCONNECTED" not in text]


async def test_on_a_slow_line_that_was_cut_one_part_goes_at_a_time(page: Page, clip: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "cut.mp4", clip, 70 * MB)
    under_way: set[Request] = set()
    cut: list[Request] = []

    def failed(request: Request) -> None:
        under_way.discard(request)
        if request.method == "PUT":  # what the page had under way when it was opened anew fails, too
            cut.append(request)

    page.on("request", lambda request: under_way.add(request) if request.method == "PUT" else None)
    page.on("requestfinished", lambda request: under_way.discard(request))
    page.on("requestfailed", failed)
    await page.add_init_script(CUT_TWO)
    await page.reload()
    line = await Line.of(page)
    await line.set(upload_mb_s=1)
    row = await choose(page, film)
    deadline = time.monotonic() + 60
    while len(cut) < 4 or not under_way:  # twice by the line, and twice what Uppy begins again by itself
        assert time.monotonic() < deadline, "it does not go on"
        await asyncio.sleep(0.1)
    for _ in range(20):
        assert len(under_way) < 2
        await asyncio.sleep(0.1)
    await line.set()
    await in_state(row, "ready", 60)


async def test_a_storage_that_only_the_server_reaches_is_told_apart_from_a_lost_network(
    visitor: Visitor, page: Page, clip: Path
) -> None:
    await page.clock.install()
    await page.route(to_storage, lambda route: route.abort("addressunreachable"))
    row = await choose(page, clip)
    for _ in range(60):
        if await row.get_attribute("data-state") == "failed":
            break
        await page.clock.run_for(5_000)
        await asyncio.sleep(0.1)
    await says(row, "Your browser cannot reach the storage.", "This server answers, so your connection works")
    await page.unroute(to_storage)
    await row.get_by_role("button", name="Try again").click()
    for _ in range(60):
        if await row.get_attribute("data-state") == "ready":
            break
        await page.clock.run_for(2_000)
        await asyncio.sleep(0.2)
    await in_state(row, "ready")
    visitor.complaints[:] = [text for text in visitor.complaints if "ERR_ADDRESS_UNREACHABLE" not in text]


async def test_a_file_that_changed_on_disk_is_not_sent_half_old_half_new(
    visitor: Visitor, page: Page, clip: Path, tmp_path: Path
) -> None:
    film = make_film(tmp_path / "growing.mp4", clip, 70 * MB)
    line = await Line.of(page)
    await line.set(upload_mb_s=10)
    row = await choose(page, film)
    await until_percent(row, 10)
    with film.open("ab") as file:
        file.write(b"and more")
    await line.set()
    await in_state(row, "failed", 30)
    await says(row, "The file cannot be read any more.", "Choose it again")
    visitor.complaints[:] = [text for text in visitor.complaints if "ERR_UPLOAD_FILE_CHANGED" not in text]
