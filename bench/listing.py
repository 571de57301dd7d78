"""A page of fifty videos with signed posters, for one who has 100,000 of a million: beside the same page the way it is
written first (`bench/naive.py`), and a late page beside the first."""

import statistics
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from bench import million
from bench.load import one_by_one
from bench.place import Place, Process
from bench.table import Row, ratios

LIMIT = 50
Ask = Callable[[], Awaitable[httpx.Response]]


async def measure(place: Place) -> list[Row]:
    async with place.web(**million.SETTINGS) as web:
        person = await million.somebody(place, web)
        headers = {"Authorization": f"Bearer {person.token}"}
        async with (
            place.peer([sys.executable, "-m", "bench.naive"]) as peer,
            httpx.AsyncClient(base_url=web.url, headers=headers, timeout=60) as ours,
            httpx.AsyncClient(base_url=peer.url, headers=headers, timeout=60) as theirs,
        ):
            await _same(ours, theirs)
            return [await _beside_naive(place, web, ours, peer, theirs), *await _late_pages(place, ours, person.videos)]


def _page(client: httpx.AsyncClient, **params: Any) -> Ask:
    return lambda: client.get("/api/videos", params={"limit": LIMIT, **params})


async def _same(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
    """Raises RuntimeError unless both answer the same videos in the same shape, each poster signed."""
    mine, other = [(await _page(client)()).raise_for_status().json() for client in (ours, theirs)]
    unsigned = [{**video, "poster_url": None} for video in mine["videos"]]
    signed = all("X-Amz-Signature=" in video["poster_url"] for video in mine["videos"] if video["poster_url"])
    if unsigned != [{**video, "poster_url": None} for video in other["videos"]] or not signed:
        raise RuntimeError("the product and its peer do not answer the same")
    if mine["pagination"]["total"] != other["pagination"]["total"]:
        raise RuntimeError("they do not count the same")


async def _beside_naive(
    place: Place, web: Process, ours: httpx.AsyncClient, peer: Process, theirs: httpx.AsyncClient
) -> Row:
    product: list[tuple[float, float]] = []
    naive: list[tuple[float, float]] = []
    for _ in range(place.rounds):
        product.append(await _cost(web, _page(ours), place.size(200, 10)))
        naive.append(await _cost(peer, _page(theirs), place.size(50, 5)))
    sides = [[statistics.median(figures) for figures in zip(*side, strict=True)] for side in (product, naive)]
    beside = " and ".join(
        f"{1000 * cpu:.2f} ms of CPU ({1 / cpu:.0f} a CPU-second, one by one {1 / took:.0f} a second)"
        for cpu, took in sides
    )
    what = f"list of {LIMIT} with signed posters, per CPU-second, beside ORM and boto3"
    spent = ratios([cpu for cpu, _ in naive], [cpu for cpu, _ in product])
    return Row(what, spent, at_least=5, beside=beside)


async def _cost(process: Process, ask: Ask, count: int) -> tuple[float, float]:
    """CPU-seconds and seconds for each request."""
    await one_by_one(ask, 5)
    before = process.cpu_seconds()
    took = await one_by_one(ask, count)
    return max(process.cpu_seconds() - before, 0.01) / count, statistics.mean(took)


async def _late_pages(place: Place, ours: httpx.AsyncClient, videos: int) -> list[Row]:
    last = videos // LIMIT
    before = (await _page(ours, page=last - 1)()).raise_for_status().json()
    asked = {
        f"page {last:,} beside the first, by its cursor": _page(ours, cursor=before["pagination"]["next_cursor"]),
        f"page {last:,} beside the first, by its number": _page(ours, page=last),
        f"page {last // 2:,}, the middle one, beside the first, by its number": _page(ours, page=last // 2),
    }
    rows = []
    for what, late in asked.items():
        first_ms: list[float] = []
        late_ms: list[float] = []
        for _ in range(place.rounds):
            for into, ask in ((first_ms, _page(ours)), (late_ms, late)):
                into.append(1000 * statistics.median(await one_by_one(ask, place.size(60, 5))))
        beside = f"{statistics.median(late_ms):.1f} and {statistics.median(first_ms):.1f} ms"
        rows.append(Row(what, ratios(late_ms, first_ms), at_most=None if "middle" in what else 1.5, beside=beside))
    return rows
