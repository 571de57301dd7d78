"""Asking for something to be made, by both doors, 100 times a second: one web process, no worker beside it.

A submit writes a generation and its job, counts it, and tells its place in the queue. In CPU-seconds it is held beside
the least that the same process does for somebody it has to recognise, `GET /api/auth/me`, asked in the same round.
"""

import secrets
from collections.abc import Awaitable, Callable

import httpx

from bench.animatic import PROMPT
from bench.load import Answer, Load, load
from bench.place import Place
from bench.table import Row, ratios
from bench.wire import Wire

#: In milliseconds: what the public upload address promises at this rate, held against more work.
P95_MS = 100.0

#: Connections are let go before the server lets go of them.
LIMITS = httpx.Limits(max_connections=200, keepalive_expiry=2)

Ask = Callable[[], Awaitable[Answer]]


async def measure(place: Place) -> list[Row]:
    rate, seconds = place.size(100, 10), place.size(8, 1)
    rounds: dict[str, list[Load]] = {}
    async with (
        place.web(GENERATIONS_PER_HOUR="0", TASKS_QUEUED_MAX="0") as web,
        httpx.AsyncClient(base_url=web.url, timeout=30, limits=LIMITS) as client,
    ):
        token, project, key = await sign_up(client)
        wire = Wire(web.url)
        person, program = {"Authorization": f"Bearer {token}"}, {"X-API-Key": key}
        task = {"project_id": project, "task_type": "generate_video", "task_data": {"scene_description": PROMPT}}
        doors: dict[str, tuple[Ask, int]] = {
            "GET /api/auth/me": (lambda: client.get("/api/auth/me", headers=person), 200),
            "POST /api/videos": (lambda: wire.post("/api/videos", {"prompt": PROMPT}, person), 202),
            "POST /api/v1/tasks/submit": (lambda: wire.post("/api/v1/tasks/submit", task, program), 201),
        }
        for _ in range(place.rounds):
            for name, (ask, status) in doors.items():
                loaded = await load(web, ask, status=status, rate=rate, seconds=seconds)
                rounds.setdefault(name, []).append(loaded)
        await wire.close()
    least = rounds.pop("GET /api/auth/me")
    rows: list[Row] = []
    for name, loads in rounds.items():
        beside = f"{loads[-1]}; GET /api/auth/me {1000 * least[-1].cpu_seconds:.2f} ms of CPU"
        times = tuple(each.p(95) for each in loads)
        rows.append(Row(f"{name}, {rate} a second: p95", times, "ms", at_most=P95_MS, beside=beside))
        spent = ratios([each.cpu_seconds for each in loads], [each.cpu_seconds for each in least])
        rows.append(Row(f"{name}: CPU / that of GET /api/auth/me", spent))
    return rows


async def sign_up(client: httpx.AsyncClient) -> tuple[str, str, str]:
    """A token, a project, and a key for its tasks."""
    person = {"email": f"bench-{secrets.token_hex(4)}@example.org", "password": secrets.token_urlsafe(16)}
    token = (await client.post("/api/auth/register", json=person)).raise_for_status().json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    made = await client.post("/api/projects", json={"name": "Bench"}, headers=headers)
    project = made.raise_for_status().json()["id"]
    wanted = {"name": "Bench", "scopes": ["tasks"]}
    made = await client.post(f"/api/projects/{project}/api-keys", json=wanted, headers=headers)
    return token, project, made.raise_for_status().json()["key"]
