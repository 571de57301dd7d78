"""What all pages of a project or an organization have around them: its name, its tabs, and what was just done."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import AppError, NotFound, ValidationFailed
from backend.core.web import render
from backend.orgs import chosen, words  # noqa: F401  # templates need both
from backend.orgs.access import Actor, Permission, get_visible
from backend.orgs.models import Project
from backend.orgs.organizations import get_organization
from backend.orgs.places import Place
from backend.orgs.roles import Role

#: Tabs by what one needs to see them.
_PROJECT = (
    ("members", "Members", Permission.VIEW),
    ("keys", "API keys", Permission.MANAGE),
    ("webhooks", "Webhooks", Permission.MANAGE),
    ("cms", "CMS", Permission.MANAGE),
    ("activity", "Activity", Permission.MANAGE),
    ("settings", "Settings", Permission.MANAGE),
)
_ORGANIZATION = (
    ("projects", "Projects", Permission.VIEW),
    ("members", "Members", Permission.VIEW),
    ("activity", "Activity", Permission.MANAGE),
    ("settings", "Settings", Permission.VIEW),
)

_DONE = {
    "joined": "You are in.",
    "made": "It is there. Invite the people you work with.",
    "renamed": "Renamed.",
    "role": "The role was changed.",
    "removed": "They are no longer a member.",
    "taken-back": "The invitation was taken back: its link leads nowhere now.",
    "revoked": "The key was revoked. Nothing can use it any more.",
    "left": "You left.",
    "deleted": "It is deleted.",
    "saved": "Saved.",
    "added": "Added.",
    "on": "The webhook is on.",
    "off": "The webhook is off. What waited is not sent.",
    "tested": "A test event is on its way.",
    "again": "It is sent again.",
    "cms-again": "What was refused is sent again.",
    "cms-removed": "The CMS is disconnected. What is there stays.",
    "webhook-removed": "The webhook and its deliveries are gone.",
}


@dataclass(frozen=True)
class Frame:
    """A place as its pages show it."""

    place: Place
    name: str
    role: Role
    tabs: list[tuple[str, str]]
    project: Project | None
    features: list[str]
    permissions: frozenset[Permission]

    @property
    def base(self) -> str:
        return base_of(self.place)

    def may(self, permission: str) -> bool:
        return permission in self.permissions


def base_of(place: Place) -> str:
    """The address of its pages."""
    return f"/{'projects' if place.kind == 'project' else 'orgs'}/{place.id}"


async def frame_of(session: AsyncSession, actor: Actor, place: Place, permission: Permission) -> Frame:
    """Raises NotFound, Forbidden."""
    project, features = None, list[str]()
    may: Callable[[Permission, uuid.UUID], bool]
    if place.kind == "project":
        project = await get_visible(session, Project, actor, place.id, permission=permission)
        name, role, may = actor.names[place.id].name, actor.roles[place.id], actor.may
    else:
        organization = await get_organization(session, actor=actor, organization_id=place.id, permission=permission)
        name, role, may = organization.name, actor.org_roles[place.id], actor.may_in
        features = list(organization.features)
    held = frozenset(each for each in Permission if may(each, place.id))
    all_tabs = _PROJECT if place.kind == "project" else _ORGANIZATION
    tabs = [(key, label) for key, label, needed in all_tabs if needed in held]
    return Frame(place, name, role, tabs, project, features, held)


def render_tab(
    request: Request, template: str, frame: Frame, tab: str, *, status: int = 200, problem: str = "", **context: Any
) -> Response:
    """One of its pages. `ask` in the address opens the dialog of that name; a form that came back opens its own."""
    context.setdefault("asked", request.query_params.get("ask", ""))
    context.setdefault("form", {})
    context.setdefault("problems", {})
    context.setdefault("address", f"{frame.base}/{tab}")
    context.setdefault("message", _DONE.get(request.query_params.get("done", "")))
    return render(request, template, status=status, page="projects", frame=frame, tab=tab, problem=problem, **context)


def said(done: str) -> str | None:
    """What `?done=…` makes a page say."""
    return _DONE.get(done)


def problem_of(error: AppError) -> str:
    """What the page says when something could not be done. Raises what is not for this page to say."""
    if error.status not in (409, 410, 422):
        raise error
    if isinstance(error, ValidationFailed) and error.fields:
        return "; ".join(error.fields.values()) + "."
    return error.message


def _place(request: Request) -> Place:
    for kind, make in (("project", Place.project), ("organization", Place.organization)):
        text = request.path_params.get(f"{kind}_id")
        if text is not None:
            try:
                return make(uuid.UUID(text))
            except ValueError:
                break
    raise NotFound


#: The project or the organization that the address is about.
PlaceOfPage = Annotated[Place, Depends(_place)]
