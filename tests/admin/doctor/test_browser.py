"""The doctor's page in a real browser: what is well is folded, and what the browser alone can notice is shown."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect
from starlette.requests import Request
from starlette.responses import Response

from backend.local.stack import Stack
from tests.admin.doctor.proxy import Proxy, running
from tests.conftest import ROOT, environment, free_port
from tests.flows.browser import visit

LOOKS: list[tuple[Literal["light", "dark"], int]] = [("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390)]


@pytest.fixture(scope="module")
async def files(stack: Stack) -> AsyncIterator[Proxy]:
    """What browsers reach the storage through."""
    async with running(Proxy(environment(stack)["S3_ENDPOINT_URL"])) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def front(stack: Stack, files: Proxy, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    """What browsers reach the platform through; no worker runs behind it."""
    port = free_port()
    proxy = Proxy(f"http://127.0.0.1:{port}")
    env = {**environment(stack), "PUBLIC_URL": proxy.url, "S3_PUBLIC_URL": files.url}
    command = [sys.executable, "-m", "uvicorn", "backend.app:create_app", "--factory", "--port", str(port)]
    log = tmp_path_factory.mktemp("front") / "web.log"
    with log.open("wb") as sink:
        web = subprocess.Popen(command, cwd=ROOT, env=env, stdout=sink, stderr=subprocess.STDOUT)
    try:
        async with running(proxy), httpx.AsyncClient() as client:
            deadline = time.monotonic() + 60
            while True:
                try:
                    if (await client.get(f"{proxy.target}/ready")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert time.monotonic() < deadline, log.read_text()
                await asyncio.sleep(0.1)
            yield proxy
    finally:
        web.terminate()
        web.wait(30)


@pytest.fixture
async def page(chromium: Browser, front: Proxy, files: Proxy, clean: None) -> AsyncIterator[Page]:
    """The installation's first account, who is its administrator. Misconfigured servers fill the console."""
    async with visit(chromium, front.url, strict=False) as visitor:
        await visitor.join()
        yield visitor.page
    files.answer = files.ask = None
    front.answer = front.ask = None
    front.streams = True


async def examine(page: Page, front: Proxy) -> None:
    await page.goto(f"{front.url}/admin/doctor")
    await expect(page.locator("#from-browser [data-state]").first).to_be_attached(timeout=30_000)
    await expect(page.locator("#findings [data-check]").first).to_be_attached(timeout=30_000)


async def finding(page: Page, name: str, state: str) -> str:
    shown = page.locator(f'[data-check="browser.{name}"]')
    await expect(shown).to_have_attribute("data-state", state)
    return await shown.text_content() or ""


async def test_the_browsers_own_checks_are_well(page: Page, front: Proxy) -> None:
    await examine(page, front)
    states = await page.locator("#from-browser [data-check]").evaluate_all("all => all.map((one) => one.dataset.state)")
    assert states == ["ok"] * 7
    await expect(page.locator("#from-browser details.finding-group")).not_to_have_attribute("open", "")


async def test_what_needs_a_hand_is_open_and_its_fix_is_copied(page: Page, front: Proxy) -> None:
    await examine(page, front)
    workers = page.locator('[data-group="Workers"]')
    await expect(workers.get_by_text("No worker is alive: uploads stay in processing.")).to_be_visible()
    await workers.get_by_role("button", name="Copy how to mend: A worker is alive").click()
    await expect(page.locator(".toast")).to_contain_text("Copied.")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Start one with `dailies worker`")


async def test_a_run_again_tries_the_browser_too(page: Page, front: Proxy, files: Proxy) -> None:
    await examine(page, front)
    files.ask = lambda headers: headers.pop("range", None)
    await page.get_by_role("button", name="Run again").click()
    await expect(page.locator('[data-check="browser.ranges"]')).to_have_attribute("data-state", "failed")
    await expect(page.locator('[data-check="storage.ranges"]')).to_have_attribute("data-state", "failed")
    first = await page.locator(".finding-group").first.get_attribute("data-group")
    assert first == "From this browser", "what needs a hand comes first"


async def test_a_storage_without_cors_is_told_from_one_that_is_away(page: Page, front: Proxy, files: Proxy) -> None:
    def no_cors(request: Request, answer: Response) -> Response:
        for name in [name for name in answer.headers if name.startswith("access-control")]:
            del answer.headers[name]
        return answer

    files.answer = no_cors
    await examine(page, front)
    assert "does not let this page send files to it (CORS)" in await finding(page, "put", "failed")
    await finding(page, "etag", "skipped")
    await page.route(f"{files.url}/**", lambda route: route.abort("namenotresolved"))
    await examine(page, front)
    assert "This browser does not reach the storage" in await finding(page, "put", "failed")


async def test_an_etag_that_the_page_cannot_read(page: Page, front: Proxy, files: Proxy) -> None:
    def hidden(request: Request, answer: Response) -> Response:
        if "access-control-expose-headers" in answer.headers:
            del answer.headers["access-control-expose-headers"]
        return answer

    files.answer = hidden
    await examine(page, front)
    assert "Access-Control-Expose-Headers: ETag" in await finding(page, "etag", "failed")


async def test_a_proxy_that_buffers_streams(page: Page, front: Proxy) -> None:
    front.streams = False
    await examine(page, front)
    assert "proxy_buffering off" in await finding(page, "stream", "failed")


async def test_a_clock_that_is_wrong(page: Page, front: Proxy) -> None:
    await page.add_init_script("const now = Date.now; Date.now = () => now() + 300_000")
    await examine(page, front)
    told = await finding(page, "clock", "warning")
    assert re.search(r"\b(29\d|300|301) s ahead", told)  # a busy machine answers late, and half of that is counted


async def test_a_proxy_that_makes_our_own_requests_look_foreign(page: Page, front: Proxy) -> None:
    def foreign(headers: httpx.Headers) -> None:
        if "sec-fetch-site" in headers:
            headers["sec-fetch-site"] = "cross-site"

    front.ask = foreign
    await page.goto(f"{front.url}/admin/doctor")
    told = page.locator("#from-browser [data-state=failed]")
    await expect(told).to_contain_text("HTTP 403")
    await expect(told).to_contain_text(f"Open {front.url}, or set PUBLIC_URL")


async def test_the_page_can_be_used_by_everybody(page: Page, front: Proxy, files: Proxy) -> None:
    files.ask = lambda headers: headers.pop("range", None)
    await examine(page, front)
    await page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
    for theme, width in LOOKS:
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        await page.set_viewport_size({"width": width, "height": 844})
        look = f"{theme}, {width} wide"
        assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth"), f"too wide: {look}"
        found = (await Axe().run(page)).response["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == [], look
