"""The checks of the platform's own address, against a real web process behind a proxy."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from backend.admin.doctor import web as checks
from backend.admin.doctor.findings import State
from backend.config import settings
from backend.core.security import sign_claim
from tests.admin.doctor.conftest import Examine
from tests.admin.doctor.proxy import Proxy, running
from tests.conftest import Live


@pytest.fixture
async def front(live: Live, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """What browsers reach the platform through."""
    async with running(Proxy(live.url)) as made:
        monkeypatch.setattr(settings, "public_url", made.url)
        yield made


async def test_a_proxy_that_passes_streams_on_is_well(examine: Examine, front: Proxy) -> None:
    for check in set(checks.CHECKS) - {checks.same_settings}:
        found = await examine(check)
        assert (found.state, found.fix) == (State.OK, ""), found
    found = await examine(checks.same_settings)
    assert (found.state, "other values of PUBLIC_URL: " in found.words) == (State.WARNING, True), "it is the proxy's"


async def test_a_proxy_that_buffers_streams(examine: Examine, front: Proxy) -> None:
    front.streams = False
    found = await examine(checks.streams_flow)
    assert (found.state, "proxy_buffering off" in found.fix) == (State.FAILED, True)
    assert (await examine(checks.leads_here)).state is State.OK


async def test_a_server_that_was_started_with_other_settings(
    examine: Examine, front: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.answer = lambda request, answer: Response('{"NO_SUCH_SETTING": "0", "S3_BUCKET": "0"}')
    assert (await examine(checks.same_settings)).state is State.SKIPPED, "no server of ours answers"
    front.answer = None
    monkeypatch.setattr(settings, "max_upload_size_mb", 1)
    found = await examine(checks.same_settings)
    assert (found.state, "MAX_UPLOAD_SIZE_MB, PUBLIC_URL: " in found.words) == (State.WARNING, True), found


async def test_an_address_that_leads_to_something_else(examine: Examine, front: Proxy) -> None:
    front.answer = lambda request, answer: Response("<html>Welcome to nginx")
    found = await examine(checks.leads_here)
    assert (found.state, "PUBLIC_URL" in found.fix, "SECRET_KEY" in found.fix) == (State.FAILED, True, True)
    assert (await examine(checks.streams_flow)).state is State.SKIPPED


async def test_a_proxy_that_drops_headers_we_made(examine: Examine, front: Proxy) -> None:
    front.ask = lambda headers: headers.pop(checks.TOLD_BY, None)
    found = await examine(checks.leads_here)
    assert (found.state, "pass all paths and headers on" in found.fix) == (State.FAILED, True)


@pytest.mark.parametrize(
    ("url", "state", "fix"),
    [("http://127.0.0.1:9", State.FAILED, "make run"), ("http://video.invalid", State.WARNING, "PUBLIC_URL")],
)
async def test_an_address_that_cannot_be_reached_from_here(
    url: str, state: State, fix: str, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "public_url", url)
    found = await examine(checks.leads_here)
    assert (found.state, fix in found.fix) == (state, True)
    assert (await examine(checks.streams_flow)).state is State.SKIPPED


@pytest.mark.parametrize(
    ("url", "environment", "state", "fix"),
    [
        ("https://video.example.org", "production", State.OK, ""),
        ("http://127.0.0.1:8000", "local", State.OK, ""),
        ("http://127.0.0.1:8000", "production", State.WARNING, "Set PUBLIC_URL"),
        ("http://video.example.org", "production", State.WARNING, "TLS"),
    ],
)
def test_what_the_address_means_for_cookies(url: str, environment: str, state: State, fix: str) -> None:
    found = checks.judge_public_url(url, environment)
    assert (found.state, fix in found.fix) == (state, True)


def test_a_stream_that_breaks_off() -> None:
    found = checks.judge_stream([0.0, 0.4])
    assert (found.state, "proxy_read_timeout" in found.fix) == (State.FAILED, True)


async def test_the_front_end_was_never_built(examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "DIST", tmp_path)
    found = await examine(checks.built)
    assert (found.state, "npm run build" in found.fix) == (State.FAILED, True)


async def test_the_test_stream_is_for_auditors_and_for_the_doctor(live: Live, clean: None) -> None:
    async with httpx.AsyncClient() as client:
        url = live.url + checks.STREAM_PATH
        assert (await client.get(url)).status_code == 401
        for purpose, status in ((checks.PURPOSE, 200), ("something else", 401)):
            answer = await client.get(url, headers={checks.TOLD_BY: sign_claim(purpose, {}, 60)})
            assert answer.status_code == status
            assert answer.text.count("event: beat") == (checks.EVENTS if status == 200 else 0)
