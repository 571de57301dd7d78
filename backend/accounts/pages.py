"""Accounts in a browser: sign in, sign up, settings. `/login` and `/register` also take JSON, as the API does."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service, sessions
from backend.accounts.access import (
    OptionalIdentity,
    PageIdentity,
    clear_session_cookie,
    set_session_cookie,
)
from backend.accounts.schemas import LoginIn, PasswordIn, ProfileIn, RegisterIn, SignedInOut
from backend.accounts.sessions import Client, Identity, SignedIn
from backend.core.db import SessionDep, transaction
from backend.core.errors import AppError
from backend.core.forms import Form, checked, is_form, read_form
from backend.core.middleware import session_cookie_name
from backend.core.web import errors, local_path, redirect, render

router = APIRouter(tags=["accounts"])

M = TypeVar("M", bound=BaseModel)
SignIn = Callable[..., Awaitable[SignedIn]]

_DONE = {
    "profile": "Saved.",
    "password": "Password changed. All other devices were logged out.",
    "session": "That device was logged out.",
    "sessions": "All other devices were logged out.",
}


# --- in and out ------------------------------------------------------------------------------------------------------


@router.get("/login", include_in_schema=False)
async def login_page(request: Request, identity: OptionalIdentity, next: str = "") -> Response:
    """The sign-in form; whoever is signed in goes on."""
    if identity:
        return redirect(request, local_path(next))
    return _door(request, "login", form={}, target=next)


@router.get("/register", include_in_schema=False)
async def register_page(request: Request, identity: OptionalIdentity, next: str = "") -> Response:
    """The sign-up form; whoever is signed in goes on."""
    if identity:
        return redirect(request, local_path(next))
    message = None if await service.is_registration_open() else service.RegistrationClosed.message
    return _door(request, "register", form={}, target=next, message=message)


def _json_or_form(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that this module reads itself."""
    schema = model.model_json_schema()
    kinds = ("application/json", "application/x-www-form-urlencoded")
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}}


def _or_page(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors that a form post gets as a page."""
    page = {"content": {"text/html": {"schema": {"type": "string"}}}}
    return {status: {**described, **page} for status, described in errors(*statuses).items()}


_TO_THE_PAGE: dict[int | str, dict[str, Any]] = {
    303: {"description": "A form post: the session cookie, and on to the page"}
}


@router.post(
    "/login",
    response_model=SignedInOut,
    responses={**_TO_THE_PAGE, **_or_page(400, 401, 403, 413, 415, 422, 429, 503)},
    openapi_extra=_json_or_form(LoginIn),
)
async def login(request: Request, session: SessionDep, response: Response) -> Any:
    """JSON answers as `/api/auth/login`; a form signs the browser in and sends it on."""
    if is_form(request):
        return await _sign_in_by_form(request, session, "login", LoginIn, service.login)
    body = await _json(request, LoginIn)
    signed_in = await service.login(session, **body.model_dump(), client=Client.of(request))
    response.headers["Cache-Control"] = "no-store"
    return service.tokens(signed_in)


@router.post(
    "/register",
    status_code=201,
    response_model=SignedInOut,
    responses={**_TO_THE_PAGE, **_or_page(400, 403, 409, 413, 415, 422, 429, 503)},
    openapi_extra=_json_or_form(RegisterIn),
)
async def register(request: Request, session: SessionDep, response: Response) -> Any:
    """JSON answers as `/api/auth/register`; a form signs the browser in and sends it on."""
    if is_form(request):
        return await _sign_in_by_form(request, session, "register", RegisterIn, service.register)
    body = await _json(request, RegisterIn)
    signed_in = await service.register(session, **body.model_dump(), client=Client.of(request))
    response.headers["Cache-Control"] = "no-store"
    return service.tokens(signed_in)


@router.post("/logout", include_in_schema=False)
async def logout(request: Request, session: SessionDep) -> Response:
    """End the browser's session; fine when there is none."""
    cookie = request.cookies.get(session_cookie_name())
    if cookie:
        await sessions.revoke_cookie(session, cookie)
    response = redirect(request, "/login")
    clear_session_cookie(response)
    return response


async def _sign_in_by_form(
    request: Request, session: AsyncSession, page: str, model: type[M], sign_in: SignIn
) -> Response:
    form = await read_form(request)
    target = form.pop("next", "")
    try:
        values, problems = checked(model, form)
        if values is None:
            return _door(request, page, form=form, target=target, problems=problems, status=422)
        signed_in = await sign_in(session, **values.model_dump(), client=Client.of(request), browser=True)
    except AppError as error:
        problems = error.fields or {}
        message = None if problems else error.message
        response = _door(
            request, page, form=form, target=target, problems=problems, message=message, status=error.status
        )
        if error.retry_after_seconds:
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        return response
    old_cookie = request.cookies.get(session_cookie_name())
    if old_cookie:
        await sessions.revoke_cookie(session, old_cookie)
    response = redirect(request, local_path(target))
    assert signed_in.cookie is not None
    set_session_cookie(response, signed_in.cookie)
    return response


def _door(
    request: Request,
    page: str,
    *,
    form: Form,
    target: str,
    problems: Form | None = None,
    message: str | None = None,
    status: int = 200,
) -> Response:
    """The sign-in or sign-up page, with what was entered; never with a password."""
    shown = {
        "email": form.get("email", "")[:320],
        "name": form.get("name", "")[:200],
        "next": local_path(target, default=""),
    }
    return render(
        request,
        f"accounts/{page}.html",
        status=status,
        form=shown,
        errors=problems or {},
        message=message,
    )


# --- settings --------------------------------------------------------------------------------------------------------


@router.get("/settings", include_in_schema=False)
async def settings_page(request: Request, identity: PageIdentity, done: str = "") -> Response:
    """Name, password and the devices that are signed in."""
    return await _settings(request, identity, message=_DONE.get(done))


@router.post("/settings/profile", include_in_schema=False)
async def save_profile(request: Request, identity: PageIdentity) -> Response:
    """Change the name."""
    form = await read_form(request)
    values, problems = checked(ProfileIn, form)
    if values is None:
        return await _settings(request, identity, form=form, problems=problems, status=422)
    async with transaction() as session:
        await service.update_profile(session, user=identity.user, name=values.name)
    return redirect(request, "/settings?done=profile")


@router.post("/settings/password", include_in_schema=False)
async def save_password(request: Request, identity: PageIdentity) -> Response:
    """Change the password; ends all other sessions."""
    form = await read_form(request)
    try:
        values, problems = checked(PasswordIn, form)
        if values is None:
            return await _settings(request, identity, problems=problems, status=422)
        await service.change_password(identity=identity, current=values.current_password, new=values.new_password)
    except AppError as error:
        problems = error.fields or {"current_password": error.message}
        return await _settings(request, identity, problems=problems, status=error.status)
    return redirect(request, "/settings?done=password")


@router.post("/settings/sessions/revoke-others", include_in_schema=False)
async def revoke_others(request: Request, identity: PageIdentity, session: SessionDep) -> Response:
    """End all sessions but this one."""
    await sessions.revoke_others(session, user=identity.user, keep=identity.session_id)
    return redirect(request, "/settings?done=sessions")


@router.post("/settings/sessions/{session_id}/revoke", include_in_schema=False)
async def revoke_session(
    request: Request, identity: PageIdentity, session: SessionDep, session_id: uuid.UUID
) -> Response:
    """End one session of one's own; ending this very one signs out."""
    await sessions.revoke_session(session, user=identity.user, session_id=session_id)
    if session_id != identity.session_id:
        return redirect(request, "/settings?done=session")
    response = redirect(request, "/login")
    clear_session_cookie(response)
    return response


async def _settings(
    request: Request,
    identity: Identity,
    *,
    form: Form | None = None,
    problems: Form | None = None,
    message: str | None = None,
    status: int = 200,
) -> Response:
    async with transaction() as session:
        rows = await sessions.list_sessions(session, user=identity.user)
    shown = {"name": identity.user.name, "email": identity.user.email}
    if form:
        shown["name"] = form.get("name", "")[:200]
    listed = [
        {
            "id": row.id,
            "user_agent": row.user_agent,
            "ip": row.ip,
            "created_at": row.created_at,
            "last_seen_at": row.last_seen_at,
            "current": row.id == identity.session_id,
        }
        for row in rows
    ]
    return render(
        request,
        "accounts/settings.html",
        status=status,
        page="settings",
        address="/settings",
        form=shown,
        errors=problems or {},
        message=message,
        sessions=listed,
    )


# --- bodies ----------------------------------------------------------------------------------------------------------


async def _json(request: Request, model: type[M]) -> M:
    try:
        return model.model_validate_json(await request.body() or b"null")
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise RequestValidationError(problems) from None
