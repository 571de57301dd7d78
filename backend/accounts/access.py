"""Who sends this request, as routes ask for it, and the browser's cookie. `orgs.access` adds what they may reach."""

from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.sessions import Identity, authenticate
from backend.config import settings
from backend.core import openapi
from backend.core.db import transaction
from backend.core.errors import Forbidden, Unauthenticated
from backend.core.middleware import session_cookie_name
from backend.core.web import SeeOther, local_path

_LONGEST_COOKIE_SECONDS = 400 * 86_400  # browsers keep none longer; the session's own end is decided by its row

#: Each says whether a request is sent by something that is no person, such as a key, and raises Unauthenticated where
#: that is not valid. Higher domains add what they recognise: an account is its person's alone.
no_person: list[Callable[[AsyncSession, Request], Awaitable[bool]]] = []
#: Each makes more of who was recognised: what they are where, as the frame of every page shows it.
make_more: list[Callable[[AsyncSession, Identity], Awaitable[Identity]]] = []


@openapi.proved_by(*openapi.PERSON)
async def _current(request: Request) -> Identity:
    # A transaction of its own: it is over before the route starts, and a stream holds none.
    async with transaction() as session:
        for came_with in no_person:
            if await came_with(session, request):
                raise Forbidden
        identity = await authenticate(session, request)
        if identity is None:
            raise Unauthenticated
        for more in make_more:
            identity = await more(session, identity)
    request.state.actor = identity
    return identity


async def _optional(request: Request) -> Identity | None:
    try:
        return await _current(request)
    except Unauthenticated:
        return None


async def _page(request: Request) -> Identity:
    try:
        return await _current(request)
    except Unauthenticated:
        ask_to_sign_in(request)


CurrentIdentity = Annotated[Identity, Depends(_current)]
OptionalIdentity = Annotated[Identity | None, Depends(_optional)]
PageIdentity = Annotated[Identity, Depends(_page)]


def ask_to_sign_in(request: Request) -> NoReturn:
    """Send the browser to the login page, and from there back to the page it is on."""
    if request.headers.get("HX-Request") == "true":
        try:
            seen = urlsplit(request.headers.get("HX-Current-URL", ""))
        except ValueError:
            seen = urlsplit("")
    elif request.method == "GET":
        seen = request.url.components
    else:
        seen = urlsplit("")
    target = local_path(f"{seen.path}?{seen.query}" if seen.query else seen.path, default="")
    raise SeeOther(f"/login?next={quote(target, safe='/')}" if target else "/login")


def set_session_cookie(response: Response, secret: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        session_cookie_name(),
        secret,
        max_age=_LONGEST_COOKIE_SECONDS,
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="lax",
    )


def clear_session_cookie(response: Response) -> None:
    """Take the session from the browser."""
    response.delete_cookie(session_cookie_name(), path="/", secure=settings.is_https, httponly=True, samesite="lax")
