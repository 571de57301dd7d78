"""Organizations for programs that act for a person. Keys belong to a project, and reach none of this."""

import uuid

from fastapi import APIRouter

from backend.core.db import SessionDep
from backend.core.web import errors
from backend.orgs import audit, invitations, members, organizations
from backend.orgs.access import PersonActor
from backend.orgs.api import Before, Limit
from backend.orgs.places import Place
from backend.orgs.schemas import (
    DeedsOut,
    InvitationIn,
    InvitationMadeOut,
    InvitationsOut,
    MemberOut,
    MembersOut,
    NameIn,
    OrganizationOut,
    OrganizationsOut,
    RoleIn,
)
from backend.orgs.shapes import deeds_out, invitation_out, member_out, organization_out

router = APIRouter(prefix="/api/orgs", tags=["organizations"])


@router.get("", responses=errors(401, 403, 503))
async def list_organizations(actor: PersonActor, session: SessionDep) -> OrganizationsOut:
    """The organizations one is in."""
    found = await organizations.list_organizations(session, actor=actor)
    return OrganizationsOut(organizations=[organization_out(each, actor) for each in found])


@router.post("", status_code=201, responses=errors(400, 401, 403, 413, 415, 422, 503))
async def create_organization(body: NameIn, actor: PersonActor, session: SessionDep) -> OrganizationOut:
    """Whoever makes one is its owner."""
    made = await organizations.create_organization(session, actor=actor, name=body.name)
    return organization_out(made, actor)


@router.get("/{organization_id}", responses=errors(401, 403, 404, 422, 503))
async def get_organization(organization_id: uuid.UUID, actor: PersonActor, session: SessionDep) -> OrganizationOut:
    found = await organizations.get_organization(session, actor=actor, organization_id=organization_id)
    return organization_out(found, actor)


@router.patch("/{organization_id}", responses=errors(400, 401, 403, 404, 413, 415, 422, 503))
async def rename_organization(
    organization_id: uuid.UUID, body: NameIn, actor: PersonActor, session: SessionDep
) -> OrganizationOut:
    renamed = await organizations.rename_organization(
        session, actor=actor, organization_id=organization_id, name=body.name
    )
    return organization_out(renamed, actor)


@router.delete("/{organization_id}", status_code=204, responses=errors(401, 403, 404, 409, 422, 503))
async def delete_organization(organization_id: uuid.UUID, actor: PersonActor, session: SessionDep) -> None:
    """For owners; one that has projects answers 409."""
    await organizations.delete_organization(session, actor=actor, organization_id=organization_id)


# --- members ---------------------------------------------------------------------------------------------------------


@router.get("/{organization_id}/members", responses=errors(401, 403, 404, 422, 503))
async def list_members(organization_id: uuid.UUID, actor: PersonActor, session: SessionDep) -> MembersOut:
    found = await members.list_members(session, actor=actor, place=Place.organization(organization_id))
    return MembersOut(members=[member_out(member) for member in found])


@router.patch("/{organization_id}/members/{user_id}", responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503))
async def change_member(
    organization_id: uuid.UUID, user_id: uuid.UUID, body: RoleIn, actor: PersonActor, session: SessionDep
) -> MemberOut:
    """Give a member another role, in all the organization's projects. The last owner stays one."""
    place = Place.organization(organization_id)
    changed = await members.change_member(session, actor=actor, place=place, user_id=user_id, role=body.role)
    return member_out(changed)


@router.delete("/{organization_id}/members/{user_id}", status_code=204, responses=errors(401, 403, 404, 409, 422, 503))
async def remove_member(
    organization_id: uuid.UUID, user_id: uuid.UUID, actor: PersonActor, session: SessionDep
) -> None:
    """Take somebody out, or leave oneself. The last owner stays."""
    await members.remove_member(session, actor=actor, place=Place.organization(organization_id), user_id=user_id)


# --- invitations -----------------------------------------------------------------------------------------------------


@router.get("/{organization_id}/invitations", responses=errors(401, 403, 404, 422, 503))
async def list_invitations(organization_id: uuid.UUID, actor: PersonActor, session: SessionDep) -> InvitationsOut:
    found = await invitations.list_invitations(session, actor=actor, place=Place.organization(organization_id))
    return InvitationsOut(invitations=[invitation_out(invitation, user.email) for invitation, user in found])


@router.post(
    "/{organization_id}/invitations", status_code=201, responses=errors(400, 401, 403, 404, 413, 415, 422, 503)
)
async def invite(
    organization_id: uuid.UUID, body: InvitationIn, actor: PersonActor, session: SessionDep
) -> InvitationMadeOut:
    """Make a link that whoever opens it first becomes a member with. It is shown once."""
    invitation, token = await invitations.invite(
        session,
        actor=actor,
        place=Place.organization(organization_id),
        role=body.role,
        email=body.email or "",
        days=body.expires_in_days,
    )
    shown = invitation_out(invitation, actor.user.email).model_dump()
    return InvitationMadeOut(**shown, token=token, url=invitations.url_of(token))


@router.delete(
    "/{organization_id}/invitations/{invitation_id}",
    status_code=204,
    responses=errors(401, 403, 404, 422, 503),
)
async def revoke_invitation(
    organization_id: uuid.UUID, invitation_id: uuid.UUID, actor: PersonActor, session: SessionDep
) -> None:
    """Take a link back. Who is a member already stays one."""
    place = Place.organization(organization_id)
    await invitations.revoke(session, actor=actor, place=place, invitation_id=invitation_id)


# --- the audit log ---------------------------------------------------------------------------------------------------


@router.get("/{organization_id}/audit", responses=errors(401, 403, 404, 422, 503))
async def list_audit(
    organization_id: uuid.UUID, actor: PersonActor, session: SessionDep, before: Before = None, limit: Limit = 50
) -> DeedsOut:
    """Who did what in the organization and its projects, newest first, for those who manage it."""
    place = Place.organization(organization_id)
    return deeds_out(await audit.of_place(session, actor=actor, place=place, limit=limit + 1, before=before), limit)
