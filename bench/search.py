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
        async with httpx.AsyncClient(base_url=web.url, headers=headers, timeout=60) as client:
            for _ in range(place.rounds):
                for name, word in WORDS.items():

                    async def ask(word: str = word) -> httpx.Response:
                        return await client.get("/api/videos", params={"q": word})

                    totals[name] = (await ask()).raise_for_status().json()["pagination"]["total"]
                    took[name].append(await one_by_one(ask, place.size(200, 5)))
    return [
        Row(
            f"search for a word, {name}: p95",
            tuple(1000 * statistics.quantiles(each, n=100)[94] for each in took[name]),
            "ms",
            at_most=10 if name in WITH_AIM else None,
            beside=f"p50 {1000 * statistics.median(took[name][-1]):.1f} ms, {totals[name]:,} found",
        )
        for name in WORDS
    ]
