"""Each way in which a storage, or a proxy in front of it, can be set up wrongly: its check fails and names the fix."""

import asyncio
import time
from email.utils import formatdate

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from backend.admin.doctor import storage as checks
from backend.admin.doctor.bucket import BODY
from backend.admin.doctor.findings import Check, State
from backend.admin.doctor.parts import multipart
from backend.admin.doctor.visit import visiting
from backend.config import settings
from backend.core import capabilities
from backend.core.db import transaction
from backend.core.storage import storage
from tests.admin.doctor.conftest import Examine
from tests.admin.doctor.proxy import Proxy


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
async def test_the_embedded_storage_is_well_also_behind_a_proxy(check: Check, examine: Examine, proxy: Proxy) -> None:
    found = await examine(check)
    assert (found.state, found.fix) == (State.OK, ""), found


# --- the internal endpoint -------------------------------------------------------------------------------------------


async def test_a_storage_that_is_away_fails_one_check_and_the_others_say_why(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "s3_endpoint_url", "http://127.0.0.1:9")
    found = await examine(checks.answers)
    assert (found.state, "S3_ENDPOINT_URL" in found.fix) == (State.FAILED, True)
    for check in set(checks.CHECKS) - {checks.answers}:
        found = await examine(check)
        assert found.state is State.SKIPPED, found
        assert "The storage answers" in found.words


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("s3_secret_access_key", SecretStr("wrong"), "S3_SECRET_ACCESS_KEY"),
        ("s3_access_key_id", "dailies:nobody", "S3_ACCESS_KEY_ID"),
        ("s3_bucket", "not-there", "Make the bucket not-there, or set S3_BUCKET"),
        ("s3_region", "eu-west-9", "Set S3_REGION=us-east-1."),
    ],
)
async def test_a_wrong_key_or_bucket_is_named(
    name: str, value: object, fix: str, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, name, value)
    found = await examine(checks.answers)
    assert found.state is State.FAILED
    assert fix in found.fix, found


@pytest.mark.parametrize(
    ("body", "headers", "region"),
    [
        ("<Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region>", {}, "eu-central-1"),
        ("<Message>the region &apos;x&apos; is wrong; expecting &apos;garage&apos;</Message>", {}, "garage"),
        ("<Code>PermanentRedirect</Code>", {"x-amz-bucket-region": "us-west-2"}, "us-west-2"),
        ("<Region><script></Region>", {"x-amz-bucket-region": "a b"}, ""),
    ],
)
def test_servers_say_in_different_ways_which_region_they_expect(
    body: str, headers: dict[str, str], region: str
) -> None:
    assert checks.expected_region(httpx.Response(400, text=body, headers=headers)) == region


async def test_missing_keys_are_named(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "s3_access_key_id", "")
    monkeypatch.setattr(settings, "s3_secret_access_key", SecretStr(""))
    found = await examine(checks.answers)
    assert found.state is State.FAILED
    assert "keys" in found.fix, found


async def test_a_storage_that_hangs_fails_its_check_in_time(examine: Examine, instead: Proxy) -> None:
    async def hang(request: Request) -> None:
        await asyncio.sleep(600)

    instead.wait = hang
    began = time.monotonic()
    found = await examine(checks.answers)
    assert (found.state, "S3_ENDPOINT_URL" in found.fix) == (State.FAILED, True)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(("seconds", "state"), [(-3600, State.FAILED), (3600, State.FAILED), (40, State.WARNING)])
async def test_a_storage_whose_clock_is_wrong(seconds: int, state: State, examine: Examine, instead: Proxy) -> None:
    def skewed(request: Request, answer: Response) -> Response:
        answer.headers["date"] = formatdate(time.time() + seconds, usegmt=True)
        return answer

    instead.answer = skewed
    found = await examine(checks.time_there)
    assert found.state is state
    assert "chrony" in found.fix
    assert ("ahead of" if seconds > 0 else "behind") in found.words


# --- the public endpoint ---------------------------------------------------------------------------------------------


async def test_a_public_address_that_we_cannot_reach_is_a_warning_only(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "s3_public_url", "http://files.invalid:9000")
    found = await examine(checks.public_reachable)
    assert (found.state, "S3_PUBLIC_URL" in found.fix) == (State.WARNING, True)
    found = await examine(checks.wrong_length)
    assert found.state is State.OK
    assert "internal address" in found.words


async def test_a_proxy_that_changes_the_host_breaks_signatures(examine: Examine, proxy: Proxy) -> None:
    def own_host(headers: httpx.Headers) -> None:
        headers["host"] = "minio:9000"

    proxy.ask = own_host
    found = await examine(checks.signed_host)
    assert found.state is State.FAILED
    assert "proxy_set_header Host $http_host" in found.fix
    for check in (checks.signed_put, checks.ranges, multipart):
        assert (await examine(check)).state is State.SKIPPED


async def test_a_public_address_that_leads_to_something_else(examine: Examine, proxy: Proxy) -> None:
    proxy.answer = lambda request, answer: Response("<html>Welcome to nginx", 404)
    found = await examine(checks.signed_host)
    assert (found.state, "S3_PUBLIC_URL" in found.fix) == (State.FAILED, True)


async def test_a_proxy_that_limits_bodies(examine: Examine, proxy: Proxy) -> None:
    proxy.refuse = lambda request: Response("too large", 413) if request.method == "PUT" else None
    found = await examine(checks.signed_put)
    assert (found.state, "client_max_body_size 0" in found.fix) == (State.FAILED, True)
    assert found.detail == "HTTP 413"


async def test_a_user_that_may_not_write(examine: Examine, instead: Proxy) -> None:
    denied = "<Error><Code>AccessDenied</Code></Error>"

    def read_only(request: Request) -> Response | None:
        return Response(denied, 403) if request.method in ("PUT", "POST") else None

    instead.refuse = read_only
    found = await examine(checks.signed_put)
    assert (found.state, "minio-init/policy.json" in found.fix) == (State.FAILED, True)
    assert found.detail == "HTTP 403 AccessDenied"
    found = await examine(multipart)
    assert (found.state, "s3:AbortMultipartUpload" in found.fix) == (State.FAILED, True)


async def test_a_proxy_that_forgets_ranges(examine: Examine, proxy: Proxy) -> None:
    proxy.ask = lambda headers: headers.pop("range", None)
    found = await examine(checks.ranges)
    assert (found.state, "Range header" in found.fix) == (State.FAILED, True)


async def test_a_proxy_that_chooses_types_itself(examine: Examine, proxy: Proxy) -> None:
    def plain(request: Request, answer: Response) -> Response:
        answer.headers["content-type"] = "text/html"
        return answer

    proxy.answer = plain
    found = await examine(checks.chosen_type)
    assert (found.state, "Content-Type" in found.fix) == (State.WARNING, True)


async def test_a_storage_that_lets_browsers_guess_types(examine: Examine, proxy: Proxy) -> None:
    def bare(request: Request, answer: Response) -> Response:
        del answer.headers["x-content-type-options"]
        return answer

    proxy.answer = bare
    found = await examine(checks.not_sniffed)
    assert (found.state, "add_header X-Content-Type-Options nosniff always" in found.fix) == (State.WARNING, True)


# --- what must be refused --------------------------------------------------------------------------------------------


def gullible(request: Request, answer: Response) -> Response:
    """A server that verifies nothing."""
    return Response(BODY, 200, {"etag": '"0"'}) if 400 <= answer.status_code < 500 else answer


@pytest.mark.parametrize(
    "check", [checks.wrong_length, checks.wrong_type, checks.wrong_signature, checks.expired, multipart]
)
async def test_a_storage_that_takes_what_was_not_signed(check: Check, examine: Examine, proxy: Proxy) -> None:
    proxy.answer = gullible
    found = await examine(check)
    assert found.state is State.FAILED
    assert "verifies" in found.fix


async def test_an_address_that_outlives_its_time(examine: Examine, proxy: Proxy) -> None:
    def patient(request: Request, answer: Response) -> Response:
        return Response(BODY, 200) if request.method == "GET" else answer

    proxy.answer = patient
    found = await examine(checks.expired)
    assert (found.state, "X-Amz-Expires" in found.fix) == (State.FAILED, True)


# --- what it can do --------------------------------------------------------------------------------------------------


async def test_what_the_storage_can_do_is_tried_and_kept(examine: Examine, instead: Proxy) -> None:
    found = await examine(checks.facts)
    assert "can announce uploads" in found.words
    async with transaction() as session:
        row = (await session.scalars(select(capabilities.StorageFacts))).one()
    assert (row.endpoint, row.server) == (f"{instead.url}/dailies", "swift")
    assert row.probed == {"if_none_match": True, "list_uploads_by_prefix": True}


async def test_a_storage_that_overwrites_is_noticed_whatever_the_table_says(
    examine: Examine, instead: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(request: Request, answer: Response) -> Response:
        return Response(status_code=200) if answer.status_code == 412 else answer

    instead.answer = again
    found = await examine(checks.facts)
    assert (found.state, "cannot announce uploads" in found.words) == (State.OK, True)
    monkeypatch.setattr(settings, "storage_events_token", SecretStr("token"))
    found = await examine(checks.facts)
    assert (found.state, "Leave STORAGE_EVENTS_TOKEN out" in found.fix) == (State.WARNING, True)
    assert (capabilities.current().server, capabilities.current().if_none_match) == ("swift", False)


async def test_what_a_killed_run_left_is_removed_an_hour_later(examine: Examine) -> None:
    left, young = f"doctor/{int(time.time()) - 4000}-ab/put", f"doctor/{int(time.time()) - 100}-ab/put"
    async with visiting() as visit:
        for key in (left, young):
            await visit.http.put(visit.storage.sign_call("put_object", Key=key), content=b"x")
            await visit.http.post(visit.storage.sign_call("create_multipart_upload", Key=key))
    await examine(checks.signed_put)
    assert await storage.list_keys(left) == []
    assert await storage.list_keys(young) == [young]
    assert [each.key for each in await storage.list_multiparts("doctor/")] == [young]
    await storage.delete([young])
    await storage.abort_multiparts(young)
