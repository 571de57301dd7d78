"""Who asks and what they may do where: the only door to rows that belong to a project.

A row is loaded through `visible` or `get_visible`, so what one may not see cannot be told from what is not there.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import Depends, Request
from sqlalchemy import ARRAY, Select, Uuid, any_, bindparam, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import make_transient_to_detached

from backend.accounts import access as accounts_access
from backend.accounts.access import ask_to_sign_in
from backend.accounts.models import User
from backend.accounts.sessions import Found, Identity, Question, Sign, Via, recognise, sign_of, still_live
from backend.core import openapi
from backend.core.db import Base, autocommit
from backend.core.direct import Direct
from backend.core.errors import Forbidden, NotFound, Unauthenticated
from backend.orgs import credentials
from backend.orgs.credentials import KeyInUse, KeyRefused
from backend.orgs.models import Project
from backend.orgs.roles import OF_SCOPE, PERMISSIONS, Permission, Role
from backend.orgs.standings import Named, Standing, load_standing, memberships, standings_of

__all__ = [
    "Actor",
    "AdminActor",
    "AdminPageActor",
    "AuditorActor",
    "AuditorPageActor",
    "CurrentActor",
    "KeyInUse",
    "Named",
    "OptionalActor",
    "PageActor",
    "Permission",
    "PersonActor",
    "Proof",
    "Role",
    "get_visible",
    "identify",
    "load_actor",
    "load_standing",
    "reload",
    "require",
    "require_in",
    "visible",
]

M = TypeVar("M", bound=Base)


class Proof(NamedTuple):
    """By what an actor was recognised: it can be looked at again, to see whether it still counts."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    key_id: uuid.UUID | None
    via: Via


@dataclass(frozen=True)
class Actor(Identity):
    """Who sends a request, and what they are where.

    A request with a key is its maker's (`user`), can do what its scopes and its maker's role allow in the key's
    project, and nothing anywhere else; `session_id` is then the key's id.
    """

    personal_project_id: uuid.UUID  #: where things go when no project is named; with a key, the key's project
    roles: Mapping[uuid.UUID, Role] = field(default_factory=dict)  #: by project
    org_roles: Mapping[uuid.UUID, Role] = field(default_factory=dict)  #: by organization
    org_features: Mapping[uuid.UUID, frozenset[str]] = field(default_factory=dict)
    names: Mapping[uuid.UUID, Named] = field(default_factory=dict)  #: of the projects
    key: KeyInUse | None = None

    def within(self, project_id: uuid.UUID) -> "Actor":
        """The same actor, looking at nothing but one project. Raises NotFound."""
        if not self.may(Permission.VIEW, project_id):
            raise NotFound
        return replace(self, roles={project_id: self.roles[project_id]})

    def may(self, permission: Permission, project_id: uuid.UUID) -> bool:
        """Whether the actor may do this in the project."""
        role = self.roles.get(project_id)
        return role is not None and permission in PERMISSIONS[role] and self.in_scope(permission)

    def may_in(self, permission: Permission, organization_id: uuid.UUID) -> bool:
        """Whether the actor may do this in the organization; with a key, nothing."""
        role = self.org_roles.get(organization_id)
        return role is not None and permission in PERMISSIONS[role]

    def projects(self, permission: Permission) -> tuple[uuid.UUID, ...]:
        """The projects in which the actor may do this."""
        return tuple(sorted(project_id for project_id in self.roles if self.may(permission, project_id)))

    @cached_property
    def project_ids(self) -> tuple[uuid.UUID, ...]:
        """The projects whose rows the actor may see."""
        return self.projects(Permission.VIEW)

    def has_feature(self, name: str, organization_id: uuid.UUID | None = None) -> bool:
        """Whether a feature is on: for this person, or for this organization of theirs (None: for any of them)."""
        given = self.org_features.values() if organization_id is None else [self.org_features.get(organization_id, ())]
        return name in self.user.features or any(name in features for features in given)

    @property
    def is_admin(self) -> bool:
        """Whether an admin asks in person: a key has nothing of its maker's roles in the platform."""
        return self.key is None and self.user.is_admin

    @property
    def may_audit(self) -> bool:
        """The same for the pages of admins, to look at."""
        return self.key is None and self.user.may_audit

    @property
    def proof(self) -> Proof:
        return Proof(self.user_id, self.session_id, self.key.id if self.key else None, self.via)

    def in_scope(self, permission: Permission) -> bool:
        """Whether what the request came with is for this: a key's scopes are, a person's session is for all."""
        return self.key is None or any(permission in OF_SCOPE[scope] for scope in self.key.scopes)


# --- the request's actor ---------------------------------------------------------------------------------------------


@openapi.proved_by(*openapi.ANYBODY)
async def _current(request: Request) -> Actor:
    # A connection of its own: it is given back before the route starts, and a stream holds none.
    key = credentials.sent_with(request)
    if key is not None:
        async with autocommit() as session:
            actor = await _actor_of_key(session, key)
    else:
        sign = sign_of(request)
        if sign is None:
            raise Unauthenticated
        actor = await _actor_of_sign(sign)
    request.state.actor = actor
    return actor


# The routes of the API that use it are pages as well, and refuse by themselves whoever wants JSON and is nobody.
@openapi.proved_by(*openapi.ANYBODY)
async def identify(request: Request) -> Actor | None:
    """Whoever sends the request, also noted in `request.state.actor`; None when nobody is logged in."""
    try:
        return await _current(request)
    except Unauthenticated:
        return None


async def _page(request: Request) -> Actor:
    try:
        actor = await _current(request)
    except KeyRefused:
        raise
    except Unauthenticated:
        ask_to_sign_in(request)
    return await _person(actor)


#: Whoever is signed in, or sends a key; 401 when nobody is.
CurrentActor = Annotated[Actor, Depends(_current)]
#: Whoever is signed in, or sends a key, or None.
OptionalActor = Annotated[Actor | None, Depends(identify)]


@openapi.proved_by(*openapi.PERSON)
async def _person(actor: CurrentActor) -> Actor:
    return _must_be(actor, actor.key is None)


#: Whoever is signed in; 401 when nobody is, 403 for keys.
PersonActor = Annotated[Actor, Depends(_person)]
#: Whoever is signed in; for pages: the browser is sent to the login page when nobody is, and back afterwards.
PageActor = Annotated[Actor, Depends(_page)]


async def _admin(actor: PersonActor) -> Actor:
    return _must_be(actor, actor.is_admin)


async def _auditor(actor: PersonActor) -> Actor:
    return _must_be(actor, actor.may_audit)


async def _admin_page(actor: PageActor) -> Actor:
    return _must_be(actor, actor.is_admin)


async def _auditor_page(actor: PageActor) -> Actor:
    return _must_be(actor, actor.may_audit)


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


async def _came_with_key(session: AsyncSession, request: Request) -> bool:
    key = credentials.sent_with(request)
    if key is not None:
        await _actor_of_key(session, key)
    return key is not None


accounts_access.no_person.append(_came_with_key)


# --- what they are where ---------------------------------------------------------------------------------------------


async def load_actor(session: AsyncSession, identity: Identity) -> Actor:
    """The identity with what it is where."""
    standings = await standings_of(session, [identity.user_id])
    return _as_person(identity, standings[identity.user_id])


accounts_access.make_more.append(load_actor)


#: An array, not a list of parameters, which would be another statement for each number of them.
_USERS = select(User).where(User.id == any_(bindparam("ids", type_=ARRAY(Uuid()))))


async def reload(session: AsyncSession, proofs: Sequence[Proof]) -> dict[Proof, Actor]:
    """The actors as they are now, for streams; those whose session or key has ended are not among them."""
    live = await still_live(session, [proof.session_id for proof in proofs if proof.key_id is None])
    keys = await credentials.still_good(session, [proof.key_id for proof in proofs if proof.key_id is not None])
    wanted = {"ids": list({proof.user_id for proof in proofs})}
    users = {user.id: user for user in await session.scalars(_USERS, wanted)}
    standings = await standings_of(session, users)
    actors = {}
    for proof in proofs:
        user = users.get(proof.user_id)
        actor = None
        if user and proof.key_id in keys:
            actor = _with_key(user, keys[proof.key_id], standings[user.id])
        elif user and proof.key_id is None and proof.session_id in live:
            identity = Identity(user=user, session_id=proof.session_id, via=proof.via)
            actor = _as_person(identity, standings[user.id])
        if actor is not None:
            actors[proof] = actor
    return actors


async def _actor_of_sign(sign: Sign) -> Actor:
    # Who it is and what they are where, at once: each request asks.
    rows = await _with_memberships(sign.question).rows(sign.sent)
    if not rows:
        raise Unauthenticated
    user = User(**{name: rows[0][name] for name in _OF_USER})
    make_transient_to_detached(user)
    found = Found(user, *rows[0][len(_OF_USER) : len(_OF_USER) + 4])
    standing = Standing()
    for row in rows:
        if row["user_id"] is not None:
            standing.note(row)
    return _as_person(await recognise(sign.via, found), standing)


_OF_USER = User.__mapper__.column_attrs.keys()


@cache
def _with_memberships(question: Question) -> Direct:
    theirs = memberships(User.id).lateral("memberships")
    joined: Select[Any] = question.join(theirs, true(), isouter=True).add_columns(*theirs.c)
    return Direct(joined)


async def _actor_of_key(session: AsyncSession, text: str) -> Actor:
    user, key = await credentials.recognise(session, text)
    actor = _with_key(user, key, (await standings_of(session, [user.id]))[user.id])
    if actor is None:
        raise KeyRefused
    return actor


def _as_person(identity: Identity, standing: Standing) -> Actor:
    assert standing.personal is not None
    return Actor(
        user=identity.user,
        session_id=identity.session_id,
        via=identity.via,
        personal_project_id=standing.personal,
        roles=standing.roles,
        org_roles=standing.org_roles,
        org_features=standing.org_features,
        names=standing.names,
    )


def _with_key(user: User, key: KeyInUse, standing: Standing) -> Actor | None:
    role = standing.roles.get(key.project_id)
    if role is None:  # its maker has left, or the project is gone
        return None
    return Actor(
        user=user,
        session_id=key.id,
        via="key",
        personal_project_id=key.project_id,
        roles={key.project_id: role},
        org_features=standing.org_features,
        names=standing.names,
        key=key,
    )


# --- permissions -----------------------------------------------------------------------------------------------------


def require(actor: Actor, permission: Permission, project_id: uuid.UUID) -> None:
    """Raises NotFound: for a project the actor does not see; Forbidden: for one in which the actor may not do this."""
    if not actor.may(Permission.VIEW, project_id):
        raise NotFound
    if not actor.may(permission, project_id):
        raise Forbidden


def require_in(actor: Actor, permission: Permission, organization_id: uuid.UUID) -> None:
    """The same for an organization."""
    if not actor.may_in(Permission.VIEW, organization_id):
        raise NotFound
    if not actor.may_in(permission, organization_id):
        raise Forbidden


# --- the rows --------------------------------------------------------------------------------------------------------


def visible(model: type[M], actor: Actor, permission: Permission = Permission.VIEW) -> Select[M]:
    """A query for the rows of `model` in projects where the actor may do this; what is deleted is not there."""
    columns: Any = model
    project_ids = actor.project_ids if permission is Permission.VIEW else actor.projects(permission)
    query = select(model).where((columns.id if model is Project else columns.project_id).in_(project_ids))
    if hasattr(model, "deleted_at"):
        query = query.where(columns.deleted_at.is_(None))
    return query


async def get_visible(
    session: AsyncSession,
    model: type[M],
    actor: Actor,
    id: uuid.UUID,
    *,
    permission: Permission = Permission.VIEW,
    for_update: bool = False,
    project_id: uuid.UUID | None = None,
) -> M:
    """One row by its id, locked when asked; with `project_id` one of that project, and no other is there.

    Raises NotFound: when it is not there, or not the actor's to see; Forbidden: when the actor sees it, and may not do
    this in its project.
    """
    columns: Any = model
    query = visible(model, actor).where(columns.id == id)
    if project_id is not None:
        require(actor, permission, project_id)
        query = query.where(columns.project_id == project_id)
    row: M | None = await session.scalar(query.with_for_update() if for_update else query)
    if row is None:
        raise NotFound
    found: Any = row
    require(actor, permission, found.id if model is Project else found.project_id)
    return row
