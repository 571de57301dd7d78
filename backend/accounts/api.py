"""Accounts for programs: tokens instead of cookies."""

from fastapi import APIRouter, Request, Response

from backend.accounts import service, sessions
from backend.accounts.access import CurrentIdentity, clear_session_cookie
from backend.accounts.schemas import LoginIn, RefreshIn, RegisterIn, SignedInOut, UserOut
from backend.accounts.sessions import Client
from backend.core.db import SessionDep
from backend.core.web import errors

router = APIRouter(tags=["accounts"])


@router.post("/api/auth/register", status_code=201, responses=errors(400, 403, 409, 413, 415, 422, 429, 503))
async def register(body: RegisterIn, request: Request, session: SessionDep, response: Response) -> SignedInOut:
    """Make an account and sign it in. The first account of an installation is its admin."""
    signed_in = await service.register(session, **body.model_dump(), client=Client.of(request))
    response.headers["Cache-Control"] = "no-store"
    return service.tokens(signed_in)


@router.post("/api/auth/login", responses=errors(400, 401, 413, 415, 422, 429, 503))
async def login(body: LoginIn, request: Request, session: SessionDep, response: Response) -> SignedInOut:
    """Sign in with email and password."""
    signed_in = await service.login(session, **body.model_dump(), client=Client.of(request))
    response.headers["Cache-Control"] = "no-store"
    return service.tokens(signed_in)


@router.post("/api/auth/refresh", responses=errors(400, 401, 413, 415, 422, 503))
async def refresh(body: RefreshIn, response: Response) -> SignedInOut:
    """Trade a refresh token for fresh tokens. One that comes twice ends its whole session (`refresh_reused`)."""
    signed_in = await sessions.refresh(body.refresh_token)
    response.headers["Cache-Control"] = "no-store"
    return service.tokens(signed_in)


@router.post("/api/auth/logout", status_code=204, responses=errors(401, 403, 503))
async def logout(identity: CurrentIdentity, session: SessionDep, response: Response) -> None:
    """End this session: its tokens and its cookie stop working at once."""
    await sessions.revoke_session(session, user=identity.user, session_id=identity.session_id)
    clear_session_cookie(response)


@router.get("/api/auth/me", responses=errors(401, 403, 503))
@router.get("/me", responses=errors(401, 403, 503))
async def me(identity: CurrentIdentity, response: Response) -> UserOut:
    """The account that is signed in."""
    response.headers["Cache-Control"] = "no-store"
    return UserOut.model_validate(identity.user)
