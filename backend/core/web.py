"""What every route shares: input types, answers in HTML, error answers, and how a request is looked at."""

import json
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.types import Message

from backend.config import settings
from backend.core import words
from backend.core.db import is_away
from backend.core.errors import AppError, Busy, NotFound, ValidationFailed

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=BaseModel)

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "static" / "dist"
#: How soon a running server follows a new build of the front end, whose old files are gone (s).
FOLLOW_BUILD_SECONDS = 1.0


# --- input -----------------------------------------------------------------------------------------------------------


def printable(value: str, *, allowed: str = "") -> str:
    """`value` itself. Raises ValueError when it holds control characters or lone surrogates."""
    for character in value:
        if character not in allowed and unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError("must not hold control characters")
    return value


def _paragraph(value: str) -> str:
    return printable(value.replace("\r\n", "\n"), allowed="\n\t")


def _line(value: str) -> str:
    printable(value)
    if all(unicodedata.category(character) in ("Cf", "Cn", "Zl", "Zp", "Zs") for character in value):
        raise ValueError("must not be blank")  # zero-width characters alone show as nothing
    return value


#: One line of text: no control characters, trimmed, not blank. Bound its length with `Field(max_length=…)`.
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_line)]
#: Text that may hold line breaks, and may be empty.
Paragraph = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_paragraph)]


class StrictModel(BaseModel):
    """A request body: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


# --- the request -----------------------------------------------------------------------------------------------------


def is_htmx(request: Request) -> bool:
    """Whether htmx asks for a fragment (and not for a whole page after its history cache missed)."""
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-History-Restore-Request") != "true"


def wants_html(request: Request) -> bool:
    """Whether the client prefers a page: a browser does, a program asks for JSON or says nothing."""
    accept = request.headers.get("accept", "")
    return "text/html" in accept or is_htmx(request)


#: The client's address of the request at hand, for what is written down about it.
sender_ip: ContextVar[str] = ContextVar("sender_ip", default="")


def client_ip(request: Request) -> str:
    """The client's address; uvicorn has already resolved forwarded headers of trusted proxies."""
    return request.client.host if request.client else "unknown"


def local_path(target: str | None, default: str = "/dashboard") -> str:
    """`target` when it is a path on this site, else `default`: a redirect never leaves the site."""
    if not target or not target.startswith("/") or target[1:2] in ("/", "\\"):
        return default
    if any(ord(character) < 33 or character == "\\" for character in target):
        return default
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else default


# --- the answer ------------------------------------------------------------------------------------------------------


def asset(name: str) -> str:
    """The address of a built front-end file; its name holds a hash, so that it may be cached for ever."""
    return f"/static/{_manifest(int(time.monotonic() / FOLLOW_BUILD_SECONDS)).get(name, name)}"


@lru_cache(maxsize=1)
def _manifest(moment: int) -> dict[str, str]:
    path = DIST / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else {}


def icon(name: str) -> Markup:
    """A lucide icon. It is decoration: give the element around it words, visible or in aria-label."""
    return _drawn(asset("icons.svg"), name)


@lru_cache(maxsize=1000)
def _drawn(sprite: str, name: str) -> Markup:
    return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>').format(sprite, name)


@cache
def templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        auto_reload=settings.environment == "local" and settings.log_level == "DEBUG",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(asset=asset, icon=icon, settings=settings, now=lambda: datetime.now(UTC))
    environment.filters.update(
        filesize=words.filesize, duration=words.duration, span=words.span, ago=words.ago, timestamp=words.timestamp
    )
    return environment


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or a fragment. Templates always see `request`, `status` and `actor` (None when nobody is signed in)."""
    context.setdefault("actor", getattr(request.state, "actor", None))
    context.setdefault("status", status)
    context.setdefault("page", None)
    html = templates().get_template(template).render(request=request, **context)
    # Private pages stay out of every cache, the browser's own included; the same URL answers htmx with a fragment.
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store", "Vary": "HX-Request, Accept, Cookie"})


def redirect(request: Request, url: str) -> Response:
    """Send the browser to `url` (a path of ours): 303, or the header htmx follows with a full page load."""
    if request.headers.get("HX-Request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": url})
    return RedirectResponse(url, 303)


def add_headers(message: Message, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Put these on an answer that begins (`http.response.start`), but for those it has; names are in lower case."""
    given = list(message.get("headers", ()))
    names = {name.lower() for name, _ in given}
    message["headers"] = given + [header for header in headers if header[0] not in names]


class SeeOther(Exception):
    """Raised where an answer cannot be returned (in a dependency) to send the browser to a path of ours instead."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(url)


# --- errors ----------------------------------------------------------------------------------------------------------


class ErrorDetail(BaseModel):
    """`code` is stable and for programs; `message` is for people; `fields` says what was wrong with which input."""

    code: str
    message: str
    request_id: str
    fields: dict[str, str] | None = None


class ErrorBody(BaseModel):
    """Every error answer of the API."""

    error: ErrorDetail


_MEANING = {
    400: "The body or the cursor could not be read",
    401: "Not logged in, or the session has ended",
    403: "Refused",
    404: "Not there, or not yours",
    409: "Does not fit the present state",
    410: "Expired",
    413: "Too large",
    415: "Type not allowed",
    422: "Some values are not right",
    429: "Too many requests; see Retry-After",
    503: "Busy, or a part of the platform does not answer; see Retry-After",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: the error statuses it may answer, in the shape of the contract."""
    return {status: {"model": ErrorBody, "description": _MEANING[status]} for status in statuses}


def lenient(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """A dependency for pages: their query as far as it means something; what does not is as if it were not there."""

    async def read(request: Request) -> M:  # what is no coroutine is called in a thread
        given = dict(request.query_params)
        try:
            return model.model_validate(given)
        except ValidationError as error:
            wrong = {problem["loc"][0] for problem in error.errors()}
            return model.model_validate({name: value for name, value in given.items() if name not in wrong})

    return read


def error_response(request: Request, error: AppError) -> Response:
    """The answer for an error: a page for browsers, a fragment's toast for htmx, else the contract's JSON."""
    request_id = getattr(request.state, "request_id", "")
    headers = dict(error.headers)
    if error.retry_after_seconds:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if request.headers.get("HX-Request") == "true":
        toast = {"toast": {"message": error.message, "kind": "error"}}
        return Response(
            status_code=error.status,
            headers={**headers, "HX-Reswap": "none", "HX-Trigger": json.dumps(toast)},
        )
    if wants_html(request) and not request.url.path.startswith("/api/"):
        page = render(
            request,
            "error.html",
            status=error.status,
            title=words.STATUS_TITLES.get(error.status, "Something went wrong"),
            message=error.message,
            code=error.code,
            request_id=request_id,
        )
        page.headers.update(headers)
        return page
    detail = ErrorDetail(code=error.code, message=error.message, request_id=request_id, fields=error.fields)
    return JSONResponse(
        {"error": detail.model_dump(exclude_none=True)},
        error.status,
        headers={**headers, "Cache-Control": "no-store", "Vary": "Accept"},
    )


async def _on_app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)
    return error_response(request, error)


async def _on_see_other(request: Request, error: Exception) -> Response:
    assert isinstance(error, SeeOther)
    return redirect(request, error.url)


#: What a body of nothing but unknown names gets back stays small.
_MOST_FIELDS = 50
_MOST_NAME = 100


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if all(problem["loc"][:1] == ("path",) for problem in problems):
        return error_response(request, NotFound())  # an id that cannot exist is one that does not
    fields = {
        ".".join(str(part)[:_MOST_NAME] for part in problem["loc"][1:]) or "body": said_of(problem)
        for problem in problems[:_MOST_FIELDS]
    }
    return error_response(request, ValidationFailed(fields=fields))


def said_of(problem: Mapping[str, Any]) -> str:
    """A problem that Pydantic found, as a sentence's beginning."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    if isinstance(problem.get("input"), str):  # one of our own types of text has no "items"
        if problem["type"] == "too_long":
            message = f"String should have at most {problem['ctx']['max_length']} characters"
        elif problem["type"] == "too_short":
            message = "Must not be blank"
    return message[:1].upper() + message[1:]


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_response(request, NotFound())
    message = words.STATUS_TITLES.get(error.status_code, str(error.detail))
    code = {400: "malformed_body", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    response = error_response(request, AppError(message, code=code, status=error.status_code))
    response.headers.update(error.headers or {})
    return response


async def _on_database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and not is_away(error):
        return await on_unexpected(request, error)
    log.warning("database.unavailable", error=type(error).__name__)
    return error_response(request, Busy(retry_after_seconds=2))


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Log what nobody foresaw, and say no more than that it happened."""
    log.error("request.failed", path=request.url.path, exc_info=error)
    return error_response(request, AppError())


def install_error_handlers(app: FastAPI, identify: Callable[[Request], Awaitable[object]]) -> None:
    """Give `app` one error shape for everything that can go wrong.

    `identify` notes who asks in `request.state.actor`: an address without a route has nobody else to do so, and its
    page is framed like all others for who is logged in.
    """

    async def on_http_exception(request: Request, error: Exception) -> Response:
        if wants_html(request):
            try:
                await identify(request)
            except (AppError, DBAPIError, OSError, TimeoutError) as failure:
                log.info("error_page.nobody", error=type(failure).__name__)
        return await _on_http_exception(request, error)

    app.add_exception_handler(AppError, _on_app_error)
    app.add_exception_handler(SeeOther, _on_see_other)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    for kind in (PoolTimeout, DBAPIError, ConnectionError, TimeoutError):
        app.add_exception_handler(kind, _on_database_error)
    app.add_exception_handler(Exception, on_unexpected)
