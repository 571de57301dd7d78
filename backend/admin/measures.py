"""`/metrics` for Prometheus: this process's own figures, and those of the whole platform, read from Postgres.

Counters of attempts begin at zero with the process, as Prometheus expects, and grow by what ended since the last
asking. Every web process counts the whole platform's: take the greatest of them, not their sum.
"""

import asyncio
import hmac
import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.admin.overview import Queue, all_queues, all_workers
from backend.admin.schemas import WorkerOut
from backend.config import settings
from backend.core import openapi
from backend.core.db import transaction
from backend.core.errors import Forbidden, Unauthenticated
from backend.core.metrics import registry
from backend.core.web import client_ip, errors
from backend.jobs.models import JobState
from backend.videos import recounting
from backend.webhooks.figures import Deliveries, deliveries

router = APIRouter()

#: An attempt's end may become visible a moment after its time: attempts are counted when they are this old.
SETTLES_SECONDS = 5
EDGES = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)

_BOUND = text("SELECT now() - make_interval(secs => :seconds)")
_ENDED = text(
    """
    SELECT jobs.kind, attempts.outcome, bucket, count(*), sum(seconds)::float8
    FROM job_attempts AS attempts JOIN jobs ON jobs.id = attempts.job_id
    CROSS JOIN LATERAL (SELECT extract(epoch FROM attempts.finished_at - attempts.started_at) AS seconds) AS took
    CROSS JOIN LATERAL (SELECT width_bucket(seconds::float8, CAST(:edges AS float8[])) AS bucket) AS placed
    WHERE attempts.finished_at > :since AND attempts.finished_at <= :until
    GROUP BY jobs.kind, attempts.outcome, bucket
    """
)


@dataclass
class Ended:
    """Attempts that ended while this process watched."""

    since: datetime | None = None
    #: (kind, outcome) → how many
    attempts: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    #: kind → attempts by bucket, the last for those beyond the greatest edge; and the sum of their seconds
    durations: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * (len(EDGES) + 1)))
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read_on(self, session: AsyncSession) -> None:
        """Add what ended since the last time; the first time, only remember when that was."""
        async with self.lock:
            until: datetime = (await session.execute(_BOUND, {"seconds": SETTLES_SECONDS})).scalar_one()
            if self.since is not None:
                span = {"since": self.since, "until": until, "edges": list(EDGES)}
                for kind, outcome, bucket, number, seconds in await session.execute(_ENDED, span):
                    self.attempts[kind, outcome or "unknown"] += number
                    self.durations[kind][bucket] += number
                    self.seconds[kind] += seconds or 0.0
            self.since = max(until, self.since or until)


ended = Ended()


class JobCollector(Collector):
    """Jobs as they were just read."""

    def __init__(self, queues: list[Queue], workers: list[WorkerOut], ended: Ended) -> None:
        self._queues, self._workers, self._ended = queues, workers, ended

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("dailies_jobs", "Jobs by queue and state", labels=["queue", "state"])
        oldest = GaugeMetricFamily(
            "dailies_jobs_oldest_seconds", "Age of the due job that waits longest", labels=["queue"]
        )
        paused = GaugeMetricFamily("dailies_queue_paused", "1 while a queue is paused", labels=["queue"])
        for queue in self._queues:
            for state in JobState:
                depth.add_metric([queue.name, state], queue.numbers.count(state).number)
            oldest.add_metric([queue.name], queue.numbers.oldest_seconds or 0)
            paused.add_metric([queue.name], int(queue.paused_at is not None))
        yield from (depth, oldest, paused, *self._of_workers(), *self._of_attempts())

    def _of_workers(self) -> Iterable[Metric]:
        count = GaugeMetricFamily("dailies_workers", "Worker processes of late", labels=["state"])
        for state in ("alive", "stopped", "lost"):
            count.add_metric([state], sum(worker.state == state for worker in self._workers))
        yield count
        alive = [worker for worker in self._workers if worker.state == "alive"]
        slots = GaugeMetricFamily("dailies_worker_slots", "Slots of living workers", labels=["state"])
        slots.add_metric(["busy"], sum(worker.running for worker in alive))
        slots.add_metric(["all"], sum(worker.slots for worker in alive))
        yield slots

    def _of_attempts(self) -> Iterable[Metric]:
        attempts = CounterMetricFamily(
            "dailies_job_attempts", "Attempts that ended, by how", labels=["kind", "outcome"]
        )
        lost: dict[str, int] = defaultdict(int)
        for (kind, outcome), number in sorted(self._ended.attempts.items()):
            attempts.add_metric([kind, outcome], number)
            lost[kind] += number if outcome == "lost" else 0
        yield attempts
        losses = CounterMetricFamily("dailies_job_lease_losses", "Attempts whose lease ran out", labels=["kind"])
        for kind, number in lost.items():
            losses.add_metric([kind], number)
        yield losses
        durations = HistogramMetricFamily("dailies_job_attempt_seconds", "How long attempts took", labels=["kind"])
        for kind, buckets in sorted(self._ended.durations.items()):
            total, cumulative = 0, []
            for edge, number in zip((*map(str, map(float, EDGES)), "+Inf"), buckets, strict=True):
                total += number
                cumulative.append((edge, float(total)))
            durations.add_metric([kind], cumulative, self._ended.seconds[kind])
        yield durations


class WebhookCollector(Collector):
    """Deliveries as they were just read."""

    def __init__(self, found: Deliveries) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("dailies_webhook_deliveries", "Deliveries by state", labels=["state"])
        depth.add_metric(["pending"], self._found.pending)
        depth.add_metric(["delivering"], self._found.delivering)
        yield depth
        for name, words, number in (
            ("dead", "Deliveries given up within the last day", self._found.dead),
            ("overdue_seconds", "Since when the delivery that is due for longest is due", self._found.overdue_seconds),
            ("failing", "Webhooks to which nothing has arrived since their last failure", self._found.failing),
        ):
            yield GaugeMetricFamily(f"dailies_webhook_{name}", words, value=number)


class CountCollector(Collector):
    """The counters of videos that were found wrong and put right."""

    def __init__(self, corrected: int) -> None:
        self._corrected = corrected

    def collect(self) -> Iterable[Metric]:
        words = "Counters of videos that a recount found wrong and put right"
        yield CounterMetricFamily("dailies_video_counts_corrected", words, value=self._corrected)


@router.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors(401, 403, 503)},
    response_class=Response,
    tags=["health"],
    summary="Figures for Prometheus",
    openapi_extra={"security": [{openapi.METRICS: []}, {}]},
)
async def metrics(request: Request) -> Response:
    """With `METRICS_TOKEN` set: for whoever sends it as a bearer token. Without: for this machine only."""
    check_reader(request)
    async with transaction() as session:
        workers = await all_workers(session)
        queues = await all_queues(session, workers)
        await ended.read_on(session)
        of_webhooks = await deliveries(session)
        corrected = await recounting.corrected(session)
    of_all = CollectorRegistry()
    of_all.register(_Once(JobCollector(queues, workers, ended)))
    of_all.register(_Once(WebhookCollector(of_webhooks)))
    of_all.register(_Once(CountCollector(corrected)))
    return Response(generate_latest(registry) + generate_latest(of_all), media_type=CONTENT_TYPE_LATEST)


class _Once(Collector):
    """A collector that needs not be asked to learn its names."""

    def __init__(self, inner: Collector) -> None:
        self._inner = inner

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        return self._inner.collect()


def check_reader(request: Request) -> None:
    """Raise Unauthenticated or Forbidden for those whom the figures are not for."""
    token = settings.metrics_token.get_secret_value()
    if token:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise Unauthenticated("Send the metrics token as a bearer token.")
        return
    # A request that came through a proxy of this machine comes from elsewhere, whatever its address says.
    proxied = any(name in _PROXIES or name.startswith(("x-forwarded-", "cf-")) for name in request.headers)
    host = request.url.hostname or ""
    if proxied or not _is_local(client_ip(request)) or not (host == "localhost" or _is_local(host)):
        raise Forbidden("Set METRICS_TOKEN to read the figures from elsewhere.")


#: Headers that only a proxy adds.
_PROXIES = {"via", "forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cdn-loop", "x-original-host"}


def _is_local(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
