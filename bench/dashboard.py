"""The dashboard of one who has 100,000 of a million videos, and of one who has a thousand: its numbers beside a read by
the primary key, and the whole page at fifty requests a second.

The read is that of one video as the product reads it, an object; that of a plain row, as the numbers are, is told
beside.
"""

import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import httpx
from sqlalchemy import Uuid, bindparam, select

from backend.core.db import autocommit, database
from backend.videos import listing
from backend.videos.models import Video, VideoCount
from backend.videos.shapes import LISTED
from bench import million
from bench.load import Load, load
from bench.place import Place, Process
from bench.table import Row, ratios

RATE = 50.0
_PLAIN = select(*LISTED).where(Video.__table__.c.id == bindparam("video_id", type_=Uuid()))


async def measure(place: Place) -> list[Row]:
    async with place.web(**million.SETTINGS) as web:
        person = await million.somebody(place, web)
        database.open()
        try:
            async with autocommit() as session:
                others = VideoCount.project_id != person.project_id
                small = (await session.scalars(select(VideoCount.project_id).where(others).limit(1))).one()
            rows = [await _numbers(place, "100,000", person.project_id), await _numbers(place, "a thousand", small)]
        finally:
            await database.close()
        return [*rows, await _page(place, web, person)]


async def _numbers(place: Place, size: str, project_id: uuid.UUID) -> Row:
    actor: Any = SimpleNamespace(project_ids=(project_id,))

    async def read(video_id: uuid.UUID) -> object:
        async with autocommit() as session:
            return (await session.scalars(select(Video).where(Video.id == video_id))).one()

    async def read_plain(video_id: uuid.UUID) -> object:
        async with autocommit() as session:
            return (await (await session.connection()).execute(_PLAIN, {"video_id": video_id})).one()

    async def stats() -> object:
        async with autocommit() as session:
            return await listing.stats(session, actor=actor)

    async with autocommit() as session:
        mine = select(Video.id).where(Video.project_id == project_id).limit(1)
        video_id = (await session.scalars(mine)).one()
    numbers, by_key, plain = [], [], []
    for _ in range(place.rounds):
        numbers.append(await _median(stats, place.size(200, 5)))
        by_key.append(await _median(lambda: read(video_id), place.size(200, 5)))
        plain.append(await _median(lambda: read_plain(video_id), place.size(200, 5)))
    beside = f"{1000 * statistics.median(numbers):.2f} and {1000 * statistics.median(by_key):.2f} ms;"
    beside += f" {statistics.median(ratios(numbers, plain)):.3g} × of a plain row"
    what = f"dashboard's numbers, of {size} videos, beside a read by primary key"
    return Row(what, ratios(numbers, by_key), at_most=2, beside=beside)


async def _median(ask: Callable[[], Awaitable[object]], count: int) -> float:
    took = []
    await ask()
    for _ in range(count):
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def _page(place: Place, web: Process, person: million.Person) -> Row:
    found: list[Load] = []
    headers = {"Accept": "text/html"}
    async with httpx.AsyncClient(base_url=web.url, cookies=person.cookie, headers=headers, timeout=60) as client:
        for _ in range(place.rounds):
            rate, seconds = place.size(int(RATE), 5), place.size(8, 1)
            ask = lambda: client.get("/dashboard")  # noqa: E731
            found.append(await load(web, ask, status=200, rate=rate, seconds=seconds))
    what = f"dashboard's whole page at {RATE:.0f} requests/s, p95"
    return Row(what, tuple(each.p(95) for each in found), "ms", at_most=50, beside=str(found[-1]))
