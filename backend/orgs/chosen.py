"""The project a browser looks at: what the page's address says, else what it chose last."""

import uuid

from fastapi import Request, Response

from backend.config import settings
from backend.core import web
from backend.orgs.access import Actor, Named

COOKIE = "project"
_YEAR_SECONDS = 365 * 86_400


def chosen_project(request: Request, actor: Actor | None) -> uuid.UUID | None:
    """The chosen one; None for all, also when it is no project that the actor sees."""
    if actor is None:
        return None
    said = request.query_params.get("project") or request.path_params.get("project_id")
    for text in (said, request.cookies.get(COOKIE)):
        try:
            project_id = uuid.UUID(str(text))
        except ValueError:
            continue
        if project_id in actor.roles:
            return project_id
    return None


def choose(response: Response, project_id: uuid.UUID | None) -> None:
    """Have the browser remember it."""
    kept = {"path": "/", "secure": settings.is_https, "httponly": True}
    if project_id is None:
        response.delete_cookie(COOKIE, samesite="lax", **kept)  # type: ignore[arg-type]
    else:
        response.set_cookie(COOKIE, str(project_id), max_age=_YEAR_SECONDS, samesite="lax", **kept)  # type: ignore[arg-type]


def projects_of(actor: Actor) -> list[tuple[uuid.UUID, Named]]:
    """The actor's projects for a menu: the personal one, further ones of theirs, then others' by name."""
    key = actor.personal_project_id
    named = actor.names.items()
    return sorted(named, key=lambda each: (each[0] != key, not each[1].own, each[1].organization or "", each[1].name))


web.templates().globals.update(chosen_project=chosen_project, projects_of=projects_of)
