"""Two thousand people on one web process, each following a job: idle, and at a thousand messages a second.

All rounds are of one process, but for memory, which is a new process's each time: none gives it all back. What arrives
is noted by this process, which also publishes, as a worker does; so what it adds of its own is in the times.
"""

import asyncio
import json
import re
import resource
import statistics
import time
import uuid
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select, text

import backend.kinds  # noqa: F401  # jobs refer to what they are of
from backend.core import events
from backend.core.db import database, transaction
from backend.core.redis import redis
from backend.core.security import issue_access_token
from backend.jobs.models import Job
from backend.jobs.progress import State, Version, job_topic, project_topic, state_of
from bench.place import Place, Process
from bench.table import Row

RATE = 1000
TICK_SECONDS = 0.002
#: Connections that are opened at the same time: browsers come back one after another, too.
AT_ONCE = 50
#: People who are signed in, each with a project and a job that runs.
_PEOPLE = text(
    """
    WITH made AS (
        INSERT INTO users (id, email, email_key, password_hash)
        SELECT id, id || '@example.org', id || '@example.org', '!'
        FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, :count)) AS new RETURNING id
    ), signed_in AS (
        INSERT INTO login_sessions (id, user_id, expires_at)
        SELECT gen_random_uuid(), id, now() + interval '1 day' FROM made RETURNING id, user_id
    ), theirs AS (
        INSERT INTO projects (id, name, owner_id, personal) SELECT gen_random_uuid(), 'Personal', id, true FROM made
        RETURNING id, owner_id
    ), members AS (
        INSERT INTO project_members (project_id, user_id, role) SELECT id, owner_id, 'owner' FROM theirs
    ), running AS (
        INSERT INTO jobs (id, kind, queue, project_id, owner_id, state, attempt, worker, started_at, lease_token,
            lease_until)
        SELECT gen_random_uuid(), 'process_video', 'media', id, owner_id, 'running', 1, 'bench', now(),
            gen_random_uuid(), now() + interval '1 day'
        FROM theirs RETURNING id, owner_id
    )
    SELECT running.id AS job_id, user_id, signed_in.id AS session_id FROM running JOIN signed_in ON owner_id = user_id
    """
)
_ID = re.compile(rb"^id: \d+-(\d+)\r?$", re.MULTILINE)


class Client(asyncio.Protocol):
    """One stream. `arrived` holds when each step of its job came, by its per mille."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.arrived: dict[int, float] = {}
        self.transport: asyncio.Transport | None = None

    async def opened(self) -> None:
        """Until the first event, which tells how the job stands."""
        await self._opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not (self.arrived or self._opened.done() or b" 200 OK" in data or b"id: " in data):
            self._opened.set_exception(ConnectionError(data.decode(errors="replace")))
        for step in _ID.findall(data):
            self.arrived.setdefault(int(step), now)
        if self.arrived and not self._opened.done():
            self._opened.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(error or ConnectionError("closed before the first event"))


async def measure(place: Place) -> list[Row]:
    clients = place.size(2000, 20)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for the web process, too
    database.open()
    redis.open()
    try:
        return await _follow_all(place, clients)
    finally:
        await redis.close()
        await database.close()


async def _follow_all(place: Place, count: int) -> list[Row]:
    p50, p95, busy = [], [], []
    states, tokens = await _people(count)
    memory = [await _memory(place, tokens, states) for _ in range(place.rounds)]
    async with place.web() as web:
        await _look_around(web)
        before = web.memory_mb()
        clients = await _follow(web, tokens, states)
        try:
            # None looks for itself earlier than this, and each tells once in a window that it is still there.
            await asyncio.sleep(place.size(int(events.READ_AGAIN_SECONDS / 2), 1))
            seconds = place.size(int(events.ALIVE_SECONDS), 1)
            idle = [await _cpu(web, seconds) for _ in range(place.rounds)]
            first = 0
            for _ in range(place.rounds):
                computed, began = web.cpu_seconds(), time.perf_counter()
                waits = await _publish(states, clients, seconds=place.size(10, 1), first=first)
                first += len(waits)
                busy.append(100 * (web.cpu_seconds() - computed) / (time.perf_counter() - began))
                p50.append(statistics.median(waits))
                p95.append(statistics.quantiles(waits, n=20)[18])
            in_the_end = 1024 * (web.memory_mb() - before) / count
        finally:
            _leave(clients)
    told = f"{count} streams"
    arriving = f"p50 {statistics.median(p50):.1f} ms, {statistics.median(busy):.0f} % of a core"
    return [
        Row(f"{told}, idle: CPU", tuple(idle), "%", at_most=1),
        Row(
            f"{told}: memory a client, once connected",
            tuple(memory),
            "KB",
            at_most=60,
            beside=f"{in_the_end:.0f} KB after all messages",
        ),
        Row(
            f"{told}, {RATE} messages/s: p95 from publishing to arriving", tuple(p95), "ms", at_most=20, beside=arriving
        ),
    ]


async def _memory(place: Place, tokens: list[str], states: list[State]) -> float:
    """What each follower adds to a process that nobody followed before, in KB."""
    async with place.web() as web:
        await _look_around(web)
        before = web.memory_mb()
        clients = await _follow(web, tokens, states)
        try:
            return 1024 * (web.memory_mb() - before) / len(clients)
        finally:
            _leave(clients)


def _leave(clients: list[Client]) -> None:
    for client in clients:
        if client.transport is not None:
            client.transport.abort()


async def _cpu(web: Process, seconds: int) -> float:
    before = web.cpu_seconds()
    await asyncio.sleep(seconds)
    return 100 * (web.cpu_seconds() - before) / seconds


async def _look_around(web: Process) -> None:
    """What a process has loaded before anybody follows anything."""
    async with httpx.AsyncClient(base_url=web.url, timeout=60) as client:
        who = {"email": f"{uuid.uuid4()}@example.org", "password": "who follows nothing at all"}
        answer = await client.post("/api/auth/register", json=who)
        client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['token']}"
        (await client.get("/dashboard")).raise_for_status()


async def _people(count: int) -> tuple[list[State], list[str]]:
    """A running job of each, and their tokens: what one person may see is looked up once for all their streams."""
    async with transaction() as session:
        people = {row.job_id: row for row in await session.execute(_PEOPLE, {"count": count})}
        await session.execute(text("ANALYZE users, login_sessions, projects, project_members, jobs"))
        jobs = (await session.scalars(select(Job).where(Job.id.in_(people)))).all()
    tokens = [issue_access_token(people[job.id].user_id, people[job.id].session_id) for job in jobs]
    return [state_of(job) for job in jobs], tokens


async def _follow(web: Process, tokens: list[str], states: list[State]) -> list[Client]:
    host = urlsplit(web.url).netloc
    address, port = host.split(":")
    turns = asyncio.Semaphore(AT_ONCE)

    async def open_one(state: State, token: str) -> Client:
        head = f"GET /api/jobs/{state.job.id}/stream HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        async with turns:
            loop = asyncio.get_running_loop()
            _, client = await loop.create_connection(
                lambda: Client(f"{head}Accept: text/event-stream\r\n\r\n".encode()), address, int(port)
            )
            await asyncio.wait_for(client.opened(), 60)
        return client

    return await asyncio.gather(*map(open_one, states, tokens))


async def _publish(states: list[State], clients: list[Client], *, seconds: int, first: int) -> list[float]:
    """How long each message took to arrive, in milliseconds; `first` is the number of the first of all messages.

    Raises TimeoutError: when some do not arrive.
    """
    messages = [_message(states, first + number) for number in range(RATE * seconds)]
    sent: list[tuple[Client, int, float]] = []
    began = time.perf_counter()
    while len(sent) < len(messages):
        due = min(len(messages), int((time.perf_counter() - began) * RATE))
        async with redis.client.pipeline(transaction=False) as pipe:
            for number in range(len(sent), due):
                which, step, text = messages[number]
                pipe.publish(events.CHANNEL, text)
                sent.append((clients[which], step, time.perf_counter()))
            await pipe.execute()
        await asyncio.sleep(TICK_SECONDS)
    async with asyncio.timeout(60):
        while any(step not in client.arrived for client, step, _ in sent):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return [1000 * (client.arrived[step] - at) for client, step, at in sent]


def _message(states: list[State], number: int) -> tuple[int, int, str]:
    """Whose job tells something, its progress per mille, and the event as `core.events` publishes it."""
    turn, which = divmod(number, len(states))
    state, step = states[which], 1 + turn % 990
    job = state.job.model_copy(update={"stage": "probe", "progress": step / 10})
    topics = [job_topic(job.id), project_topic(job.project_id)]
    payload = State(Version(state.version.moved, step), job).payload()
    return which, step, json.dumps({"topics": topics, "payload": payload})
