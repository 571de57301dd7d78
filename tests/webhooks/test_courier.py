"""Deliveries arrive, signed, under one id however often they are tried, or are given up with a reason."""

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from sqlalchemy import func, update
from standardwebhooks import Webhook

from backend.config import settings
from backend.core import http
from backend.core.db import transaction
from backend.webhooks import courier, deliveries
from backend.webhooks.courier import Courier
from backend.webhooks.models import DeliveryState, EventType, WebhookDelivery, WebhookEndpoint
from tests.webhooks.conftest import Hooks, Received, Receiver, answer

Start = Callable[[], Courier]


async def test_an_event_arrives_and_its_signature_is_right(hooks: Hooks, receiver: Receiver, running: Start) -> None:
    made = await hooks.make(receiver.url(), "video.*")
    running()
    assert await hooks.emit(EventType.VIDEO_COMPLETED, id="v1", title="Ünïcode ‽ 🎬") == 1
    [row] = await hooks.settled()
    assert (row.state, row.status, row.attempt, row.error) == ("delivered", 204, 1, None)
    [came] = receiver.received
    told = Webhook(made["secret"]).verify(came.body, came.headers)
    assert told == json.loads(came.body)
    assert (told["type"], told["data"]) == ("video.completed", {"id": "v1", "title": "Ünïcode ‽ 🎬"})
    assert datetime.fromisoformat(told["timestamp"]) == row.created_at
    assert (came.id, came.headers["content-type"]) == (str(row.event_id), "application/json")
    [tried] = await hooks.attempts(row.id)
    assert (tried.status, tried.url, tried.error) == (204, receiver.url(), None)


async def test_while_a_secret_is_replaced_both_are_right(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url())
    path = f"{hooks.base}/webhooks/{made['id']}/secret"
    second = (await hooks.person.client.post(path, json={"overlap_seconds": 3600})).json()
    await hooks.emit()
    await hooks.deliver()
    for secret in (made["secret"], second["secret"]):
        Webhook(secret).verify(receiver.received[-1].body, receiver.received[-1].headers)
    async with transaction() as session:  # an hour later
        await session.execute(update(WebhookEndpoint).values(previous_until=func.now() - timedelta(seconds=1)))
    await hooks.emit()
    await hooks.deliver()
    Webhook(second["secret"]).verify(receiver.received[-1].body, receiver.received[-1].headers)
    assert " " not in receiver.received[-1].headers["webhook-signature"]
    third = (await hooks.person.client.post(path, json={"overlap_seconds": 0})).json()
    await hooks.emit()
    await hooks.deliver()
    Webhook(third["secret"]).verify(receiver.received[-1].body, receiver.received[-1].headers)
    assert " " not in receiver.received[-1].headers["webhook-signature"]


@pytest.mark.usefixtures("impatient")
async def test_what_fails_is_tried_again_under_the_same_id_until_it_arrives(
    hooks: Hooks, receiver: Receiver, running: Start
) -> None:
    made = await hooks.make(receiver.url())
    receiver.says(answer(500, "<b>oops</b>\0"), None, answer(302, location="http://127.0.0.1/"), answer(200, "fine"))
    running()
    await hooks.emit()
    [row] = await hooks.settled()
    assert (row.state, row.attempt) == ("delivered", 4)
    assert {each.id for each in receiver.received} == {str(row.event_id)}
    assert len({each.body for each in receiver.received}) == 1
    for each in receiver.received:
        Webhook(made["secret"]).verify(each.body, each.headers)
    tries = await hooks.attempts(row.id)
    assert [each.status for each in tries] == [500, None, 302, 200]
    assert [each.answer for each in tries] == ["<b>oops</b>", None, "", "fine"]
    assert tries[1].error


@pytest.mark.usefixtures("impatient")
async def test_what_never_arrives_is_given_up_with_the_reason(hooks: Hooks, receiver: Receiver, running: Start) -> None:
    await hooks.make(receiver.url())
    receiver.says(answer(500))
    running()
    await hooks.emit()
    [row] = await hooks.settled()
    assert (row.state, row.status, len(receiver.received)) == ("dead", 500, 4)
    assert row.error == "It answered 500. It was tried 4 times."


async def test_waits_grow_as_the_contract_says(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.make(receiver.url())
    receiver.says(answer(503))
    await hooks.emit()
    hour = 3600
    for wait in (5, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour):
        [row] = await hooks.deliver()
        assert row.next_try_at is not None
        assert 0.9 * wait - 1 <= (row.next_try_at - datetime.now(UTC)).total_seconds() <= 1.1 * wait + 1
        await hooks.change(next_try_at=func.now())
    [row] = await hooks.deliver()
    assert (row.state, row.next_try_at, len(receiver.received)) == ("dead", None, 10)


async def test_a_receiver_that_asks_to_wait_is_given_the_time(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.make(receiver.url())
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=700), usegmt=True)
    day = 86_400
    # What is no time, or shorter than our own wait, changes nothing.
    for given, seconds in (("600", 600), (date, 700), ("9" * 30, day), ("soon", 7200), ("-5", 18_000), ("1", 36_000)):
        receiver.says(answer(429, Retry_After=given))
        if given == "600":
            await hooks.emit()
        [row] = await hooks.deliver()
        assert row.next_try_at is not None, given
        waits = (row.next_try_at - datetime.now(UTC)).total_seconds()
        assert 0.9 * seconds - 5 <= waits <= 1.1 * seconds + 5, given
        await hooks.change(next_try_at=func.now())


async def test_a_time_to_wait_that_nobody_can_reckon_with_is_no_reason_to_try_for_ever(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.make(receiver.url())
    await hooks.emit()
    strange = (f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", "Mon, 01 Jan 9999 00:00:00 +9999", ",", "٣", "1e400")
    for number, given in enumerate(strange, 1):
        receiver.says(answer(503, Retry_After=given))
        [row] = await hooks.deliver()
        assert (row.state, row.attempt, row.status) == ("pending", number, 503), given
        await hooks.change(next_try_at=func.now())


async def test_an_endpoint_that_is_gone_is_switched_off(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url())
    for _ in range(6):
        await hooks.emit()
    receiver.says(answer(410))
    rows = await hooks.deliver()
    assert {row.state for row in rows} == {"dead"}
    assert {"410" in (row.error or "") for row in rows} == {True}
    assert len(receiver.received) == deliveries.PER_ENDPOINT, "what waited was not sent"
    shown = (await hooks.person.client.get(f"{hooks.base}/webhooks/{made['id']}")).json()
    assert (shown["enabled"], "410" in shown["disabled_reason"]) == (False, True)
    assert await hooks.emit() == 0, "it hears no more"
    again = await hooks.person.client.patch(f"{hooks.base}/webhooks/{made['id']}", json={"enabled": True})
    assert (again.json()["enabled"], again.json()["disabled_reason"]) == (True, None)
    assert await hooks.emit() == 1


async def test_days_of_failure_switch_an_endpoint_off(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url())
    path = f"{hooks.base}/webhooks/{made['id']}"
    receiver.says(answer(500), answer(204), answer(500))
    await hooks.emit()
    await hooks.deliver()
    assert (await hooks.person.client.get(path)).json()["failing_since"]
    await hooks.emit()
    await hooks.deliver()
    assert (await hooks.person.client.get(path)).json()["failing_since"] is None, "a success begins anew"
    await hooks.emit()
    await hooks.deliver()
    async with transaction() as session:
        long_ago = func.now() - timedelta(days=settings.webhook_disable_days, minutes=1)
        await session.execute(update(WebhookEndpoint).values(failing_since=long_ago))
    await hooks.emit()
    await hooks.deliver()
    shown = (await hooks.person.client.get(path)).json()
    assert (shown["enabled"], "5 days" in shown["disabled_reason"]) == (False, True)
    assert not await hooks.rows(DeliveryState.PENDING)


async def test_a_lost_worker_loses_nothing(hooks: Hooks, receiver: Receiver, running: Start) -> None:
    await hooks.make(receiver.url())
    await hooks.emit()
    async with transaction() as session:
        [taken] = await deliveries.take(session, most=10)
    await hooks.deliver()  # it is taken
    assert not receiver.received
    await hooks.change(lease_until=func.now() - timedelta(seconds=1))
    running()
    [row] = await hooks.settled()
    assert (row.state, row.attempt, len(receiver.received)) == ("delivered", 1, 1)
    async with transaction() as session:  # it was only frozen: what it says now counts for nothing
        late = deliveries.Outcome(datetime.now(UTC), 1, status=500)
        assert await deliveries.settle(session, taken, late) is None
    assert (await hooks.rows())[0].state == "delivered"
    assert len(await hooks.attempts(row.id)) == 1


async def test_a_courier_that_is_stopped_gives_back_what_it_has(hooks: Hooks, receiver: Receiver) -> None:
    came = asyncio.Event()

    async def hang(request: Received) -> bytes:
        came.set()
        await asyncio.sleep(60)
        return answer(204)

    receiver.scripts["/hook"] = hang
    await hooks.make(receiver.url())
    await hooks.emit()
    keeping = asyncio.create_task(Courier(draining=lambda: False).keep())
    async with asyncio.timeout(20):
        await came.wait()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    [row] = await hooks.rows()
    assert (row.state, row.attempt, row.lease_token) == ("pending", 0, None)


async def test_a_courier_that_drains_takes_no_more_and_ends_what_it_has(hooks: Hooks, receiver: Receiver) -> None:
    came, go = asyncio.Event(), asyncio.Event()
    draining = False

    async def wait(request: Received) -> bytes:
        came.set()
        await go.wait()
        return answer(204)

    receiver.scripts["/hook"] = wait
    await hooks.make(receiver.url())
    await hooks.emit()
    keeping = asyncio.create_task(Courier(draining=lambda: draining).keep())
    async with asyncio.timeout(20):
        await came.wait()
        draining = True
        await hooks.emit()
        go.set()
        await keeping
    assert [row.state for row in await hooks.rows()] == ["delivered", "pending"]


@pytest.mark.usefixtures("impatient")
async def test_an_endpoint_that_hangs_does_not_hold_up_the_others(
    hooks: Hooks, receiver: Receiver, running: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "webhook_timeout_seconds", 60)
    ended = asyncio.Event()

    async def hang(request: Received) -> bytes:
        await ended.wait()
        return answer(204)

    receiver.scripts["/hangs"] = hang
    await hooks.make(receiver.url("/hangs"))
    for _ in range(50):
        await hooks.emit()
    running()
    async with asyncio.timeout(20):
        while len(receiver.at("/hangs")) < deliveries.PER_ENDPOINT:
            await asyncio.sleep(0.02)
    await hooks.make(receiver.url("/quick"))
    for _ in range(20):
        await hooks.emit()
    async with asyncio.timeout(30):
        while len(receiver.at("/quick")) < 20:
            await asyncio.sleep(0.02)
    assert len(receiver.at("/hangs")) == deliveries.PER_ENDPOINT
    ended.set()


async def test_an_answer_is_kept_in_its_beginning(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.make(receiver.url())
    receiver.says(answer(400, "x" * 5000))
    await hooks.emit()
    [row] = await hooks.deliver()
    [tried] = await hooks.attempts(row.id)
    assert tried.answer == "x" * courier.ANSWER_BYTES


async def test_a_secret_nobody_can_read_any_more_is_told(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await hooks.make(receiver.url())
    async with transaction() as session:  # the secret of another row
        await session.execute(update(WebhookEndpoint).values(secret=b"x" * 60))
    await hooks.emit()
    [row] = await hooks.deliver()
    assert (row.state, receiver.received) == ("pending", [])
    assert "SECRET_KEY" in (row.error or "")
    await hooks.person.client.post(f"{hooks.base}/webhooks/{made['id']}/secret", json={"overlap_seconds": 0})
    await hooks.change(next_try_at=func.now())
    assert [row.state for row in await hooks.deliver()] == ["delivered"]


async def test_a_mistake_of_ours_is_a_try_like_any_other(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object, **options: object) -> None:
        raise KeyError("nobody foresaw this")

    await hooks.make(receiver.url())
    monkeypatch.setattr(http, "post", broken)
    await hooks.emit()
    [row] = await hooks.deliver()
    assert (row.state, row.attempt, row.error) == ("pending", 1, "Something went wrong on our side.")


async def test_what_ended_long_ago_is_removed(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.make(receiver.url())
    for _ in range(3):
        await hooks.emit()
    rows = await hooks.deliver()
    await hooks.emit()  # and one that waits
    old = func.now() - timedelta(days=settings.webhook_keep_days, minutes=1)
    await hooks.change(created_at=old)
    async with transaction() as session:
        assert await deliveries.clean(session) == 0
    mine = WebhookDelivery.id == rows[0].id
    async with transaction() as session:
        await session.execute(update(WebhookDelivery).where(mine).values(finished_at=old))
    async with transaction() as session:
        assert await deliveries.clean(session) == 1
    assert len(await hooks.rows()) == 3
    assert await hooks.attempts(uuid.UUID(str(rows[0].id))) == []
