"""Webhooks and their deliveries, as a browser asks for them."""

import html
import re

import httpx
import pytest

from backend.webhooks.models import DeliveryState
from tests.webhooks.conftest import Hooks, Receiver, answer

Page = httpx.Response
HTMX = {"HX-Request": "true", "Accept": "*/*"}


def text_of(page: Page) -> str:
    """The words of a page, without its frame."""
    main = page.text.partition("<main")[2].partition("</main>")[0] or page.text
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", main)))


@pytest.fixture
def base(hooks: Hooks) -> str:
    return f"/projects/{hooks.project_id}"


async def added(hooks: Hooks, base: str, url: str) -> str:
    """Its page's address."""
    made = await hooks.person.browser.post(f"{base}/webhooks", data={"url": url, "events": ["video.*", "job.failed"]})
    assert made.status_code == 201, made.text
    assert "whsec_" in made.text
    found = re.search(rf"{base}/webhooks/[0-9a-f-]+", made.text)
    assert found is not None
    return found[0]


async def test_a_webhook_is_added_and_its_secret_shown_once(hooks: Hooks, base: str, receiver: Receiver) -> None:
    page = await added(hooks, base, receiver.url())
    for path in (page, f"{base}/webhooks"):
        shown = await hooks.person.browser.get(path)
        assert "whsec_" not in shown.text
        assert receiver.url() in text_of(shown)
        assert "all videos, job.failed" in text_of(shown)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"url": "http://10.0.0.1/", "events": "video.*"}, "data-error"),
        ({"url": "https://example.org/"}, "Choose at least one."),
        ({"url": "", "events": "video.*"}, "Please fill this in."),
        ({"url": "https://example.org/", "events": "all"}, "Must be one of"),
    ],
)
async def test_a_webhook_that_cannot_be_brings_the_form_back(
    hooks: Hooks, base: str, form: dict[str, str], words: str
) -> None:
    refused = await hooks.person.browser.post(f"{base}/webhooks", data=form)
    assert refused.status_code == 422
    assert words in refused.text
    assert "open data-opened" in refused.text


async def test_a_delivery_that_fails_says_so_and_is_sent_again(hooks: Hooks, base: str, receiver: Receiver) -> None:
    page = await added(hooks, base, receiver.url())
    browser = hooks.person.browser
    receiver.says(answer(500, "out of order"), answer(204))
    assert (await browser.post(f"{page}/test")).headers["location"] == f"{page}?done=tested"
    (delivery,) = await hooks.deliver()
    shown = text_of(await browser.get(page))
    for words in ("webhook.test", "Failed", "Answered 500", "tries again in", "Failing, began"):
        assert words in shown
    path = f"{base}/deliveries/{delivery.id}"
    folded = await browser.get(path, headers=HTMX)
    assert "<html" not in folded.text
    for words in ("out of order", "This is a test.", str(delivery.event_id)):
        assert words in text_of(folded)
        assert words in text_of(await browser.get(path))
    assert (await browser.post(f"{path}/redeliver")).status_code == 303
    under_way = await browser.get(f"{path}/now", headers=HTMX)
    assert ("every 1s" in under_way.text, "HX-Trigger" in under_way.headers) == (True, False)
    await hooks.deliver()
    now = await browser.get(f"{path}/now", headers=HTMX)
    assert now.headers["HX-Trigger"] == "live:looked"  # the page looks again at how the webhook is
    assert "hx-trigger" not in now.text
    assert "Delivered" in now.text
    assert "every 1s" not in now.text
    assert len({each.id for each in receiver.at()}) == 1


async def test_a_webhook_that_was_switched_off_says_why_and_is_switched_on(
    hooks: Hooks, base: str, receiver: Receiver
) -> None:
    page = await added(hooks, base, receiver.url())
    browser = hooks.person.browser
    receiver.says(answer(410))
    await browser.post(f"{page}/test")
    await hooks.deliver()
    shown = text_of(await browser.get(page))
    assert "Off" in shown
    assert "410" in shown
    assert (await browser.post(f"{page}/on")).headers["location"] == f"{page}?done=on"
    assert "Switch off" in text_of(await browser.get(page))
    assert (await browser.post(f"{page}/off")).status_code == 303
    assert "This webhook is off. It was switched off by hand." in text_of(await browser.get(page))
    activity = text_of(await browser.get(f"{base}/activity"))
    deeds = [f"{words} {receiver.url()}" for words in ("Switched off the webhook", "Switched on the webhook")]
    assert [deed in activity for deed in (*deeds, f"The webhook {receiver.url()} was switched off")] == [True] * 3


async def test_its_secret_and_its_events_are_changed_and_it_is_removed(
    hooks: Hooks, base: str, receiver: Receiver
) -> None:
    page = await added(hooks, base, receiver.url())
    browser = hooks.person.browser
    renewed = await browser.post(f"{page}/secret", data={"overlap_seconds": "86400"})
    assert "whsec_" in renewed.text
    assert "Two sign" in text_of(await browser.get(page))
    assert (await browser.post(f"{page}/secret", data={"overlap_seconds": "-1"})).status_code == 422
    changed = await browser.post(page, data={"url": receiver.url("/new"), "events": "upload.*", "description": "Hall"})
    assert changed.status_code == 303
    shown = text_of(await browser.get(page))
    assert "all uploads" in shown
    assert "Hall" in shown
    assert (await browser.post(f"{page}/delete")).status_code == 303
    assert (await browser.get(page)).status_code == 404


async def test_deliveries_are_chosen_by_state_and_page(hooks: Hooks, base: str, receiver: Receiver) -> None:
    page = await added(hooks, base, receiver.url())
    browser = hooks.person.browser
    for _ in range(21):
        await hooks.emit(video={"id": "1"})
    assert "Page 1 of 2" in text_of(await browser.get(page))
    assert "Page 2 of 2" in text_of(await browser.get(f"{page}?page=2"))
    await hooks.change(state=DeliveryState.DEAD, next_try_at=None, error="Given up after ten tries.")
    assert "Given up after ten tries." in text_of(await browser.get(f"{page}?state=dead"))
    assert "No deliveries are in this state." in text_of(await browser.get(f"{page}?state=delivered"))
