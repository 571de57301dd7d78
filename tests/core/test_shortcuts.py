"""The table finds what the search would have found, and leaves everything else to it."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from backend.core.shortcuts import Shortcuts


@pytest.fixture
def small() -> FastAPI:
    app, first, second = FastAPI(), APIRouter(), APIRouter()

    @first.get("/films/{name}")
    async def film(name: str) -> str:
        return f"the film {name}"

    @second.get("/films/newest")
    async def newest() -> str:
        return "never reached: the film of this name comes first"

    @second.post("/films/newest")
    async def make() -> str:
        return "made"

    @second.get("/films")
    async def films() -> str:
        return "all"

    app.include_router(first)
    app.include_router(second)
    addresses = [("GET", "/films/newest"), ("POST", "/films/newest"), ("GET", "/films"), ("GET", "/nowhere")]
    app.router.routes.insert(0, Shortcuts(tuple(app.router.routes), addresses))
    return app


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/films", 200, '"all"'),
        ("GET", "/films/newest", 200, '"the film newest"'),
        ("POST", "/films/newest", 200, '"made"'),
        ("GET", "/films/other", 200, '"the film other"'),
        ("DELETE", "/films", 405, None),
        ("GET", "/nowhere", 404, None),
        ("GET", "/films/", 307, ""),
    ],
)
async def test_a_request_ends_where_the_search_would_have_led(
    small: FastAPI, method: str, path: str, status: int, body: str | None
) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(small), base_url="http://here") as client:
        with_table = await client.request(method, path)
        small.router.routes.pop(0)
        searched = await client.request(method, path)
    assert (with_table.status_code, with_table.text) == (searched.status_code, searched.text)
    assert with_table.status_code == status
    assert body is None or with_table.text == body


def test_every_address_of_the_platform_without_parameters_has_one(app: FastAPI) -> None:
    table = app.router.routes[0]
    assert isinstance(table, Shortcuts)
    assert ("POST", "/upload") in table._found
    assert ("GET", "/upload") in table._found
    assert not any("{" in path for _, path in table._found)
