"""What the storage can do: known by its kind, corrected by what was tried, kept for every process."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from backend.config import settings
from backend.core import capabilities
from backend.core.db import transaction
from backend.core.storage import storage
from tests.conftest import empty_everything


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    capabilities.forget()
    yield
    capabilities.forget()


@pytest.mark.parametrize(
    ("url", "headers", "server"),
    [
        (None, {}, "aws"),
        ("https://s3.eu-west-1.amazonaws.com", {}, "aws"),
        ("https://abc.r2.cloudflarestorage.com", {"server": "cloudflare"}, "r2"),
        ("http://minio:9000", {"server": "MinIO"}, "minio"),
        ("http://files:8333", {"server": "SeaweedFS 30GB 4.02"}, "seaweedfs"),
        ("http://127.0.0.1:1", {"x-trans-id": "tx1", "x-openstack-request-id": "tx1"}, "swift"),
        ("https://amazonaws.com.example.org", {"server": "nginx"}, "unknown"),
    ],
)
def test_a_server_is_known_by_its_address_or_by_its_answers(
    url: str | None, headers: dict[str, str], server: str
) -> None:
    assert capabilities.detect(url, headers) == server


def test_before_anything_is_known_nothing_is_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "s3_endpoint_url", "http://files.example.org:9000")
    assert capabilities.current() == capabilities.UNKNOWN
    monkeypatch.setattr(settings, "s3_endpoint_url", None)
    assert capabilities.current() == capabilities.KNOWN["aws"]


async def test_the_embedded_server_is_recognised_by_its_answers(app: FastAPI) -> None:
    assert await capabilities.learn(storage) == capabilities.KNOWN["swift"]
    assert capabilities.current().if_none_match


async def test_what_was_tried_wins_over_the_table_and_outlives_the_process(app: FastAPI) -> None:
    async with transaction() as session:
        await capabilities.keep(session, server="minio", probed={"if_none_match": False, "nonsense": True})
    assert not capabilities.current().if_none_match
    capabilities.forget()
    learned = await capabilities.learn(storage)
    assert (learned.server, learned.if_none_match) == ("minio", False)
    await empty_everything()


async def test_what_could_not_be_tried_again_stays_as_it_was(app: FastAPI) -> None:
    async with transaction() as session:
        await capabilities.keep(
            session, server="swift", probed={"if_none_match": False, "list_uploads_by_prefix": False}
        )
    async with transaction() as session:
        found = await capabilities.keep(session, server="swift", probed={"list_uploads_by_prefix": True})
    assert (found.if_none_match, found.list_uploads_by_prefix) == (False, True)
    await empty_everything()


async def test_another_storage_is_not_taken_for_the_one_that_was_tried(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with transaction() as session:
        await capabilities.keep(session, server="swift", probed={"if_none_match": True})
    monkeypatch.setattr(settings, "s3_bucket", "another")
    assert not capabilities.current().if_none_match
    await empty_everything()
