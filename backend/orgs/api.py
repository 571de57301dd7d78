"""Projects for programs, and who is in them."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from backend.core.db import SessionDep
from backend.core.web import errors
from backend.orgs import audit, invitations, members, service
from backend.orgs.access import CurrentActor, PersonActor, get_visible
from backend.orgs.models import Project
from backend.orgs.places import Place
from backend.orgs.schemas import (
    DeedsOut,
    InvitationIn,
    InvitationMadeOut,
    InvitationsOut,
    MemberOut,
    MembersOut,
    NameIn,
    ProjectIn,
    ProjectOut,
    ProjectsOut,
    RoleIn,
)
from backend.orgs.shapes import deeds_out, invitation_out, member_out, project_out

router = APIRouter(tags=["projects"])

Before = Annotated[int | None, Query(ge=1, lt=2**63)]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/api/projects", responses=errors(401, 503))
async def list_projects(actor: CurrentActor, session: SessionDep) -> ProjectsOut:
    """The projects one may reach, the personal one first. With a key: its project."""
    projects = await service.list_projects(session, actor=actor)
    return ProjectsOut(projects=[project_out(project, actor) for project in projects])


@router.post("/api/projects", status_code=201, responses=errors(400, 401, 403, 413, 415, 422, 503))
async def create_project(body: ProjectIn, actor: PersonActor, session: SessionDep) -> ProjectOut:
    """One's own, or an organization's where one manages it."""
    project = await service.create_project(session, actor=actor, name=body.name, organization_id=body.organization_id)
    return project_out(project, actor)


@router.get("/api/projects/{project_id}", responses=errors(401, 404, 422, 503))
async def get_project(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> ProjectOut:
    return project_out(await get_visible(session, Project, actor, project_id), actor)


@router.patch("/api/projects/{project_id}", responses=errors(400, 401, 403, 404, 413, 415, 422, 503))
async def rename_project(project_id: uuid.UUID, body: NameIn, actor: CurrentActor, session: SessionDep) -> ProjectOut:
    """For those who manage it."""
    project = await service.rename_project(session, actor=actor, project_id=project_id, name=body.name)
    return project_out(project, actor)


@router.delete("/api/projects/{project_id}", status_code=204, responses=errors(401, 403, 404, 409, 422, 503))
async def delete_project(project_id: uuid.UUID, actor: PersonActor, session: SessionDep) -> None:
    """For owners. It is out of sight at once with all that is in it, which is then removed for good."""
    await service.delete_project(session, actor=actor, project_id=project_id)


# --- members ---------------------------------------------------------------------------------------------------------


@router.get("/api/projects/{project_id}/members", responses=errors(401, 404, 422, 503))
async def list_members(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> MembersOut:
    found = await members.list_members(session, actor=actor, place=Place.project(project_id))
    return MembersOut(members=[member_out(member) for member in found])


@router.patch(
    "/api/projects/{project_id}/members/{user_id}", responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503)
)
async def change_member(
    project_id: uuid.UUID, user_id: uuid.UUID, body: RoleIn, actor: PersonActor, session: SessionDep
) -> MemberOut:
    """Give a member of this project another role. Only owners make owners. It counts from the next request on."""
    place = Place.project(project_id)
    changed = await members.change_member(session, actor=actor, place=place, user_id=user_id, role=body.role)
    return member_out(changed)


@router.delete(
    "/api/projects/{project_id}/members/{user_id}", status_code=204, responses=errors(401, 403, 404, 409, 422, 503)
)
async def remove_member(project_id: uuid.UUID, user_id: uuid.UUID, actor: PersonActor, session: SessionDep) -> None:
    """Take somebody out of the project, or leave it oneself. What they see of it ends at once, and so do their keys."""
    await members.remove_member(session, actor=actor, place=Place.project(project_id), user_id=user_id)


# --- invitations -----------------------------------------------------------------------------------------------------


@router.get("/api/projects/{project_id}/invitations", responses=errors(401, 403, 404, 422, 503))
async def list_invitations(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> InvitationsOut:
    found = await invitations.list_invitations(session, actor=actor, place=Place.project(project_id))
    return InvitationsOut(invitations=[invitation_out(invitation, user.email) for invitation, user in found])


@router.post(
    "/api/projects/{project_id}/invitations",
    status_code=201,
    responses=errors(400, 401, 403, 404, 413, 415, 422, 503),
)
async def invite(
    project_id: uuid.UUID, body: InvitationIn, actor: PersonActor, session: SessionDep
) -> InvitationMadeOut:
    """Make a link that whoever opens it first becomes a member with. It is shown once."""
    invitation, token = await invitations.invite(
        session,
        actor=actor,
        place=Place.project(project_id),
        role=body.role,
        email=body.email or "",
        days=body.expires_in_days,
    )
    shown = invitation_out(invitation, actor.user.email).model_dump()
    return InvitationMadeOut(**shown, token=token, url=invitations.url_of(token))


@router.delete(
    "/api/projects/{project_id}/invitations/{invitation_id}",
    status_code=204,
    responses=errors(401, 403, 404, 422, 503),
)
async def revoke_invitation(
    project_id: uuid.UUID, invitation_id: uuid.UUID, actor: PersonActor, session: SessionDep
) -> None:
    """Take a link back. Who is a member already stays one."""
    place = Place.project(project_id)
    await invitations.revoke(session, actor=actor, place=place, invitation_id=invitation_id)


# --- the audit log ---------------------------------------------------------------------------------------------------


@router.get("/api/projects/{project_id}/audit", responses=errors(401, 403, 404, 422, 503))
async def list_audit(
    project_id: uuid.UUID, actor: CurrentActor, session: SessionDep, before: Before = None, limit: Limit = 50
) -> DeedsOut:
    """Who did what in the project, newest first, for those who manage it."""
    place = Place.project(project_id)
    return deeds_out(await audit.of_place(session, actor=actor, place=place, limit=limit + 1, before=before), limit)
