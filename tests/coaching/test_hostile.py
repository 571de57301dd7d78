"""What a session's API is sent by those who mean no good, or make mistakes: ids of others, numbers that are none."""

import asyncio
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import func, select

from backend.core.db import transaction
from backend.jobs.models import Job
from tests.coaching.coaches import (
    API,
    analysis,
    complete,
    initiate,
    new_session,
    put,
    refused,
    same_refusal,
    short_clip,
)
from tests.coaching.found import add_found
from tests.conftest import Person
from tests.orgs.acting import join, organization, project

DECLARED = {"filename": "net.mp4", "size": 100, "content_type": "video/mp4"}


async def video_of(person: Person, folder: Path, session_id: str) -> tuple[str, str]:
    """A session's video that has arrived: its id, and its analysis's."""
    place = await initiate(person, session_id)
    assert await put(place["presigned_url"], short_clip(folder)) == 200
    assert (await complete(person, place["job_id"])).status_code == 200
    return (await analysis(person, place["job_id"]))["video_id"], place["job_id"]


async def test_a_rate_that_is_none_is_refused(user: Person) -> None:
    session = await new_session(user)
    for fps in (0, 0.5, -1, 31, 1e9, 1e308, "NaN", "1e3", None, [10], {"a": 1}):
        body = {"session_id": session["id"], "sample_fps": fps}
        answer = await user.client.post(f"{API}/videos/upload/initiate", json=body)
        assert (answer.status_code, set(answer.json()["error"]["fields"])) == (422, {"sample_fps"}), fps


async def test_numbers_that_json_does_not_know_are_refused(user: Person) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        for method, path, fields in (
            ("POST", "videos/upload/initiate", b'"session_id": "%b", "sample_fps"' % session["id"].encode()),
            ("PATCH", f"analysis-jobs/{place['job_id']}/phases", b'"load"'),
        ):
            answer = await user.client.request(
                method,
                f"{API}/{path}",
                content=b"{%b: %b}" % (fields, number),
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code in (400, 422), (path, number, answer.text)


async def test_phases_that_are_no_times_are_refused(user: Person) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    phases = f"{API}/analysis-jobs/{place['job_id']}/phases"
    for moments in ({"load": -1}, {"load": "soon"}, {"hit": 1}, {"load": [1]}, {"impact": 1e308, "load": -1e308}):
        assert (await user.client.patch(phases, json=moments)).status_code == 422, moments
    assert refused(await user.client.patch(phases, json={}))[0] == 409


NONSENSE: list[tuple[str, Any]] = [
    ("player_ids", ["p"] * 51),
    ("player_ids", ["x" * 101]),
    ("player_ids", [""]),
    ("player_ids", ["  "]),
    ("player_ids", ["a\x00b"]),
    ("player_ids", ["a\nb"]),
    ("player_ids", [1]),
    ("player_ids", "p1"),
    ("title", "x" * 201),
    ("title", "  "),
    ("title", "a\x00"),
    ("notes", "x" * 5001),
    ("notes", "a\x00"),
    ("view", "above"),
    ("discipline", "chess"),
    ("project_id", str(uuid.uuid4())),
    ("owner_id", str(uuid.uuid4())),
]


async def test_a_session_takes_no_nonsense(user: Person) -> None:
    session = await new_session(user)
    for field, value in NONSENSE:
        made = await user.client.post(f"{API}/sessions", json={"title": "Nets", field: value})
        changed = await user.client.patch(f"{API}/sessions/{session['id']}", json={field: value})
        for answer in (made, changed):
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_failed"), (field, value)


async def test_strange_names_in_addresses_break_nothing(user: Person) -> None:
    for place in (
        f"{API}/sessions?q=",
        f"{API}/sessions?player_id=",
        f"{API}/players/p1/metrics?metric=",
        "/players/",
        "/players/p1?metric=",
        "/sessions?q=",
        "/sessions?player_id=",
    ):
        for text in ("a%00b", "%ff", "%0a", "%22%27;--", "x" * 3000, "%3Cscript%3Ealert(1)%3C/script%3E"):
            answer = await (user.client if place.startswith("/api") else user.browser).get(place + text)
            assert answer.status_code in (200, 400, 404, 422), (place, text[:20], answer.status_code)
            assert place.startswith("/api") or "<script>alert" not in answer.text
    assert (await user.client.get(f"{API}/players/a%00b/metrics")).status_code in (200, 404, 422)


async def test_no_id_of_another_person_is_taken_anywhere(user: Person, other: Person, tmp_path: Path) -> None:
    theirs = await new_session(other)
    their_video, their_analysis = await video_of(other, tmp_path, theirs["id"])
    their_upload = (await other.client.post("/api/upload/presigned-url", json=DECLARED)).json()["upload_id"]
    mine = await new_session(user)
    analyses = f"{API}/sessions/{mine['id']}/analysis-jobs"
    for name, foreign in (("video_id", their_video), ("upload_id", their_upload)):
        answer = await user.client.post(analyses, json={name: foreign})
        missing = await user.client.post(analyses, json={name: str(uuid.uuid4())})
        assert same_refusal(answer, missing)
        assert answer.status_code == 404
        into = await user.client.post(f"{API}/sessions/{theirs['id']}/analysis-jobs", json={name: foreign})
        assert refused(into) == (404, "not_found", "Video session not found")
    one = f"{API}/analysis-jobs/{their_analysis}"
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/files", None),
        ("PATCH", "/phases", {"load": 1}),
        ("POST", "/retry", None),
        ("POST", "/cancel", None),
        ("DELETE", "", None),
    ):
        answer = await user.client.request(method, one + path, json=body)
        missing = await user.client.request(method, f"{API}/analysis-jobs/{uuid.uuid4()}{path}", json=body)
        assert same_refusal(answer, missing), (method, path)
        assert refused(answer) == (404, "not_found", "Analysis job not found")
    assert (await analysis(other, their_analysis))["status"] == "processing"
    assert (await user.client.get(f"{API}/players")).json()["players"][0]["sessions"] == 1


async def test_pages_show_an_analysis_only_in_its_own_session(user: Person, tmp_path: Path) -> None:
    one, two = await new_session(user), await new_session(user)
    _, made = await video_of(user, tmp_path, one["id"])
    for path in (f"report?analysis={made}", f"compare?left={made}&right={made}"):
        assert (await user.browser.get(f"/sessions/{two['id']}/{path}")).status_code == 404
    for verb in ("cancel", "retry", "delete"):
        assert (await user.browser.post(f"/sessions/{two['id']}/analyses/{made}/{verb}")).status_code == 404
    assert (await analysis(user, made))["status"] == "processing"


async def test_a_deleted_video_is_not_analysed_and_its_analyses_go_with_it(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    video, made = await video_of(user, tmp_path, session["id"])
    assert (await user.client.delete(f"/api/videos/{video}")).status_code in (200, 202, 204)
    again = await user.client.post(f"{API}/sessions/{session['id']}/analysis-jobs", json={"video_id": video})
    assert refused(again)[:2] == (404, "not_found")
    assert (await user.browser.get(f"/sessions/{session['id']}")).status_code == 200
    assert (await user.client.get(f"{API}/sessions/{session['id']}/analysis-jobs")).status_code == 200
    assert (await user.client.delete(f"{API}/sessions/{session['id']}")).status_code == 204
    assert refused(await user.client.get(f"{API}/analysis-jobs/{made}"))[0] == 404


async def test_a_member_of_one_organization_reaches_nothing_of_another(
    user: Person, other: Person, tmp_path: Path
) -> None:
    club, rival = await organization(user), await organization(user)
    await join(user, other, f"/api/orgs/{club}", "editor")
    theirs = await new_session(user, project_id=await project(user, "B", organization_id=rival))
    video, made = await video_of(user, tmp_path, theirs["id"])
    mine = await new_session(other, project_id=await project(user, "A", organization_id=club))
    into = await other.client.post(f"{API}/sessions/{mine['id']}/analysis-jobs", json={"video_id": video})
    assert refused(into)[:2] == (404, "not_found")
    assert refused(await other.client.get(f"{API}/analysis-jobs/{made}"))[:2] == (404, "not_found")
    # Who is in both may not carry a video from one to the other, either.
    crossed = await user.client.post(f"{API}/sessions/{mine['id']}/analysis-jobs", json={"video_id": video})
    assert (crossed.status_code, set(crossed.json()["error"]["fields"])) == (422, {"video_id"})


async def test_a_hundred_analyses_at_once_are_a_hundred(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    video, _ = await video_of(user, tmp_path, session["id"])
    path, body = f"{API}/sessions/{session['id']}/analysis-jobs", {"video_id": video}
    answers = await asyncio.gather(*(user.client.post(path, json=body) for _ in range(100)))
    assert {answer.status_code for answer in answers} <= {201, 503}
    made = sum(answer.status_code == 201 for answer in answers)
    async with transaction() as db:
        jobs = await db.scalar(select(func.count()).select_from(Job).where(Job.kind == "analyse_video"))
    assert jobs == made + 1
    assert len((await user.client.get(path)).json()["analysis_jobs"]) == made + 1


async def test_completing_many_times_at_once_queues_one_job(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    await put(place["presigned_url"], short_clip(tmp_path))
    answers = await asyncio.gather(*(complete(user, place["job_id"]) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    async with transaction() as db:
        assert await db.scalar(select(func.count()).select_from(Job).where(Job.kind == "analyse_video")) == 1


async def test_an_upload_that_a_session_waits_for_stays_in_its_project(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    clip = short_clip(tmp_path)
    place = (await user.client.post("/api/upload/presigned-url", json={**DECLARED, "size": len(clip)})).json()
    waiting = await user.client.post(
        f"{API}/sessions/{session['id']}/analysis-jobs", json={"upload_id": place["upload_id"]}
    )
    await put(place["upload_url"], clip)
    there = f"/api/uploads/{place['upload_id']}/complete"
    elsewhere = await user.client.post(there, json={"project_id": await project(user, "Elsewhere")})
    assert refused(elsewhere)[:2] == (409, "invalid_state")
    assert (await user.client.post(there, json={})).status_code in (200, 201)
    assert (await complete(user, waiting.json()["id"])).json()["status"] == "processing"
    assert (await analysis(user, waiting.json()["id"]))["status"] == "processing"


async def test_markup_in_names_is_shown_as_text_on_every_page(user: Person, tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    session = await new_session(user, title=evil, notes=evil, player_ids=[evil, "=1+1"])
    video, _ = await video_of(user, tmp_path, session["id"])
    made = await add_found(
        project_id=uuid.UUID(session["project_id"]), session_id=uuid.UUID(session["id"]), video_id=uuid.UUID(video)
    )
    here = f"/sessions/{session['id']}"
    pages = ["/sessions", here, f"{here}?ask=edit", f"{here}/analyses", f"{here}/report?analysis={made}"]
    pages += [f"{here}/compare?left={made}&right={made}", f"/players/{quote(evil, safe='')}"]
    for path in pages:
        answer = await user.browser.get(path)
        assert (answer.status_code, "<script>alert" in answer.text) == (200, False), path
        assert "&lt;script&gt;alert" in answer.text, path
