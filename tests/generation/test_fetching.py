"""Where results and pictures may be fetched from, and what is sent along."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from backend.config import settings
from backend.generation import fetching
from backend.generation.providers.base import Remote
from backend.jobs.running import JobError
from tests.conftest import free_port
from tests.serving import serving


class Server:
    """Another's server: gives a file, redirects, fails first, and notes what it was sent."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.seen: list[tuple[str, str | None]] = []
        self.failures = 0
        self.elsewhere = ""

    async def file(self, request: Request) -> Response:
        self.seen.append((request.url.path, request.headers.get("authorization")))
        if self.failures:
            self.failures -= 1
            return Response(status_code=503)
        return Response(b"x" * int(request.query_params.get("size", 10)))

    async def away(self, request: Request) -> Response:
        self.seen.append((request.url.path, request.headers.get("authorization")))
        return RedirectResponse(self.elsewhere)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Server"]:
        app = Starlette(routes=[Route("/file", self.file), Route("/away", self.away)])
        async with serving(app, self.port):
            yield self


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().serving() as running:
        yield running


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_WAIT_SECONDS", 0.01)


def own(server: Server, path: str) -> Remote:
    return Remote(server.url + path, {"Authorization": "Bearer secret"}, own_origin=server.url)


async def test_the_operators_own_server_may_be_on_a_private_network(server: Server, tmp_path: Path) -> None:
    await fetching.asset(own(server, "/file"), tmp_path / "a")
    assert ((tmp_path / "a").read_bytes(), server.seen) == (b"x" * 10, [("/file", "Bearer secret")])


async def test_anybody_elses_may_not(server: Server, tmp_path: Path) -> None:
    for remote in (Remote(f"{server.url}/file"), Remote(f"{server.url}/file", own_origin="http://127.0.0.1:1")):
        with pytest.raises(JobError) as refusal:
            await fetching.asset(remote, tmp_path / "a")
        assert refusal.value.code == "provider_error"
    with pytest.raises(JobError) as refusal:
        await fetching.picture(f"{server.url}/file", tmp_path / "a")
    assert refusal.value.code == "url_not_allowed"
    assert server.seen == []


async def test_a_picture_whose_name_is_not_found_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="could not be found") as refusal:
        await fetching.picture("https://no-such-name.invalid/a.png", tmp_path / "a")
    assert (refusal.value.code, refusal.value.retryable) == ("image_unavailable", True)


async def test_a_redirect_is_followed_and_takes_no_secret_along(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Server().serving() as other:
        monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.0/8"])
        monkeypatch.setattr(settings, "outbound_ports", [other.port])
        server.elsewhere = f"{other.url}/file"
        await fetching.asset(own(server, "/away"), tmp_path / "a")
    assert (server.seen, other.seen) == ([("/away", "Bearer secret")], [("/file", None)])


async def test_a_redirect_is_judged_like_a_first_address(server: Server, tmp_path: Path) -> None:
    async with Server().serving() as other:
        server.elsewhere = f"{other.url}/file"
        with pytest.raises(JobError, match="may not go"):
            await fetching.asset(own(server, "/away"), tmp_path / "a")
        assert other.seen == []


async def test_a_circle_of_redirects_ends(server: Server, tmp_path: Path) -> None:
    server.elsewhere = f"{server.url}/away"
    with pytest.raises(JobError):
        await fetching.asset(own(server, "/away"), tmp_path / "a")
    assert len(server.seen) <= (fetching.MOST_REDIRECTS + 1) * fetching._TRIES


async def test_a_server_that_is_away_for_a_moment_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.failures = 2
    await fetching.asset(own(server, "/file"), tmp_path / "a")
    assert len(server.seen) == 3


async def test_a_result_larger_than_allowed_is_not_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "generation_max_mb", 1)
    with pytest.raises(JobError) as refusal:
        await fetching.asset(own(server, f"/file?size={1024 * 1024 + 1}"), tmp_path / "a")
    assert (refusal.value.code, refusal.value.retryable) == ("resource_limit", False)
