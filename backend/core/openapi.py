"""What `/openapi.json` says of every route because every request meets it: who asks, limits, repeated requests."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from backend.core.limits import NOT_COUNTED
from backend.core.middleware import session_cookie_name
from backend.core.web import errors

F = TypeVar("F", bound=Callable[..., Any])

#: By what requests can prove who sends them, as the schemes are called there.
COOKIE, BEARER, KEY = "cookie", "bearer", "key"
METRICS, STORAGE = "metrics", "storage"
#: Where keys are refused.
PERSON = (COOKIE, BEARER)
ANYBODY = (COOKIE, BEARER, KEY)

_UNSAFE = ("post", "put", "patch", "delete")
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Of your choice, new for each deed. The same request sent again with it does nothing again: it gets the answer "
        "of the first, with `Idempotency-Replayed: true`."
    ),
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[\\x21-\\x7e]([\\x20-\\x7e]*[\\x21-\\x7e])?$",
    },
}


def proved_by(*schemes: str) -> Callable[[F], F]:
    """Say that a dependency, or a route that looks for itself, refuses requests without one of these proofs."""

    def mark(asking: F) -> F:
        asking.proved_by = schemes  # type: ignore[attr-defined]
        return asking

    return mark


def complete(app: FastAPI, routes: Iterable[APIRoute]) -> None:
    """Let the app's own description of itself also say what stands before its routes."""
    made = app.openapi
    needed = {(method.lower(), route.path_format): _needed(route) for route in routes for method in route.methods or ()}

    def openapi() -> dict[str, Any]:
        known = app.openapi_schema
        schema = made()  # anew, when routes came or went
        if schema is not known:
            _describe(schema, needed)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _needed(route: APIRoute) -> Sequence[str]:
    """The proofs that all it depends on accept; none when it is open to everybody."""
    asking = [marked for call in _calls(route.dependant) if (marked := getattr(call, "proved_by", None))]
    return [scheme for scheme in (*ANYBODY, STORAGE) if asking and all(scheme in each for each in asking)]


def _calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for each in dependant.dependencies:
        yield from _calls(each)


def _describe(schema: dict[str, Any], needed: dict[tuple[str, str], Sequence[str]]) -> None:
    schema["components"]["securitySchemes"] = _schemes()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if schemes := needed.get((method, path)):
                operation["security"] = [{scheme: []} for scheme in schemes]
            answers = [] if path in NOT_COUNTED else [429]
            if method in _UNSAFE:
                operation.setdefault("parameters", []).append(_KEY)
                answers += [409, 422, 503]
            for status in answers:
                operation["responses"].setdefault(str(status), _error(status))


def _schemes() -> dict[str, Any]:
    return {
        COOKIE: {
            "type": "apiKey",
            "in": "cookie",
            "name": session_cookie_name(),
            "description": "A browser's session. Unsafe requests must come from a page of the platform.",
        },
        BEARER: _token(
            "`token` of signing in, registering or refreshing. API keys may also be sent like this; where `key` is "
            "not named beside it, they get 403."
        ),
        KEY: {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "A project's key, `dly_…`. It counts before a bearer token and a cookie.",
        },
        METRICS: _token("`METRICS_TOKEN`; while that is not set, requests of the same machine need none."),
        STORAGE: _token("`STORAGE_EVENTS_TOKEN`, for the storage server."),
    }


def _token(description: str) -> dict[str, str]:
    return {"type": "http", "scheme": "bearer", "description": description}


def _error(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    return {"description": errors(status)[status]["description"], "content": content}
