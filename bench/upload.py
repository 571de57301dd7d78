"""How fast the upload page sends a large file in a real browser, beside `curl -T` to the same storage, in turns.

Also beside a bare page, which does nothing but send the same parts: what it reaches is what the browser can do. The
page sends a small file first: it makes its parts to suit what it knows of the line, as from a visitor's second on.
The bytes do not pass the web process, so that what it computes must not grow with the file.
"""

import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Page, async_playwright

from bench.films import FASTSTART, Reel
from bench.place import Place, Process
from bench.table import Row, ratios

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


async def measure(place: Place) -> list[Row]:
    reels = place.folder / "upload"
    large = Reel(reels, place.size(1024, 12)).make("large.mp4", FASTSTART)
    small = Reel(reels, place.size(64, 2)).make("small.mp4", FASTSTART)
    took: dict[str, list[float]] = {"page": [], "bare": [], "curl": []}
    cpu: dict[Path, list[float]] = {large: [], small: []}
    async with place.web() as web, async_playwright() as playwright:
        chromium = shutil.which("chromium") or "/usr/bin/chromium"
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = await browser.new_page()
        token = await register(page, web.url)
        for number in range(place.rounds):
            change_the_end(small)  # none is a duplicate
            await by_page(page, web, small, cpu)
            names = list(took)
            for name in names[number % 3 :] + names[: number % 3]:
                change_the_end(large)
                if name == "page":
                    took[name].append(await by_page(page, web, large, cpu))
                elif name == "bare":
                    took[name].append(await send_bare(page, web.url, large, token))
                else:
                    took[name].append(send_by_curl(web.url, large, token))
        await browser.close()
    for film in (large, small):
        film.unlink()
    return table(cpu, took, large_mb=place.size(1024, 12), small_mb=place.size(64, 2))


def table(cpu: dict[Path, list[float]], took: dict[str, list[float]], *, large_mb: int, small_mb: int) -> list[Row]:
    large, small = cpu.values()
    rates = ", ".join(f"{name} {large_mb * 1.048576 / min(each):.0f}" for name, each in took.items())
    spent = f"{min(large):.2f} s and {min(small):.2f} s at best"
    what = f"upload of {large_mb} MB by the page: throughput / "
    return [
        Row(f"{what}curl -T", ratios(took["curl"], took["page"]), at_least=0.8, beside=f"MB/s at best: {rates}"),
        Row(f"{what}a bare page, same parts", ratios(took["bare"], took["page"])),
        Row(f"upload of {large_mb} MB: web CPU / that of {small_mb} MB", ratios(large, small), at_most=2, beside=spent),
    ]


async def by_page(page: Page, web: Process, film: Path, cpu: dict[Path, list[float]]) -> float:
    """Seconds; what the web process computed meanwhile, the page itself included, is added to `cpu`."""
    before = web.cpu_seconds()
    took = await send_by_page(page, web.url, film)
    cpu[film].append(max(0.01, web.cpu_seconds() - before))
    return took


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
        quick = await page.evaluate("Number((localStorage.getItem('line') ?? '').split(' ')[0]) || null")
        place = reserve(client, film, multipart=True, bytes_per_second=quick)
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


def reserve(client: httpx.Client, film: Path, **more: Any) -> dict[str, Any]:
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
