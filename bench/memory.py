"""What an idle web process and an idle worker hold of the machine's memory, and with ten thousand jobs queued.

Each round has new processes. The web process has served somebody's pages before it is looked at; the jobs are in a
queue that is paused, and their bell rings.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx

from backend.core.queue.arq_queue import MAX_WAITING_RINGS, ArqDoorbell
from bench.million import database_url
from bench.place import READY_SECONDS, Place
from bench.table import Row, ratios

PAGES = ("/dashboard", "/upload", "/gallery", "/generate", "/sessions", "/projects", "/settings", "/api/videos")
QUEUE = "media"
_REGISTERED = "SELECT EXISTS (SELECT FROM workers WHERE pid = $1)"
_PAUSED = "INSERT INTO queues (name, paused_at) VALUES ($1, now()) ON CONFLICT (name) DO UPDATE SET paused_at = now()"
_JOBS = """
INSERT INTO jobs (id, kind, queue, project_id, owner_id)
SELECT gen_random_uuid(), 'process_video', $1, id, owner_id FROM projects, generate_series(1, $3)
WHERE owner_id = $2 AND personal
"""


async def measure(place: Place) -> list[Row]:
    found = [await _round(place) for _ in range(place.rounds)]
    web, web_full, worker, worker_full, web_resident, worker_resident = zip(*found, strict=True)
    shared = "its share of libraries that others hold, too (PSS); with all of them (RSS) {:.0f} MB"
    return [
        Row("memory of an idle web process", web, "MB", at_most=150, beside=shared.format(max(web_resident))),
        Row("memory of an idle worker", worker, "MB", at_most=200, beside=shared.format(max(worker_resident))),
        Row("web: memory with 10,000 queued jobs / without", ratios(web_full, web), at_most=1.05),
        Row("worker: memory with 10,000 queued jobs / without", ratios(worker_full, worker), at_most=1.05),
    ]


async def _round(place: Place) -> tuple[float, ...]:
    """In MB: web without and with the jobs, worker without and with them; both without, as `ps` tells."""
    client = httpx.AsyncClient(timeout=60, follow_redirects=True)
    async with place.web() as web, place.worker() as worker, client:
        client.base_url = httpx.URL(web.url)
        user_id = await _sign_up(client)
        await _look_around(client)
        async with asyncio.timeout(READY_SECONDS), _database(place) as database:
            while not await database.fetchval(_REGISTERED, worker.pid):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await asyncio.sleep(place.size(20, 1))
        without, resident = (web.memory_mb(), worker.memory_mb()), (web.resident_mb(), worker.resident_mb())
        await _queue(place, user_id, place.size(10_000, 100))
        await _look_around(client)
        await asyncio.sleep(place.size(20, 1))
        return without[0], web.memory_mb(), without[1], worker.memory_mb(), *resident


@asynccontextmanager
async def _database(place: Place) -> AsyncIterator[asyncpg.Connection]:
    database = await asyncpg.connect(database_url(place))
    try:
        yield database
    finally:
        await database.close()


async def _sign_up(client: httpx.AsyncClient) -> uuid.UUID:
    """With a token and a cookie from now on."""
    who = {"email": f"{uuid.uuid4()}@example.org", "password": "who looks at some pages"}
    answer = await client.post("/api/auth/register", json=who)
    answer.raise_for_status()
    origin = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    (await client.post("/login", data=who, headers=origin)).raise_for_status()
    return uuid.UUID(answer.json()["user"]["id"])


async def _look_around(client: httpx.AsyncClient) -> None:
    for page in PAGES:
        (await client.get(page)).raise_for_status()


async def _queue(place: Place, user_id: uuid.UUID, count: int) -> None:
    async with _database(place) as database:
        await database.execute(_PAUSED, QUEUE)
        await database.execute(_JOBS, QUEUE, user_id, count)
    bell = ArqDoorbell()
    for _ in range(2 * MAX_WAITING_RINGS):
        await bell.ring(uuid.uuid4(), QUEUE)
    await bell.close()
