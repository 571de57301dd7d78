"""Reading for many at once."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from backend.core import readings
from backend.core.errors import NotFound
from backend.core.readings import MOST_KEYS, Readings, patiently


class Shelf:
    """What is read; each read waits until it is let go."""

    def __init__(self) -> None:
        self.reads: list[list[int]] = []
        self.go = asyncio.Semaphore(0)
        self.fails: Exception | None = None

    async def read(self, keys: Sequence[int]) -> Mapping[int, str]:
        self.reads.append(list(keys))
        await self.go.acquire()
        if self.fails is not None:
            raise self.fails
        return {key: f"book {key}, read {len(self.reads)}" for key in keys if key >= 0}


async def answers(*asked: "asyncio.Task[str | None]") -> list[str | None]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*asked)


async def ask(shelf: Readings[int, str], *keys: int) -> "list[asyncio.Task[str | None]]":
    tasks = [asyncio.create_task(shelf.get(key)) for key in keys]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_asks_in_the_same_moment_shares_one_read() -> None:
    shelf = Shelf()
    books = Readings(shelf.read)
    asked = await ask(books, 1, 2, 1, -1)
    shelf.go.release()
    assert await answers(*asked) == ["book 1, read 1", "book 2, read 1", "book 1, read 1", None]
    assert [sorted(keys) for keys in shelf.reads] == [[-1, 1, 2]]


async def test_no_answer_is_older_than_its_question() -> None:
    shelf = Shelf()
    books = Readings(shelf.read)
    first = await ask(books, 1)
    later = await ask(books, 1, 2)
    assert shelf.reads == [[1]], "one read at a time"
    shelf.go.release()
    shelf.go.release()
    assert await answers(*first, *later) == ["book 1, read 1", "book 1, read 2", "book 2, read 2"]


async def test_a_read_carries_only_so_many() -> None:
    shelf = Shelf()
    asked = await ask(Readings(shelf.read), *range(MOST_KEYS + 1))
    shelf.go.release()
    shelf.go.release()
    await answers(*asked)
    assert [len(keys) for keys in shelf.reads] == [MOST_KEYS, 1]


async def test_a_read_that_fails_fails_for_all_who_asked_and_the_next_is_made_anew() -> None:
    shelf = Shelf()
    books = Readings(shelf.read)
    shelf.fails = ConnectionError("away")
    asked = await ask(books, 1, 2)
    shelf.go.release()
    for task in asked:
        with pytest.raises(ConnectionError):
            await answers(task)
    shelf.fails = None
    again = await ask(books, 1)
    shelf.go.release()
    assert await answers(*again) == ["book 1, read 2"]


async def test_who_goes_away_takes_nobodys_answer_along() -> None:
    shelf = Shelf()
    gone, stays = await ask(Readings(shelf.read), 1, 1)
    gone.cancel()
    shelf.go.release()
    assert await answers(stays) == ["book 1, read 1"]


async def test_patience_outlasts_a_server_that_is_away_but_not_what_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "AGAIN_SECONDS", 0)
    tries: list[int] = []

    async def third_time() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("away")
        return len(tries)

    assert await patiently(third_time) == 3

    async def missing() -> None:
        raise NotFound

    with pytest.raises(NotFound):
        await patiently(missing)


async def test_who_goes_meanwhile_takes_the_answer_from_nobody() -> None:
    shelf = Shelf()
    books = Readings(shelf.read)
    goes, stays = await ask(books, 1, 1)
    goes.cancel()
    shelf.go.release()
    assert await answers(stays) == ["book 1, read 1"]
