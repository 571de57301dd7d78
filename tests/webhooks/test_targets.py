"""No webhook makes us connect beyond the public internet: when it is made, when names change, by redirects."""

from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
from sqlalchemy import update

from backend.config import settings
from backend.core import http
from backend.core.addresses import Address
from backend.core.db import transaction
from backend.webhooks.models import WebhookEndpoint
from tests.core.targets import TARGETS, Listener, listening
from tests.webhooks.conftest import Hooks

#: What a name may come to mean after its webhook was made.
LATER = (
    *("127.0.0.1", "127.8.8.8", "0.0.0.1", "10.0.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *("168.63.129.16", "100.64.0.1", "192.0.0.192", "198.18.0.1", "224.0.0.1", "255.255.255.255"),
    *("::1", "::", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::"),
    *("2001:0:7f00:1::", "fe80::1%1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1"),
)


@pytest.fixture
async def listener(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    async with listening() as opened:
        monkeypatch.setattr(settings, "outbound_ports", [80, 443, opened.port])
        yield opened


async def test_no_webhook_is_made_for_such_an_address(hooks: Hooks, listener: Listener) -> None:
    for target in TARGETS:
        body = {"url": target.format(port=listener.port), "events": ["video.*"]}
        refused = await hooks.person.client.post(f"{hooks.base}/webhooks", json=body)
        assert refused.status_code == 422, target
        # A control character is no text to begin with.
        assert refused.json()["error"]["code"] == ("validation_failed" if "\t" in target else "url_not_allowed")
    listed = await hooks.person.client.get(f"{hooks.base}/webhooks")
    assert (listed.json()["webhooks"], listener.accepted) == ([], [])


async def test_no_webhook_is_changed_to_such_an_address(
    hooks: Hooks, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.9"])
    made = await hooks.make(f"http://127.0.0.9:{listener.port}/")
    for target in TARGETS:
        changes = {"url": target.format(port=listener.port)}
        refused = await hooks.person.client.patch(f"{hooks.base}/webhooks/{made['id']}", json=changes)
        assert refused.status_code == 422, target
    for target in TARGETS:  # and even if one had been stored
        async with transaction() as session:
            await session.execute(update(WebhookEndpoint).values(url=target.format(port=listener.port)))
        await hooks.emit()
        [row] = [row for row in await hooks.deliver() if row.state == "pending"]
        assert (row.status, bool(row.error)) == (None, True), target
        await hooks.change(state="cancelled", next_try_at=None)
    assert listener.accepted == []


async def test_a_name_that_comes_to_mean_another_address_is_not_followed_there(
    hooks: Hooks, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    means = ["93.184.216.34"]

    async def resolve(name: str) -> list[Address]:
        asked.append(name)
        return [ip_address(each) for each in means]

    monkeypatch.setattr(http, "resolve", resolve)
    await hooks.make(f"http://rebind.example:{listener.port}/")
    await hooks.emit()
    for number, address in enumerate(LATER):
        # Alone, and hidden behind one that is public.
        means[:] = [address] if number % 2 else ["93.184.216.34", address]
        [row] = await hooks.deliver()
        assert row.error == "rebind.example is not an address of the public internet.", address
        await hooks.change(state="pending", attempt=0, next_try_at=row.created_at, finished_at=None)
    assert (listener.accepted, len(asked)) == ([], 1 + len(LATER)), "asked once for each request"


async def test_redirects_are_failures_and_lead_nowhere(
    hooks: Hooks, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.9"])
    await hooks.make(f"http://127.0.0.9:{listener.port}/")
    await hooks.emit()
    for number, target in enumerate(TARGETS):
        status = (301, 302, 303, 307, 308)[number % 5]
        where = target.format(port=listener.port).replace("\t", "").encode()
        listener.answer = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, where)
        [row] = await hooks.deliver()
        assert (row.state, row.status) == ("pending", status)
        assert "redirects are not followed" in (row.error or "")
        await hooks.change(attempt=0, next_try_at=row.created_at)
    assert listener.accepted == ["::ffff:127.0.0.9"] * len(TARGETS), "each time the receiver itself, and nobody else"
