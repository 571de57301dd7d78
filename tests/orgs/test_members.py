"""Members: who may change whom, how one leaves, and that the last owner stays."""

import asyncio
import uuid

from tests.conftest import MakeUser, Person
from tests.orgs.acting import code, join, organization, personal, project
from tests.videos.sending import add_row


async def test_the_last_owner_of_an_organization_stays_one(user: Person, other: Person) -> None:
    place = f"/api/orgs/{await organization(user)}"
    me = f"{place}/members/{user.id}"
    assert code(await user.client.delete(me)) == (409, "invalid_state")
    assert code(await user.client.patch(me, json={"role": "viewer"})) == (409, "invalid_state")
    await join(user, other, place, "owner")
    assert (await user.client.delete(me)).status_code == 204
    assert code(await user.client.get(place)) == (404, "not_found")
    assert code(await other.client.delete(f"{place}/members/{other.id}")) == (409, "invalid_state")


async def test_of_two_owners_who_take_the_role_from_each_other_one_stays(user: Person, other: Person) -> None:
    place = f"/api/orgs/{await organization(user)}"
    await join(user, other, place, "owner")
    answers = await asyncio.gather(
        user.client.patch(f"{place}/members/{other.id}", json={"role": "viewer"}),
        other.client.patch(f"{place}/members/{user.id}", json={"role": "viewer"}),
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409])


async def test_admins_manage_members_and_only_owners_owners(user: Person, other: Person, make_user: MakeUser) -> None:
    place = f"/api/orgs/{await organization(user)}"
    third = await make_user()
    await join(user, other, place, "admin")
    await join(other, third, place, "viewer")
    path = f"{place}/members/{third.id}"
    assert (await other.client.patch(path, json={"role": "admin"})).status_code == 200
    assert code(await other.client.patch(path, json={"role": "owner"})) == (403, "forbidden")
    assert code(await other.client.patch(f"{place}/members/{user.id}", json={"role": "viewer"})) == (403, "forbidden")
    assert code(await other.client.delete(f"{place}/members/{user.id}")) == (403, "forbidden")
    assert code(await other.client.post(f"{place}/invitations", json={"role": "owner"})) == (403, "forbidden")
    assert (await other.client.delete(path)).status_code == 204
    assert code(await other.client.delete(path)) == (404, "not_found")


async def test_the_owner_of_a_project_cannot_leave_it_or_be_put_out(user: Person, other: Person) -> None:
    for project_id in (await project(user), await personal(user)):
        place = f"/api/projects/{project_id}"
        await join(user, other, place, "owner")
        for who in (user, other):
            assert code(await who.client.delete(f"{place}/members/{user.id}")) == (409, "invalid_state")
            changed = await who.client.patch(f"{place}/members/{user.id}", json={"role": "admin"})
            assert code(changed) == (409, "invalid_state")
        assert (await other.client.delete(f"{place}/members/{other.id}")).status_code == 204


async def test_who_leaves_sees_nothing_from_then_on(user: Person, other: Person) -> None:
    org_id = await organization(user)
    project_id = await project(user, organization_id=org_id)
    video = await add_row(user, project_id=uuid.UUID(project_id))
    await join(user, other, f"/api/orgs/{org_id}", "viewer")
    assert (await other.client.get(f"/api/videos/{video}")).status_code == 200
    members = (await other.client.get(f"/api/projects/{project_id}/members")).json()["members"]
    assert {(each["email"], each["inherited"]) for each in members} == {(user.email, True), (other.email, True)}
    assert (await other.client.delete(f"/api/orgs/{org_id}/members/{other.id}")).status_code == 204
    for path in (f"/api/videos/{video}", f"/api/projects/{project_id}", f"/api/orgs/{org_id}"):
        assert code(await other.client.get(path)) == (404, "not_found")


async def test_members_of_places_one_is_not_in_are_not_there(user: Person, other: Person) -> None:
    theirs = await organization(other)
    for path in (f"/api/orgs/{theirs}/members", f"/api/projects/{await personal(other)}/members"):
        assert code(await user.client.get(path)) == (404, "not_found")
    assert code(await user.client.delete(f"/api/orgs/{theirs}/members/{other.id}")) == (404, "not_found")
