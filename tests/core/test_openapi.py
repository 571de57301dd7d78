"""`/openapi.json` says by what one may prove who one is, where that is needed."""

from typing import Any

from fastapi import FastAPI

from backend.core.openapi import ANYBODY, METRICS, PERSON, STORAGE
from tests.matrix.table import TABLE

#: By whom a route is open to, as the matrix tries it.
PROOFS = {
    "public": [],
    "anybody": [*ANYBODY],
    "person": [*PERSON],
    "link": [*PERSON],
    "auditor": [*PERSON],
    "admin": [*PERSON],
}
#: They have tokens of their own; figures may be read from the same machine without.
TOKENS = {"POST /api/storage/events": [STORAGE], "GET /metrics": [METRICS, None]}


def named(operation: dict[str, Any]) -> list[str | None]:
    return [next(iter(needed), None) for needed in operation.get("security", [])]


def test_every_route_names_the_proofs_that_it_takes(app: FastAPI) -> None:
    described = app.openapi()
    said = {
        f"{method.upper()} {path}": named(operation)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }
    table = {str(route).replace(":path}", "}"): rule for route, rule in TABLE.items()}
    right = {route: PROOFS.get(rule.who, []) for route, rule in table.items() if route in said} | TOKENS
    assert len(said) > 90
    assert said == right
    assert {name for names in said.values() for name in names if name} == set(
        described["components"]["securitySchemes"]
    )


def test_it_still_names_them_when_a_route_came(app: FastAPI) -> None:
    before = list(app.router.routes)
    try:
        app.get("/strange/late")(lambda: None)
        assert "security" in app.openapi()["paths"]["/api/jobs"]["get"]
    finally:
        app.router.routes[:] = before
        app.openapi_schema = None
