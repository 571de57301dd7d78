"""Invitations: one link, one use, and an end."""

import asyncio
import uuid

from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.orgs.models import AuditEntry, Invitation
from tests.conftest import MakeUser, Person
from tests.orgs.acting import code, join, made, organization, personal, project


async def test_a_link_says_what_it_is_for_and_makes_a_member_once(
    user: Person, other: Person, make_user: MakeUser
) -> None:
    org_id = await organization(user, "Film club")
    body = {"role": "editor", "email": "Eve@Example.org"}
    new = await made(await user.client.post(f"/api/orgs/{org_id}/invitations", json=body))
    assert new["url"].endswith(f"/invitations/{new['token']}")
    path = f"/api/invitations/{new['token']}"
    shown = (await other.client.get(path)).json()
    assert (shown["name"], shown["role"], shown["state"]) == ("Film club", "editor", "open")
    for _ in range(2):
        accepted = await other.client.post(f"{path}/accept")
        assert (accepted.status_code, accepted.json()["id"]) == (200, org_id)
    third = await make_user()
    assert code(await third.client.post(f"{path}/accept")) == (410, "invitation_gone")
    assert (await other.client.get(f"/api/orgs/{org_id}")).json()["role"] == "editor"
    listed = (await user.client.get(f"/api/orgs/{org_id}/invitations")).json()["invitations"]
    assert [(each["state"], each["email"]) for each in listed] == [("accepted", "Eve@example.org")]
    assert "token" not in listed[0]
    async with transaction() as session:
        entries = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all()
    assert [entry.action for entry in entries] == ["organization.create", "invitation.create", "invitation.accept"]
    assert {str(entry.organization_id) for entry in entries} == {org_id}
    assert not any(new["token"] in str(entry.detail) for entry in entries)


async def test_of_many_who_open_a_link_at_once_one_becomes_a_member(user: Person, make_user: MakeUser) -> None:
    org_id = await organization(user)
    people = [await make_user() for _ in range(4)]
    new = await made(await user.client.post(f"/api/orgs/{org_id}/invitations", json={}))
    answers = await asyncio.gather(*(each.client.post(f"/api/invitations/{new['token']}/accept") for each in people))
    assert sorted(answer.status_code for answer in answers) == [200, 410, 410, 410]
    assert len((await user.client.get(f"/api/orgs/{org_id}/members")).json()["members"]) == 2


async def test_a_link_ends_with_its_time_and_when_it_is_taken_back(user: Person, other: Person) -> None:
    project_id = await project(user)
    path = f"/api/projects/{project_id}/invitations"
    expired, revoked = [await made(await user.client.post(path, json={})) for _ in range(2)]
    async with transaction() as session:
        old = update(Invitation).where(Invitation.id == uuid.UUID(expired["id"]))
        await session.execute(old.values(expires_at=func.now()))
    assert [(await user.client.delete(f"{path}/{revoked['id']}")).status_code for _ in range(2)] == [204, 204]
    for each, state in ((expired, "expired"), (revoked, "revoked")):
        assert (await other.client.get(f"/api/invitations/{each['token']}")).json()["state"] == state
        assert code(await other.client.post(f"/api/invitations/{each['token']}/accept")) == (410, "invitation_gone")
    assert code(await other.client.get(f"/api/projects/{project_id}")) == (404, "not_found")


async def test_a_link_falls_with_the_rights_of_whoever_made_it(
    user: Person, other: Person, make_user: MakeUser
) -> None:
    place = f"/api/orgs/{await organization(user)}"
    await join(user, other, place, "admin")
    kept = await made(await other.client.post(f"{place}/invitations", json={"role": "admin"}))
    await user.client.delete(f"{place}/members/{other.id}")
    for person in (other, await make_user()):
        assert code(await person.client.post(f"/api/invitations/{kept['token']}/accept")) == (410, "invitation_gone")


async def test_links_that_fell_with_a_role_are_shown_so_and_do_not_come_back_with_it(
    user: Person, other: Person
) -> None:
    org_id = await organization(user)
    place = f"/api/orgs/{org_id}"
    inside = f"/api/projects/{await project(user, organization_id=org_id)}"
    await join(user, other, place, "owner")
    new = {
        (path, role): await made(await other.client.post(f"{path}/invitations", json={"role": role}))
        for path in (place, inside)
        for role in ("viewer", "owner")
    }

    async def states() -> dict[tuple[str, str], str]:
        async def state(token: str) -> str:
            return str((await user.client.get(f"/api/invitations/{token}")).json()["state"])

        return {each: await state(invitation["token"]) for each, invitation in new.items()}

    for role in ("admin", "owner"):  # who is an owner again made none of these as one
        assert (await user.client.patch(f"{place}/members/{other.id}", json={"role": role})).status_code == 200
        assert await states() == {each: "revoked" if each[1] == "owner" else "open" for each in new}
    await user.client.patch(f"{place}/members/{other.id}", json={"role": "editor"})
    assert set((await states()).values()) == {"revoked"}
    log = (await user.client.get(f"{place}/audit")).json()["entries"]
    ended = [each["detail"].get("invitations_revoked", 0) for each in log if each["action"] == "member.role"]
    assert ended == [2, 0, 2]


async def test_who_was_put_out_does_not_come_back_by_the_old_link(user: Person, other: Person) -> None:
    place = f"/api/orgs/{await organization(user)}"
    new = await made(await user.client.post(f"{place}/invitations", json={"role": "viewer"}))
    assert (await other.client.post(f"/api/invitations/{new['token']}/accept")).status_code == 200
    await user.client.delete(f"{place}/members/{other.id}")
    assert code(await other.client.post(f"/api/invitations/{new['token']}/accept")) == (410, "invitation_gone")


async def test_a_member_who_opens_a_link_keeps_the_higher_role(user: Person, other: Person) -> None:
    place = f"/api/orgs/{await organization(user)}"
    for role, then in (("editor", "editor"), ("viewer", "editor"), ("admin", "admin")):
        await join(user, other, place, role)
        assert (await other.client.get(place)).json()["role"] == then


async def test_unknown_links_and_those_of_deleted_projects_are_not_there(user: Person, other: Person) -> None:
    project_id = await project(user)
    new = await made(await user.client.post(f"/api/projects/{project_id}/invitations", json={}))
    await user.client.delete(f"/api/projects/{project_id}")
    for token in (new["token"], "nonsense", "x" * 201):
        assert code(await other.client.get(f"/api/invitations/{token}")) == (404, "not_found")
        assert code(await other.client.post(f"/api/invitations/{token}/accept")) == (404, "not_found")


async def test_who_may_not_manage_invites_nobody(user: Person, other: Person) -> None:
    project_id = await personal(user)
    path = f"/api/projects/{project_id}/invitations"
    assert code(await other.client.post(path, json={})) == (404, "not_found")
    await join(user, other, f"/api/projects/{project_id}", "editor")
    for answer in (await other.client.post(path, json={}), await other.client.get(path)):
        assert code(answer) == (403, "forbidden")
    for wrong in ({"role": "king"}, {"email": "nobody"}, {"expires_in_days": 0}, {"expires_in_days": 91}):
        assert code(await user.client.post(path, json=wrong)) == (422, "validation_failed")
