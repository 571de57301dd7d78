"""Jobs through the API."""

import uuid

import httpx

from backend.core.queue import registry
from backend.jobs.running import JobError, Run, run_next
from tests.conftest import Person
from tests.jobs.conftest import Declare, Jobs

SHAPE = {
    "id", "kind", "queue", "status", "stage", "progress", "attempt", "max_attempts", "queue_position", "waiting_for",
    "estimated_seconds", "error", "video_id", "project_id", "created_at", "started_at", "finished_at",
}  # fmt: skip


async def failing(run: Run) -> None:
    raise JobError("corrupt_media", "The file is broken.")


async def test_a_queued_job_has_the_shape_of_the_contract(user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    answer = await user.client.get(f"/api/jobs/{job.id}")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) >= SHAPE
    assert (body["id"], body["status"], body["progress"], body["queue_position"]) == (str(job.id), "queued", 0, 0)
    assert body["error"] is None


async def test_a_failed_job_says_why(user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare(failing))
    await run_next(worker="tester")
    body = (await user.client.get(f"/api/jobs/{job.id}")).json()
    assert body["status"] == "failed"
    assert body["error"] == {"code": "corrupt_media", "message": "The file is broken.", "retryable": False}
    assert body["finished_at"] is not None


async def test_the_aliases_answer_the_same(user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare(failing))
    await run_next(worker="tester")
    first, *others = [
        (await user.client.get(f"{path}/{job.id}")).json() for path in ("/api/jobs", "/jobs", "/api/videos/jobs")
    ]
    assert [{name: other[name] for name in first} for other in others] == [first, first]


async def test_a_browser_that_opens_a_job_is_sent_to_a_page(user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    answer = await user.browser.get(f"/jobs/{job.id}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")


async def test_anothers_job_answers_as_one_that_is_not_there(
    user: Person, other: Person, jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare())
    for method, path in (
        ("GET", "/api/jobs/{}"),
        ("GET", "/jobs/{}"),
        ("GET", "/api/videos/jobs/{}"),
        ("GET", "/api/jobs/{}/stream"),
        ("POST", "/api/jobs/{}/cancel"),
        ("POST", "/api/jobs/{}/retry"),
    ):
        theirs = await other.client.request(method, path.format(job.id))
        missing = await other.client.request(method, path.format(uuid.uuid4()))
        nonsense = await other.client.request(method, path.format("1"))
        assert [answer.status_code for answer in (theirs, missing, nonsense)] == [404, 404, 404], path
        bodies = [answer.json()["error"] for answer in (theirs, missing, nonsense)]
        assert len({(body["code"], body["message"]) for body in bodies}) == 1
    assert (await other.client.get("/api/jobs")).json()["jobs"] == []
    assert (await jobs.read(job.id)).state == "queued"


async def test_nobody_sees_jobs_without_signing_in(user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    anonymous = httpx.AsyncClient(transport=user.client._transport, base_url=user.client.base_url)
    for path in ("/api/jobs", f"/api/jobs/{job.id}", f"/api/jobs/{job.id}/stream", f"/jobs/{job.id}"):
        assert (await anonymous.get(path)).status_code == 401


async def test_jobs_are_listed_newest_first_in_pages(user: Person, jobs: Jobs, declare: Declare) -> None:
    kind = declare()
    started = [str((await jobs.start(kind)).id) for _ in range(5)][::-1]
    first = (await user.client.get("/api/jobs", params={"limit": 2, "kind": kind})).json()
    assert [job["id"] for job in first["jobs"]] == started[:2]
    paging = first["pagination"]
    assert (paging["page"], paging["limit"], paging["total"], paging["total_pages"]) == (1, 2, 5, 3)
    by_page = (await user.client.get("/api/jobs", params={"limit": 2, "kind": kind, "page": 2})).json()
    by_cursor = (
        await user.client.get("/api/jobs", params={"limit": 2, "kind": kind, "cursor": paging["next_cursor"]})
    ).json()
    assert [job["id"] for job in by_page["jobs"]] == started[2:4]
    assert by_cursor["jobs"] == by_page["jobs"]
    last = (await user.client.get("/api/jobs", params={"limit": 2, "kind": kind, "page": 3})).json()
    assert [job["id"] for job in last["jobs"]] == started[4:]
    assert last["pagination"]["next_cursor"] is None


async def test_jobs_are_filtered_by_status_and_kind(user: Person, jobs: Jobs, declare: Declare) -> None:
    failed = await jobs.start(declare(failing))
    await run_next(worker="tester")
    await jobs.start(declare())
    for params in ({"status": "failed"}, {"kind": failed.kind}):
        listed = (await user.client.get("/api/jobs", params=params)).json()["jobs"]
        assert [job["id"] for job in listed] == [str(failed.id)]
    nothing = await user.client.get("/api/jobs", params={"video_id": str(uuid.uuid4())})
    assert nothing.json()["jobs"] == []


async def test_bad_list_parameters_are_refused(user: Person) -> None:
    for params in ({"status": "sleeping"}, {"limit": "0"}, {"limit": "101"}, {"page": "0"}, {"page": "9" * 400}):
        answer = await user.client.get("/api/jobs", params=params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_failed"), params
    answer = await user.client.get("/api/jobs", params={"cursor": "nonsense"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_cursor")


async def test_a_queued_job_is_cancelled_and_cannot_be_cancelled_twice(
    user: Person, jobs: Jobs, declare: Declare
) -> None:
    job = await jobs.start(declare())
    answer = await user.client.post(f"/api/jobs/{job.id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    again = await user.client.post(f"/api/jobs/{job.id}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "invalid_state")


async def test_a_cancel_of_a_running_job_is_noted(user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare())
    await jobs.claimed()
    for _ in range(2):
        answer = await user.client.post(f"/api/jobs/{job.id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "running")
        assert answer.json()["cancel_requested_at"] is not None


async def test_a_failed_job_is_tried_again_and_only_a_failed_one(user: Person, jobs: Jobs, declare: Declare) -> None:
    job = await jobs.start(declare(failing))
    early = await user.client.post(f"/api/jobs/{job.id}/retry")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "invalid_state")
    await run_next(worker="tester")
    answer = await user.client.post(f"/api/jobs/{job.id}/retry")
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "queued", None)


async def test_work_that_this_version_does_not_know_is_not_tried_again(
    user: Person, jobs: Jobs, declare: Declare
) -> None:
    kind = declare(failing)
    job = await jobs.start(kind)
    await run_next(worker="tester")
    registry.remove(kind)
    answer = await user.client.post(f"/api/jobs/{job.id}/retry")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "invalid_state")
