"""A receiver that answers as it is told, webhooks that lead to it, and a courier without patience."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from backend.config import settings
from backend.core.db import transaction
from backend.webhooks import courier, deliveries
from backend.webhooks.courier import Courier
from backend.webhooks.events import emit
from backend.webhooks.models import DeliveryState, EventType, WebhookAttempt, WebhookDelivery
from tests.conftest import Person


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


#: Answers a request: raw bytes, or None to reset the connection. It may take its time.
Script = Callable[[Received], Awaitable[bytes | None]]


def answer(status: int, body: str = "", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()


@dataclass
class Receiver:
    """On loopback, which the operator's list allows here. `scripts` are by path; without one it is 204."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    scripts: dict[str, Script] = field(default_factory=dict)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str = "/hook") -> list[Received]:
        return [each for each in self.received if each.path == path]

    def says(self, *answers: bytes | None, path: str = "/hook") -> None:
        """One after the other; the last for ever."""
        left = list(answers)

        async def script(request: Received) -> bytes | None:
            return left.pop(0) if len(left) > 1 else left[0]

        self.scripts[path] = script

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            request = Received(first.split()[1], headers, body)
            self.received.append(request)
            script = self.scripts.get(request.path)
            said = await script(request) if script else answer(204)
            if said is None:
                writer.transport.abort()
                return
            writer.write(said)
            await writer.drain()
        writer.close()


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    opened = Receiver()
    async with await asyncio.start_server(opened.serve, "127.0.0.1", 0) as server:
        opened.port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(settings, "outbound_ports", [80, 443, opened.port])
        monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.1/32"])
        yield opened
        server.close_clients() if hasattr(server, "close_clients") else None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again after moments, three times."""
    monkeypatch.setattr(settings, "webhook_retry_seconds", [0.05, 0.05, 0.05])
    monkeypatch.setattr(settings, "webhook_timeout_seconds", 0.5)
    monkeypatch.setattr(courier, "LOOK_SECONDS", 0.1)


@pytest.fixture
async def running(client: httpx.AsyncClient) -> AsyncIterator[Callable[[], Courier]]:
    """Starts couriers in this process; they are stopped at the end."""
    tasks: list[asyncio.Task[None]] = []
    draining = False

    def start() -> Courier:
        made = Courier(draining=lambda: draining)
        tasks.append(asyncio.create_task(made.keep()))
        return made

    yield start
    draining = True
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def project_of(person: Person) -> str:
    projects = (await person.client.get("/api/projects")).json()["projects"]
    return str(next(each["id"] for each in projects if each["personal"]))


@dataclass
class Hooks:
    """One person's project, its webhooks and deliveries."""

    person: Person
    project_id: uuid.UUID

    @property
    def base(self) -> str:
        return f"/api/projects/{self.project_id}"

    async def make(self, url: str, *events: str) -> dict[str, Any]:
        body = {"url": url, "events": list(events) or ["video.*"]}
        made = await self.person.client.post(f"{self.base}/webhooks", json=body)
        assert made.status_code == 201, made.text
        result: dict[str, Any] = made.json()
        return result

    async def emit(self, type: EventType = EventType.VIDEO_COMPLETED, **data: object) -> int:
        async def described() -> dict[str, object]:
            return data

        async with transaction() as session:
            return await emit(session, project_id=self.project_id, type=type, data=described)

    async def rows(self, *states: DeliveryState) -> list[WebhookDelivery]:
        async with transaction() as session:
            found = select(WebhookDelivery).where(WebhookDelivery.project_id == self.project_id)
            if states:
                found = found.where(WebhookDelivery.state.in_(states))
            return list(await session.scalars(found.order_by(WebhookDelivery.created_at, WebhookDelivery.id)))

    async def attempts(self, delivery_id: uuid.UUID) -> list[WebhookAttempt]:
        async with transaction() as session:
            tries = select(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery_id)
            return list(await session.scalars(tries.order_by(WebhookAttempt.id)))

    async def settled(self, seconds: float = 30) -> list[WebhookDelivery]:
        """All deliveries, once none waits or is under way."""
        async with asyncio.timeout(seconds):
            while await self.rows(DeliveryState.PENDING, DeliveryState.DELIVERING):
                await asyncio.sleep(0.05)
        return await self.rows()

    async def deliver(self) -> list[WebhookDelivery]:
        """Send what is due, each once, without a courier; answers all deliveries."""
        async with transaction() as session:
            taken = await deliveries.take(session, most=100)
        for each in taken:
            outcome = await courier.send(each)
            async with transaction() as session:
                await deliveries.settle(session, each, outcome)
        return await self.rows()

    async def change(self, **values: Any) -> None:
        """Put all deliveries into a state that takes long to come about by itself."""
        async with transaction() as session:
            mine = update(WebhookDelivery).where(WebhookDelivery.project_id == self.project_id)
            await session.execute(mine.values(**values))


@pytest.fixture
async def hooks(user: Person) -> Hooks:
    return Hooks(user, uuid.UUID(await project_of(user)))
