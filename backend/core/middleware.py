"""What happens to every request before a route sees it: an id, a readable body, a sender that may be trusted."""

import asyncio
import json
import re
import time
import uuid
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.config import settings
from backend.core.errors import (
    AppError,
    BodyTooLarge,
    CsrfFailed,
    MalformedBody,
    UnsupportedMediaType,
    ValidationFailed,
)
from backend.core.security import digest
from backend.core.web import add_headers, client_ip, error_response, on_unexpected, sender_ip

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 1_000_000
BODY_SECONDS = 30
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}
FORM_TYPES = {"application/x-www-form-urlencoded", "multipart/form-data"}
JSON_ONLY_PATHS = {"/upload", "/videos"}
#: The part of an address by which whoever has it is let in: it is not for the log.
_SECRET_PART = re.compile(r"(/invitations/|/api/v1/media/[^/]+/)[^/]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def session_cookie_name() -> str:
    """The browser session's cookie; the `__Host-` prefix, which needs TLS, pins it to this very host."""
    return "__Host-dailies" if settings.is_https else "dailies"


def credentials_of(request: Request) -> bytes | None:
    """A digest of all that a request could be recognised by, right or wrong; None when it carries nothing."""
    headers = request.headers
    sent = [headers.get("x-api-key"), headers.get("authorization"), request.cookies.get(session_cookie_name())]
    return digest(repr(sent)) if any(sent) else None


class RequestContext:
    """Gives each request an id, logs it when it ends, and puts the security headers on its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.headers = [(name.lower().encode(), value.encode()) for name, value in security_headers().items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        sender_ip.set(client_ip(request))
        started, status, begun = time.perf_counter(), 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                own = [(b"x-request-id", request_id.encode())]
                if not scope["path"].startswith("/static/"):
                    own.append((b"cache-control", b"no-store"))
                add_headers(message, self.headers + own)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_headers)
            except Exception as error:  # not further out: there the line has no id, and the answer no headers
                answer = await on_unexpected(Request(scope), error)
                if begun:  # a connection that breaks off is all that can still tell of it
                    raise
                await answer(scope, receive, send_with_headers)
            finally:
                elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
                if not scope["path"].startswith(("/static/", "/health")):
                    path = _SECRET_PART.sub(r"\1…", scope["path"])
                    log.info("request", method=scope["method"], path=path, status=status, ms=elapsed_ms)


class Guard:
    """Refuses what no route should see: cross-site writes, unreadable or oversized bodies, control characters."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            check_address(scope)
            body: bytes | None = None
            if request.method not in SAFE_METHODS:
                check_sender(request)
                body = await read_body(request, receive)
                check_body(request, body)
        except AppError as error:
            await error_response(request, error)(scope, receive, send)
            return
        await self.app(scope, receive if body is None else _replayed(body, receive), send)


def check_address(scope: Scope) -> None:
    """Raise ValidationFailed for a path or query that holds control characters or is not UTF-8."""
    for part in (scope.get("raw_path") or b"", scope["query_string"].replace(b"+", b" ")):
        raw = unquote_to_bytes(part)
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise ValidationFailed("The address is not valid UTF-8.") from None
        if _CONTROL.search(raw):
            raise ValidationFailed("The address holds control characters.")


def check_sender(request: Request) -> None:
    """Raise CsrfFailed for an unsafe request that a browser sends with its cookie from another site.

    Requests that carry their own credentials, or none at all, cannot be forged this way and pass.
    """
    headers = request.headers
    # Not any Authorization header: a browser adds Basic credentials of a proxy by itself, also across sites.
    bearer = headers.get("authorization", "").partition(" ")[0].lower() == "bearer"
    if bearer or "x-api-key" in headers:
        return
    ambient = session_cookie_name() in request.cookies or _media_type(request) in FORM_TYPES
    if not ambient:
        return
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise CsrfFailed
        return
    origin = headers.get("origin")
    if origin is None:
        if session_cookie_name() in request.cookies:
            raise CsrfFailed
        return
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        raise CsrfFailed from None
    if origin != settings.public_url.rstrip("/") and netloc != headers.get("host"):
        raise CsrfFailed


async def read_body(request: Request, receive: Receive) -> bytes:
    """The whole body.

    Raises BodyTooLarge over 1 MB, before reading when the length is declared; MalformedBody when it is cut short or
    takes longer than 30 s.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit():
        raise MalformedBody("The Content-Length is not a number.")
    if int(declared[:12]) > MAX_BODY_BYTES:
        raise BodyTooLarge
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(receive)
    except TimeoutError:
        raise MalformedBody("The request body did not arrive in time.") from None


async def _collect(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedBody("The request ended before its body did.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def check_body(request: Request, body: bytes) -> None:
    """Raise UnsupportedMediaType, MalformedBody or ValidationFailed for a body that no route can take."""
    if not body:
        return
    kind = _media_type(request)
    path = request.url.path
    if kind in FORM_TYPES and not path.startswith("/api/") and path not in JSON_ONLY_PATHS:
        return
    if kind != "application/json":
        raise UnsupportedMediaType
    try:
        _JSON.decode(body.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise MalformedBody from None


def _refuse_constant(name: str) -> Any:
    raise ValidationFailed(f"{name} is not a number.")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def security_headers() -> dict[str, str]:
    """The headers of every answer. Only our own files run; pictures and films may also come from the storage."""
    origins = {settings.storage_public_origin}
    if settings.cdn_base_url:
        parts = urlsplit(settings.cdn_base_url)
        origins.add(f"{parts.scheme}://{parts.netloc}")
    storage = " ".join(sorted(origins))
    policy = {
        "default-src": "'self'",
        "img-src": f"'self' data: blob: {storage}",
        "media-src": f"'self' blob: {storage}",
        "connect-src": f"'self' {storage}",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    }
    if settings.is_https:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    return headers
