"""Finding jobs of all projects, and acting on one or many of them."""

import uuid
from typing import Any

import pytest

from backend.admin import service
from backend.core.db import transaction
from backend.core.queue import registry
from backend.jobs import leases
from backend.jobs.models import JobState
from backend.jobs.running import JobError
from backend.orgs import audit
from tests.admin.conftest import People, many
from tests.jobs.conftest import Declare, Jobs, jobs_of


async def listed(people: People, **query: Any) -> list[dict[str, Any]]:
    answer = await people.auditor.client.get("/api/admin/jobs", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["jobs"]
    return found


async def counted(people: People, **query: Any) -> int:
    answer = await people.auditor.client.get("/api/admin/jobs/count", params=query)
    assert answer.json()["exact"]
    return int(answer.json()["number"])


async def failed(jobs: Jobs, kind: str) -> uuid.UUID:
    """A job that has failed for good."""
    job = await jobs.start(kind)
    taken = await jobs.claimed(kind)
    assert taken.lease_token is not None
    async with transaction() as session:
        error = JobError("corrupt_media", "The file is damaged.")
        await leases.fail(session, job_id=taken.id, token=taken.lease_token, error=error)
    return job.id


# --- finding ---------------------------------------------------------------------------------------------------------


async def test_every_job_is_on_exactly_one_page_newest_first(busy: str, people: People) -> None:
    seen: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"limit": 100, **({"cursor": cursor} if cursor else {})}
        page = (await people.auditor.client.get("/api/admin/jobs", params=query)).json()
        seen += [(job["created_at"], job["id"]) for job in page["jobs"]]
        cursor = page["pagination"]["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 3000
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    ("state", "number"), [("queued", 300), ("failed", 600), ("cancelled", 300), ("completed", 1800), ("running", 0)]
)
async def test_jobs_are_found_by_state(state: str, number: int, busy: str, people: People) -> None:
    assert await counted(people, state=state) == number
    assert {job["status"] for job in await listed(people, state=state)} == ({state} if number else set())


async def test_jobs_are_found_by_queue_kind_owner_and_project(people: People, jobs: Jobs, declare: Declare) -> None:
    theirs = await jobs_of(people.auditor)
    first, second = declare(), declare()
    await many(jobs, 20, kind=first, queue="one")
    await many(theirs, 30, kind=second, queue="two")
    for query in (
        {"queue": "one"},
        {"kind": first},
        {"owner": people.user.email.upper()},
        {"project": str(jobs.project_id)},
    ):
        assert await counted(people, **query) == 20, query
        assert {job["owner_email"] for job in await listed(people, **query)} == {people.user.email}
    assert await counted(people, queue="one", kind=second) == 0
    assert await counted(people, state="failed", owner=people.auditor.email) == 6


async def test_jobs_are_found_by_words(busy: str, people: People, jobs: Jobs) -> None:
    one = (await listed(people, state="failed"))[0]
    assert [job["id"] for job in await listed(people, text=one["id"])] == [one["id"]]
    assert await counted(people, text=one["error"]["message"].upper()) >= 1
    assert await counted(people, text="corrupt_media") == 600
    assert await counted(people, text=people.user.email[:9]) == 3000
    assert await counted(people, text=str(jobs.project_id)) == 3000
    for nothing in ("%", "\\", "d_maged", "no such words", str(uuid.uuid4())):
        assert await counted(people, text=nothing) == 0, nothing


@pytest.mark.parametrize("query", [{"state": "lost"}, {"project": "x"}, {"limit": 101}, {"kind": "k" * 61}])
async def test_a_filter_that_means_nothing_is_refused(query: dict[str, Any], people: People) -> None:
    assert (await people.admin.client.get("/api/admin/jobs", params=query)).status_code == 422


async def test_a_bad_cursor_is_refused(people: People) -> None:
    answer = await people.admin.client.get("/api/admin/jobs", params={"cursor": "nonsense"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_cursor")


async def test_a_job_is_shown_with_its_attempts(people: People, jobs: Jobs, declare: Declare) -> None:
    job_id = await failed(jobs, declare())
    shown = (await people.auditor.client.get(f"/api/admin/jobs/{job_id}")).json()
    assert (shown["job"]["status"], shown["job"]["owner_email"]) == ("failed", people.user.email)
    (attempt,) = shown["attempts"]
    assert (attempt["outcome"], attempt["error_code"], attempt["worker"]) == ("failed", "corrupt_media", "tester")


# --- one job ---------------------------------------------------------------------------------------------------------


async def test_an_admin_retries_a_failed_job_of_anybody(people: People, jobs: Jobs, declare: Declare) -> None:
    job_id = await failed(jobs, declare())
    assert (await people.admin.client.post(f"/api/admin/jobs/{job_id}/retry")).status_code == 204
    assert (await jobs.read(job_id)).state == JobState.QUEUED
    again = await people.admin.client.post(f"/api/admin/jobs/{job_id}/retry")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "invalid_state")
    (entry,) = (await people.admin.client.get("/api/admin/audit")).json()["entries"]
    assert (entry["action"], entry["object_id"]) == ("job.retry", str(job_id))
    assert entry["project_id"] == str(jobs.project_id)


async def test_an_admin_cancels_a_waiting_and_a_running_job(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    running = (await jobs.start(kind)).id
    await jobs.claimed(kind)
    waiting = (await jobs.start(kind)).id
    for job_id in (running, waiting):
        assert (await people.admin.client.post(f"/api/admin/jobs/{job_id}/cancel")).status_code == 204
    assert (await jobs.read(waiting)).state == JobState.CANCELLED
    stopping = await jobs.read(running)
    assert (stopping.state, stopping.cancel_requested_at is not None) == (JobState.RUNNING, True)


# --- many ------------------------------------------------------------------------------------------------------------


async def bulk(people: People, **body: Any) -> dict[str, Any]:
    answer = await people.admin.client.post("/api/admin/jobs/bulk", json=body)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_all_failed_jobs_that_match_are_retried_and_no_others(
    people: People, jobs: Jobs, declare: Declare
) -> None:
    mine, other = declare(), declare()
    await many(jobs, 1000, kind=mine)
    await many(jobs, 100, kind=other)
    said = await bulk(people, action="retry", filter={"kind": mine})
    order = said.pop("order")
    assert said == {"done": 200, "skipped": 0, "more": False, "cursor": None}
    assert await counted(people, kind=mine, state="failed") == 0
    assert await counted(people, kind=mine, state="queued") == 300
    assert await counted(people, kind=other, state="failed") == 20
    entries = (await people.admin.client.get("/api/admin/audit")).json()["entries"]
    assert sum(entry["detail"]["number"] for entry in entries) == 200
    assert {(entry["action"], entry["detail"]["filter"]["kind"]) for entry in entries} == {("jobs.retry", mine)}
    assert {entry["object_id"] for entry in entries} == {order}


async def test_all_unfinished_jobs_that_match_are_cancelled(people: People, busy: str) -> None:
    said = await bulk(people, action="cancel", filter={"queue": "test"})
    assert said["done"] == 300
    assert await counted(people, state="queued") == 0
    assert await counted(people, state="cancelled") == 600
    assert await counted(people, state="failed") == 600


async def test_the_selected_jobs_are_retried_and_those_that_moved_on_are_left_alone(people: People, busy: str) -> None:
    failures = [job["id"] for job in await listed(people, state="failed")][:5]
    done = [job["id"] for job in await listed(people, state="completed")][:3]
    said = await bulk(people, action="retry", ids=failures + done + [str(uuid.uuid4())])
    assert said["done"] == 5
    assert await counted(people, state="failed") == 595
    assert await counted(people, state="completed") == 1800


async def test_a_job_whose_work_was_queued_anew_is_skipped(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    old = await failed(jobs, kind)
    await jobs.change(old, dedupe_key="the same work")
    new = await jobs.start(kind, dedupe_key="the same work")
    other = declare()
    await failed(jobs, other)
    said = await bulk(people, action="retry", filter={})
    assert (said["done"], said["skipped"], said["more"]) == (1, 1, False)
    assert ((await jobs.read(old)).state, (await jobs.read(new.id)).state) == (JobState.FAILED, JobState.QUEUED)


async def test_a_long_bulk_action_goes_on_where_it_stopped(
    people: People, busy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BULK_SECONDS", 0.0)
    done, rounds = 0, 0
    on: dict[str, Any] = {}
    while True:
        said = await bulk(people, action="retry", filter={}, **on)
        done, on, rounds = done + said["done"], {"cursor": said["cursor"], "order": said["order"]}, rounds + 1
        if not said["more"]:
            break
    assert (done, rounds) == (600, 13)
    assert await counted(people, state="failed") == 0
    async with transaction() as session:
        (deed,) = await audit.deeds(session, limit=10)
    assert (deed.entry.action, deed.number) == ("jobs.retry", 600), "many lots are one deed"


@pytest.mark.parametrize("body", [{"action": "retry"}, {"action": "retry", "ids": [], "filter": {}}, {"action": "x"}])
async def test_a_bulk_action_names_ids_or_a_filter(body: dict[str, Any], people: People) -> None:
    assert (await people.admin.client.post("/api/admin/jobs/bulk", json=body)).status_code == 422


# --- queues ----------------------------------------------------------------------------------------------------------


async def test_a_paused_queue_gives_out_no_job_until_it_is_resumed(
    people: People, jobs: Jobs, declare: Declare
) -> None:
    kind = declare()
    await jobs.start(kind)
    assert (await people.admin.client.post("/api/admin/queues/test/pause")).status_code == 204
    (queue,) = [
        each
        for each in (await people.auditor.client.get("/api/admin/queues")).json()["queues"]
        if each["name"] == "test"
    ]
    assert (queue["paused_by"], queue["counts"]["queued"]) == (people.admin.email, {"number": 1, "exact": True})
    assert queue["paused_at"] is not None
    assert await jobs.claim(kind) is None
    assert (await people.admin.client.post("/api/admin/queues/test/resume")).status_code == 204
    assert await jobs.claim(kind) is not None
    entries = (await people.admin.client.get("/api/admin/audit")).json()["entries"]
    assert [entry["action"] for entry in entries] == ["queue.resume", "queue.pause"]


async def test_a_queue_that_does_not_exist_cannot_be_paused(people: People) -> None:
    assert (await people.admin.client.post("/api/admin/queues/nonsense/pause")).status_code == 404
    assert (await people.admin.browser.post("/admin/queues/nonsense/pause")).status_code == 404


async def test_a_kind_of_another_version_is_not_retried_here(people: People, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    job_id = await failed(jobs, kind)
    registry.remove(kind)
    answer = await people.admin.client.post(f"/api/admin/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "invalid_state")
    assert (await bulk(people, action="retry", filter={}))["skipped"] == 1
