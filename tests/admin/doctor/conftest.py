"""A run of one check, and a proxy in front of the storage that can be told to misbehave."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from fastapi import FastAPI

from backend.admin.doctor.examination import surgery
from backend.admin.doctor.findings import Check, Finding, run_one
from backend.admin.doctor.visit import PREFIX, visiting
from backend.config import settings
from backend.core import capabilities
from backend.core.storage import storage
from tests.admin.doctor.proxy import Proxy, running

Examine = Callable[[Check], Awaitable[Finding]]


@pytest.fixture(autouse=True)
def as_new() -> Iterator[None]:
    """Nothing is remembered of other runs, nor of this one."""
    surgery.forget()
    capabilities.forget()
    yield
    surgery.forget()
    capabilities.forget()


@pytest.fixture(autouse=True)
def time_enough() -> None:
    """Instead of the one for all admin tests, with which changed settings would outlive what looks at the storage."""


@pytest.fixture
async def examine(app: FastAPI, clean: None) -> AsyncIterator[Examine]:
    """Runs one check, as the doctor does. Whatever it found, nothing of it stays in the storage."""

    async def one(check: Check) -> Finding:
        async with visiting() as visit:
            return await run_one(check, visit)

    before = await storage.list_keys(PREFIX), await storage.list_multiparts(PREFIX)
    yield one
    assert (await storage.list_keys(PREFIX), await storage.list_multiparts(PREFIX)) == before


@pytest.fixture
async def proxy(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """What browsers reach the storage through."""
    async with running(Proxy(settings.s3_endpoint_url or "")) as made:
        monkeypatch.setattr(settings, "s3_public_url", made.url)
        yield made


@pytest.fixture
def instead(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The same, and the platform too reaches the storage through it: the server itself is so."""
    monkeypatch.setattr(settings, "s3_endpoint_url", proxy.url)
    return proxy
