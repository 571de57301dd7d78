"""What each role may do, in a project and through its organization, asked at the routes."""

import uuid

import pytest

from backend.orgs.access import Permission
from backend.orgs.roles import PERMISSIONS, Role
from tests.conftest import Person
from tests.orgs.acting import actor_of, join, organization, project
from tests.videos.sending import add_row

TABLE = {
    "viewer": {"view"},
    "editor": {"view", "edit", "tasks"},
    "admin": {"view", "edit", "tasks", "manage"},
    "owner": {"view", "edit", "tasks", "manage", "own"},
}


def test_the_table_is_this_one() -> None:
    assert {role: set(permissions) for role, permissions in PERMISSIONS.items()} == TABLE
    assert sorted(Role, key=lambda role: role.rank) == list(TABLE)


@pytest.mark.parametrize("through", ["project", "organization"])
@pytest.mark.parametrize("role", list(TABLE))
async def test_each_role_may_do_this_and_no_more(role: str, through: str, user: Person, other: Person) -> None:
    if through == "organization":
        org_id = await organization(user)
        project_id = await project(user, organization_id=org_id)
        await join(user, other, f"/api/orgs/{org_id}", role)
    else:
        project_id = await project(user)
        await join(user, other, f"/api/projects/{project_id}", role)
    place = f"/api/projects/{project_id}"
    video = await add_row(user, project_id=uuid.UUID(project_id))
    tries = {
        "view": await other.client.get(f"/api/videos/{video}"),
        "edit": await other.client.patch(f"/api/videos/{video}", json={"title": "Mine now"}),
        "manage": await other.client.get(f"{place}/api-keys"),
        "own": await other.client.delete(place),
    }
    refused = {name: answer.status_code for name, answer in tries.items() if answer.status_code not in (200, 204)}
    assert refused == dict.fromkeys(sorted({"edit", "manage", "own"} - TABLE[role], key=list(tries).index), 403)
    if "own" not in TABLE[role]:
        actor = await actor_of(other)
        assert {name for name in Permission if actor.may(name, uuid.UUID(project_id))} == TABLE[role]
        shown = (await other.client.get(place)).json()
        assert (shown["role"], set(shown["permissions"])) == (role, TABLE[role])


async def test_of_two_roles_the_higher_counts(user: Person, other: Person) -> None:
    org_id = await organization(user)
    project_id = await project(user, organization_id=org_id)
    await join(user, other, f"/api/orgs/{org_id}", "viewer")
    await join(user, other, f"/api/projects/{project_id}", "editor")
    assert (await other.client.get(f"/api/projects/{project_id}")).json()["role"] == "editor"
    members = (await other.client.get(f"/api/projects/{project_id}/members")).json()["members"]
    theirs = [(each["role"], each["inherited"]) for each in members if each["user_id"] == other.id]
    assert theirs == [("editor", False), ("viewer", True)]


async def test_a_viewer_can_do_nothing_unsafe_to_what_is_there(user: Person, other: Person) -> None:
    project_id = await project(user)
    await join(user, other, f"/api/projects/{project_id}", "viewer")
    video = await add_row(user, project_id=uuid.UUID(project_id))
    presign = {"filename": "a.mp4", "size": 1, "content_type": "video/mp4", "project_id": project_id}
    refused = [
        await other.client.delete(f"/api/videos/{video}"),
        await other.client.post(f"/api/videos/{video}/retry"),
        await other.client.post("/api/upload/presigned-url", json=presign),
        await other.client.post(f"/api/videos/{video}/move", json={"project_id": project_id}),
        await other.client.patch(f"/api/projects/{project_id}", json={"name": "Mine"}),
        await other.browser.post(f"/videos/{video}/delete"),
        await other.browser.post(f"/videos/{video}/edit", data={"title": "Mine"}),
        await other.browser.get(f"/videos/{video}/edit"),
        await other.browser.post(f"/videos/{video}/retry"),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert (await other.browser.get(f"/videos/{video}")).status_code == 200
