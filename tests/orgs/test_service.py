"""Projects: made, renamed, deleted with all that is in them; organizations beside them."""

import uuid
from typing import Any

from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.orgs.models import ApiKey, Project
from backend.videos.models import StoredObject, Upload, Video
from tests.conftest import Person
from tests.orgs.acting import actor_of, code, join, key, made, organization, personal, project
from tests.videos.sending import BYTES, RunJobs, project_of, put, send


async def test_a_project_is_made_renamed_and_written_down(user: Person) -> None:
    new = await made(await user.client.post("/api/projects", json={"name": "  Spring film "}))
    assert (new["name"], new["personal"], new["organization_id"], new["role"]) == ("Spring film", False, None, "owner")
    path = f"/api/projects/{new['id']}"
    renamed = (await user.client.patch(path, json={"name": "Summer film"})).json()
    assert (renamed["name"], (await user.client.get(path)).json()["name"]) == ("Summer film", "Summer film")
    log = (await user.client.get(f"{path}/audit")).json()
    assert [entry["action"] for entry in log["entries"]] == ["project.rename", "project.create"]
    assert (log["entries"][0]["detail"], log["next_before"]) == (
        {"before": "Spring film", "after": "Summer film"},
        None,
    )
    listed = (await user.client.get("/api/projects")).json()["projects"]
    assert [(each["name"], each["personal"]) for each in listed] == [("Personal", True), ("Summer film", False)]
    for wrong in ({}, {"name": " "}, {"name": "x" * 201}, {"name": "a\x00"}, {"name": "x", "personal": True}):
        assert code(await user.client.post("/api/projects", json=wrong)) == (422, "validation_failed")


async def test_a_personal_project_of_somebody_else_is_called_by_its_owner(user: Person, other: Person) -> None:
    theirs = await personal(user)
    await join(user, other, f"/api/projects/{theirs}", "admin")
    listed = (await other.client.get("/api/projects")).json()["projects"]
    assert [each["id"] for each in listed][1:] == [theirs], "one's own comes first, however young"
    named = f"Personal ({user.email})"
    assert (await actor_of(other)).names[uuid.UUID(theirs)].name == named
    assert (await actor_of(user)).names[uuid.UUID(theirs)].name == "Personal"
    for path in ("/projects", f"/projects/{theirs}/members", "/dashboard"):
        assert named in (await other.browser.get(path)).text, path
    settings_page = (await other.browser.get(f"/projects/{theirs}/settings")).text
    assert 'value="Personal"' in settings_page, "whoever renames it does so without the owner's name"
    token = (await made(await user.client.post(f"/api/projects/{theirs}/invitations", json={"role": "viewer"})))[
        "token"
    ]
    assert (await other.client.get(f"/api/invitations/{token}")).json()["name"] == named


async def test_the_audit_log_is_read_page_by_page_by_those_who_manage(user: Person, other: Person) -> None:
    project_id = await project(user)
    path = f"/api/projects/{project_id}"
    for number in range(4):
        await user.client.patch(path, json={"name": f"Film {number}"})
    first = (await user.client.get(f"{path}/audit", params={"limit": 3})).json()
    rest = (await user.client.get(f"{path}/audit", params={"limit": 3, "before": first["next_before"]})).json()
    ids = [entry["id"] for page in (first, rest) for entry in page["entries"]]
    assert (len(ids), ids, rest["next_before"]) == (5, sorted(ids, reverse=True), None)
    assert code(await other.client.get(f"{path}/audit")) == (404, "not_found")
    await join(user, other, path, "editor")
    assert code(await other.client.get(f"{path}/audit")) == (403, "forbidden")


async def test_an_organizations_project_is_its_members(user: Person, other: Person) -> None:
    org_id = await organization(user)
    body = {"name": "Ours", "organization_id": org_id}
    unknown = [await other.client.post("/api/projects", json={**body, "organization_id": id})
               for id in (org_id, str(uuid.uuid4()))]  # fmt: skip
    assert [code(answer) for answer in unknown] == [(422, "validation_failed")] * 2
    assert unknown[0].json()["error"]["fields"] == unknown[1].json()["error"]["fields"]
    await join(user, other, f"/api/orgs/{org_id}", "editor")
    assert code(await other.client.post("/api/projects", json=body)) == (403, "forbidden")
    new = await made(await user.client.post("/api/projects", json=body))
    assert (new["organization_id"], new["role"]) == (org_id, "owner")
    assert (await other.client.get(f"/api/projects/{new['id']}")).json()["role"] == "editor"
    await user.client.patch(f"/api/projects/{new['id']}", json={"name": "Still ours"})
    log = (await user.client.get(f"/api/orgs/{org_id}/audit")).json()["entries"]
    assert [(entry["action"], entry["project_id"]) for entry in log[:2]] == [
        ("project.rename", new["id"]),
        ("project.create", new["id"]),
    ]


async def test_an_organization_goes_when_its_projects_have_gone(user: Person, other: Person, run_jobs: RunJobs) -> None:
    org_id = await organization(user)
    path = f"/api/orgs/{org_id}"
    project_id = await project(user, organization_id=org_id)
    await join(user, other, path, "admin")
    assert code(await other.client.delete(path)) == (403, "forbidden")
    assert (await other.client.patch(path, json={"name": "Renamed"})).json()["name"] == "Renamed"
    assert code(await user.client.delete(path)) == (409, "invalid_state")
    await user.client.delete(f"/api/projects/{project_id}")
    assert code(await user.client.delete(path)) == (409, "invalid_state"), "it is just being removed"
    await run_jobs()
    assert (await user.client.delete(path)).status_code == 204
    assert code(await user.client.get(path)) == (404, "not_found")
    assert (await other.client.get("/api/orgs")).json() == {"organizations": []}


async def rows_of(project_id: str) -> dict[str, Any]:
    async with transaction() as session:
        return {
            model.__name__: await session.scalar(select(func.count()).where(model.project_id == uuid.UUID(project_id)))
            for model in (Video, Upload, Job, ApiKey)
        }


async def test_a_deleted_project_is_gone_at_once_and_then_all_that_was_in_it(user: Person, run_jobs: RunJobs) -> None:
    project_id = await project(user)
    kept = await send(user)
    video = await send(user)
    await run_jobs()
    moved = await user.client.post(f"/api/videos/{video['id']}/move", json={"project_id": project_id})
    assert moved.status_code == 200, moved.text
    await key(user, project_id)
    presign = {"filename": "a.mp4", "size": 5, "content_type": "video/mp4", "project_id": project_id}
    assert (await user.client.post("/api/upload/presigned-url", json=presign)).status_code == 200
    assert (await user.client.delete(f"/api/projects/{project_id}")).status_code == 204
    for path in (f"/api/projects/{project_id}", f"/api/videos/{video['id']}"):
        assert code(await user.client.get(path)) == (404, "not_found")
    await run_jobs()
    assert set((await rows_of(project_id)).values()) == {0}
    async with transaction() as session:
        assert await session.get(Project, uuid.UUID(project_id)) is None
        theirs = select(StoredObject).where(StoredObject.project_id == uuid.UUID(project_id))
        assert all(each.buried_at is not None for each in await session.scalars(theirs))
        key_of = await session.scalar(select(Video.s3_key).where(Video.id == uuid.UUID(kept["id"])))
    assert key_of is not None
    assert await storage.head(key_of) is not None, "what is in other projects stays"


async def test_a_deleted_project_takes_its_waiting_work_along(user: Person, run_jobs: RunJobs) -> None:
    project_id = await project(user)
    place = {"filename": "clip.mp4", "size": 340, "content_type": "video/mp4", "project_id": project_id}
    answer = await made(await user.client.post("/api/upload/presigned-url", json=place), 200)
    assert (await user.client.delete(f"/api/projects/{project_id}")).status_code == 204
    assert code(await user.client.get(f"/api/uploads/{answer['upload_id']}")) == (404, "not_found")
    await run_jobs()
    assert set((await rows_of(project_id)).values()) == {0}


async def test_what_was_begun_in_a_deleted_project_and_ended_in_another_stays(user: Person, run_jobs: RunJobs) -> None:
    first, second, third = await project(user), await project(user), await project(user)
    place = {"filename": "clip.mp4", "size": len(BYTES), "content_type": "video/mp4", "project_id": first}
    begun = await made(await user.client.post("/api/upload/presigned-url", json=place), 200)
    path = f"/api/uploads/{begun['upload_id']}"
    await made(await user.client.patch(path, json={"project_id": second}), 200)
    await put(begun["upload_url"], BYTES, begun["headers"])
    video = await made(await user.client.post(f"{path}/complete", json={"project_id": third}))
    async with transaction() as session:
        assert {str(each) for each in await session.scalars(select(StoredObject.project_id))} == {third}
        # As versions before this one wrote it down.
        await session.execute(update(StoredObject).values(project_id=uuid.UUID(first)))
    for each in (first, second):
        assert (await user.client.delete(f"/api/projects/{each}")).status_code == 204
    await run_jobs()
    async with transaction() as session:
        row = await session.get_one(Video, uuid.UUID(video["id"]))
    assert str(row.project_id) == third
    assert await storage.head(row.s3_key) is not None


async def test_a_personal_project_stays(user: Person) -> None:
    assert code(await user.client.delete(f"/api/projects/{await personal(user)}")) == (409, "invalid_state")
    assert await project_of(user)


async def test_features_are_a_persons_or_an_organizations(user: Person, other: Person) -> None:
    from tests.orgs.acting import actor_of

    org_id = await organization(other)
    assert (await actor_of(other)).has_feature("video_upload_enabled"), "it is on for everybody who is new"
    assert not (await actor_of(other)).has_feature("beta")
    assert code(await other.client.patch(f"/api/admin/orgs/{org_id}", json={"features": ["beta"]})) == (
        403,
        "forbidden",
    )
    given = await user.client.patch(f"/api/admin/orgs/{org_id}", json={"features": ["beta", "beta"]})
    assert given.json() == {"id": org_id, "name": "Film club", "features": ["beta"]}
    actor = await actor_of(other)
    assert actor.has_feature("beta")
    assert actor.has_feature("beta", uuid.UUID(org_id))
    assert not actor.has_feature("beta", uuid.uuid4())
    assert not (await actor_of(user)).has_feature("beta")
    missing = f"/api/admin/orgs/{uuid.uuid4()}"
    assert code(await user.client.patch(missing, json={"features": []})) == (404, "not_found")
    path = f"/api/admin/users/{other.id}"
    changed = (await user.client.patch(path, json={"features": ["x", "gpu_2"]})).json()
    assert (changed["features"], changed["roles"]) == (["gpu_2", "x"], ["coach_pro_plus"])
    changed = (await user.client.patch(path, json={"roles": ["org_pro"]})).json()
    assert (changed["features"], changed["roles"]) == (["gpu_2", "x"], ["org_pro"])
    for wrong in ({}, {"features": ["A"]}, {"features": ["x" * 61]}, {"roles": ["king"]}):
        assert code(await user.client.patch(path, json=wrong)) == (422, "validation_failed")
    log = (await user.client.get("/api/admin/audit")).json()["entries"]
    assert {"user.features", "user.roles", "organization.features"} <= {entry["action"] for entry in log}
