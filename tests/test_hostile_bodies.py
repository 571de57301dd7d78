"""Bodies that no client means, to every route that takes one: refused in the contract's words, and early."""

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Live, Person
from tests.matrix.bodies import BODIES
from tests.matrix.rules import Route
from tests.matrix.table import CHOICES, TABLE

MALFORMED = {
    "cut short": b'{"name": "a"',
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "deep": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of 5,000 digits": b'{"size": ' + b"9" * 5000 + b"}",
    "two": b"{} {}",
}
VALUES = {
    "NUL": '"a\\u0000b"',
    "lone surrogate": '"\\ud800"',
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "beyond 64 bits": "1" + "0" * 30,
    "beyond a float": "1e999",
    "deep": "[" * 40 + "]" * 40,
    "an object": '{"a": {"b": {}}}',
    "a million": '"' + "x" * 900_000 + '"',
}
MEGABYTE = b"x" * 1_000_000
NONE = "00000000-0000-4000-8000-000000000000"


def taking_json() -> list[Route]:
    """The API's routes that take a body."""
    return [route for route in TABLE if route.is_api and not route.inside and "json" in BODIES.get(str(route), {})]


async def send(user: Person, route: Route, body: bytes) -> httpx.Response:
    path = route.path.format(**dict.fromkeys(route.names, NONE) | CHOICES)
    return await user.client.request(route.method, path, content=body, headers={"Content-Type": "application/json"})


async def test_no_body_that_cannot_be_read_reaches_a_route(user: Person) -> None:
    for route in taking_json():
        for name, body in MALFORMED.items():
            answer = await send(user, route, body)
            found = (answer.status_code, answer.json()["error"]["code"])
            assert found == (400, "malformed_body"), (str(route), name)


async def test_no_value_breaks_a_route(user: Person, app: FastAPI) -> None:
    """A field that cannot hold it says so; what is not there, or is closed, may say that first."""
    for route in taking_json():
        good = BODIES[str(route)]["json"]
        for field in (*good, "unknown"):
            for name, value in VALUES.items():
                others = {key: each for key, each in good.items() if key != field}
                body = json.dumps(others)[:-1] + (", " if others else "") + f'"{field}": {value}}}'
                answer = await send(user, route, body.encode())
                assert answer.status_code in (401, 404, 422, 429), (str(route), field, name, answer.text[:300])


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in chunks"])
def test_a_body_of_150_megabytes_is_refused_before_it_is_sent(live: Live, clean: None, declared: bool) -> None:
    """After 413 the connection ends, whatever is still to come."""
    where = urlsplit(live.url)
    assert where.hostname is not None
    length = f"Content-Length: {150 * len(MEGABYTE)}" if declared else "Transfer-Encoding: chunked"
    head = (
        f"POST /api/auth/login HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    )
    begun, sent = time.monotonic(), 0
    with socket.create_connection((where.hostname, where.port or 80), timeout=30) as door:
        door.sendall(head.encode())
        door.settimeout(0.5)
        answer = b""
        try:
            while sent < 150 and not answer:
                door.sendall(MEGABYTE if declared else b"f4240\r\n" + MEGABYTE + b"\r\n")
                sent += 1
                door.setblocking(False)
                try:
                    answer = door.recv(65536)
                except BlockingIOError:
                    pass
                door.settimeout(30)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if not answer:
            answer = door.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert sent < 75, "it was read nearly to its end"
    assert time.monotonic() - begun < 30
    assert httpx.get(f"{live.url}/health").status_code == 200
