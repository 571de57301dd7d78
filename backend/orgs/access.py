"""Who asks and what they may reach: the only door to rows that belong to a project.

A row is loaded through `visible` or `get_visible`, so what one may not see cannot be told from what is not there.
"""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.access import ask_to_sign_in
from backend.accounts.sessions import Identity, authenticate
from backend.core.db import Base, transaction
from backend.core.errors import Forbidden, NotFound, Unauthenticated
from backend.orgs.models import Project, ProjectMember

M = TypeVar("M", bound=Base)


@dataclass(frozen=True)
class Actor(Identity):
    """Who sends a request, and the projects they are a member of."""

    project_ids: tuple[uuid.UUID, ...]
    personal_project_id: uuid.UUID


# --- the request's actor ---------------------------------------------------------------------------------------------


async def _current(request: Request) -> Actor:
    # A transaction of its own: it is over before the route starts, and a stream holds none.
    async with transaction() as session:
        identity = await authenticate(session, request)
        if identity is None:
            raise Unauthenticated
        actor = await load_actor(session, identity)
    request.state.actor = actor
    return actor


async def identify(request: Request) -> Actor | None:
    """Whoever sends the request, also noted in `request.state.actor`; None when nobody is logged in."""
    try:
        return await _current(request)
    except Unauthenticated:
        return None


async def _page(request: Request) -> Actor:
    try:
        return await _current(request)
    except Unauthenticated:
        ask_to_sign_in(request)


#: Whoever is signed in; 401 when nobody is.
CurrentActor = Annotated[Actor, Depends(_current)]
#: Whoever is signed in, or None.
OptionalActor = Annotated[Actor | None, Depends(identify)]
#: Whoever is signed in; for pages: the browser is sent to the login page when nobody is, and back afterwards.
PageActor = Annotated[Actor, Depends(_page)]


async def _admin(actor: CurrentActor) -> Actor:
    return _must_be(actor, actor.is_admin)


async def _auditor(actor: CurrentActor) -> Actor:
    return _must_be(actor, actor.user.may_audit)


async def _admin_page(actor: PageActor) -> Actor:
    return _must_be(actor, actor.is_admin)


async def _auditor_page(actor: PageActor) -> Actor:
    return _must_be(actor, actor.user.may_audit)


def _must_be(actor: Actor, allowed: bool) -> Actor:
    if not allowed:
        raise Forbidden
    return actor


#: An admin; 401 when nobody is signed in, 403 for everybody else. For all that changes something.
AdminActor = Annotated[Actor, Depends(_admin)]
#: An admin or an auditor. For looking only.
AuditorActor = Annotated[Actor, Depends(_auditor)]
#: The same two for pages: who is not signed in is sent to the login page.
AdminPageActor = Annotated[Actor, Depends(_admin_page)]
AuditorPageActor = Annotated[Actor, Depends(_auditor_page)]


async def load_actor(session: AsyncSession, identity: Identity) -> Actor:
    """The identity with the projects it may reach."""
    rows = (
        await session.execute(
            select(ProjectMember.project_id, Project.personal, Project.owner_id)
            .join(Project, Project.id == ProjectMember.project_id)
            .where(ProjectMember.user_id == identity.user_id)
        )
    ).all()
    personal = next(row.project_id for row in rows if row.personal and row.owner_id == identity.user_id)
    return Actor(
        user=identity.user,
        session_id=identity.session_id,
        via=identity.via,
        project_ids=tuple(sorted(row.project_id for row in rows)),
        personal_project_id=personal,
    )


# --- the rows --------------------------------------------------------------------------------------------------------


def visible(model: type[M], actor: Actor) -> Select[M]:
    """A query for the rows of `model` that the actor may see; what is deleted is not there."""
    columns: Any = model
    query = select(model).where((columns.id if model is Project else columns.project_id).in_(actor.project_ids))
    if hasattr(model, "deleted_at"):
        query = query.where(columns.deleted_at.is_(None))
    return query


async def get_visible(
    session: AsyncSession, model: type[M], actor: Actor, id: uuid.UUID, *, for_update: bool = False
) -> M:
    """One row by its id, locked when asked. Raises NotFound: when it is not there, or not the actor's to see."""
    columns: Any = model
    query = visible(model, actor).where(columns.id == id)
    row: M | None = await session.scalar(query.with_for_update() if for_update else query)
    if row is None:
        raise NotFound
    return row
