"""The web application: lifespan, middleware, routers."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import text
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import backend.kinds  # noqa: F401
from backend import __version__
from backend.accounts import api as accounts_api
from backend.accounts import pages as accounts_pages
from backend.accounts.sessions import Identity
from backend.admin import api as admin_api
from backend.admin import measures as admin_measures
from backend.admin import pages as admin_pages
from backend.admin.doctor import api as doctor_api
from backend.admin.doctor import pages as doctor_pages
from backend.admin.storage import api as storage_api
from backend.admin.storage import pages as storage_pages
from backend.coaching import analyses_api as coaching_analyses_api
from backend.coaching import api as coaching_api
from backend.coaching import pages as coaching_pages
from backend.coaching import pages_results as coaching_pages_results
from backend.config import settings
from backend.core import capabilities, idempotency, limits, logging, middleware, openapi, web
from backend.core.db import database, transaction
from backend.core.events import hub
from backend.core.metrics import Measured
from backend.core.queue import doorbell, make_doorbell
from backend.core.redis import redis
from backend.core.shortcuts import Shortcuts
from backend.core.storage import storage
from backend.generation import api as generation_api
from backend.generation import cms_api, pages_cms, pages_composer, studio_api, v1_api
from backend.generation import pages as generation_pages
from backend.jobs import api as jobs_api
from backend.jobs import pages as jobs_pages
from backend.orgs import api as orgs_api
from backend.orgs import invitations_api, keys_api, organizations_api, pages_keys, pages_members
from backend.orgs import pages as orgs_pages
from backend.orgs.access import OptionalActor, identify
from backend.videos import api as videos_api
from backend.videos import pages as videos_pages
from backend.videos import uploads_api
from backend.webhooks import api as webhooks_api
from backend.webhooks import pages as webhooks_pages

#: A part that takes longer to answer `/ready` is not ready.
CHECK_SECONDS = 3.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what a web process holds, and close it in reverse."""
    database.open()
    redis.open()
    storage.open()
    doorbell.hang(make_doorbell())
    hub.open()
    learning = asyncio.create_task(capabilities.keep_current(storage))
    if not gc.get_freeze_count():
        # To go through all that lives holds everybody up for half a second: what is loaded now stays, and is left out;
        # what thousands of streams hold is looked through a tenth as often.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*gc.get_threshold()[:2], 100)
    try:
        yield
    finally:
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)
        await hub.close()
        await doorbell.close()
        storage.close()
        await redis.close()
        await database.close()


class BuiltFiles(StaticFiles):
    """Built front-end files: their names hold a hash, so browsers may keep them for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


class Health(BaseModel):
    """The process answers."""

    status: Literal["healthy"] = "healthy"
    timestamp: datetime


class Readiness(BaseModel):
    """What the process needs, and whether it answers."""

    status: Literal["ready", "degraded", "not_ready"]
    checks: dict[str, Literal["ok", "failed"]]


def create_app() -> FastAPI:
    """The application. Raises ConfigurationError when a setting cannot work."""
    settings.check()
    logging.configure()
    app = FastAPI(
        title="Dailies",
        version=__version__,
        description="A self-hosted video platform: upload, process, manage and watch video.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(idempotency.Idempotency, recognise=recognise)
    app.add_middleware(middleware.Guard)
    app.add_middleware(limits.Limited, sender_of=sender_of)
    app.add_middleware(middleware.RequestContext)
    app.add_middleware(Measured)
    web.install_error_handlers(app, identify)
    app.get("/health", tags=["health"])(health)
    app.get("/api/v1/health", tags=["health"])(health)
    app.get("/ready", tags=["health"], responses={503: {"model": Readiness}})(ready)
    app.mount("/static", BuiltFiles(directory=web.DIST, check_dir=False), name="static")
    app.get("/docs", include_in_schema=False)(docs)
    routers = (*ROUTERS, *ADMIN_ROUTERS)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    for route in routes:
        idempotency.show_answers(route)
    for router in routers:
        app.include_router(router)
    openapi.complete(app, routes)
    plain = [(method, route.path) for route in routes if "{" not in route.path for method in route.methods or ()]
    app.router.routes.insert(0, Shortcuts(tuple(app.router.routes), plain))
    return app


#: Those that are asked most come first: an address with an id is looked for in this order.
ROUTERS = (
    uploads_api.router,
    videos_api.router,
    jobs_api.router,
    accounts_api.router,
    accounts_pages.router,
    orgs_api.router,
    keys_api.router,
    organizations_api.router,
    invitations_api.router,
    orgs_pages.router,
    pages_members.router,
    pages_keys.router,
    webhooks_api.router,
    webhooks_pages.router,
    jobs_pages.router,
    v1_api.router,
    cms_api.router,
    studio_api.router,
    generation_api.router,
    generation_pages.router,
    pages_composer.router,
    pages_cms.router,
    videos_pages.router,
    coaching_api.router,
    coaching_analyses_api.router,
    coaching_pages.router,
    coaching_pages_results.router,
)
#: Open to roles (and `/metrics` to Prometheus), over the walls between projects.
ADMIN_ROUTERS = (
    admin_api.router,
    admin_pages.router,
    admin_measures.router,
    doctor_api.router,
    doctor_pages.router,
    storage_api.router,
    storage_pages.router,
)


def sender_of(request: Request) -> str | None:
    """Who a request was found to be from, in words that stay the same; None while nobody has looked, or for nobody."""
    return _named(getattr(request.state, "actor", None))


async def recognise(request: Request) -> str | None:
    """The same, looking now."""
    return _named(await identify(request))


def _named(sender: Identity | None) -> str | None:
    key = getattr(sender, "key", None)
    return f"key:{key.id}" if key else f"user:{sender.user_id}" if sender else None


async def docs(request: Request, actor: OptionalActor) -> HTMLResponse:
    """The API reference, made from `/openapi.json`."""
    return web.render(request, "docs.html", page="docs", actor=actor)


async def health() -> Health:
    """Whether this process answers; asks nothing of its servers."""
    return Health(timestamp=datetime.now(UTC))


async def ready(request: Request) -> JSONResponse:
    """Whether database, Redis and storage answer this process; 503 when it cannot do without what does not.

    Without Redis it is only `degraded`: pages, uploads and jobs go on, live progress comes later.
    """
    checks: dict[str, Literal["ok", "failed"]] = {}

    async def ask_database() -> None:
        async with transaction() as session:
            await session.execute(text("SELECT 1"))

    async def ask_redis() -> None:
        await redis.client.ping()

    for name, ask in (("database", ask_database), ("redis", ask_redis), ("storage", storage.ping)):
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await ask()
            checks[name] = "ok"
        except Exception:  # a check reports any failure, whatever its kind
            checks[name] = "failed"
    failed = {name for name, check in checks.items() if check == "failed"}
    good = failed <= {"redis"}
    body = Readiness(status="not_ready" if not good else "degraded" if failed else "ready", checks=checks)
    return JSONResponse(body.model_dump(), 200 if good else 503, headers={} if good else {"Retry-After": "2"})
