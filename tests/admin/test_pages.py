"""The admins' pages without a browser: what they show, and the parts that are fetched again."""

import json
import re
from html import unescape

from sqlalchemy import update

from backend.core.db import transaction
from backend.jobs.models import JobAttempt
from tests.admin.conftest import People
from tests.admin.test_jobs import failed
from tests.jobs.conftest import Declare, Jobs


async def test_the_page_shows_the_figures_and_the_first_jobs(people: People, busy: str) -> None:
    page = (await people.auditor.browser.get("/admin/queue")).text
    assert len(re.findall(r'<tr id="job-', page)) == 50
    for number in ("1,800", "600", "300"):
        assert number in page
    assert "1,800 completed, 600 failed" in page
    assert page.count("<svg viewBox") == 3


async def test_pages_go_on_by_cursor_and_keep_the_filter(people: People, busy: str) -> None:
    seen: set[str] = set()
    path: str | None = "/admin/queue?state=failed&window=day"
    while path:
        part = (await people.admin.browser.get(path, headers={"HX-Request": "true"})).text
        assert "<html" not in part
        seen |= set(re.findall(r'<tr id="(job-[^"]+)"', part))
        older = re.search(r'rel="next" href="([^"]+)"', part)
        path = older[1].replace("&amp;", "&") if older else None
        assert path is None or ("state=failed" in path and "window=day" in path)
    assert len(seen) == 600


async def test_a_search_without_result_says_how_to_go_on(people: People, busy: str) -> None:
    page = (await people.admin.browser.get("/admin/queue?text=nothing+like+this")).text
    assert "No job fits" in page
    assert "Show all jobs" in page


async def test_the_rows_in_view_come_again_with_the_number_of_newer_jobs(
    people: People, jobs: Jobs, declare: Declare
) -> None:
    kind = declare()
    old = await jobs.start(kind)
    for _ in range(3):
        await jobs.start(kind)
    part = (await people.admin.browser.get(f"/admin/queue/rows?kind={kind}&ids={old.id}")).text
    assert re.findall(r'<tr id="job-([^"]+)"', part) == [str(old.id)]
    assert "Show 3 newer jobs" in part
    later = (await people.admin.browser.get(f"/admin/queue/rows?kind={kind}&ids={old.id}&cursor=x")).text
    assert "newer job" not in later, "only the first page has newer jobs"
    odd = await people.admin.browser.get("/admin/queue/rows?ids=nonsense,,1")
    assert odd.status_code == 200


async def test_the_filter_of_the_bulk_actions_is_safe_in_its_attribute(people: People) -> None:
    words = "\"><script>'&"
    page = (await people.admin.browser.get("/admin/queue", params={"text": words})).text
    assert "<script>'" not in page
    written = re.search(r'data-filter="([^"]*)"', page)
    assert written
    assert json.loads(unescape(written[1])) == {"text": words}


async def test_a_jobs_page_tells_its_life(people: People, jobs: Jobs, declare: Declare) -> None:
    job_id = await failed(jobs, declare())
    async with transaction() as session:
        noted = {"command": "ffmpeg -i <file>", "log_tail": "moov atom not found"}
        await session.execute(update(JobAttempt).where(JobAttempt.job_id == job_id).values(**noted))
    page = (await people.auditor.browser.get(f"/admin/jobs/{job_id}")).text
    told = ("Queued", "Attempt 1: failed", "The file is damaged.", "corrupt_media", "tester", "ffmpeg -i &lt;file&gt;")
    for words in (*told, "moov atom not found", people.user.email):
        assert words in page
    assert "/retry" not in page, "an auditor only looks"
    again = await people.admin.browser.post(f"/admin/jobs/{job_id}/retry")
    assert (again.status_code, json.loads(again.headers["HX-Trigger"])["admin:changed"]) == (204, True)
    part = (await people.admin.browser.get(f"/admin/jobs/{job_id}/now")).text
    assert "Tried again by hand" in part
    assert people.admin.email in part
    assert f"/admin/jobs/{job_id}/cancel" in part


async def test_what_was_done_to_many_is_on_each_jobs_page(people: People, jobs: Jobs, declare: Declare) -> None:
    job_id = await failed(jobs, declare())
    await people.admin.client.post("/api/admin/jobs/bulk", json={"action": "retry", "filter": {}})
    assert "Tried again by hand" in (await people.admin.browser.get(f"/admin/jobs/{job_id}")).text


async def test_a_paused_queue_says_so_and_by_whom(people: People, jobs: Jobs, declare: Declare) -> None:
    await jobs.start(declare())
    await people.admin.browser.post("/admin/queues/test/pause")
    part = (await people.auditor.browser.get("/admin/queue/now")).text
    assert "Paused" in part
    assert people.admin.email in part
    assert "Paused the queue test" in part
