"""Members and invitations in a browser, and the page an invitation's link leads to."""

import uuid
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from backend.core.db import SessionDep, transaction
from backend.core.errors import AppError, Forbidden
from backend.core.forms import checked, read_form
from backend.core.web import redirect, render
from backend.orgs import invitations, members
from backend.orgs.access import Actor, OptionalActor, PageActor, Permission
from backend.orgs.invitations import InvitationState, Shown, state_of, url_of
from backend.orgs.pages_frame import PlaceOfPage, base_of, frame_of, problem_of, render_tab
from backend.orgs.places import Place
from backend.orgs.roles import Role
from backend.orgs.schemas import InvitationForm, RoleIn

router = APIRouter(include_in_schema=False)


# --- members ---------------------------------------------------------------------------------------------------------


@router.get("/projects/{project_id}/members")
@router.get("/orgs/{organization_id}/members")
async def list_members(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Who is in, and who was invited."""
    return await _page(request, actor, place)


@router.post("/projects/{project_id}/members/{user_id}")
@router.post("/orgs/{organization_id}/members/{user_id}")
async def change_member(request: Request, place: PlaceOfPage, user_id: uuid.UUID, actor: PageActor) -> Response:
    """Give a member another role."""
    place.require(actor, Permission.MANAGE)
    values, problems = checked(RoleIn, await read_form(request))
    if values is None:
        return await _page(request, actor, place, problem=problems["role"], status=422)
    try:
        async with transaction() as session:
            await members.change_member(session, actor=actor, place=place, user_id=user_id, role=values.role)
    except AppError as error:
        return await _page(request, actor, place, problem=problem_of(error), status=error.status)
    return redirect(request, f"{base_of(place)}/members?done=role")


@router.post("/projects/{project_id}/members/{user_id}/remove")
@router.post("/orgs/{organization_id}/members/{user_id}/remove")
async def remove_member(request: Request, place: PlaceOfPage, user_id: uuid.UUID, actor: PageActor) -> Response:
    """Take somebody out, or leave."""
    try:
        async with transaction() as session:
            await members.remove_member(session, actor=actor, place=place, user_id=user_id)
    except AppError as error:
        return await _page(request, actor, place, problem=problem_of(error), status=error.status)
    if user_id == actor.user_id:
        return redirect(request, "/projects?done=left")
    return redirect(request, f"{base_of(place)}/members?done=removed")


# --- invitations -----------------------------------------------------------------------------------------------------


@router.post("/projects/{project_id}/invitations")
@router.post("/orgs/{organization_id}/invitations")
async def invite(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Make a link, which only this answer shows."""
    place.require(actor, Permission.MANAGE)
    form = await read_form(request)
    values, problems = checked(InvitationForm, form, optional=["email"])
    if values is None:
        return await _page(request, actor, place, asked="invite", form=form, problems=problems, status=422)
    async with transaction() as session:
        _, token = await invitations.invite(
            session,
            actor=actor,
            place=place,
            role=values.role,
            email=values.email or "",
            days=values.expires_in_days,
        )
    return await _page(request, actor, place, link=url_of(token), role=values.role, status=201)


@router.post("/projects/{project_id}/invitations/{invitation_id}/revoke")
@router.post("/orgs/{organization_id}/invitations/{invitation_id}/revoke")
async def revoke(
    request: Request, place: PlaceOfPage, invitation_id: uuid.UUID, actor: PageActor, session: SessionDep
) -> Response:
    """Take an invitation back."""
    await invitations.revoke(session, actor=actor, place=place, invitation_id=invitation_id)
    return redirect(request, f"{base_of(place)}/members?done=taken-back")


async def _page(
    request: Request,
    actor: Actor,
    place: Place,
    *,
    problem: str = "",
    status: int = 200,
    link: str = "",
    role: Role | None = None,
    **context: object,
) -> Response:
    async with transaction() as session:
        frame = await frame_of(session, actor, place, Permission.VIEW)
        people = await members.list_members(session, actor=actor, place=place)
        # Who has a role here and another by the organization is one member, with both.
        here = {member.user.id for member in people if not member.inherited}
        through = {member.user.id: member.role for member in people if member.inherited and member.user.id in here}
        people = [member for member in people if not (member.inherited and member.user.id in here)]
        invited = []
        if frame.may(Permission.MANAGE):
            found = await invitations.list_invitations(session, actor=actor, place=place)
            invited = [(invitation, user, state_of(invitation)) for invitation, user in found]
    return render_tab(
        request,
        "orgs/members.html",
        frame,
        "members",
        status=status,
        problem=problem,
        members=people,
        through=through,
        invitations=invited,
        may_give=[each for each in Role if frame.may(each.to_grant)],
        link=link,
        role=role,
        **context,
    )


# --- the link --------------------------------------------------------------------------------------------------------


@router.get("/invitations/{token}")
async def invitation(request: Request, token: str, actor: OptionalActor, session: SessionDep) -> Response:
    """Who invites to what; whoever is not logged in can do that here and comes back."""
    if actor is not None and actor.key is not None:
        raise Forbidden
    return _invitation(request, actor, await invitations.look(session, token=token), token)


@router.post("/invitations/{token}")
async def accept(request: Request, token: str, actor: PageActor) -> Response:
    """Become a member."""
    try:
        async with transaction() as session:
            shown = await invitations.accept(session, actor=actor, token=token)
    except AppError as error:
        problem = problem_of(error)
        async with transaction() as session:
            shown = await invitations.look(session, token=token)
        return _invitation(request, actor, shown, token, problem=problem, status=error.status)
    return redirect(request, f"{base_of(shown.place)}/members?done=joined")


def _invitation(
    request: Request, actor: Actor | None, shown: Shown, token: str, *, problem: str = "", status: int = 200
) -> Response:
    place = shown.place
    roles = {} if actor is None else actor.roles if place.kind == "project" else actor.org_roles
    return render(
        request,
        "orgs/invitation.html",
        status=status,
        page="projects",
        shown=shown,
        open=shown.state is InvitationState.OPEN,
        member=place.id in roles,
        base=base_of(place),
        path=f"/invitations/{token}",
        next=quote(f"/invitations/{token}", safe=""),
        problem=problem,
    )
