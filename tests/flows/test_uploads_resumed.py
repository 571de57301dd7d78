"""Large files in a real browser: cut, closed, given up, forgotten; what arrived is kept, and what is kept is whole."""

import asyncio
import signal
import time
import uuid
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from backend.core.db import transaction
from backend.core.storage import storage
from backend.videos.models import Upload, UploadState, Video, VideoStatus
from tests.conftest import Live
from tests.flows.browser import Visitor
from tests.flows.uploading import (
    MB,
    PICKER,
    Line,
    Sent,
    id_of,
    in_state,
    make_film,
    percent,
    row_of,
    sha256_of,
    stored_sha256,
    until_percent,
    uploads_of,
)


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    return {"UPLOAD_SWEEP_SECONDS": "1"}


@pytest.fixture(scope="module")
def film(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 MB that play."""
    return make_film(tmp_path_factory.mktemp("films") / "harbour_uncut.mp4", clip, 300 * MB)


@pytest.fixture(scope="module")
def reel(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 MB: sent in parts too, and sooner there."""
    return make_film(tmp_path_factory.mktemp("films") / "harbour_cut.mp4", clip, 80 * MB, seed=3)


def without_network(visitor: Visitor) -> None:
    """The browser reports each request that found no network."""
    visitor.complaints[:] = [text for text in visitor.complaints if "ERR_INTERNET_DISCONNECTED" not in text]


async def send_all_but_the_word(visitor: Visitor, film: Path, title: str) -> None:
    """Every byte arrives, the confirmation does not get through, and the tab is closed."""
    page = visitor.page
    await visitor.open("/upload")
    await page.route("**/api/uploads/*/complete", lambda route: route.abort())
    await page.locator(PICKER).set_input_files(film)
    row = row_of(page, film)
    await row.get_by_label("Title of").fill(title)
    await in_state(row, "offline", 60)
    assert await percent(row) == 100
    await page.close(run_before_unload=False)
    visitor.page = await page.context.new_page()
    visitor.complaints[:] = [text for text in visitor.complaints if "ERR_FAILED" not in text]


async def test_a_large_file_survives_a_cut_line_and_a_closed_tab(
    visitor: Visitor, clip: Path, film: Path, tmp_path: Path
) -> None:
    page = visitor.page
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=40)
    await page.locator(PICKER).set_input_files(film)
    row = row_of(page, film)
    await in_state(row, "uploading")
    await row.get_by_label("Title of").fill("Harbour, the whole day")

    # The line is cut at 30 %: the page waits, says so, and goes on by itself.
    await until_percent(row, 30)
    await line.set(cut=True)
    await in_state(row, "offline")
    await expect(row).to_contain_text("No connection")
    await asyncio.sleep(2)
    await in_state(row, "offline")
    await line.set(upload_mb_s=40)
    await in_state(row, "uploading")
    assert await percent(row) >= 10
    without_network(visitor)

    # The tab is closed at 60 %.
    await until_percent(row, 60)
    await page.close(run_before_unload=False)

    # On the next visit the row is there, with what was typed; another file is not taken for it.
    visitor.page = page = await page.context.new_page()
    sent = Sent(page)
    await visitor.open("/upload")
    row = row_of(page, film)
    await in_state(row, "unfinished")
    await expect(row.get_by_label("Title of")).to_have_value("Harbour, the whole day")
    await expect(row).to_contain_text("Choose the same file to go on")
    (upload,) = await uploads_of(visitor)
    upload = await visitor.api("GET", f"/api/uploads/{upload['id']}")
    arrived = {part["number"] for part in upload["parts"]}
    assert len(arrived) * upload["part_size"] > 0.4 * 300 * MB
    other = tmp_path / film.name
    make_film(other, clip, 300 * MB, seed=2)
    await row.locator('input[type="file"]').set_input_files(other)
    await expect(row).to_contain_text("That is another file.")

    # The same one goes on where it stopped: only what is missing is sent.
    await row.locator('input[type="file"]').set_input_files(film)
    await in_state(row, "ready", 60)
    assert set(sent.numbers).isdisjoint(arrived)
    assert await row.get_by_label("Title of").input_value() == "Harbour, the whole day"
    video_id = await id_of(row)
    assert (await visitor.api("GET", f"/api/videos/{video_id}"))["title"] == "Harbour, the whole day"
    assert await stored_sha256(visitor, video_id) == sha256_of(film)
    assert await uploads_of(visitor) == []


async def leave_unfinished(visitor: Visitor, film: Path) -> None:
    """Some of its parts arrive, and the tab is closed."""
    page = visitor.page
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=20)
    await page.locator(PICKER).set_input_files(film)
    await until_percent(row_of(page, film), 40)
    await page.close(run_before_unload=False)
    visitor.page = await page.context.new_page()


async def test_a_file_that_is_here_by_another_way_is_offered_before_it_is_sent_on(visitor: Visitor, reel: Path) -> None:
    await leave_unfinished(visitor, reel)
    (upload,) = await uploads_of(visitor)
    mark = (await visitor.api("GET", f"/api/uploads/{upload['id']}"))["checksum"]
    async with transaction() as session:  # as if somebody else in the project had sent it
        mine = await session.get(Upload, uuid.UUID(upload["id"]))
        assert mine is not None
        video = Video(id=uuid.uuid4(), project_id=mine.project_id, title="The whole reel", filename=reel.name)
        video.content_type, video.size_bytes, video.s3_key = "video/mp4", 1, f"videos/{uuid.uuid4()}"
        video.status = VideoStatus.COMPLETED
        values = {"content_type": "video/mp4", "expires_at": mine.expires_at, "state": UploadState.COMPLETED}
        values |= {"project_id": mine.project_id, "owner_id": mine.owner_id, "filename": reel.name, "checksum": mark}
        session.add_all([video, Upload(video_id=video.id, s3_key=video.s3_key, **values)])
    page = visitor.page
    sent = Sent(page)
    await visitor.open("/upload")
    row = row_of(page, reel)
    await in_state(row, "unfinished")
    await page.locator(PICKER).set_input_files(reel)
    await in_state(row, "duplicate")
    await expect(row).to_contain_text("as “The whole reel”. It was not sent again.")
    assert sent.numbers == []
    await row.get_by_role("button", name="Remove from the list").click()
    deadline = time.monotonic() + 20
    while await uploads_of(visitor):
        assert time.monotonic() < deadline, "what had arrived is kept for nothing"
        await asyncio.sleep(0.1)


async def test_a_file_chosen_before_the_list_is_known_goes_on_and_the_library_tells_of_it(
    visitor: Visitor, reel: Path
) -> None:
    await leave_unfinished(visitor, reel)
    await visitor.open("/dashboard")
    await visitor.page.get_by_role("link", name="1 upload not finished").click()
    await visitor.page.wait_for_url("**/upload")
    page = visitor.page

    async def late(route: Route) -> None:
        await asyncio.sleep(1)
        await route.continue_()

    await page.route("**/api/uploads?state=open", late)
    await page.reload()
    await page.locator(PICKER).set_input_files(reel)
    await in_state(row_of(page, reel), "ready", 60)
    await expect(page.locator(".up-row")).to_have_count(1)
    assert (await visitor.api("GET", "/api/videos"))["pagination"]["total"] == 1
    assert await uploads_of(visitor) == [], "nothing was begun anew"


async def test_a_pause_sends_nothing_and_goes_on_from_there(visitor: Visitor, reel: Path) -> None:
    page = visitor.page
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=20)
    await page.locator(PICKER).set_input_files(reel)
    row = row_of(page, reel)
    await until_percent(row, 40)
    await row.get_by_role("button", name="Pause").click()
    await in_state(row, "paused")
    sent = Sent(page)
    await asyncio.sleep(1)
    assert sent.numbers == []
    await line.set()
    await row.get_by_role("button", name="Go on").click()
    await in_state(row, "ready", 60)


async def test_giving_up_leaves_no_object_and_no_part(visitor: Visitor, reel: Path) -> None:
    page = visitor.page
    await visitor.open("/upload")
    line = await Line.of(page)

    async def crawl(route: Route) -> None:
        await line.set(upload_mb_s=0.2)
        await route.continue_()

    await page.route(lambda url: "partNumber=5" in url, crawl)  # the last: it is on its way for a minute
    await page.locator(PICKER).set_input_files(reel)
    row = row_of(page, reel)
    deadline = time.monotonic() + 60
    while (
        not (open_uploads := await uploads_of(visitor))
        or not (upload := await visitor.api("GET", f"/api/uploads/{open_uploads[0]['id']}"))["parts"]
    ):
        assert time.monotonic() < deadline, "no part arrived"
        await asyncio.sleep(0.1)
    await row.get_by_role("button", name="Cancel").click()
    await in_state(row, "cancelled")
    deadline = time.monotonic() + 30
    while (await visitor.api("GET", f"/api/uploads/{upload['id']}"))["state"] != "cancelled":
        assert time.monotonic() < deadline, "the server was not told"
        await asyncio.sleep(0.1)
    account = (await visitor.api("GET", "/api/auth/me"))["id"]
    folder = f"videos/{account}/"
    while await storage.list_keys(folder) or await storage.list_multiparts(folder):
        assert time.monotonic() < deadline, "something is left in the storage"
        await asyncio.sleep(0.3)


async def test_a_tab_closed_before_confirming_still_ends_completed(visitor: Visitor, reel: Path) -> None:
    await send_all_but_the_word(visitor, reel, "Closed too early")
    deadline = time.monotonic() + 90
    while not (videos := (await visitor.api("GET", "/api/videos"))["videos"]):
        assert time.monotonic() < deadline, "nothing made a video of it"
        await asyncio.sleep(0.3)
    # With the title that was typed in the tab that died.
    assert videos[0]["title"] == "Closed too early"
    while (await visitor.api("GET", f"/api/videos/{videos[0]['id']}"))["status"] != "completed":
        assert time.monotonic() < deadline, "it is not processed"
        await asyncio.sleep(0.3)
    assert await stored_sha256(visitor, videos[0]["id"]) == sha256_of(reel)


async def test_what_arrived_whole_is_confirmed_by_the_next_visit(visitor: Visitor, live: Live, reel: Path) -> None:
    live.worker.send_signal(signal.SIGSTOP)  # it would find it first
    try:
        await send_all_but_the_word(visitor, reel, "Confirmed later")
        await visitor.open("/upload")
        await in_state(row_of(visitor.page, reel), "processing", 60)
    finally:
        live.worker.send_signal(signal.SIGCONT)
    await in_state(row_of(visitor.page, reel), "ready", 60)
