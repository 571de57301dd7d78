"""What this process tells Prometheus about itself: requests, its database pool, its open streams.

Request counters are this process's own: add them up over processes. What is read from Postgres when asked (jobs) is
the same from every process, and is in `backend.admin.measures`.
"""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.pool import QueuePool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.db import database
from backend.core.events import hub

registry = CollectorRegistry()

REQUESTS = Counter("dailies_http_requests_total", "Requests answered", ["method", "route", "status"], registry=registry)
SECONDS = Histogram(
    "dailies_http_request_seconds",
    "Time until the answer began, by route",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=registry,
)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Measured:
    """Counts each request under its route's template: never under the path itself, of which there is no end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        begun: float | None = None
        status = 500

        async def noting(message: Message) -> None:
            nonlocal begun, status
            if message["type"] == "http.response.start":
                begun, status = time.perf_counter(), message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = route_of(scope)
            REQUESTS.labels(method, route, str(status)).inc()
            SECONDS.labels(method, route).observe((begun or time.perf_counter()) - started)


def route_of(scope: Scope) -> str:
    """`/api/videos/{video_id}`, `/static`; `none` for what no route answered."""
    path = getattr(scope.get("route"), "path", None)
    if path is not None:
        return str(path)
    return "/static" if scope["path"].startswith("/static/") else "none"


class ProcessCollector(Collector):
    """What this process holds at the moment of asking."""

    def collect(self) -> Iterable[Metric]:
        pool = database.engine.pool
        connections = GaugeMetricFamily(
            "dailies_database_connections", "Connections of this process's pool", labels=["state"]
        )
        if isinstance(pool, QueuePool):
            connections.add_metric(["in_use"], pool.checkedout())
            connections.add_metric(["idle"], pool.checkedin())
            connections.add_metric(["most"], pool.size())
        yield connections
        yield GaugeMetricFamily("dailies_streams_open", "Event streams open in this process", value=hub.streams)
        yield GaugeMetricFamily(
            "dailies_events_connected", "1 while this process hears live events from Redis", value=int(hub.connected)
        )


registry.register(ProcessCollector())
