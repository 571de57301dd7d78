"""Search by title where there are a million videos, by one who has 100,000: the time of the whole request, for a word
that few of theirs have, that many have, and that is rare among theirs and in a quarter of everybody else's."""

import statistics

import httpx

from bench import million
from bench.load import one_by_one
from bench.place import Place
from bench.table import Row

WORDS = {
    "rare": million.RARE[0],
    "that each 200th has": million.SOME[0],
    "common": million.COMMON[0],
    "rare among one's own, common among others'": million.OF_OTHERS[0],
}
WITH_AIM = ("rare", "common")


async def measure(place: Place) -> list[Row]:
    async with place.web(**million.SETTINGS) as web:
        person = await million.somebody(place, web)
        headers = {"Authorization": f"Bearer {person.token}"}
        took: dict[str, list[list[float]]] = {name: [] for name in WORDS}
        totals = {}
        cpu: dict[str, list[float]] = {name: [] for name in WORDS}
        async with httpx.AsyncClient(base_url=web.url, headers=headers, timeout=60) as client:
            for _ in range(place.rounds):
                for name, word in WORDS.items():

                    async def ask(word: str = word) -> httpx.Response:
                        return await client.get("/api/videos", params={"q": word})

                    totals[name] = (await ask()).raise_for_status().json()["pagination"]["total"]
                    before, asked = web.cpu_seconds(), place.size(200, 5)
                    took[name].append(await one_by_one(ask, asked))
                    cpu[name].append(1000 * (web.cpu_seconds() - before) / asked)
    return [_row(name, took[name], cpu[name], totals[name]) for name in WORDS]


def _row(name: str, took: list[list[float]], cpu: list[float], found: int) -> Row:
    p95 = tuple(1000 * statistics.quantiles(each, n=100)[94] for each in took)
    p50 = 1000 * statistics.median(took[-1])
    beside = f"p50 {p50:.1f} ms, {statistics.median(cpu):.1f} ms of CPU in the web process, {found:,} found"
    at_most = 10 if name in WITH_AIM else None
    return Row(f"search for a word, {name}: p95", p95, "ms", at_most=at_most, beside=beside)
