"""`/metrics`: what Prometheus reads, and who may read it."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import func

from backend.admin import measures
from backend.config import settings
from backend.core.db import transaction
from backend.jobs import leases
from backend.jobs.moves import JobError
from backend.videos.models import VideoRecount
from backend.webhooks import courier, deliveries
from tests.admin.conftest import People
from tests.jobs.conftest import Declare, Jobs
from tests.webhooks.conftest import Hooks, Receiver, answer

Read = Callable[..., float]


@pytest.fixture
async def prometheus(app: FastAPI, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A scraper on this machine."""
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


async def scrape(prometheus: httpx.AsyncClient) -> Read:
    answer = await prometheus.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }

    def read(name: str, **labels: str) -> float:
        return samples.get((name, tuple(sorted(labels.items()))), 0.0)

    return read


async def test_depth_and_age_are_told_by_queue_and_state(
    prometheus: httpx.AsyncClient, people: People, jobs: Jobs, declare: Declare
) -> None:
    kind = declare()
    for _ in range(3):
        await jobs.start(kind)
    await jobs.claimed(kind)
    read = await scrape(prometheus)
    assert read("dailies_jobs", queue="test", state="queued") == 2
    assert read("dailies_jobs", queue="test", state="running") == 1
    assert 0 <= read("dailies_jobs_oldest_seconds", queue="test") < 60
    assert read("dailies_queue_paused", queue="test") == 0
    await people.admin.client.post("/api/admin/queues/test/pause")
    assert (await scrape(prometheus))("dailies_queue_paused", queue="test") == 1


async def test_attempts_durations_and_lease_losses_are_counted_by_kind(
    prometheus: httpx.AsyncClient, jobs: Jobs, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "SETTLES_SECONDS", 0)
    monkeypatch.setattr(measures, "ended", measures.Ended())
    kind = declare()
    for _ in range(4):
        await jobs.start(kind)
    await scrape(prometheus)
    done, broken, lost = await jobs.claimed(kind), await jobs.claimed(kind), await jobs.claimed(kind)
    await jobs.claimed(kind)
    assert done.lease_token
    assert broken.lease_token
    async with transaction() as session:
        await leases.finish(session, job_id=done.id, token=done.lease_token)
    async with transaction() as session:
        error = JobError("corrupt_media", "The file is damaged.")
        await leases.fail(session, job_id=broken.id, token=broken.lease_token, error=error)
    async with transaction() as session:
        await leases.reap(session, lost.id)
    await asyncio.sleep(0.01)
    for _ in range(2):  # asking twice counts nothing twice
        read = await scrape(prometheus)
        for outcome in ("completed", "failed", "lost"):
            assert read("dailies_job_attempts_total", kind=kind, outcome=outcome) == 1, outcome
        assert read("dailies_job_lease_losses_total", kind=kind) == 1
        assert read("dailies_job_attempt_seconds_count", kind=kind) == 3
        assert read("dailies_job_attempt_seconds_bucket", kind=kind, le="+Inf") == 3
        assert 0 < read("dailies_job_attempt_seconds_sum", kind=kind) < 60


async def test_deliveries_of_webhooks_are_told_by_how_they_stand(
    prometheus: httpx.AsyncClient, hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.make(receiver.url())
    for _ in range(3):
        await hooks.emit()
    receiver.says(answer(500), answer(410), answer(204))
    await hooks.change(next_try_at=func.now() - timedelta(minutes=2))
    read = await scrape(prometheus)
    assert read("dailies_webhook_deliveries", state="pending") == 3
    assert 110 < read("dailies_webhook_overdue_seconds") < 600
    async with transaction() as session:
        first, second, _ = await deliveries.take(session, most=3)
    assert (await scrape(prometheus))("dailies_webhook_deliveries", state="delivering") == 3
    for each in (first, second):
        outcome = await courier.send(each)
        async with transaction() as session:
            await deliveries.settle(session, each, outcome)
        if each is first:
            assert (await scrape(prometheus))("dailies_webhook_failing") == 1
    read = await scrape(prometheus)
    assert (read("dailies_webhook_dead"), read("dailies_webhook_failing")) == (2, 0)


async def test_requests_are_counted_by_route_and_not_by_path(prometheus: httpx.AsyncClient, people: People) -> None:
    labels = {"method": "GET", "route": "/api/admin/jobs/{job_id}"}
    before = await scrape(prometheus)
    for number in range(3):
        await people.admin.client.get(f"/api/admin/jobs/00000000-0000-4000-8000-00000000000{number}")
    await people.admin.client.get("/no/such/place")
    after = await scrape(prometheus)
    grown = after("dailies_http_requests_total", status="404", **labels)
    assert grown - before("dailies_http_requests_total", status="404", **labels) == 3
    assert after("dailies_http_request_seconds_count", **labels) >= 3
    assert after("dailies_http_requests_total", method="GET", route="none", status="404") >= 1


async def test_counters_of_videos_that_were_put_right_are_told(prometheus: httpx.AsyncClient, people: People) -> None:
    assert (await scrape(prometheus))("dailies_video_counts_corrected_total") == 0
    async with transaction() as session:
        session.add(VideoRecount(id=1, after=uuid.uuid4(), corrected=3))
    assert (await scrape(prometheus))("dailies_video_counts_corrected_total") == 3


async def test_the_pool_and_the_streams_are_told(prometheus: httpx.AsyncClient, people: People) -> None:
    read = await scrape(prometheus)
    assert read("dailies_database_connections", state="most") == settings.database_pool_size
    assert read("dailies_database_connections", state="in_use") == 0
    assert read("dailies_streams_open") == 0


async def test_without_a_token_only_this_machine_reads_them(
    prometheus: httpx.AsyncClient, client: httpx.AsyncClient, people: People
) -> None:
    assert (await client.get("/metrics")).status_code == 403
    assert (await people.admin.client.get("/metrics")).status_code == 403, "a role opens the pages, not this"
    for trace in (
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "Via",
        "CF-Ray",
        "X-Real-IP",
    ):
        proxied = await prometheus.get("/metrics", headers={trace: "127.0.0.1"})
        assert proxied.status_code == 403, "what comes through a proxy comes from elsewhere"
    assert (await prometheus.get("/metrics", headers={"Host": "videos.example.org"})).status_code == 403
    assert (await prometheus.get("/metrics")).status_code == 200


@pytest.mark.parametrize("address", ["::1", "::ffff:127.0.0.1"])
async def test_this_machine_is_known_by_its_other_addresses_too(app: FastAPI, people: People, address: str) -> None:
    transport = httpx.ASGITransport(app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        assert (await client.get("/metrics")).status_code == 200


async def test_with_a_token_whoever_has_it_reads_them(
    prometheus: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "metrics_token", SecretStr("a long secret"))
    assert (await client.get("/metrics", headers={"Authorization": "Bearer a long secret"})).status_code == 200
    for wrong in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Basic a long secret"}):
        assert (await prometheus.get("/metrics", headers=wrong)).status_code == 401
