"""Requests straight to the application, and how their answers are told apart."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from json import dumps, loads
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from starlette.types import Message

from tests.matrix.rules import Outcome, Route

REQUEST_ID = "the-same-for-all"
#: They tell of time and of how much was asked, not of what is there.
_NOT_COMPARED = ("ratelimit-", "date", "content-length")


@dataclass(frozen=True)
class Reply:
    """An answer: of a stream only its beginning."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, "")

    def without(self, ids: list[str]) -> "Reply":
        """The same with what was asked for taken out, and what says nothing of it."""
        said = dumps([self.headers, self.body.decode("latin-1")])
        for each in ids:
            said = said.replace(each, "ID")
        headers, body = loads(said)
        kept = tuple((name, value) for name, value in headers if not name.startswith(_NOT_COMPARED))
        return Reply(self.status, kept, body.encode("latin-1"))

    def outcome(self, unseen: set[int]) -> Outcome:
        """`unseen` are the statuses of an id that cannot be seen; what is right but does not fit now is allowed."""
        to_login = self.status == 303 and self.header("location").startswith("/login")
        if self.status == 401 or to_login:
            return Outcome.UNAUTHENTICATED
        if self.status in unseen:
            return Outcome.MISSING
        if self.status == 403:
            return Outcome.FORBIDDEN
        return Outcome.ALLOWED if self.status < 400 or self.status in (409, 410) else Outcome.BROKEN


@dataclass
class Door:
    """The application, asked without a network."""

    app: FastAPI
    asked: int = 0
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))

    async def ask(
        self,
        route: Route,
        path: str,
        *,
        headers: Mapping[str, str],
        query: str = "",
        json: object = None,
        form: Mapping[str, object] | None = None,
    ) -> Reply:
        """One request. A stream is left when its answer has begun."""
        body, sent = b"", dict(headers)
        if form is not None:
            body, sent["content-type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        elif json is not None:
            body, sent["content-type"] = dumps(json).encode(), "application/json"
        sent |= {"host": "127.0.0.1:8000", "x-request-id": REQUEST_ID, "content-length": str(len(body))}
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": route.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("203.0.113.7", 1),
            "server": ("127.0.0.1", 8000),
        }
        self.asked += 1
        async with self.turns:
            return await self._run(scope, body)

    async def _run(self, scope: dict[str, Any], body: bytes) -> Reply:
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
        begun: list[Message] = []
        parts: list[bytes] = []
        streams = asyncio.Event()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                if any(b"event-stream" in value for name, value in message["headers"] if name == b"content-type"):
                    streams.set()
            else:
                parts.append(message.get("body", b""))

        running = asyncio.create_task(self.app(scope, messages.get, send))
        until = asyncio.create_task(streams.wait())
        await asyncio.wait({running, until}, return_when=asyncio.FIRST_COMPLETED)
        until.cancel()
        if streams.is_set():
            messages.put_nowait({"type": "http.disconnect"})
            await asyncio.wait({running}, timeout=5)
            running.cancel()
            parts.clear()
        try:
            await running
        except asyncio.CancelledError:
            pass
        except Exception as error:
            return Reply(500, (), repr(error).encode())
        start = begun[0]
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        return Reply(start["status"], headers, b"".join(parts))
