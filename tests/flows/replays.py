"""Who sends requests again, and what they need: the stage for the scenes of `replay_scenes`."""

import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi.routing import APIRoute
from sqlalchemy import func, update

from backend.app import ADMIN_ROUTERS, ROUTERS
from backend.core.db import transaction
from backend.core.middleware import SAFE_METHODS
from backend.webhooks.models import WebhookDelivery
from tests.conftest import PASSWORD, MakeUser, Person
from tests.jobs.conftest import jobs_of
from tests.orgs import acting
from tests.videos import sending

Route = tuple[str, str]


def unsafe_routes() -> list[Route]:
    """Every unsafe route of the app: its method and its template."""
    found = (route for router in (*ROUTERS, *ADMIN_ROUTERS) for route in router.routes if isinstance(route, APIRoute))
    return sorted((method, route.path) for route in found for method in (route.methods or set()) - SAFE_METHODS)


@dataclass
class Sending:
    """A request that can be sent as often as one likes."""

    client: httpx.AsyncClient
    path: dict[str, Any] = field(default_factory=dict)
    json: Any = None
    data: dict[str, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, route: Route, key: str | None = None) -> httpx.Response:
        method, template = route
        path = re.sub(r"{(\w+)}", lambda name: str(self.path[name[1]]), template)
        headers = {**self.headers, **({"Idempotency-Key": key} if key else {})}
        # Of its own, so that a cookie of one answer does not travel with the next request.
        request = self.client.build_request(method, path, json=self.json, data=self.data, headers=headers)
        transport = self.client._transport
        answer = await transport.handle_async_request(request)
        await answer.aread()
        return answer


@dataclass
class Stage:
    """Who there is: an admin, and a new person for each request."""

    admin: Person
    make_user: MakeUser
    nobody: httpx.AsyncClient
    job_kind: str
    known: bool = False

    async def person(self) -> Person:
        return await self.make_user()

    async def place(self, kind: str) -> tuple[Person, Person, str, dict[str, Any]]:
        """An owner, a member, the path of their place, and what its routes call it."""
        owner, member = await self.person(), await self.person()
        make, name = (acting.project, "project_id") if kind == "projects" else (acting.organization, "organization_id")
        place_id = await make(owner)
        await acting.join(owner, member, f"/api/{kind}/{place_id}", "viewer")
        return owner, member, f"/api/{kind}/{place_id}", {name: place_id}

    async def hook(self) -> tuple[Person, dict[str, Any]]:
        person = await self.person()
        project_id = await acting.personal(person)
        made = await acting.made(await person.client.post(f"/api/projects/{project_id}/webhooks", json=HOOK))
        return person, {"project_id": project_id, "webhook_id": made["id"]}

    async def delivery(self) -> tuple[Person, dict[str, Any]]:
        """One that has come to its end."""
        person, ids = await self.hook()
        path = "/api/projects/{project_id}/webhooks/{webhook_id}/test".format(**ids)
        made = (await person.client.post(path)).json()
        async with transaction() as session:
            mine = update(WebhookDelivery).where(WebhookDelivery.id == uuid.UUID(made["id"]))
            await session.execute(mine.values(state="delivered", next_try_at=None, finished_at=func.now()))
        return person, {**ids, "delivery_id": made["id"]}

    async def job(self, person: Person, **values: Any) -> uuid.UUID:
        jobs = await jobs_of(person)
        job = await jobs.start(self.job_kind)
        if values:
            await jobs.change(job.id, **values)
        return job.id

    async def upload(self, **more: Any) -> tuple[Person, dict[str, Any]]:
        person = await self.person()
        wanted = {"filename": "a.mp4", "size": len(sending.BYTES), "content_type": "video/mp4", **more}
        return person, await acting.made(await person.client.post("/api/upload/presigned-url", json=wanted), 200)

    async def sent(self) -> tuple[Person, dict[str, Any]]:
        person, place = await self.upload()
        assert (await sending.put(place["upload_url"], sending.BYTES, place["headers"])).status_code == 200
        return person, place

    async def examined(self) -> None:
        """What a doctor finds out is written down once for all; only the next one writes over it."""
        if not self.known:
            await acting.made(await self.admin.client.post("/api/admin/doctor"), 200)
            self.known = True

    async def video(self, **values: Any) -> tuple[Person, str]:
        person = await self.person()
        return person, await sending.add_row(person, **values)


Scene = Callable[[Stage], Awaitable[Sending]]
SCENES: dict[Route, Scene] = {}
HOOK = {"url": "http://127.0.0.1/hook", "events": ["video.*"]}
FAILED: dict[str, Any] = {
    "state": "failed",
    "attempt": 1,
    "error_code": "corrupt_media",
    "error_message": "It broke.",
    "error_retryable": True,
    "started_at": func.now(),
    "finished_at": func.now(),
}


def scene(*routes: str) -> Callable[[Scene], Scene]:
    def add(made: Scene) -> Scene:
        for route in routes:
            method, _, path = route.partition(" ")
            SCENES[method, path] = made
        return made

    return add


def newcomer() -> dict[str, str]:
    return {"email": f"n{uuid.uuid4().hex}@example.org", "password": PASSWORD}
