"""A real browser for the flows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.conftest import Live
from tests.flows.browser import EXECUTABLE, FLAGS, Visitor, make_clip, visit

expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds with a picture that changes and a tone, as a phone might make them."""
    return make_clip(tmp_path_factory.mktemp("clips") / "harbour_at_dawn.mp4", seconds=6)


@pytest.fixture
async def visitor(chromium: Browser, live: Live, clean: None) -> AsyncIterator[Visitor]:
    """Somebody who has just registered, in a browser of their own. Errors in the page's console fail the test."""
    async with visit(chromium, live.url) as visitor:
        await visitor.join()
        yield visitor
