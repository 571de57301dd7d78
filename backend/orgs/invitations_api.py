"""Invitations, for whoever has the link."""

from typing import Annotated

from fastapi import APIRouter, Path

from backend.core.db import SessionDep
from backend.core.web import errors
from backend.orgs import invitations
from backend.orgs.access import PersonActor
from backend.orgs.schemas import AcceptedOut, InvitationShownOut
from backend.orgs.shapes import invitation_shown

router = APIRouter(prefix="/api/invitations", tags=["invitations"])

Token = Annotated[str, Path(max_length=200)]


@router.get("/{token}", responses=errors(401, 403, 404, 422, 503))
async def show(token: Token, actor: PersonActor, session: SessionDep) -> InvitationShownOut:
    """What one is invited to, and whether the invitation still stands."""
    return invitation_shown(await invitations.look(session, token=token))


@router.post("/{token}/accept", responses=errors(401, 403, 404, 410, 422, 503))
async def accept(token: Token, actor: PersonActor, session: SessionDep) -> AcceptedOut:
    """Become a member. Once: for everybody else the link has ended (410 `invitation_gone`)."""
    shown = await invitations.accept(session, actor=actor, token=token)
    return AcceptedOut(kind=shown.place.kind, id=shown.place.id, name=shown.name)
