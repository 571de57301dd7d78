"""The doctor over HTTP: the report, who may run it anew, and the errand of the page's script."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from backend.admin.doctor import examination
from backend.admin.doctor.bucket import BODY
from backend.admin.doctor.findings import Check, Finding, ok
from backend.admin.doctor.visit import PREFIX, Visit
from backend.core.storage import storage
from tests.admin.conftest import People

WELL = {"state": "ok", "status": 200, "etag": True, "error": ""}


async def test_the_report_holds_every_check(people: People) -> None:
    said = (await people.auditor.client.get("/api/admin/doctor")).json()
    assert [finding["name"] for finding in said["findings"]] == [check.name for check in examination.CHECKS]
    assert said["state"] == "failed", "there is no worker in this test"


async def test_looking_repeats_nothing_and_running_does(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0

    async def count(visit: Visit) -> Finding:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.2)
        return ok("Fine.")

    monkeypatch.setattr(examination, "CHECKS", [Check("test.count", "Test", "It counts", count)])
    for _ in range(3):
        await people.auditor.client.get("/api/admin/doctor")
    assert runs == 1
    await asyncio.gather(*(people.admin.client.post("/api/admin/doctor") for _ in range(5)))
    assert runs == 2, "who asks while it runs gets that run's report"
    page = (await people.auditor.browser.get("/admin/doctor/findings")).text
    assert "All is well on the server" in page
    assert runs == 2


async def test_the_page_is_there_before_the_findings_are(people: People) -> None:
    page = (await people.admin.browser.get("/admin/doctor")).text
    assert "data-check" not in page
    assert 'hx-get="/admin/doctor/findings"' in page
    assert "Run again" in page
    for_auditors = (await people.auditor.browser.get("/admin/doctor")).text.partition("<main")[2]
    assert "Run again" not in for_auditors
    assert "data-errand" not in for_auditors


async def test_the_findings_name_what_to_do_and_fold_what_is_well(people: People) -> None:
    part = (await people.admin.browser.post("/admin/doctor/findings")).text
    assert "2 checks failed" in part, "no worker, and no web process at PUBLIC_URL"
    assert "<html" not in part
    assert "Start one with `dailies worker`" in part
    assert 'data-group="Workers" open' in part
    assert 'data-group="Database" open' not in part
    assert part.index('data-group="Workers"') < part.index('data-group="Database"')


# --- the browser's part ----------------------------------------------------------------------------------------------


async def errand(people: People) -> dict[str, Any]:
    answer = await people.admin.client.post("/api/admin/doctor/browser")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def seen(errand: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a script in a well set up installation measures."""
    return {
        "claim": errand["claim"],
        "origin": "http://127.0.0.1:8000",
        "now_ms": time.time() * 1000,
        "put": WELL,
        "range_status": 206,
        "range_bytes": 6,
        "beats_ms": [0, 400, 800, 1200, 1600],
        **changes,
    }


async def test_what_the_script_stored_is_removed_when_it_comes_back(people: People) -> None:
    todo = await errand(people)
    async with httpx.AsyncClient() as client:
        put = await client.put(todo["put_url"], content=todo["body"], headers={"Content-Type": todo["content_type"]})
        got = await client.get(todo["get_url"], headers={"Range": "bytes=4-9"})
    assert (put.status_code, got.content) == (200, BODY[4:10])
    before = await storage.list_keys(PREFIX)
    answer = await people.admin.browser.post("/admin/doctor/browser", json=seen(todo))
    assert (answer.status_code, answer.text.count('data-state="ok"')) == (200, 7), answer.text
    assert len(before) - len(await storage.list_keys(PREFIX)) == 1


@pytest.mark.parametrize(
    ("changes", "check", "fix"),
    [
        ({"origin": "http://localhost:8000"}, "page_address", "PUBLIC_URL=http://localhost:8000"),
        ({"put": {"state": "hidden", "error": "Failed to fetch"}}, "put", "CORS for http://127.0.0.1:8000"),
        ({"put": {"state": "unreachable"}}, "put", "S3_PUBLIC_URL"),
        ({"put": {"state": "refused", "status": 403}}, "put", "changes requests"),
        ({"put": {**WELL, "etag": False}}, "etag", "Access-Control-Expose-Headers: ETag"),
        ({"range_status": 200, "range_bytes": 21}, "ranges", "Range header"),
        ({"beats_ms": [1600, 1601, 1601, 1602, 1602]}, "stream", "proxy_buffering off"),
        ({"beats_ms": []}, "stream", "proxy_read_timeout"),
        ({"now_ms": time.time() * 1000 - 90_000}, "clock", "chrony"),
    ],
)
async def test_what_the_script_measured_is_judged(
    changes: dict[str, Any], check: str, fix: str, people: People
) -> None:
    answer = await people.admin.browser.post("/admin/doctor/browser", json=seen(await errand(people), **changes))
    part = answer.text.partition(f'data-check="browser.{check}"')[2].partition("</li>")[0]
    assert fix in part, answer.text
    state = "warning" if check == "clock" else "failed"
    assert f'data-state="{state}" data-check="browser.{check}"' in answer.text


async def test_a_proxy_whose_word_is_not_taken_is_noticed(people: People) -> None:
    answer = await people.admin.browser.post(
        "/admin/doctor/browser", json=seen(await errand(people)), headers={"X-Forwarded-For": "203.0.113.9"}
    )
    assert "Set TRUSTED_PROXIES" in answer.text


async def test_an_errand_of_ones_own_making_is_refused(people: People) -> None:
    answer = await people.admin.browser.post("/admin/doctor/browser", json=seen({"claim": "forged"}))
    assert answer.status_code == 422
    for wrong in ({"now_ms": "NaN"}, {"beats_ms": [0] * 101}, {"put": {"state": "ok", "more": 1}}):
        answer = await people.admin.browser.post("/admin/doctor/browser", json=seen(await errand(people), **wrong))
        assert answer.status_code == 422, wrong
