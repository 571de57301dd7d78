"""What keeps browsers from the storage: each way fails its check, and the fix names who has to change what."""

import pytest
from starlette.requests import Request
from starlette.responses import Response

from backend.admin.doctor import cors as checks
from backend.admin.doctor.findings import Check, State
from backend.config import settings
from backend.core import capabilities
from tests.admin.doctor.conftest import Examine
from tests.admin.doctor.proxy import Proxy


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
async def test_the_embedded_storage_lets_browsers_in(check: Check, examine: Examine, proxy: Proxy) -> None:
    found = await examine(check)
    assert (found.state, found.fix) == (State.OK, ""), found


@pytest.mark.parametrize(
    ("pages", "storage", "given", "words"),
    [
        ("http://video.example.org", "http://minio:9000", True, "container network"),
        ("http://video.example.org", "http://127.0.0.1:9000", True, "other machine itself"),
        ("http://video.example.org", "http://localhost:9000", False, "not set, so S3_ENDPOINT_URL"),
        ("http://video.example.org", "http://[::1]:9000", True, "other machine itself"),
        ("https://video.example.org", "http://files.example.org", True, "over http"),
    ],
)
def test_an_address_that_browsers_cannot_use(pages: str, storage: str, given: bool, words: str) -> None:
    found = checks.judge_public_address(pages, storage, given=given)
    assert (found.state, words in found.words, "S3_PUBLIC_URL" in found.fix) == (State.FAILED, True, True), found


@pytest.mark.parametrize(
    ("pages", "storage"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:9000"),
        ("http://localhost:8000", "http://127.0.0.1:9000"),
        ("https://video.example.org", "https://files.example.org"),
        ("http://nas:8000", "http://nas:9000"),
        ("http://[fd00::1]:8000", "http://[fd00::1]:9000"),
    ],
)
def test_an_address_that_browsers_can_use(pages: str, storage: str) -> None:
    assert checks.judge_public_address(pages, storage, given=True).state is State.OK


async def test_the_host_of_the_containers_is_caught_by_the_check(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "s3_public_url", None)
    monkeypatch.setattr(settings, "s3_endpoint_url", "http://minio:9000")
    found = await examine(checks.public_address)
    assert (found.state, "“minio”" in found.words) == (State.FAILED, True)


def no_cors(request: Request, answer: Response) -> Response:
    for name in [name for name in answer.headers if name.startswith("access-control")]:
        del answer.headers[name]
    return answer


async def test_a_proxy_that_drops_cors_is_told_from_a_storage_that_has_none(examine: Examine, proxy: Proxy) -> None:
    proxy.answer = no_cors
    for check in (checks.preflight, checks.etag):
        found = await examine(check)
        assert found.state is State.FAILED
        assert "a proxy at" in found.fix
        assert proxy.url in found.fix


@pytest.mark.parametrize(
    ("server", "fix"),
    [
        ("swift", "PUBLIC_URL=http://127.0.0.1:8000"),
        ("minio", "MINIO_API_CORS_ALLOW_ORIGIN=http://127.0.0.1:8000"),
        ("aws", "AllowedOrigins http://127.0.0.1:8000"),
        ("unknown", "ExposeHeaders ETag"),
    ],
)
async def test_a_storage_without_cors_is_mended_as_its_kind_wants(
    server: str, fix: str, examine: Examine, instead: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead.answer = no_cors
    monkeypatch.setattr(capabilities, "detect", lambda url, headers: server)
    found = await examine(checks.preflight)
    assert found.state is State.FAILED
    assert fix in found.fix


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("access-control-allow-origin", "https://old.example.org", "lets in https://old.example.org"),
        ("access-control-allow-methods", "GET, HEAD", "PUT"),
        ("access-control-allow-headers", "x-other", "Content-Type"),
    ],
)
async def test_a_rule_that_does_not_fit(name: str, value: str, words: str, examine: Examine, instead: Proxy) -> None:
    def other(request: Request, answer: Response) -> Response:
        answer.headers[name] = value
        return answer

    instead.answer = other
    found = await examine(checks.preflight)
    assert (found.state, words in found.words) == (State.FAILED, True), found
    assert settings.public_url in found.fix


async def test_a_proxy_that_answers_the_preflight_itself(examine: Examine, proxy: Proxy) -> None:
    def refused(request: Request, answer: Response) -> Response:
        return Response(status_code=405) if request.method == "OPTIONS" else answer

    proxy.answer = refused
    found = await examine(checks.preflight)
    assert (found.state, found.detail) == (State.FAILED, "HTTP 405")
    assert "OPTIONS" in found.fix


async def test_an_etag_that_pages_cannot_read(examine: Examine, proxy: Proxy) -> None:
    def hidden(request: Request, answer: Response) -> Response:
        if "access-control-expose-headers" in answer.headers:
            answer.headers["access-control-expose-headers"] = "x-request-id"
        return answer

    proxy.answer = hidden
    found = await examine(checks.etag)
    assert (found.state, "a proxy at" in found.fix) == (State.FAILED, True)


async def test_a_storage_that_exposes_no_etag(examine: Examine, instead: Proxy) -> None:
    def hidden(request: Request, answer: Response) -> Response:
        if "access-control-expose-headers" in answer.headers:
            del answer.headers["access-control-expose-headers"]
        return answer

    instead.answer = hidden
    found = await examine(checks.etag)
    assert (found.state, "Access-Control-Expose-Headers: ETag" in found.fix) == (State.FAILED, True)


def test_a_limit_over_what_one_address_takes_is_a_warning() -> None:
    assert checks.judge_largest(5 * 1024**3).state is State.OK
    found = checks.judge_largest(6 * 1024**3)
    assert (found.state, "MAX_UPLOAD_SIZE_MB to at most 5120" in found.fix) == (State.WARNING, True)
