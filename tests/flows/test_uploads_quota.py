"""A storage that fills up while a file is on its way: that is said when all has arrived, and nothing is left behind."""

import asyncio
import time
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect
from sqlalchemy import select, update

from backend.core.db import transaction
from backend.core.storage import storage
from backend.videos.models import Upload, VideoCount
from tests.flows.browser import Visitor
from tests.flows.uploading import MB, PICKER, Line, in_state, make_film, row_of, until_percent

QUOTA_MB = 200


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"UPLOAD_SWEEP_SECONDS": "1", "USER_QUOTA_MB": str(QUOTA_MB)}


async def fill_up(size: int) -> None:
    """So many bytes more: the same as a quota lower by so many."""
    async with transaction() as session:
        await session.execute(update(VideoCount).values(size_bytes=VideoCount.size_bytes + size))


async def refused(visitor: Visitor, clip: Path, tmp_path: Path) -> tuple[Locator, str, str]:
    """An upload in parts that is refused when all of it has arrived: its row, its key, its upload id."""
    small = await visitor.send(clip, title="Small")
    film = make_film(tmp_path / "long.mp4", clip, 70 * MB)
    page = visitor.page
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=4)
    await page.locator(PICKER).set_input_files(film)
    row = row_of(page, film)
    while (await visitor.api("GET", f"/api/videos/{small}"))["status"] == "processing":
        await asyncio.sleep(0.2)
    await until_percent(row, 20)
    await fill_up(QUOTA_MB * MB)
    await line.set()
    await in_state(row, "failed", 30)
    await expect(row.get_by_role("alert")).to_contain_text("Your storage is full.")
    await expect(row.get_by_role("alert")).to_contain_text("is left of your storage. Delete videos")
    visitor.complaints[:] = [text for text in visitor.complaints if "409" not in text]
    async with transaction() as session:
        upload = (await session.scalars(select(Upload).where(Upload.filename == film.name))).one()
    return row, upload.s3_key, str(upload.id)


async def test_what_no_longer_fits_is_said_and_removed_with_its_bytes(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    row, key, upload_id = await refused(visitor, clip, tmp_path)
    await row.get_by_role("button", name="Remove from the list").click()
    await expect(row).to_have_count(0)
    deadline = time.monotonic() + 30
    while await storage.head(key) or any(each.key == key for each in await storage.list_multiparts(key)):
        assert time.monotonic() < deadline, "the bytes are still there"
        await asyncio.sleep(0.2)
    upload = await visitor.api("GET", f"/api/uploads/{upload_id}")
    assert (upload["state"], upload["video"]) == ("cancelled", None)
    assert (await visitor.api("GET", "/api/usage"))["reserved_bytes"] == 0


async def test_a_file_that_is_all_there_is_not_sent_again_on_the_next_visit(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    await refused(visitor, clip, tmp_path)
    page = visitor.page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    await visitor.open("/upload")
    row = row_of(page, tmp_path / "long.mp4")
    await in_state(row, "unfinished")
    await expect(row.get_by_role("alert")).to_contain_text("Your storage is full.")
    await expect(row).to_contain_text("All of it has arrived.")
    # What the row said before it says again: only the answer tells that it was asked anew.
    async with page.expect_response(lambda answer: answer.url.endswith("/complete")):
        await page.locator(PICKER).set_input_files(tmp_path / "long.mp4")
    await expect(row.get_by_role("alert")).to_contain_text("Your storage is full.")
    await expect(page.locator(".up-row")).to_have_count(1)
    await fill_up(-QUOTA_MB * MB)
    await row.get_by_role("button", name="Try again").click()
    await in_state(row, "ready", 60)
    assert sent == []
    visitor.complaints[:] = [text for text in visitor.complaints if "409" not in text]


async def test_with_room_again_it_is_a_video_without_being_sent_again(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    row, _, _ = await refused(visitor, clip, tmp_path)
    sent: list[str] = []
    visitor.page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    await fill_up(-QUOTA_MB * MB)
    await row.get_by_role("button", name="Try again").click()
    await in_state(row, "ready", 60)
    assert sent == []
