"""Web, worker and S3 on a stack of their own, the people who upload and delete, and the ways to break it all."""

import asyncio
import hashlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from backend.local.stack import Stack
from tests.conftest import PASSWORD, ROOT, environment, free_port

MIB = 1024 * 1024
_TROUBLE = (httpx.HTTPError, ConnectionError)


def name_of(data: bytes) -> str:
    """A file's name that tells what is in it."""
    return f"{hashlib.sha256(data).hexdigest()}.mp4"


def _attribute(path: Path) -> bytes:
    """Swift's metadata of a file, which it keeps in as many attributes as it takes."""
    names = [name for name in os.listxattr(path) if name.startswith("user.swift.metadata") and "checksum" not in name]
    return b"".join(os.getxattr(path, name) for name in sorted(names, key=len))


class GaveUp(Exception):
    """A client that was answered by nobody for too long closes its tab."""


class Storehouse:
    """One web process, one worker, one S3; `done` counts what happened."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.servers = Stack(folder / "stack", durable=False)
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.url = ""
        self.claims: list[dict[str, str]] = []
        self.log = folder / "processes.log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._born: dict[str, float] = {}
        self._has_answered = False
        #: What is killed has lived so long.
        self.lived_seconds = 3.0
        self._s3_back_at: float | None = None

    async def open(self) -> None:
        await asyncio.to_thread(self.servers.start)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.env = {
            **environment(self.servers),
            "PUBLIC_URL": self.url,
            "PORT": str(port),
            "UPLOAD_PART_SIZE_MB": "5",
            "UPLOAD_SWEEP_SECONDS": "1",
            "JOB_LEASE_SECONDS": "3",
            "WORKER_GRACE_SECONDS": "0",
            "PUBLIC_UPLOADS_PER_MINUTE": "10000",
            "LOG_LEVEL": "WARNING",
        }
        upgrade = [sys.executable, "-m", "alembic", "upgrade", "head"]
        await asyncio.to_thread(subprocess.run, upgrade, cwd=ROOT, env=self.env, check=True)
        self.mend()
        await self.ready()
        async with httpx.AsyncClient() as client:
            who = {"email": "a@example.org", "password": PASSWORD}
            answer = await client.post(f"{self.url}/api/auth/register", json=who)
        self.headers = {"Authorization": f"Bearer {answer.json()['token']}"}

    def close(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self.servers.stop()

    async def ready(self) -> None:
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{self.url}/ready")).status_code == 200:
                        return
                except _TROUBLE:
                    pass
                await asyncio.sleep(0.1)

    async def sql(self, statement: str) -> list[Any]:
        connection = await asyncpg.connect(self.servers.superuser_url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of the `dailies` commands, to its end."""
        command = [sys.executable, "-m", "backend.cli", *words]
        return subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False, timeout=120)

    def stored(self) -> dict[str, str | None]:
        """What really lies on the storage's disk, by name: of an object in parts the id of its upload."""
        found: dict[str, str | None] = {}
        for path in sorted((self.servers.data_dir / "s3" / "device" / "objects").rglob("*.data")):
            metadata = pickle.loads(_attribute(path))  # noqa: S301 — our own server wrote it
            upload_id = metadata.get(b"X-Object-Sysmeta-S3Api-Upload-Id")
            found[metadata[b"name"].decode()] = upload_id.decode() if upload_id else None
        return found

    # --- breaking ----------------------------------------------------------------------------------------------------

    def break_something(self) -> None:
        what = self.chance.choice(("web", "worker", "s3"))
        if what == "s3":
            swift = self.servers.parts[2]
            if self._s3_back_at is not None or swift.child is None or not self._has_lived("s3"):
                return
            os.kill(swift.child.pid, signal.SIGKILL)
            swift.stop()
            self._s3_back_at = time.monotonic() + self.chance.uniform(0.1, 1.5)
        else:
            if not self._has_lived(what):
                return
            self._processes[what].kill()
            self._processes[what].wait()
        self.done[f"{what} killed"] += 1

    def answered(self) -> None:
        """A client had an answer: web is there, and counts as born now if it had not yet answered."""
        if not self._has_answered:
            self._has_answered, self._born["web"] = True, time.monotonic()

    def _has_lived(self, what: str) -> bool:
        # To kill what only just starts proves little.
        there = self._has_answered or what != "web"
        return there and time.monotonic() - self._born.get(what, 0) > self.lived_seconds

    def mend(self, *, all_of_it: bool = False) -> None:
        """Start again what was killed."""
        for name in ("web", "worker"):
            if name not in self._processes or self._processes[name].poll() is not None:
                self._born[name] = time.monotonic()
                self._has_answered = self._has_answered and name != "web"
                with self.log.open("ab") as sink:
                    self._processes[name] = subprocess.Popen(
                        [sys.executable, "-m", "backend.cli", name],
                        cwd=ROOT,
                        env=self.env,
                        stdout=sink,
                        stderr=subprocess.STDOUT,
                    )
        if self._s3_back_at is not None and (all_of_it or self._s3_back_at < time.monotonic()):
            self._s3_back_at = None
            self.servers.parts[2].launch()
            self._born["s3"] = time.monotonic()


class Client:
    """Somebody who uploads and deletes, bears with trouble for a while, and sometimes closes the tab."""

    def __init__(self, house: Storehouse, number: int, film: bytes, *, patience_seconds: float = 10) -> None:
        self._house = house
        self._patience_seconds = patience_seconds
        self._chance = random.Random(house.chance.random() + number)
        self._film = film
        self._http = httpx.AsyncClient(timeout=10)

    async def live(self, seconds: float) -> None:
        ways: list[Callable[[], Awaitable[None]]] = [self.small, self.small, self.large, self.adopt, self.delete]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            way = self._chance.choice(ways)
            try:
                await way()
            except GaveUp:
                self._house.done["tabs closed"] += 1
        await self._http.aclose()

    async def small(self) -> None:
        data = self._some_film(self._chance.randrange(10, 5000))
        place = await self._ask("POST", "/api/upload/presigned-url", self._announced(data))
        if self._chance.random() < 0.1:
            return
        await self._put(place["upload_url"], data, place["headers"])
        await self._end(place, "/api/videos", {"video_id": place["video_id"]})

    async def large(self) -> None:
        data = self._some_film(5 * MIB + self._chance.randrange(1, 1000))
        place = await self._ask("POST", "/api/upload/presigned-url", {**self._announced(data), "multipart": True})
        numbers = [1, 2]
        self._chance.shuffle(numbers)
        for number in numbers:
            if self._chance.random() < 0.1:
                return
            path = f"/api/uploads/{place['upload_id']}/parts"
            [part] = (await self._ask("POST", path, {"part_numbers": [number]}))["parts"]
            await self._put(part["url"], data[(number - 1) * 5 * MIB : number * 5 * MIB])
        await self._end(place, f"/api/uploads/{place['upload_id']}/complete", {})

    async def adopt(self) -> None:
        data = self._some_film(self._chance.randrange(10, 5000))
        place = await self._ask("POST", "/upload", {"filename": name_of(data)})
        await self._put(place["upload_url"], data)
        claim = {"s3_key": place["s3_path"], "claim": place["claim"]}
        self._house.claims.append(claim)
        if self._chance.random() < 0.8:
            await self.claim(claim)

    async def claim(self, claim: dict[str, str]) -> None:
        await self._ask("POST", "/api/videos", claim)

    async def delete(self) -> None:
        videos = (await self._ask("GET", "/api/videos?limit=20"))["videos"]
        if videos:
            await self._ask("DELETE", f"/api/videos/{self._chance.choice(videos)['id']}")
            self._house.done["deletions"] += 1

    async def _end(self, place: dict[str, Any], path: str, body: dict[str, Any]) -> None:
        kind = self._chance.random()
        if kind < 0.2:
            self._house.done["never confirmed"] += 1
        elif kind < 0.35:
            await self._ask("DELETE", f"/api/uploads/{place['upload_id']}")
            self._house.done["given up"] += 1
        else:
            await self._ask("POST", path, body)
            self._house.done["confirmed"] += 1

    def _announced(self, data: bytes) -> dict[str, Any]:
        return {"filename": name_of(data), "size": len(data), "content_type": "video/mp4"}

    def _some_film(self, more: int) -> bytes:
        """The film with a box of chance at its end that players pass over."""
        return self._film + (8 + more).to_bytes(4, "big") + b"free" + self._chance.randbytes(more)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; again for a while when there is none. What is refused is refused."""
        until = time.monotonic() + self._chance.uniform(0, self._patience_seconds)
        while True:
            try:
                url = f"{self._house.url}{path}"
                answer = await self._http.request(method, url, json=body, headers=self._house.headers)
                self._house.answered()
                if answer.status_code < 500:
                    if answer.is_success:
                        return answer.json() if answer.content else None
                    raise GaveUp
            except _TROUBLE:
                pass
            if time.monotonic() > until:
                raise GaveUp
            await asyncio.sleep(0.2)

    async def _put(self, url: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        until = time.monotonic() + self._chance.uniform(0, self._patience_seconds)
        while True:
            try:
                if (await self._http.put(url, content=data, headers=headers)).status_code == 200:
                    return
            except _TROUBLE:
                pass
            if time.monotonic() > until:
                raise GaveUp
            await asyncio.sleep(0.2)
