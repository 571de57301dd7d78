"""What the flows do with a browser."""

import asyncio
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, ConsoleMessage, Page

#: Debian's browser; PyPI's Playwright drives it.
EXECUTABLE = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]

TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime", ".avi": "video/x-msvideo", ".webm": "video/webm"}
TYPES |= {".mkv": "video/x-matroska", ".m4v": "video/x-m4v"}

PASSWORD = "correct horse battery"


@dataclass
class Visitor:
    """A browser window on the platform, and who is in front of it."""

    page: Page
    url: str
    email: str = field(default_factory=lambda: f"v{secrets.token_hex(6)}@example.org")
    #: What the page complained about. A flow that provokes an error on purpose takes it out.
    complaints: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def register(self) -> None:
        """Create an account on the page made for it; ends on the library."""
        await self.open("/register")
        await self.page.get_by_label("Email").fill(self.email)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Create account").click()
        await self.page.wait_for_url("**/dashboard")

    async def join(self) -> None:
        """Have an account and be signed in, without a look at the page for it; ends on the library."""
        answer = await self.page.context.request.post(
            self.url + "/register",
            form={"email": self.email, "password": PASSWORD},
            headers={"Sec-Fetch-Site": "same-origin"},
            max_redirects=0,
        )
        assert answer.status == 303, await answer.text()
        await self.open("/dashboard")

    async def send(self, path: Path, *, title: str) -> str:
        """Upload a file as the page's own scripts do, without the page; answers the video's id."""
        data = path.read_bytes()
        kind = TYPES[path.suffix]
        place = await self.api(
            "POST", "/api/upload/presigned-url", filename=path.name, size=len(data), content_type=kind
        )
        async with httpx.AsyncClient() as storage:
            stored = await storage.put(place["upload_url"], content=data, headers=place["headers"])
        assert stored.status_code == 200, stored.text
        made = await self.api("POST", "/api/videos", video_id=place["video_id"], title=title)
        return str(made["id"])

    async def until(self, expression: str, argument: Any = None, seconds: float = 30) -> None:
        """Wait for something to become true in the page: Playwright waits by `eval`, which the CSP forbids."""
        deadline = time.monotonic() + seconds
        while not await self.page.evaluate(expression, argument):
            assert time.monotonic() < deadline, f"never true: {expression}"
            await asyncio.sleep(0.05)

    async def api(self, method: str, path: str, **body: Any) -> Any:
        """Call the API with the browser's own session."""
        answer = await self.page.context.request.fetch(
            self.url + path,
            method=method,
            data=body or None,
            headers={"Sec-Fetch-Site": "same-origin", "Accept": "application/json"},
        )
        assert answer.ok, await answer.text()
        return await answer.json() if answer.status != 204 else None


@asynccontextmanager
async def visit(browser: Browser, url: str, *, strict: bool = True, **context: Any) -> AsyncIterator[Visitor]:
    """A window with cookies of its own. When `strict`, nothing may go wrong in its console."""
    window = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    await window.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    page = await window.new_page()
    page.set_default_timeout(30_000)
    visitor = Visitor(page, url)

    def heard(message: ConsoleMessage) -> None:
        # A page that is left drops what it was asking for, its streams (an Event) too; what truly failed is also told
        # as htmx:sendError.
        dropped = message.text.startswith(("htmx:sendAbort", "htmx:afterRequest", "[object Event]"))
        if message.type in ("error", "warning") and not dropped:
            visitor.complaints.append(
                f"{message.text} ({message.location.get('url')}:{message.location.get('lineNumber')})"
            )

    page.on("console", heard)
    page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    try:
        yield visitor
    finally:
        await window.close()
    assert not (strict and visitor.complaints), visitor.complaints


def make_clip(
    path: Path, *, seconds: float, size: str = "640x360", codec: str = "libx264", seed: int | None = None
) -> Path:
    """A test picture with a running clock, or with a `seed` a quiet play of colours; and a tone."""
    drawn = f"testsrc2=size={size}" if seed is None else f"gradients=size={size}:seed={seed}:speed=0.02"
    command = (
        f"ffmpeg -v error -y -f lavfi -i {drawn}:rate=25:duration={seconds} "
        f"-f lavfi -i sine=frequency=440:duration={seconds} "
        f"-pix_fmt yuv420p -c:v {codec} -g 25 -c:a aac -movflags +faststart"
    )
    subprocess.run([*command.split(), str(path)], check=True)
    return path
