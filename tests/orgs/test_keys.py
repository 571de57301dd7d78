"""API keys: what they open, and when they stop opening it."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.orgs.models import ApiKey, AuditEntry
from tests.conftest import Person
from tests.orgs.acting import code, join, key, made, organization, personal, program, project
from tests.videos.sending import BYTES, add_row, put


async def test_a_key_is_shown_once_and_kept_as_a_hash(user: Person) -> None:
    project_id = await personal(user)
    new = await key(user, project_id, "read", "write")
    assert new["key"].startswith(f"{new['prefix']}_")
    assert new["scopes"] == ["read", "write"]
    listed = (await user.client.get(f"/api/projects/{project_id}/api-keys")).json()["keys"]
    assert [each["id"] for each in listed] == [new["id"]]
    assert "key" not in listed[0]
    async with transaction() as session:
        row = await session.get_one(ApiKey, uuid.UUID(new["id"]))
        told = (await session.scalars(select(AuditEntry).where(AuditEntry.action == "key.create"))).one()
    secret = new["key"].removeprefix(f"{new['prefix']}_")
    assert secret.encode() not in row.secret_hash
    assert secret not in str(told.detail)
    assert str(told.project_id) == project_id


@pytest.mark.parametrize("bearer", [False, True])
async def test_a_key_opens_its_project_and_no_other(app: FastAPI, user: Person, bearer: bool) -> None:
    project_id = await project(user)
    inside = await add_row(user, project_id=uuid.UUID(project_id))
    outside = await add_row(user)
    async with program(app, (await key(user, project_id))["key"], bearer=bearer) as robot:
        assert (await robot.get(f"/api/videos/{inside}")).status_code == 200
        foreign, missing = [await robot.get(f"/api/videos/{id}") for id in (outside, uuid.uuid4())]
        assert code(foreign) == code(missing) == (404, "not_found")
        projects = (await robot.get("/api/projects")).json()["projects"]
        assert [(each["id"], each["permissions"]) for each in projects] == [(project_id, ["view"])]
        assert [video["id"] for video in (await robot.get("/api/videos")).json()["videos"]] == [inside]


@pytest.mark.parametrize(
    ("scope", "may"),
    [("read", {"view"}), ("write", {"view", "edit"}), ("tasks", {"view"}), ("admin", {"view", "edit", "manage"})],
)
async def test_each_scope_opens_this_and_no_more(app: FastAPI, user: Person, scope: str, may: set[str]) -> None:
    project_id = await project(user)
    video = await add_row(user, project_id=uuid.UUID(project_id))
    async with program(app, (await key(user, project_id, scope))["key"]) as robot:
        tries = {
            "view": await robot.get(f"/api/videos/{video}"),
            "edit": await robot.patch(f"/api/videos/{video}", json={"title": "By a robot"}),
            "manage": await robot.get(f"/api/projects/{project_id}/api-keys"),
        }
        assert {name for name, answer in tries.items() if answer.status_code == 200} == may
        assert {answer.status_code for answer in tries.values()} <= {200, 403}
        assert (await robot.delete(f"/api/projects/{project_id}")).status_code == 403


async def test_what_a_key_uploads_lands_in_its_project_as_its_makers(app: FastAPI, user: Person) -> None:
    project_id = await project(user)
    async with program(app, (await key(user, project_id, "write"))["key"]) as robot:
        body = {"filename": "a.mp4", "size": len(BYTES), "content_type": "video/mp4"}
        place = await made(await robot.post("/api/upload/presigned-url", json=body), 200)
        await put(place["upload_url"], BYTES, place["headers"])
        video = await made(await robot.post("/api/videos", json={"video_id": place["video_id"]}))
    assert video["project_id"] == project_id
    async with program(app, (await key(user, project_id, "read"))["key"]) as reader:
        assert code(await reader.post("/api/upload/presigned-url", json=body)) == (403, "forbidden")


async def test_account_and_admin_routes_are_closed_to_keys(app: FastAPI, user: Person) -> None:
    project_id = await personal(user)
    good = (await key(user, project_id, "read", "write", "tasks", "admin"))["key"]
    paths = [
        "/api/auth/me",
        "/me",
        "/settings",
        "/api/admin/jobs",
        "/api/admin/doctor",
        "/admin/queue",
        "/api/orgs",
        "/dashboard",
    ]
    async with program(app, good) as robot, program(app, good[:-1] + "x") as wrong:
        assert (await robot.get("/api/admin/doctor/stream")).status_code == 403, "also where nobody asks for an actor"
        for path in paths:
            assert code(await robot.get(path)) == (403, "forbidden"), path
            assert (await wrong.get(path, headers={"Accept": "application/json"})).status_code in (401, 303), path
        assert code(await robot.post("/api/auth/logout")) == (403, "forbidden")
        for path, body in ((f"/api/projects/{project_id}/api-keys", {"name": "x", "scopes": ["read"]}),
                           ("/api/projects", {"name": "x"})):  # fmt: skip
            assert code(await robot.post(path, json=body)) == (403, "forbidden"), "a key makes no keys"


async def test_what_is_no_key_of_ours_opens_nothing(app: FastAPI, user: Person) -> None:
    new = (await key(user, await personal(user)))["key"]
    other_secret = new[:-4] + "AAAA"
    for text in (
        "",
        "dly_",
        "dly_x",
        new.upper(),
        other_secret,
        f"{new}x",
        "dly_" + "a" * 12 + "_" + "b" * 43,
        "x" * 9000,
    ):
        for bearer in (False, True):
            if bearer and not text.startswith("dly_"):
                continue
            async with program(app, text, bearer=bearer) as robot:
                assert code(await robot.get("/api/videos")) == (401, "unauthenticated"), (text[:20], bearer)


async def test_a_wrong_key_is_not_made_good_by_a_cookie_or_a_token(app: FastAPI, user: Person) -> None:
    for client in (user.client, user.browser):
        answer = await client.get("/api/videos", headers={"X-API-Key": "dly_no"})
        assert code(answer) == (401, "unauthenticated")


async def test_a_revoked_key_ends_at_once_and_stays_in_the_list(app: FastAPI, user: Person) -> None:
    project_id = await personal(user)
    new = await key(user, project_id)
    async with program(app, new["key"]) as robot:
        assert (await robot.get("/api/videos")).status_code == 200
        path = f"/api/projects/{project_id}/api-keys/{new['id']}"
        assert [(await user.client.delete(path)).status_code for _ in range(2)] == [204, 204]
        assert code(await robot.get("/api/videos")) == (401, "unauthenticated")
    listed = (await user.client.get(f"/api/projects/{project_id}/api-keys")).json()["keys"]
    assert [each["state"] for each in listed] == ["revoked"]


async def test_a_key_ends_with_its_time(app: FastAPI, user: Person) -> None:
    project_id = await personal(user)
    for wrong in (datetime.now(UTC) - timedelta(1), datetime.now(UTC) + timedelta(5000), "9999-12-31T23:59:59-12:00"):
        body = {"name": "x", "scopes": ["read"], "expires_at": str(wrong)}
        answer = await user.client.post(f"/api/projects/{project_id}/api-keys", json=body)
        assert code(answer) == (422, "validation_failed")
    new = await key(user, project_id, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    async with program(app, new["key"]) as robot:
        assert (await robot.get("/api/videos")).status_code == 200
        async with transaction() as session:
            await session.execute(update(ApiKey).values(expires_at=func.now()))
        assert code(await robot.get("/api/videos")) == (401, "unauthenticated")


async def test_a_replaced_key_works_on_for_the_overlap(app: FastAPI, user: Person) -> None:
    project_id = await personal(user)
    old = await key(user, project_id, "read", "write")
    path = f"/api/projects/{project_id}/api-keys/{old['id']}/rotate"
    new = await made(await user.client.post(path, json={"overlap_seconds": 3600}))
    assert (new["replaces_id"], new["scopes"], new["name"]) == (old["id"], old["scopes"], old["name"])
    assert code(await user.client.post(path)) == (409, "invalid_state"), "it has a successor"
    async with program(app, old["key"]) as before, program(app, new["key"]) as after:
        assert [(await each.get("/api/videos")).status_code for each in (before, after)] == [200, 200]
        async with transaction() as session:
            ends = (await session.get_one(ApiKey, uuid.UUID(old["id"]))).expires_at
            assert ends is not None
            assert timedelta(minutes=50) < ends - datetime.now(UTC) < timedelta(minutes=61)
            await session.execute(update(ApiKey).where(ApiKey.id == uuid.UUID(old["id"])).values(expires_at=func.now()))
        assert [(await each.get("/api/videos")).status_code for each in (before, after)] == [401, 200]
    assert code(await user.client.post(path)) == (409, "invalid_state"), "and it has ended"


async def test_without_overlap_the_old_key_ends_at_once(app: FastAPI, user: Person) -> None:
    project_id = await personal(user)
    old = await key(user, project_id)
    path = f"/api/projects/{project_id}/api-keys/{old['id']}/rotate"
    answers = await asyncio.gather(*(user.client.post(path, json={"overlap_seconds": 0}) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    async with program(app, old["key"]) as robot:
        assert code(await robot.get("/api/videos")) == (401, "unauthenticated")


async def test_a_key_can_do_no_more_than_its_maker_may_now(app: FastAPI, user: Person, other: Person) -> None:
    project_id = await project(user)
    place = f"/api/projects/{project_id}"
    await join(user, other, place, "admin")
    video = await add_row(user, project_id=uuid.UUID(project_id))
    theirs = (await key(other, project_id, "write", "admin"))["key"]
    async with program(app, theirs) as robot:
        assert (await robot.patch(f"/api/videos/{video}", json={"title": "A"})).status_code == 200
        await user.client.patch(f"{place}/members/{other.id}", json={"role": "viewer"})
        assert code(await robot.patch(f"/api/videos/{video}", json={"title": "B"})) == (403, "forbidden")
        assert (await robot.get(f"/api/videos/{video}")).status_code == 200
        await user.client.delete(f"{place}/members/{other.id}")
        assert code(await robot.get(f"/api/videos/{video}")) == (401, "unauthenticated")


@pytest.mark.parametrize("through", ["project", "organization", "both"])
async def test_the_keys_of_who_leaves_do_not_come_back_with_them(
    app: FastAPI, user: Person, other: Person, through: str
) -> None:
    org_id = await organization(user)
    project_id = await project(user, organization_id=org_id)
    places = {"project": f"/api/projects/{project_id}", "organization": f"/api/orgs/{org_id}"}
    mine = list(places) if through == "both" else [through]
    for place in mine:
        await join(user, other, places[place], "admin")
    theirs = program(app, (await key(other, project_id))["key"])
    for place in mine:
        assert (await theirs.get("/api/projects")).status_code == 200, "one membership is enough"
        assert (await user.client.delete(f"{places[place]}/members/{other.id}")).status_code == 204
    assert code(await theirs.get("/api/projects")) == (401, "unauthenticated")
    for place in mine:
        await join(user, other, places[place], "viewer")
    assert code(await theirs.get("/api/projects")) == (401, "unauthenticated")
    log = (await user.client.get(f"{places[mine[-1]]}/audit")).json()["entries"]
    [left] = [entry for entry in log if entry["action"] == "member.remove" and "keys_revoked" in entry["detail"]]
    assert left["detail"]["keys_revoked"] == 1


async def test_keys_that_work_are_listed_before_those_that_ended(user: Person) -> None:
    project_id = await personal(user)
    three = [await key(user, project_id, name=name) for name in ("first", "second", "third")]
    await user.client.delete(f"/api/projects/{project_id}/api-keys/{three[2]['id']}")
    listed = (await user.client.get(f"/api/projects/{project_id}/api-keys")).json()["keys"]
    assert [each["name"] for each in listed] == ["second", "first", "third"]


async def test_the_last_use_is_noted_once_a_minute(app: FastAPI, user: Person) -> None:
    new = await key(user, await personal(user))
    noted = []
    async with program(app, new["key"]) as robot:
        for _ in range(2):
            await robot.get("/api/videos")
            async with transaction() as session:
                noted.append((await session.get_one(ApiKey, uuid.UUID(new["id"]))).last_used_at)
    assert noted[0] is not None
    assert noted[0] == noted[1]


async def test_another_projects_key_is_not_there(user: Person, other: Person) -> None:
    theirs = await key(other, await personal(other))
    mine = await personal(user)
    for path in (f"/api/projects/{mine}/api-keys/{theirs['id']}", f"/api/projects/{mine}/api-keys/{uuid.uuid4()}"):
        assert code(await user.client.delete(path)) == (404, "not_found")
    second = await project(user)
    own = await key(user, second)
    assert code(await user.client.delete(f"/api/projects/{mine}/api-keys/{own['id']}")) == (404, "not_found")


@pytest.mark.parametrize("overlap", [-1, 8_000_000, 1.5, "5", True, None])
async def test_an_overlap_of_nonsense_is_refused(user: Person, overlap: object) -> None:
    project_id = await personal(user)
    path = f"/api/projects/{project_id}/api-keys/{(await key(user, project_id))['id']}/rotate"
    assert code(await user.client.post(path, json={"overlap_seconds": overlap})) == (422, "validation_failed")


@pytest.mark.parametrize("body", [{"scopes": []}, {"scopes": ["king"]}, {"scopes": "read"}, {"name": " "}, {"x": 1},
                                  {"expires_at": 1_900_000_000}, {"expires_at": "1900000000"}, {"expires_at": True},
                                  {"expires_at": "2030-01-01T00:00:00"}])  # fmt: skip
async def test_a_key_of_nonsense_is_refused(user: Person, body: dict[str, object]) -> None:
    path = f"/api/projects/{await personal(user)}/api-keys"
    answer = await user.client.post(path, json={"name": "x", "scopes": ["read"], **body})
    assert code(answer) == (422, "validation_failed")
