"""How fast the upload page sends a large file, beside `curl -T` and a bare page's own requests to the same storage.

The bare page does nothing but send the same parts: what it reaches is what the browser can do.
"""

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
from typing import Any

import httpx
from playwright.async_api import Page, async_playwright

from backend.local.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
PASSWORD = secrets.token_urlsafe(16)
#: What a row of the page is in once the platform has confirmed its file.
CONFIRMED = ("processing", "ready")
ENDED = [*CONFIRMED, "failed", "refused", "duplicate", "cancelled"]
UNTIL_ENDED = """ended => new Promise((resolve, reject) => {
  const look = () => {
    const state = document.querySelector('.up-row')?.dataset.state;
    if (ended.includes(state)) resolve(state);
  };
  const watched = { subtree: true, childList: true, attributeFilter: ['data-state'] };
  new MutationObserver(look).observe(document.body, watched);
  setTimeout(() => reject(new Error('the upload does not end')), 600_000);
  look();
})"""

#: The parts of a file by requests of the page's own, `atOnce` at a time; seconds.
BARE = """async ({ addresses, partSize, atOnce }) => {
  const file = document.querySelector('#bare').files[0];
  const began = performance.now();
  let next = 0;
  const send = (at) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PUT', addresses[at]);
    request.setRequestHeader('Content-Type', 'video/mp4');
    request.onload = () => (request.status === 200 ? resolve() : reject(new Error(String(request.status))));
    request.onerror = () => reject(new Error('network'));
    request.send(file.slice(at * partSize, (at + 1) * partSize));
  });
  const work = async () => { while (next < addresses.length) await send(next++); };
  await Promise.all(Array.from({ length: atOnce }, work));
  return (performance.now() - began) / 1000;
}"""
AT_ONCE = 4  # as the page's own sender
#: Nobody chooses a file in the quarter of a second in which the page asks other tabs what they are sending.
CHOOSING_MS = 1_000


async def upload(folder: Path, film: Path, rounds: int, say: Callable[[str], None]) -> None:
    """Send `film` in turns by the page, a bare page and curl, each time with another end: none is a duplicate."""
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
    seconds: dict[str, list[float]] = {"page": [], "bare": [], "curl": []}
    try:
        wait_until_ready(url)
        async with async_playwright() as playwright:
            chromium = shutil.which("chromium") or "/usr/bin/chromium"
            browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = await browser.new_page()
            token = await register(page, url)
            for number in range(rounds):
                names = list(seconds)
                for name in names[number % 3 :] + names[: number % 3]:
                    change_the_end(film)
                    if name == "page":
                        took = await send_by_page(page, url, film)
                    elif name == "bare":
                        took = await send_bare(page, url, film, token)
                    else:
                        took = send_by_curl(url, film, token)
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
    for name, words in (("page", "page, in parts"), ("bare", "bare page, same"), ("curl", "curl -T")):
        rates = [size / 1e6 / each for each in seconds[name]]
        told = " ".join(f"{rate:.0f}" for rate in rates)
        say(f"  {words:<16}{statistics.median(rates):6.0f} MB/s   rounds: {told}")
    page, bare, curl = (statistics.median(seconds[name]) for name in ("page", "bare", "curl"))
    say(f"  the page reaches {curl / page:.2f} of curl's throughput (aim: 0.80 at least)")
    say(f"  and {bare / page:.2f} of what the browser can do with the same parts, which is {curl / bare:.2f} of curl's")


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
    await page.wait_for_timeout(CHOOSING_MS)
    began = time.perf_counter()
    await page.locator('[data-drop-zone] input[type="file"]').set_input_files(film)
    # The page tells by itself: asking it again and again would take of the machine what the upload needs.
    state = await page.evaluate(UNTIL_ENDED, ENDED)
    took = time.perf_counter() - began
    if state not in CONFIRMED:
        raise RuntimeError(await page.locator(".up-row").first.inner_text())
    return took


async def send_bare(page: Page, url: str, film: Path, token: str) -> float:
    """Seconds for the same parts by requests that the page makes itself; without reserving, confirming, drawing."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        place = reserve(client, film, multipart=True)
        addresses = sign(client, place)
        await page.goto(f"{url}/upload")
        picker = page.locator('[data-drop-zone] input[type="file"]')
        await picker.evaluate("it => { const bare = it.cloneNode(); bare.id = 'bare'; document.body.prepend(bare); }")
        await page.locator("#bare").set_input_files(film)
        given = {"addresses": addresses, "partSize": place["part_size"], "atOnce": AT_ONCE}
        took = float(await page.evaluate(BARE, given))
        give_up(client, place)
    return took


def send_by_curl(url: str, film: Path, token: str) -> float:
    """Seconds for one PUT of the whole, signed beforehand."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        place = reserve(client, film)
        headers = [word for name, value in place["headers"].items() for word in ("-H", f"{name}: {value}")]
        began = time.perf_counter()
        subprocess.run(["curl", "-fsS", "-T", str(film), *headers, place["upload_url"]], check=True, timeout=600)
        took = time.perf_counter() - began
        give_up(client, place)
    return took


def reserve(client: httpx.Client, film: Path, **more: bool) -> dict[str, Any]:
    declared = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4", **more}
    place: dict[str, Any] = client.post("/api/upload/presigned-url", json=declared).raise_for_status().json()
    return place


def sign(client: httpx.Client, place: dict[str, Any]) -> list[str]:
    """The addresses of all parts."""
    numbers = range(1, place["part_count"] + 1)
    addresses: list[str] = []
    for first in range(0, len(numbers), 100):
        wanted = {"part_numbers": list(numbers[first : first + 100])}
        signed = client.post(f"/api/uploads/{place['upload_id']}/parts", json=wanted).raise_for_status().json()
        addresses += [part["url"] for part in signed["parts"]]
    return addresses


def give_up(client: httpx.Client, place: dict[str, Any]) -> None:
    client.delete(f"/api/uploads/{place['upload_id']}").raise_for_status()
