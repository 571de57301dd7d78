"""Reserving an upload, beside a small service in Node that does the same (`bench/peers`): with and without an account.

Both sides recognise who asks by a signed token and its session in Postgres, check what was sent, write the upload's
row, and sign. The product is whole: it also counts limits, keeps quotas and the ledger of objects, signs a claim for
what is sent without an account, takes `Idempotency-Key`, measures, and logs each request; the peers do none of that.
Where the storage tells of new objects a file in one request is an object at once. Where it does not, it is the only
part of an upload in parts, which the storage has to open first: there both sides wait for it, and its work is most of
it.
"""

import asyncio
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.load import load
from bench.place import ROOT, Place, Process
from bench.table import Row, ratios
from bench.wire import Reply, Wire

AIM = 1.5
#: An open loop: so many a second, within so many milliseconds, on so much of a core.
RATE, P95_MS, CORES = 300, 20.0, 0.5
AT_ONCE = 8
PEERS = ROOT / "bench" / "peers"
FILE = {"filename": "holiday.mp4", "size": 1_048_576, "content_type": "video/mp4"}
#: Of every row beside a peer.
LEFT_OUT = "Node without limits, ledger, quotas, logs, metrics"
PUBLIC, OWN = "POST /upload", "POST /api/upload/presigned-url"

Ask = Callable[[], Awaitable[Reply]]


async def measure(place: Place) -> list[Row]:
    node = _node()
    if node is None:
        place.say("there is no Node here to measure beside")
    async with AsyncExitStack() as stack:
        told = await stack.enter_async_context(
            place.web(STORAGE_EVENTS_TOKEN=secrets.token_hex(16), PUBLIC_UPLOADS_PER_MINUTE="1000000")
        )
        untold = await stack.enter_async_context(place.web())
        token = await _sign_up(told.url)
        sides: dict[str, Process] = {"": told, "untold": untold}
        if node is not None:
            await asyncio.to_thread(_install, node)
            for name, settings in PEER_SETTINGS.items():
                command = ["env", *settings, node, str(PEERS / "server.mjs")]
                sides[name] = await stack.enter_async_context(place.peer(command, cwd=PEERS))
        doors = {name: Door(side, Wire(side.url), token) for name, side in sides.items()}
        for door in doors.values():
            stack.push_async_callback(door.wire.close)
        return await _beside(place, doors) + await _open_loop(place, doors[""])


PEER_SETTINGS: dict[str, list[str]] = {
    "Node": [],
    "Node, signing by hand": ["SIGNER=own"],
    "Node, in parts": ["PARTS=1"],
}


class Rate(NamedTuple):
    """How many requests a server answers."""

    per_cpu_second: float
    per_second: float


class Door:
    """One server, and the two requests."""

    def __init__(self, process: Process, wire: Wire, token: str) -> None:
        self.process, self.wire = process, wire
        self.headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, what: str) -> Reply:
        if what == PUBLIC:
            return await self.wire.post("/upload", {"filename": "holiday.mp4"})
        return await self.wire.post("/api/upload/presigned-url", FILE, self.headers)

    async def rate(self, what: str, count: int) -> Rate:
        """How many it answers, with a few at once. Raises RuntimeError: for a refusal."""
        await self.ask_often(what, max(AT_ONCE, count // 10))
        before, began = self.process.cpu_seconds(), time.perf_counter()
        await self.ask_often(what, count)
        lasted = time.perf_counter() - began
        return Rate(count / max(self.process.cpu_seconds() - before, 0.01), count / lasted)

    async def ask_often(self, what: str, count: int) -> None:
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                reply = await self.ask(what)
                if reply.status_code != 200:
                    raise RuntimeError(f"{what}: {reply.status_code} {reply.body[:300]!r}")

        await asyncio.gather(*[some() for _ in range(AT_ONCE)])


async def _beside(place: Place, doors: dict[str, Door]) -> list[Row]:
    many, few = place.size(1500, 16), place.size(200, 8)
    compared = [
        (PUBLIC, "", "Node", many, AIM),
        (PUBLIC, "", "Node, signing by hand", many, None),
        (OWN, "", "Node", many, AIM),
        (OWN, "", "Node, signing by hand", many, None),
        (OWN, "untold", "Node, in parts", few, AIM),
    ]
    found: dict[tuple[str, str], list[Rate]] = {}
    wanted = {(what, side): count for what, us, them, count, _ in compared for side in (us, them) if side in doors}
    for (what, side), count in wanted.items():  # Node gets faster as it goes: its best counts
        await doors[side].ask_often(what, count)
    for _ in range(place.rounds):
        for (what, side), count in wanted.items():
            found.setdefault((what, side), []).append(await doors[side].rate(what, count))
    rows = []
    for what, us, them, _, aim in compared:
        if them in doors:
            (ours, ours_timed), (theirs, theirs_timed) = (zip(*found[what, side], strict=True) for side in (us, them))
            median = statistics.median
            beside = (
                f"{median(ours):.0f} and {median(theirs):.0f} a CPU-second, {median(ours_timed):.0f} and"
                f" {median(theirs_timed):.0f} a second; {LEFT_OUT}"
            )
            rows.append(Row(f"{what}, beside {them}", ratios(ours, theirs), at_least=aim, beside=beside))
    return rows


async def _open_loop(place: Place, door: Door) -> list[Row]:
    rows = []
    rate, seconds = place.size(RATE, 20), place.size(8, 1)
    for what in (PUBLIC, OWN):
        loads = [
            await load(door.process, lambda what=what: door.ask(what), status=200, rate=rate, seconds=seconds)  # type: ignore[misc]
            for _ in range(place.rounds)
        ]
        p95 = tuple(each.p(95) for each in loads)
        cores = tuple(each.cpu_seconds * rate for each in loads)
        beside = f"on {statistics.median(cores):.2f} of a core; {loads[-1]}"
        rows.append(Row(f"{what}, {rate} a second: p95", p95, "ms", at_most=P95_MS, beside=beside))
        rows.append(Row(f"{what}, {rate} a second: CPU", cores, "cores", at_most=CORES))
    return rows


async def _sign_up(url: str) -> str:
    person = {"email": f"bench-{secrets.token_hex(4)}@example.org", "password": secrets.token_urlsafe(16)}
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        answer = await client.post("/api/auth/register", json=person)
        return str(answer.raise_for_status().json()["token"])


def _node() -> str | None:
    """The machine's, or the one that was installed beside our Python because the machine has none."""
    return shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))


def _install(node: str) -> None:
    """The peers' packages, by their lock; nothing when they are there."""
    lock, done = PEERS / "package-lock.json", PEERS / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        npm = str(Path(node).with_name("npm"))
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PEERS, check=True)
