"""The audit log only grows, and is written with the deed or not at all."""

import re

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backend.admin import pages
from backend.core.db import transaction
from backend.orgs import audit
from tests.admin.conftest import People


@pytest.mark.parametrize(
    "change",
    ["UPDATE audit_log SET action = 'nothing'", "DELETE FROM audit_log", "DELETE FROM audit_log WHERE id = -1"],
)
async def test_an_entry_can_be_neither_changed_nor_removed(change: str, people: People) -> None:
    async with transaction() as session:
        await audit.record(session, actor=None, action="test.done", object_type="test", object_id=1)
    with pytest.raises(DBAPIError, match="append-only"):
        async with transaction() as session:
            await session.execute(text(change))


async def test_what_is_rolled_back_leaves_no_entry(people: People) -> None:
    with pytest.raises(RuntimeError):
        async with transaction() as session:
            await audit.record(session, actor=None, action="test.done", object_type="test", object_id=1)
            raise RuntimeError
    async with transaction() as session:
        assert await audit.latest(session, limit=10) == []


async def test_an_entry_says_who_what_and_where_from(people: People) -> None:
    answer = await people.admin.client.post("/api/admin/queues/media/pause", headers={"X-Request-Id": "req-12345678"})
    assert answer.status_code == 204
    (entry,) = (await people.auditor.client.get("/api/admin/audit")).json()["entries"]
    assert entry["actor_id"] == people.admin.id
    assert (entry["actor_email"], entry["action"]) == (people.admin.email, "queue.pause")
    assert (entry["object_type"], entry["object_id"]) == ("queue", "media")
    assert (entry["ip"], entry["request_id"]) == ("203.0.113.7", "req-12345678")


async def test_entries_outlive_the_person(people: People) -> None:
    await people.admin.client.post("/api/admin/queues/media/pause")
    async with transaction() as session:
        await session.execute(text("DELETE FROM users WHERE id = :id"), {"id": people.admin.id})
        (entry,) = await audit.latest(session, limit=10)
    assert entry.actor_email == people.admin.email


async def test_the_log_is_read_in_pages(people: People) -> None:
    async with transaction() as session:
        for number in range(7):
            await audit.record(session, actor=None, action="test.done", object_type="test", object_id=number)
    seen: list[str] = []
    before: int | None = None
    while True:
        where = f"&before={before}" if before else ""
        page = (await people.admin.client.get(f"/api/admin/audit?limit=3{where}")).json()
        seen += [entry["object_id"] for entry in page["entries"]]
        before = page["next_before"]
        if before is None:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


async def test_the_page_says_what_was_done_in_projects_in_words(people: People) -> None:
    made = await people.user.client.post("/api/projects", json={"name": "Spring film"})
    assert made.status_code == 201
    assert "Made the project “Spring film”" in (await people.auditor.browser.get("/admin/audit")).text


async def test_the_page_shows_an_order_of_many_lots_as_one_and_can_be_narrowed(
    people: People, busy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"action": "cancel", "filter": {"kind": busy}}
    done = (await people.admin.client.post("/api/admin/jobs/bulk", json=order)).json()
    assert (done["done"], done["more"]) == (300, False)
    await people.admin.client.post("/api/admin/queues/media/pause")
    page = (await people.auditor.browser.get("/admin/audit")).text
    assert page.count('id="deed-') == 2
    assert "Cancelled 300 jobs" in page
    assert f"kind: {busy}" in page
    only = (await people.auditor.browser.get("/admin/audit?action=queue.pause")).text
    assert only.count('id="deed-') == 1
    assert "Paused the queue media" in only
    nobody = (await people.auditor.browser.get("/admin/audit?email=nobody@example.org")).text
    assert "Nothing was done" in nobody
    monkeypatch.setattr(pages, "AUDIT_SIZE", 1)
    first = (await people.auditor.browser.get("/admin/audit")).text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    second = (await people.auditor.browser.get(older[1])).text
    assert ("Paused the queue media" in first, "Cancelled 300 jobs" in second) == (True, True)
    assert 'rel="next"' not in second
