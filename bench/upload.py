"""How fast the upload page sends a large file, beside `curl -T` to the same storage."""

import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.async_api import Page, async_playwright

from backend.local.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
PASSWORD = secrets.token_urlsafe(16)
#: What a row of the page is in once the platform has confirmed its file.
CONFIRMED = ("processing", "ready")
ENDED = (*CONFIRMED, "failed", "refused", "duplicate", "cancelled")


async def upload(folder: Path, film: Path, rounds: int, say: Callable[[str], None]) -> None:
    """Send `film` in turns by the page and by curl, each time with another end, so that none is a duplicate."""
    stack = Stack(folder / "stack")
    stack.start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    size_mb = film.stat().st_size // (1024 * 1024) + 1
    env = {**os.environ, **stack.env(), "ENVIRONMENT": "local", "LOG_LEVEL": "WARNING", "PUBLIC_URL": url}
    env |= {"PORT": str(port), "MAX_UPLOAD_SIZE_MB": str(max(2048, 2 * size_mb))}
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=env, check=True)
    quiet = subprocess.DEVNULL
    web = subprocess.Popen([sys.executable, "-m", "backend.cli", "web"], cwd=ROOT, env=env, stdout=quiet, stderr=quiet)
    seconds: dict[str, list[float]] = {"page": [], "curl": []}
    try:
        wait_until_ready(url)
        async with async_playwright() as playwright:
            chromium = shutil.which("chromium") or "/usr/bin/chromium"
            browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = await browser.new_page()
            token = await register(page, url)
            for number in range(rounds):
                for name in ("page", "curl") if number % 2 == 0 else ("curl", "page"):
                    change_the_end(film)
                    by_page = name == "page"
                    took = await send_by_page(page, url, film) if by_page else send_by_curl(url, film, token)
                    seconds[name].append(took)
            await browser.close()
    finally:
        web.terminate()
        web.wait(30)
        stack.stop()
    tell(film.stat().st_size, seconds, say)


def tell(size: int, seconds: dict[str, list[float]], say: Callable[[str], None]) -> None:
    say("")
    say(f"upload of {size / 1e6:.0f} MB to the embedded storage")
    for name, words in (("page", "page, in parts"), ("curl", "curl -T")):
        rates = [size / 1e6 / each for each in seconds[name]]
        told = " ".join(f"{rate:.0f}" for rate in rates)
        say(f"  {words:<16}{statistics.median(rates):6.0f} MB/s   rounds: {told}")
    ratio = statistics.median(seconds["curl"]) / statistics.median(seconds["page"])
    say(f"  the page reaches {ratio:.2f} of curl's throughput (aim: 0.80 at least)")


def wait_until_ready(url: str) -> None:
    """Raises RuntimeError after a minute."""
    for _ in range(600):
        try:
            if httpx.get(f"{url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the web process did not become ready")


async def register(page: Page, url: str) -> str:
    """A fresh account, signed in; answers a token for programs."""
    email = f"bench-{secrets.token_hex(4)}@example.org"
    await page.goto(f"{url}/register")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await page.wait_for_url("**/dashboard")
    signed_in = {"email": email, "password": PASSWORD}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/api/auth/login", json=signed_in)
    return str(answer.raise_for_status().json()["token"])


def change_the_end(film: Path) -> None:
    """Another box that players skip."""
    with film.open("ab") as file:
        file.write((24).to_bytes(4, "big") + b"free" + secrets.token_bytes(16))


async def send_by_page(page: Page, url: str, film: Path) -> float:
    """Seconds from choosing the file to its confirmation; the part that looks for duplicates included."""
    await page.goto(f"{url}/upload")
    began = time.perf_counter()
    await page.locator('[data-drop-zone] input[type="file"]').set_input_files(film)
    row = page.locator(".up-row").first
    while (state := await row.get_attribute("data-state")) not in ENDED:
        if time.perf_counter() - began > 600:
            raise RuntimeError(f"the upload is still {state}")
        await page.wait_for_timeout(20)
    took = time.perf_counter() - began
    if state not in CONFIRMED:
        raise RuntimeError(await row.inner_text())
    return took


def send_by_curl(url: str, film: Path, token: str) -> float:
    """Seconds for one PUT of the whole, signed beforehand."""
    declared = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4"}
    place = httpx.post(
        f"{url}/api/upload/presigned-url", json=declared, headers={"Authorization": f"Bearer {token}"}
    ).raise_for_status()
    headers = [word for name, value in place.json()["headers"].items() for word in ("-H", f"{name}: {value}")]
    began = time.perf_counter()
    subprocess.run(["curl", "-fsS", "-T", str(film), *headers, place.json()["upload_url"]], check=True, timeout=600)
    return time.perf_counter() - began
