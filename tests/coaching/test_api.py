"""The documented client of sessions, by plain HTTP."""

import uuid
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update

from backend.config import settings
from backend.core.db import transaction
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.videos import sweep
from backend.videos.models import Upload, Video
from tests.coaching.coaches import (
    API,
    analysis,
    complete,
    give,
    initiate,
    new_session,
    put,
    refused,
    same_refusal,
    short_clip,
)
from tests.conftest import Person
from tests.orgs.acting import join, key, organization, personal, program, project

KEY = "coach_plus/coach/{owner}/{session}/"


async def test_the_documented_flow_of_one_video(user: Person, tmp_path: Path) -> None:
    session = await new_session(user, notes="Left arm round")
    assert session["id"] == session["session_id"]
    place = await initiate(user, session["id"], sample_fps=15, include_frames=True)
    assert place["session_id"] == session["id"]
    assert (place["expires_in"], place["s3_bucket"]) == (3600, settings.s3_bucket)
    assert place["s3_key"].startswith(KEY.format(owner=user.id, session=session["id"]))
    assert place["s3_key"].endswith("/original.mp4")
    assert (await analysis(user, place["job_id"]))["status"] == "queued"
    assert await put(place["presigned_url"], short_clip(tmp_path), "application/octet-stream") == 200
    done = await complete(user, place["job_id"])
    assert done.status_code == 200, done.text
    assert done.json() == {
        "job_id": place["job_id"],
        "status": "processing",
        "sqs_message_id": None,
        "message": done.json()["message"],
    }
    found = await analysis(user, place["job_id"])
    assert (found["status"], found["sample_fps"], found["include_frames"]) == ("processing", 15, True)
    listed = (await user.client.get(f"{API}/sessions/{session['id']}/analysis-jobs")).json()["analysis_jobs"]
    assert [each["id"] for each in listed] == [place["job_id"]]
    assert (await user.client.get(f"{API}/sessions/{session['id']}")).json()["analyses"] == 1
    assert (await user.client.get(f"{API}/sessions")).json()["pagination"]["total"] == 1
    assert (await complete(user, place["job_id"])).json()["status"] == "processing"  # again: nothing more
    async with transaction() as db:
        jobs = (await db.scalars(select(Job).where(Job.kind == "analyse_video"))).all()
        video = (await db.scalars(select(Video))).one()
    assert [job.queue for job in jobs] == ["analysis"]
    assert video.source == "session"
    assert video.s3_key == found["s3_key"]


async def test_no_job_begins_before_its_object_is_there(user: Person) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    assert refused(await complete(user, place["job_id"]))[:2] == (409, "upload_missing")
    async with transaction() as db:
        assert await db.scalar(select(func.count()).select_from(Job)) == 0


async def test_an_empty_file_and_one_that_is_too_large_are_refused(
    user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await new_session(user)
    empty = await initiate(user, session["id"])
    assert await put(empty["presigned_url"], b"") == 200
    assert refused(await complete(user, empty["job_id"]))[:2] == (409, "upload_mismatch")
    monkeypatch.setattr(settings, "max_upload_size_mb", 1)
    large = await initiate(user, session["id"])
    assert await put(large["presigned_url"], b"\0" * (1024 * 1024 + 1)) == 200
    assert refused(await complete(user, large["job_id"]))[:2] == (413, "file_too_large")
    found = await analysis(user, large["job_id"])
    assert (found["status"], found["error"]["code"]) == ("failed", "file_too_large")


async def test_what_is_sent_again_after_the_end_changes_nothing(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    clip = short_clip(tmp_path)
    await put(place["presigned_url"], clip)
    await complete(user, place["job_id"])
    await put(place["presigned_url"], b"other bytes")
    found = await analysis(user, place["job_id"])
    stored = await storage.head(found["s3_key"])
    assert stored is not None
    assert stored.size_bytes == len(clip)


async def test_a_file_that_nobody_confirms_is_analysed_all_the_same(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    await put(place["presigned_url"], short_clip(tmp_path))
    async with transaction() as db:
        await db.execute(update(Upload).values(check_at=func.now()))
    await sweep.sweep()
    assert (await analysis(user, place["job_id"]))["status"] == "processing"


async def test_an_upload_in_parts_into_a_session_begins_its_analysis_by_itself(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    clip = short_clip(tmp_path)
    declared = {"filename": "net.mp4", "size": len(clip), "content_type": "video/mp4"}
    place = (await user.client.post("/api/upload/presigned-url", json=declared)).json()
    body = {"upload_id": place["upload_id"], "sample_fps": 5}
    waiting = await user.client.post(f"{API}/sessions/{session['id']}/analysis-jobs", json=body)
    assert (waiting.status_code, waiting.json()["status"]) == (201, "queued")
    away = {"project_id": await project(user, "Away")}
    moved = await user.client.patch(f"/api/uploads/{place['upload_id']}", json=away)
    assert refused(moved)[:2] == (409, "invalid_state")
    await put(place["upload_url"], clip)
    assert (await user.client.post("/api/videos", json={"video_id": place["video_id"]})).status_code == 201
    assert (await analysis(user, waiting.json()["id"]))["status"] == "processing"
    again = await user.client.post(
        f"{API}/sessions/{session['id']}/analysis-jobs", json={"video_id": place["video_id"], "sample_fps": 30}
    )
    assert (again.status_code, again.json()["status"]) == (201, "processing")
    moved = await user.client.post(
        f"/api/videos/{place['video_id']}/move", json={"project_id": await project(user, "Elsewhere")}
    )
    assert refused(moved)[:2] == (409, "invalid_state")


async def test_a_given_up_upload_ends_the_analysis_that_waits_for_it(user: Person) -> None:
    session = await new_session(user)
    declared = {"filename": "net.mp4", "size": 100, "content_type": "video/mp4"}
    place = (await user.client.post("/api/upload/presigned-url", json=declared)).json()
    waiting = await user.client.post(
        f"{API}/sessions/{session['id']}/analysis-jobs", json={"upload_id": place["upload_id"]}
    )
    assert (await user.client.delete(f"/api/uploads/{place['upload_id']}")).status_code == 204
    found = await analysis(user, waiting.json()["id"])
    assert (found["status"], found["error"]["retryable"]) == ("failed", False)
    assert refused(await user.client.post(f"{API}/analysis-jobs/{found['id']}/retry"))[:2] == (409, "invalid_state")


async def test_cancel_retry_and_delete(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    await put(place["presigned_url"], short_clip(tmp_path))
    await complete(user, place["job_id"])
    one = f"{API}/analysis-jobs/{place['job_id']}"
    assert refused(await user.client.post(f"{one}/retry"))[:2] == (409, "invalid_state")
    assert refused(await user.client.get(f"{one}/files"))[:2] == (409, "invalid_state")
    cancelled = (await user.client.post(f"{one}/cancel")).json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("failed", "cancelled")
    assert refused(await user.client.post(f"{one}/cancel"))[:2] == (409, "invalid_state")
    assert (await user.client.post(f"{one}/retry")).json()["status"] == "processing"
    assert (await user.client.delete(one)).status_code == 204
    assert refused(await user.client.get(one)) == (404, "not_found", "Analysis job not found")
    assert (await user.client.delete(f"{API}/sessions/{session['id']}")).status_code == 204
    assert refused(await user.client.get(f"{API}/sessions/{session['id']}")) == (
        404,
        "not_found",
        "Video session not found",
    )
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 1  # the video stays


async def test_sessions_are_changed_searched_and_filtered(user: Person) -> None:
    nets = await new_session(user, title="Nets", discipline="batting", player_ids=["ann", "ann", "bob"])
    await new_session(user, title="Range", discipline="golf", player_ids=["cid"])
    assert nets["player_ids"] == ["ann", "bob"]
    changed = await user.client.patch(f"{API}/sessions/{nets['id']}", json={"title": "Nets 2", "view": "side"})
    assert (changed.json()["title"], changed.json()["view"], changed.json()["discipline"]) == (
        "Nets 2",
        "side",
        "batting",
    )

    async def titles(query: str) -> list[str]:
        return [each["title"] for each in (await user.client.get(f"{API}/sessions?{query}")).json()["sessions"]]

    assert await titles("") == ["Range", "Nets 2"]
    assert await titles("q=net") == ["Nets 2"]
    assert await titles("player_id=cid") == ["Range"]
    assert await titles("discipline=golf") == ["Range"]
    assert await titles("page=2&limit=1") == ["Nets 2"]
    players = (await user.client.get(f"{API}/players")).json()["players"]
    assert {each["player_id"] for each in players} == {"ann", "bob", "cid"}


# --- who -------------------------------------------------------------------------------------------------------------


async def test_without_a_role_nothing_is_reached(user: Person, other: Person) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    await give(other, roles=[])
    for answer in (
        await other.client.get(f"{API}/sessions"),
        await other.client.post(f"{API}/sessions", json={"title": "Mine"}),
        await other.client.get(f"{API}/sessions/{session['id']}"),
        await other.client.get(f"{API}/analysis-jobs/{place['job_id']}"),
        await other.client.get(f"{API}/players"),
    ):
        assert refused(answer)[:2] == (403, "forbidden")


async def test_another_coachs_session_is_as_one_that_is_not_there(user: Person, other: Person) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    for method, path in (
        ("GET", "sessions/{}"),
        ("PATCH", "sessions/{}"),
        ("DELETE", "sessions/{}"),
        ("GET", "sessions/{}/analysis-jobs"),
    ):
        body = {"title": "x"} if method == "PATCH" else None
        theirs = await other.client.request(method, f"{API}/{path.format(session['id'])}", json=body)
        missing = await other.client.request(method, f"{API}/{path.format(uuid.uuid4())}", json=body)
        assert same_refusal(theirs, missing)
        assert refused(theirs) == (404, "not_found", "Video session not found")
    theirs = await other.client.get(f"{API}/analysis-jobs/{place['job_id']}")
    assert refused(theirs) == (404, "not_found", "Analysis job not found")
    assert refused(await complete(other, place["job_id"])) == (404, "not_found", "Analysis job not found")
    into = await other.client.post(f"{API}/videos/upload/initiate", json={"session_id": session["id"]})
    assert refused(into) == (404, "not_found", "Video session not found")


async def test_an_organizations_user_reaches_its_sessions_and_no_coachs(user: Person, other: Person) -> None:
    own = await new_session(user)
    club = await organization(user)
    nets = await project(user, "Nets", organization_id=club)
    theirs = await new_session(user, project_id=nets)
    await join(user, other, f"/api/orgs/{club}", "editor")
    await join(user, other, f"/api/projects/{own['project_id']}", "editor")
    await give(other, roles=["org_pro"])
    assert (await other.client.get(f"{API}/sessions/{theirs['id']}")).status_code == 200
    assert refused(await other.client.get(f"{API}/sessions/{own['id']}")) == (
        403,
        "forbidden",
        "You don't have access to this session",
    )
    listed = (await other.client.get(f"{API}/sessions")).json()["sessions"]
    assert [each["id"] for each in listed] == [theirs["id"]]
    made = await new_session(other)
    assert made["project_id"] == nets
    place = await initiate(other, made["id"])
    assert place["s3_key"].startswith(f"coach_plus/org/{club}/{made['id']}/")
    elsewhere = await new_session(user, project_id=await project(user, "B", organization_id=await organization(user)))
    assert refused(await other.client.get(f"{API}/sessions/{elsewhere['id']}"))[:2] == (404, "not_found")


async def test_a_viewer_sees_a_session_and_changes_nothing(user: Person, other: Person) -> None:
    session = await new_session(user)
    await join(user, other, f"/api/projects/{session['project_id']}", "viewer")
    assert (await other.client.get(f"{API}/sessions/{session['id']}")).status_code == 200
    into = await other.client.post(f"{API}/videos/upload/initiate", json={"session_id": session["id"]})
    assert refused(into)[:2] == (403, "forbidden")
    assert (await other.client.delete(f"{API}/sessions/{session['id']}")).status_code == 403


async def test_sending_needs_the_feature_of_the_person_or_of_the_organization(user: Person, other: Person) -> None:
    session = await new_session(user)
    await give(user, features=[])
    into = await user.client.post(f"{API}/videos/upload/initiate", json={"session_id": session["id"]})
    assert refused(into)[:2] == (403, "forbidden")
    assert "video_upload_enabled" in into.json()["error"]["message"]
    club = await organization(user)
    nets = await new_session(user, project_id=await project(user, "Nets", organization_id=club))
    body = {"session_id": nets["id"]}
    assert (await user.client.post(f"{API}/videos/upload/initiate", json=body)).status_code == 403
    given = await user.client.patch(f"/api/admin/orgs/{club}", json={"features": ["video_upload_enabled"]})
    assert given.status_code == 200, given.text
    assert (await user.client.post(f"{API}/videos/upload/initiate", json=body)).status_code == 201


async def test_a_video_of_another_project_is_not_taken_into_a_session(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    clip = short_clip(tmp_path)
    declared = {"filename": "net.mp4", "size": len(clip), "content_type": "video/mp4"}
    elsewhere = {**declared, "project_id": await project(user, "Elsewhere")}
    place = (await user.client.post("/api/upload/presigned-url", json=elsewhere)).json()
    analyses = f"{API}/sessions/{session['id']}/analysis-jobs"
    answer = await user.client.post(analyses, json={"upload_id": place["upload_id"]})
    assert (answer.status_code, "upload_id" in answer.json()["error"]["fields"]) == (422, True)
    assert (await user.client.post(analyses, json={})).status_code == 422
    both = {"upload_id": str(uuid.uuid4()), "video_id": str(uuid.uuid4())}
    assert (await user.client.post(analyses, json=both)).status_code == 422
    assert (await user.client.post(analyses, json={"video_id": str(uuid.uuid4())})).status_code == 404


async def test_a_key_works_in_its_project(app: FastAPI, user: Person) -> None:
    made = await key(user, await personal(user), "read", "write")
    async with program(app, made["key"]) as robot:
        session = await robot.post(f"{API}/sessions", json={"title": "By a program"})
        assert (session.status_code, session.json()["project_id"]) == (201, await personal(user))
