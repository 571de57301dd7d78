"""Several files at once, each with a form of its own; and files that are here already."""

import asyncio
import base64
import signal
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import expect
from sqlalchemy import select

from backend.accounts.models import User
from backend.core.db import transaction
from backend.jobs.models import Job, JobState
from backend.orgs.models import Project, ProjectMember
from backend.orgs.roles import Role
from tests.conftest import Live
from tests.flows.browser import Visitor, make_clip
from tests.flows.uploading import MB, PICKER, Line, id_of, in_state, make_film, row_of, until_percent
from tests.videos import media_corpus as corpus

#: How many different ones there are, coarsely.
COLOURS = """async image => {
  await image.decode();
  const context = Object.assign(document.createElement('canvas'), { width: 64, height: 36 }).getContext('2d');
  context.drawImage(image, 0, 0, 64, 36);
  const { data } = context.getImageData(0, 0, 64, 36);
  const colour = (_, at) => data.slice(at * 4, at * 4 + 3).map((one) => one >> 4).join();
  return new Set(Array.from({ length: 64 * 36 }, colour)).size;
}"""


async def test_three_files_travel_at_once_and_are_named_on_the_way(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    page = visitor.page
    films = [make_film(tmp_path / f"card_{n}.mp4", clip, size * MB, seed=n) for n, size in ((1, 70), (2, 20), (3, 5))]
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=12)
    await page.locator(PICKER).set_input_files(films)
    rows = [row_of(page, film) for film in films]
    for row in rows:
        await in_state(row, "uploading")
    assert (await page.title())[0].isdigit(), "the browser's title says how far it is"
    for number, row in enumerate(rows):
        await row.get_by_label("Title of").fill(f"Card number {number + 1}")
        await row.get_by_label("Description of").fill("From the second camera.")
    await page.keyboard.press("Tab")
    await expect(page.locator("[data-summary]")).to_contain_text("3 uploading")
    # Somebody who leaves now is asked whether to.
    assert await page.evaluate(
        "(() => { const leaving = new Event('beforeunload', {cancelable: true}); return !dispatchEvent(leaving) })()"
    )
    await line.set()
    for row in rows:
        await in_state(row, "ready", 60)
    assert await page.title() == "Upload · Dailies"
    for number, row in enumerate(rows):
        video = await visitor.api("GET", f"/api/videos/{await id_of(row)}")
        assert (video["title"], video["description"]) == (f"Card number {number + 1}", "From the second camera.")
    await page.get_by_role("button", name="Clear finished").click()
    await expect(page.locator(".up-row")).to_have_count(0)


@pytest.mark.parametrize("dark_seconds", [0, 0.5])
async def test_a_film_shows_a_picture_of_itself_also_when_it_begins_in_the_dark(
    visitor: Visitor, tmp_path: Path, dark_seconds: float
) -> None:
    page = visitor.page
    film = tmp_path / "night.mp4"
    dark = f"drawbox=t=fill:color=black:enable='lt(t,{dark_seconds})'"
    drawn = ["-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration=4,{dark}", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", *drawn, "-c:v", "libx264", str(film)], check=True)
    await visitor.open("/upload")
    await (await Line.of(page)).set(upload_mb_s=0.01)  # the server's own picture is not there yet
    await page.locator(PICKER).set_input_files(film)
    picture = row_of(page, film).locator('.poster img[src^="blob:"]')
    await expect(picture).to_be_visible()
    assert await picture.evaluate(COLOURS) > 100
    await row_of(page, film).get_by_role("button", name="Cancel").click()
    await in_state(row_of(page, film), "cancelled")


async def test_a_film_that_was_cut_off_is_ready_and_says_how_much_is_missing(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    film = tmp_path / "half.mp4"
    corpus.half_sent(film)
    words = "The file ends early: 50% of it is missing."
    await visitor.open("/upload")
    await page.locator(PICKER).set_input_files(film)
    await in_state(page.locator(".up-row"), "ready")
    await expect(page.locator(".up-row [data-note]")).to_contain_text(words)
    await page.locator(".up-row").get_by_role("link", name="Open").click()
    await expect(page.locator(".video-main .notice")).to_contain_text(words)


async def test_a_file_that_is_here_already_is_not_sent_twice_unless_asked_to(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    page = visitor.page
    puts: list[str] = []
    page.on("request", lambda request: puts.append(request.url) if request.method == "PUT" else None)
    await visitor.open("/upload")
    await page.locator(PICKER).set_input_files(clip)
    row = page.locator(".up-row")
    await row.get_by_label("Title of").fill("Harbour at dawn")
    await in_state(row, "ready")
    first = await id_of(row)
    assert len(puts) == 1

    await visitor.open("/upload")
    copy = tmp_path / "another name.mp4"
    copy.write_bytes(clip.read_bytes())
    await page.locator(PICKER).set_input_files(copy)
    await in_state(row, "duplicate")
    await expect(row).to_contain_text("This file is in your library already, as “Harbour at dawn”.")
    assert await id_of(row) == first
    assert len(puts) == 1
    await row.get_by_role("button", name="Upload anyway").click()
    await in_state(row, "ready")
    assert len(puts) == 2
    assert await id_of(row) != first


async def test_a_video_goes_into_the_project_that_was_chosen(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await visitor.open("/upload")
    await page.locator(PICKER).set_input_files(clip)
    await in_state(page.locator(".up-row"), "ready")
    await expect(page.get_by_label("Project of")).to_have_count(0)  # one project: nothing to choose
    async with transaction() as session:
        user = await session.scalar(select(User).where(User.email == visitor.email))
        assert user is not None
        project = Project(name="Spring film", owner_id=user.id, personal=False)
        session.add(project)
        await session.flush()
        session.add(ProjectMember(project_id=project.id, user_id=user.id, role=Role.OWNER))
    other = make_clip(clip.parent / "spring.mp4", seconds=2, seed=9)
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=0.02)
    await page.locator(PICKER).set_input_files(other)
    row = row_of(page, other)
    await row.get_by_label("Project of").select_option("Spring film")
    await line.set()
    await in_state(row, "ready", 30)
    video = await visitor.api("GET", f"/api/videos/{await id_of(row)}")
    assert video["project_id"] == str(project.id)
    await expect(row.get_by_label("Project of")).to_be_disabled()


async def test_more_files_than_travel_at_once_take_turns(visitor: Visitor, clip: Path, tmp_path: Path) -> None:
    page = visitor.page
    films = [make_film(tmp_path / f"take_{n}.mp4", clip, 10 * MB, seed=n) for n in range(5)]
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=0.2)
    await page.locator(PICKER).set_input_files(films)
    await expect(page.locator('.up-row[data-state="uploading"]')).to_have_count(3)
    await asyncio.sleep(0.5)
    await expect(page.locator('.up-row[data-state="preparing"]')).to_have_count(2)
    await page.locator('.up-row[data-state="uploading"]').first.get_by_role("button", name="Cancel").click()
    await expect(page.locator('.up-row[data-state="uploading"]')).to_have_count(3)
    await line.set()
    await expect(page.locator('.up-row[data-state="ready"]')).to_have_count(4, timeout=30_000)


async def test_a_file_behind_the_parts_of_others_says_so(visitor: Visitor, clip: Path, tmp_path: Path) -> None:
    page = visitor.page
    films = [make_film(tmp_path / f"reel_{n}.mp4", clip, 70 * MB, seed=n) for n in (1, 2)]
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=1)
    await page.locator(PICKER).set_input_files(films)
    for film in films:
        await until_percent(row_of(page, film), 1)
    await page.locator(PICKER).set_input_files(clip)
    row = row_of(page, clip)
    await expect(row).to_contain_text("Waits for the files before it")
    await row_of(page, films[0]).get_by_role("button", name="Pause").click()
    await in_state(row, "ready", 60)


async def test_a_drop_on_the_library_uploads_in_its_corner(visitor: Visitor, clip: Path) -> None:
    page = visitor.page
    await visitor.open("/dashboard")
    await page.evaluate(
        """async ([name, url]) => {
            const data = new DataTransfer();
            const bytes = Uint8Array.from(atob(url), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], name, {type: 'video/mp4'}));
            for (const type of ['dragenter', 'dragover', 'drop']) {
                document.body.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
            }
        }""",
        [clip.name, base64.b64encode(clip.read_bytes()).decode()],
    )
    row = page.locator(".up-tray .up-row")
    await in_state(row, "ready", 30)
    await expect(page.locator(".videos tbody tr")).to_have_count(1)


async def test_an_upload_in_another_tab_is_not_taken_for_an_unfinished_one(
    visitor: Visitor, clip: Path, tmp_path: Path
) -> None:
    page = visitor.page
    film = make_film(tmp_path / "long.mp4", clip, 70 * MB)
    await visitor.open("/upload")
    line = await Line.of(page)
    await line.set(upload_mb_s=10)
    await page.locator(PICKER).set_input_files(film)
    await until_percent(row_of(page, film), 10)
    second = await page.context.new_page()
    await second.goto(f"{visitor.url}/upload")
    await asyncio.sleep(1)
    await expect(second.locator(".up-row")).to_have_count(0)
    await second.close()
    await line.set()
    await in_state(row_of(page, film), "ready", 60)


async def convert(video_id: str) -> None:
    """As it is when the file was looked at, and a long conversion runs."""
    now = datetime.now(UTC)
    async with transaction() as session:
        root = await session.scalar(select(Job).where(Job.video_id == uuid.UUID(video_id)))
        assert root is not None
        root.state, root.progress, root.unsettled, root.finished_at = JobState.COMPLETED, 100, True, now
        step = {"kind": "make_rendition", "queue": "nobody", "stage": "transcode", "progress": 60, "attempt": 1}
        step |= {"parent_id": root.id, "required": True, "state": JobState.RUNNING, "started_at": now}
        step |= {"lease_token": uuid.uuid4(), "lease_until": now + timedelta(days=1), "run_at": now}
        session.add(Job(project_id=root.project_id, owner_id=root.owner_id, video_id=root.video_id, **step))


async def test_a_row_says_the_same_as_the_library_while_its_film_is_converted(
    visitor: Visitor, live: Live, clip: Path
) -> None:
    page = visitor.page
    live.worker.send_signal(signal.SIGSTOP)
    try:
        await visitor.open("/upload")
        await page.locator(PICKER).set_input_files(clip)
        row = row_of(page, clip)
        await in_state(row, "processing")
        await convert(await id_of(row))
        await expect(row.get_by_role("status").first).to_have_text("Converting for browsers")
        await expect(row.locator("[data-live]")).to_have_text("64%")
        await expect(row.get_by_role("progressbar")).to_have_js_property("value", 64)
        await visitor.open("/dashboard")
        await expect(page.locator(".work-state")).to_contain_text("Converting for browsers")
        await expect(page.locator(".work-state")).to_contain_text("64%")
    finally:
        live.worker.send_signal(signal.SIGCONT)
