"""Two web processes on one database, one of which is killed: a deed is still done once, and the other one answers."""

import asyncio
import contextlib
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text

from backend.core.db import transaction
from backend.local.stack import Stack
from backend.orgs.models import Project
from backend.videos.models import Upload
from tests.conftest import ROOT, Person, environment, free_port

PROJECTS = "/api/projects"
Start = Callable[[], "Web"]


class Web:
    """One web process and its address."""

    def __init__(self, stack: Stack, log: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "uvicorn", "backend.app:create_app", "--factory", "--port"]
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [*command, self.url.rpartition(":")[2]],
                cwd=ROOT,
                env={**environment(stack), "PUBLIC_URL": self.url},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    async def ready(self) -> "Web":
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/health")).status_code == 200:
                        return self
                assert self.process.poll() is None
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def make(self, person: Person, key: str, name: str) -> httpx.Response | None:
        """None when the process died over it."""
        return await self._post(person, key, PROJECTS, {"name": name})

    async def presign(self, person: Person, key: str, name: str) -> httpx.Response | None:
        body = {"filename": f"{name}.mp4", "size": 1000, "content_type": "video/mp4"}
        return await self._post(person, key, "/api/upload/presigned-url", body)

    async def _post(self, person: Person, key: str, path: str, body: object) -> httpx.Response | None:
        headers = {"Authorization": f"Bearer {person.token}", "Idempotency-Key": key}
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
            try:
                return await client.post(path, json=body, headers=headers)
            except httpx.TransportError:
                return None


@pytest.fixture
def start(stack: Stack, tmp_path: Path) -> Iterator[Start]:
    started: list[Web] = []

    def begin() -> Web:
        started.append(Web(stack, tmp_path / "web.log"))
        return started[-1]

    yield begin
    for web in started:
        web.kill()


@contextlib.asynccontextmanager
async def nobody_makes_projects() -> AsyncIterator[None]:
    async with transaction() as session:
        await session.execute(text("LOCK TABLE projects IN SHARE ROW EXCLUSIVE MODE"))
        yield


async def somebody_waits() -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT%projects%'"
    async with asyncio.timeout(20):
        while True:
            async with transaction() as session:
                if await session.scalar(text(query)):
                    return
            await asyncio.sleep(0.02)


async def named(name: str) -> int:
    async with transaction() as session:
        return await session.scalar(select(func.count()).select_from(Project).where(Project.name == name)) or 0


async def uploads(name: str) -> int:
    async with transaction() as session:
        wanted = select(func.count()).select_from(Upload).where(Upload.filename == f"{name}.mp4")
        return await session.scalar(wanted) or 0


async def the_lease_ends() -> None:
    async with transaction() as session:
        await session.execute(text("UPDATE idempotent_requests SET lease_until = now() WHERE answer IS NULL"))


async def test_ten_at_once_over_two_processes_are_one(start: Start, user: Person) -> None:
    webs = [await web.ready() for web in (start(), start())]
    for number in range(5):
        name, key = f"Once {number}", str(uuid.uuid4())
        answers = await asyncio.gather(*(webs[n % 2].make(user, key, name) for n in range(10)))
        assert {answer.status_code for answer in answers if answer} == {201}
        assert len({answer.content for answer in answers if answer}) == 1
        assert sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers if answer) == 9
        assert await named(name) == 1


async def test_a_first_that_is_killed_in_the_middle_leaves_the_deed_to_the_next(start: Start, user: Person) -> None:
    first, second = [await web.ready() for web in (start(), start())]
    key = str(uuid.uuid4())
    async with nobody_makes_projects():
        lost = asyncio.create_task(first.make(user, key, "Once"))
        await somebody_waits()
        first.kill()
        assert await lost is None
    await the_lease_ends()
    answer = await second.make(user, key, "Once")
    assert answer is not None
    assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (201, None)
    assert await named("Once") == 1


async def test_killed_at_any_moment_nothing_is_done_twice_and_nothing_is_hidden(start: Start, user: Person) -> None:
    second, chance = await start().ready(), random.Random(7)
    outcomes: Counter[str] = Counter()
    for round_number in range(5):
        first = await start().ready()
        await first.make(user, str(uuid.uuid4()), "Warm")  # so that the kill falls into a deed and not before it
        sent = [(str(uuid.uuid4()), f"{round_number} {number}") for number in range(8)]
        going = [asyncio.create_task(_deed(first, n)(user, key, name)) for n, (key, name) in enumerate(sent)]
        answered = chance.randrange(1, 7)  # and the others are anywhere
        while sum(task.done() for task in going) < answered:
            await asyncio.wait([task for task in going if not task.done()], return_when=asyncio.FIRST_COMPLETED)
        first.kill()
        told = await asyncio.gather(*going)
        await the_lease_ends()
        for number, ((key, name), before) in enumerate(zip(sent, told, strict=True)):
            answer = await _deed(second, number)(user, key, name)
            assert answer is not None
            assert await named(name) + await uploads(name) == 1
            if before is not None:
                assert (answer.content, answer.headers["idempotency-replayed"]) == (before.content, "true")
                outcomes["answered before"] += 1
            elif answer.is_success:
                outcomes[f"answered now, replayed {answer.headers.get('idempotency-replayed', 'not')}"] += 1
            else:  # the route commits by itself, and died between that and its answer
                assert number % 2
                assert answer.json()["error"]["code"] == "idempotency_unfinished"
                outcomes["said to be unfinished"] += 1
    print(dict(outcomes))


def _deed(web: Web, number: int) -> Callable[[Person, str, str], Coroutine[Any, Any, httpx.Response | None]]:
    return web.presign if number % 2 else web.make
