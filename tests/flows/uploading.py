"""What the flows of uploads share: films of any size, a slow line, and a look at what reached the storage."""

import asyncio
import hashlib
import random
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from playwright.async_api import CDPSession, Locator, Page, Request, expect

from tests.flows.browser import Visitor

MB = 1_000_000
#: The picker of the page; each unfinished row has one of its own.
PICKER = '[data-drop-zone] input[type="file"]'


def make_film(path: Path, clip: Path, size: int, *, seed: int = 1) -> Path:
    """A film that plays, of exactly `size` bytes: the clip's, and random ones in a box that players skip."""
    film = clip.read_bytes()
    noise = random.Random(seed)
    with path.open("wb") as file:
        file.write(film + (size - len(film)).to_bytes(4, "big") + b"free")
        rest = size - len(film) - 8
        while rest:
            rest -= file.write(noise.randbytes(min(MB, rest)))
    return path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def stored_sha256(visitor: Visitor, video_id: str) -> str:
    """Of the original as the storage gives it out."""
    place = await visitor.api("GET", f"/api/videos/{video_id}/playback-url")
    digest = hashlib.sha256()
    async with httpx.AsyncClient() as storage, storage.stream("GET", place["url"]) as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_bytes():
            digest.update(chunk)
    return digest.hexdigest()


class Line:
    """A page's connection: as fast or slow as a flow wants, and cut when it wants."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session

    @classmethod
    async def of(cls, page: Page) -> "Line":
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        return cls(session)

    async def set(self, *, upload_mb_s: float | None = None, cut: bool = False) -> None:
        await self._session.send(
            "Network.emulateNetworkConditions",
            {
                "offline": cut,
                "latency": 0,
                "downloadThroughput": -1,
                "uploadThroughput": -1 if upload_mb_s is None else upload_mb_s * MB,
            },
        )


class Sent:
    """The part numbers a page asked the storage to take, in the order it did."""

    def __init__(self, page: Page) -> None:
        self.numbers: list[int] = []
        page.on("request", self._hear)

    def _hear(self, request: Request) -> None:
        number = parse_qs(urlsplit(request.url).query).get("partNumber")
        if request.method == "PUT" and number:
            self.numbers.append(int(number[0]))


def row_of(page: Page, path: Path) -> Locator:
    return page.locator(".up-row").filter(has=page.locator("[data-name]", has_text=path.name))


async def percent(row: Locator) -> float:
    return float(await row.locator("progress").evaluate("bar => bar.value"))


async def until_percent(row: Locator, wanted: float, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while await percent(row) < wanted:
        assert time.monotonic() < deadline, f"still at {await percent(row)} %"
        await asyncio.sleep(0.03)


async def in_state(row: Locator, state: str, seconds: float = 15) -> None:
    await expect(row).to_have_attribute("data-state", state, timeout=seconds * 1000)


async def id_of(row: Locator) -> str:
    """The id of the video a row leads to."""
    return str(await row.get_by_role("link", name="Open").get_attribute("href")).rsplit("/", 1)[1]


async def uploads_of(visitor: Visitor) -> list[dict[str, Any]]:
    """The uploads that are still open."""
    found: list[dict[str, Any]] = (await visitor.api("GET", "/api/uploads?state=open"))["uploads"]
    return found
