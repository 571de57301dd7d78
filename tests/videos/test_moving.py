"""Moving a video: all that is its own goes along, or nothing does."""

import asyncio
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from backend.config import settings
from backend.core.db import transaction
from backend.jobs.models import Job
from backend.orgs.models import Project
from backend.videos.models import StoredObject, Upload, Video
from tests.conftest import Person
from tests.orgs.acting import join, key, organization, personal, project
from tests.videos.sending import RunJobs, add_row, code, send


async def move(person: Person, video_id: str, project_id: str) -> tuple[int, str]:
    answer = await person.client.post(f"/api/videos/{video_id}/move", json={"project_id": project_id})
    return answer.status_code, code(answer) if answer.status_code >= 400 else answer.json()["project_id"]


async def test_a_video_takes_its_jobs_upload_and_objects_along(user: Person, run_jobs: RunJobs) -> None:
    video, target = await send(user), await project(user)
    assert await move(user, video["id"], target) == (409, "invalid_state"), "its processing waits"
    await run_jobs()
    source = await personal(user)
    assert await move(user, video["id"], target) == (200, target)
    assert await move(user, video["id"], target) == (200, target), "again: it is there"
    async with transaction() as session:
        for model in (Job, Upload, StoredObject):
            of_video = select(model.project_id).where(model.video_id == uuid.UUID(video["id"]))
            assert {str(each) for each in await session.scalars(of_video)} == {target}, model
        stored = await session.get_one(Video, uuid.UUID(video["id"]))
    assert stored.s3_key.split("/")[2] == video["id"], "its objects stay where they are"
    for project_id in (source, target):
        log = (await user.client.get(f"/api/projects/{project_id}/audit")).json()["entries"]
        moved = [entry["detail"] for entry in log if entry["action"] == "video.move"]
        assert moved == [{"title": stored.title, "from": source, "to": target}]
    stats = {each["id"] for each in (await user.client.get("/api/jobs")).json()["jobs"]}
    assert stats, "its jobs are still its owner's to see"
    assert (await user.client.delete(f"/api/videos/{video['id']}")).status_code == 204
    await run_jobs()


async def test_nothing_is_moved_into_a_project_that_is_deleted_in_this_moment(user: Person) -> None:
    target, video = await project(user), await add_row(user)
    async with transaction() as session:
        deleted = await session.get_one(Project, uuid.UUID(target), with_for_update=True)
        deleted.deleted_at = datetime.now(UTC)
        await session.flush()
        moving = asyncio.create_task(move(user, video, target))
        await asyncio.wait([moving], timeout=1)
    assert await moving == (422, "validation_failed")
    assert (await user.client.get(f"/api/videos/{video}")).json()["project_id"] == await personal(user)


async def test_one_needs_to_edit_on_both_sides(user: Person, other: Person) -> None:
    target, theirs = await project(user), await project(other)
    video = await add_row(user)
    assert await move(user, video, theirs) == (422, "validation_failed")
    assert await move(user, video, str(uuid.uuid4())) == (422, "validation_failed")
    assert await move(other, video, theirs) == (404, "not_found")
    await join(other, user, f"/api/projects/{theirs}", "viewer")
    assert await move(user, video, theirs) == (403, "forbidden")
    await join(user, other, f"/api/projects/{await personal(user)}", "viewer")
    assert await move(other, video, theirs) == (403, "forbidden")
    assert await move(user, video, target) == (200, target)


async def test_a_key_moves_nothing_out_of_its_project(user: Person) -> None:
    target = await project(user)
    video = await add_row(user)
    text = (await key(user, await personal(user), "write"))["key"]
    answer = await user.client.post(
        f"/api/videos/{video}/move", json={"project_id": target}, headers={"X-API-Key": text}
    )
    assert (answer.status_code, code(answer)) == (422, "validation_failed")


async def test_of_many_moves_at_once_each_counter_is_right_in_the_end(user: Person) -> None:
    source, target = await personal(user), await project(user)
    videos = [await add_row(user) for _ in range(3)]
    turns = [move(user, video, place) for _ in range(4) for video in videos for place in (target, source)]
    answers = await asyncio.gather(*turns)
    assert {status for status, _ in answers} <= {200, 503}
    for video in videos:
        assert (await move(user, video, target))[0] == 200
    assert (await user.client.get("/api/videos")).json()["pagination"]["total"] == 3
    async with transaction() as session:
        kept = {str(each) for each in await session.scalars(select(Video.project_id))}
    assert kept == {target}


async def test_between_two_holders_the_quota_counts(user: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "organization_quota_mb", 1)
    org_id = await organization(user)
    ours, mine = await project(user, organization_id=org_id), await project(user)
    large, small = await add_row(user, size_bytes=2 * 1024**2), await add_row(user, size_bytes=1000)
    assert await move(user, large, ours) == (409, "quota_exceeded")
    assert await move(user, small, ours) == (200, ours)
    usage = (await user.client.get("/api/usage", params={"organization_id": org_id})).json()
    assert (usage["used_bytes"], usage["limit_bytes"]) == (1000, 1024**2)
    assert (await user.client.get("/api/usage")).json()["limit_bytes"] is None
    monkeypatch.setattr(settings, "user_quota_mb", 1)
    assert await move(user, large, mine) == (200, mine), "between a person's own projects nothing changes"
    foreign = await user.client.get("/api/usage", params={"organization_id": str(uuid.uuid4())})
    assert (foreign.status_code, code(foreign)) == (404, "not_found")
