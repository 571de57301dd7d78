"""`Idempotency-Key`: an unsafe request that is sent again does nothing again, and gets the answer of the first.

The rows are in `core/idempotent_requests.py`; docs/adr/0017 says what is promised, and what is not.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.db import watch_commits
from backend.core.errors import AppError, Busy, ValidationFailed
from backend.core.idempotent_requests import Answer, Ask, Run, begin, parted
from backend.core.middleware import SAFE_METHODS
from backend.core.web import client_ip, error_response

log = structlog.get_logger(__name__)

#: An answer longer than this is not kept.
MAX_ANSWER_BYTES = 1_000_000
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
#: Answers that say "not now", and nothing of the deed: the next try is a first again, as after any 5xx.
_NOT_KEPT = {401, 408, 425, 429}

#: Finds out who sends a request, in text that stays the same (`user:…`, `key:…`); None when it is nobody we know.
Recognise = Callable[[Request], Awaitable[str | None]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Idempotency:
    """Answers an unsafe request that came before under its key as it was answered then. Stands behind `Guard`."""

    def __init__(self, app: ASGIApp, recognise: Recognise) -> None:
        self.app = app
        self.recognise = recognise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.getlist("idempotency-key")
        if not given:
            await self.app(scope, receive, send)
            return
        try:
            key = check_key(given)
            first = await receive()  # Guard has read the body: it comes in one piece
            sender = await self.recognise(request)
            ask = Ask.of(request, key, sender or f"address:{client_ip(request)}", first.get("body", b""))
            begun = (None if sender else await parted(ask)) or await begin(ask)
        except AppError as error:
            await error_response(request, error)(scope, receive, send)
        except (DBAPIError, PoolTimeout, OSError) as error:
            log.warning("database.unavailable", error=type(error).__name__)
            await error_response(request, Busy(retry_after_seconds=2))(scope, receive, send)
        else:
            if isinstance(begun, Answer):
                await begun.replayed()(scope, receive, send)
            else:
                await self._first(begun, request, _again(first, receive), send, sender)

    async def _first(self, run: Run, request: Request, receive: Receive, send: Send, sender: str | None) -> None:
        start: Message | None = None

        async def settle_then_send(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is None:
                await send(message)
                return
            held, start = start, None
            single = not message.get("more_body")  # else it is a stream
            if single and not run.kept:
                await self._settle(run, request, sender, held, message.get("body", b""))
            await send(held)
            await send(message)
            if single and run.kept:  # nobody needs to wait for the rest
                await self._settle(run, request, sender, held, message.get("body", b""))

        request.state.idempotent_run = run
        alive = asyncio.create_task(run.keep_alive())
        watching = watch_commits.set(run.watch)
        try:
            await self.app(request.scope, receive, settle_then_send)
        except Exception:  # of whatever kind: it goes on, once what was begun is settled
            await run.settle(None, done=False)
            raise
        finally:  # whoever is cancelled is settled by the end of the lease
            watch_commits.reset(watching)
            alive.cancel()
        if not run.over:
            await run.settle(None, done=True)

    async def _settle(self, run: Run, request: Request, sender: str | None, start: Message, body: bytes) -> None:
        run.over = True
        parting = sender is not None and run.touched and await self._is_gone(request, sender)
        # Nobody in particular must not fill the table with refusals; they cost nothing to find again.
        worth = sender is not None or run.touched or start["status"] < 300
        answer = _answer(start["status"], start.get("headers", []), body) if worth else None
        await run.settle(answer, done=_is_done(start["status"]), parting=parting)

    async def _is_gone(self, request: Request, sender: str) -> bool:
        """Whether the request has ended what it was sent with."""
        try:
            return await self.recognise(request) != sender
        except Exception as error:
            log.warning("idempotency.not_asked", error=type(error).__name__)
            return False


def show_answers(route: APIRoute) -> None:
    """Let a run know what its route answers before what the route changed is committed, so that both are kept at once.

    Of routes that commit by themselves it is known when they are over.
    """
    make = route.get_route_handler
    if getattr(make, "shows_answers", False):
        return

    def get_route_handler() -> Handler:
        handle = make()

        async def handler(request: Request) -> Response:
            response = await handle(request)
            run: Run | None = getattr(request.state, "idempotent_run", None)
            body = getattr(response, "body", None)  # a stream has none
            if run is not None and isinstance(body, bytes) and _is_done(response.status_code):
                run.answer = _answer(response.status_code, response.raw_headers, body)
            return response

        return handler

    get_route_handler.shows_answers = True  # type: ignore[attr-defined]
    route.get_route_handler = get_route_handler  # type: ignore[method-assign]


def _is_done(status: int) -> bool:
    return status < 500 and status not in _NOT_KEPT


def _answer(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Answer | None:
    if len(body) > MAX_ANSWER_BYTES:
        return None
    return Answer(status, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers], body)


def check_key(given: list[str]) -> str:
    """The key. Raises ValidationFailed: when it is empty, too long, not printable ASCII, or given twice."""
    if len(given) == 1 and _KEY.fullmatch(given[0]):
        return given[0]
    must = "Must be given once, as 1 to 255 printable ASCII characters"
    raise ValidationFailed("The Idempotency-Key cannot be used.", fields={"Idempotency-Key": must})


def _again(first: Message, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return first

    return replay
