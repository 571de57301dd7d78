"""Many events against receivers that do everything wrong: each arrives at least once, or is given up with its reason.

WEBHOOK_EVENTS says how many (500 for the long form).
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from standardwebhooks import Webhook

from backend.config import settings
from backend.core.db import transaction
from backend.local.stack import Stack
from backend.webhooks import deliveries
from backend.webhooks.courier import Courier
from backend.webhooks.models import DeliveryState, WebhookDelivery
from tests.conftest import ROOT, environment
from tests.webhooks.conftest import Hooks, Received, Receiver, Script, answer

EVENTS = int(os.environ.get("WEBHOOK_EVENTS", "15"))
SEED = int(os.environ.get("WEBHOOK_SEED", "1"))


def whims(ended: asyncio.Event) -> Script:
    """Answers that differ from try to try: mostly wrong ones."""
    chance = random.Random(SEED)

    async def script(request: Received) -> bytes | None:
        match chance.choice(("500", "429", "302", "hang", "reset", "nonsense", "late", "200", "200", "204")):
            case "429":
                return answer(429, Retry_After="0")
            case "302":
                return answer(302, Location="http://127.0.0.1:1/")
            case "hang":
                await ended.wait()
                return answer(200)
            case "reset":
                return None
            case "nonsense":
                return b"\x16\x03\x01 what?\r\n\r\n"
            case "late":  # it arrived, and nobody is told so
                await asyncio.sleep(0.6)
                return answer(200)
            case status:
                return answer(int(status))

    return script


@pytest.mark.usefixtures("impatient")
async def test_every_event_arrives_or_is_given_up_with_the_reason(
    hooks: Hooks, receiver: Receiver, running: Callable[[], Courier], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PER_PROJECT", 32)
    monkeypatch.setattr(deliveries, "PER_ENDPOINT", 16)
    ended = asyncio.Event()
    paths = ("/whims", "/fails", "/gone", "/moved", "/well")
    receiver.scripts["/whims"] = whims(ended)
    receiver.says(answer(500), path="/fails")
    receiver.says(*[answer(200)] * 3, answer(410), path="/gone")
    receiver.says(answer(308, Location=receiver.url("/well")), path="/moved")
    made = {path: await hooks.make(receiver.url(path)) for path in paths}
    running()
    running()
    expected = 0
    for number in range(EVENTS):
        expected += await hooks.emit(number=number)
    rows = await hooks.settled(seconds=60 + EVENTS)
    ended.set()

    assert len(rows) == expected
    print(f"{len(rows)} deliveries, {len(receiver.received)} requests, {Counter(row.state for row in rows)}")
    of = {path: [row for row in rows if str(row.endpoint_id) == made[path]["id"]] for path in paths}
    arrived = {path: Counter(each.id for each in receiver.at(path)) for path in paths}
    assert {row.state for row in of["/well"]} == {"delivered"}
    assert {row.state for row in of["/fails"]} == {row.state for row in of["/moved"]} == {"dead"}
    assert all("tried 4 times" in (row.error or "") for row in (*of["/fails"], *of["/moved"]))
    assert Counter(row.state for row in of["/gone"])["delivered"] == 3
    for path in paths:
        secret = Webhook(made[path]["secret"])
        for came in receiver.at(path):
            secret.verify(came.body, came.headers)
        ids = {str(row.event_id) for row in of[path]}
        assert set(arrived[path]) <= ids, "each came under the id of its event"
        bodies = {(came.id, came.body) for came in receiver.at(path)}
        assert len(bodies) == len(arrived[path]), "with the same body at every try"
        for row in of[path]:
            if row.state == "delivered":
                assert arrived[path][str(row.event_id)] >= 1
            else:
                assert (row.state, bool(row.error), row.finished_at is not None) == ("dead", True, True)


async def test_killed_workers_lose_no_delivery(
    stack: Stack, hooks: Hooks, receiver: Receiver, tmp_path: object
) -> None:
    """A worker of its own is killed while receivers hold its requests; another one delivers all."""
    held, go = asyncio.Event(), asyncio.Event()

    async def hold(request: Received) -> bytes:
        if len(receiver.received) >= deliveries.PER_ENDPOINT:
            held.set()
        await go.wait()
        return answer(204)

    receiver.scripts["/hook"] = hold
    made = await hooks.make(receiver.url())
    for number in range(20):
        await hooks.emit(number=number)
    own = {"ALLOWED_PRIVATE_TARGETS": "127.0.0.1/32", "OUTBOUND_PORTS": str(receiver.port), "LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "backend.cli", "worker"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=ROOT, env={**environment(stack), **own})

    first = start()
    try:
        async with asyncio.timeout(60):
            await held.wait()
    finally:
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait)
    taken = await hooks.rows(DeliveryState.DELIVERING)
    assert len(taken) == deliveries.PER_ENDPOINT
    before = {came.id for came in receiver.received}
    go.set()
    async with transaction() as session:  # the time until its leases end
        lost = update(WebhookDelivery).where(WebhookDelivery.state == DeliveryState.DELIVERING)
        await session.execute(lost.values(lease_until=func.now() - timedelta(seconds=1)))
    second = start()
    try:
        rows = await hooks.settled(seconds=60)
    finally:
        second.terminate()
        await asyncio.to_thread(second.wait)
    assert {row.state for row in rows} == {"delivered"}
    assert {came.id for came in receiver.received} == {str(row.event_id) for row in rows}
    twice = Counter(came.id for came in receiver.received)
    assert {id for id, times in twice.items() if times > 1} == before, "only what the first had under way came again"
    for came in receiver.received:
        Webhook(made["secret"]).verify(came.body, came.headers)
    async with transaction() as session:
        assert await session.scalar(select(func.count()).select_from(WebhookDelivery)) == 20
    assert settings.webhook_slots >= deliveries.PER_ENDPOINT
