"""The fan-out of events to the streams of one process."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from sse_starlette import ServerSentEvent
from starlette.types import Message

from backend.core import events
from backend.core.events import MAX_WAITING, Closed, Hub, event_stream
from backend.core.redis import redis


@pytest.fixture
async def hub(app: FastAPI) -> AsyncIterator[Hub]:
    """A hub of its own, subscribed."""
    made = Hub()
    made.open()
    async with asyncio.timeout(60):
        while not made.connected:
            await asyncio.sleep(0.01)
    yield made
    await made.close()


async def test_an_event_reaches_all_who_follow_one_of_its_topics_once(hub: Hub) -> None:
    with hub.subscribe(["a", "b"]) as both, hub.subscribe(["b"]) as one, hub.subscribe(["c"]) as none:
        await events.publish(["a", "b"], {"n": 1})
        assert await both.next(10) == {"n": 1}
        assert await one.next(10) == {"n": 1}
        await events.publish(["b"], {"n": 2})
        assert await both.next(10) == {"n": 2}
        assert await none.next(0.05) is None


async def test_a_hub_is_one_subscriber_however_many_streams_it_has(hub: Hub) -> None:
    async def subscribers() -> int:
        [(_, count)] = await redis.client.pubsub_numsub(events.CHANNEL)
        return int(count)

    before = await subscribers()
    with hub.subscribe(["a"]), hub.subscribe(["b"]), hub.subscribe(["c"]):
        assert await subscribers() == before
        assert hub.streams == 3
    assert hub.streams == 0


async def test_a_reader_that_falls_behind_is_told_to_read_the_truth(hub: Hub) -> None:
    with hub.subscribe(["a"]) as slow:
        for number in range(MAX_WAITING + 1):
            hub.deliver(["a"], {"n": number})
        assert await slow.next(10) is None
        hub.deliver(["a"], {"n": "later"})
        assert await slow.next(10) == {"n": "later"}


async def test_streams_end_when_the_process_does(hub: Hub) -> None:
    with hub.subscribe(["a"]) as waiting:
        reading = asyncio.create_task(waiting.next(60))
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await hub.close()
            with pytest.raises(Closed):
                await reading


async def test_without_redis_readers_look_for_themselves_every_two_seconds(app: FastAPI) -> None:
    with Hub().subscribe(["a"]) as alone:
        async with asyncio.timeout(60):
            assert await alone.next(3600) is None


async def test_a_lost_connection_is_made_again_and_readers_are_told(hub: Hub) -> None:
    with hub.subscribe(["a"]) as reader:
        await redis.client.client_kill_filter(_type="pubsub")
        async with asyncio.timeout(60):
            while await reader.next(10) is not None or not hub.connected:
                pass
            await hear(hub, reader)


@pytest.mark.parametrize("noise", ["not json", "[]", "7", '{"topics": 1, "payload": {}}', '{"topics": ["a"]}'])
async def test_a_message_that_is_no_event_is_passed_over(hub: Hub, noise: str) -> None:
    with hub.subscribe(["a"]) as reader:
        await redis.client.publish(events.CHANNEL, noise)
        await events.publish(["a"], {"n": 1})
        assert await reader.next(10) == {"n": 1}
    assert hub.connected


async def test_listening_begins_again_whatever_broke_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: str) -> None:
        monkeypatch.undo()
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(hub, "_hear", broken)
    with hub.subscribe(["a"]) as reader:
        async with asyncio.timeout(60):
            await hear(hub, reader)


async def test_streams_are_opened_a_few_at_a_time(app: FastAPI) -> None:
    hub = Hub()
    inside = most = 0

    async def opened() -> None:
        nonlocal inside, most
        async for _ in hub.turn():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(opened() for _ in range(50)))
    assert most == events.OPENED_AT_ONCE


async def hear(hub: Hub, reader: events.Subscription) -> None:
    payload: dict[str, Any] | None = None
    while payload is None:
        await events.publish(["a"], {"n": 1})
        payload = await reader.next(1)
    assert payload == {"n": 1}


def test_frames_carry_name_id_and_a_scattered_time_to_come_back() -> None:
    frames = [events.message(json.dumps({"a": 1}), event="progress", id="7-1").encode().decode() for _ in range(50)]
    lines = frames[0].splitlines()
    assert {"id: 7-1", "event: progress", 'data: {"a": 1}'} <= set(lines)
    waits = {line for frame in frames for line in frame.splitlines() if line.startswith("retry: ")}
    assert len(waits) > 10
    assert all(1000 <= int(wait.removeprefix("retry: ")) <= 3000 for wait in waits)


# --- on the wire -----------------------------------------------------------------------------------------------------


class Wire:
    """What a server gives an answer: what it was sent, and a client that may go."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.gone = asyncio.Event()
        self.ended = False

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.sent.append(message["body"])

    def start(self, messages: AsyncIterator[ServerSentEvent]) -> "asyncio.Task[None]":
        scope = {"type": "http", "method": "GET"}
        return asyncio.ensure_future(event_stream(messages)(scope, self.receive, self.send))

    async def told(self, tell: asyncio.Queue[str]) -> AsyncIterator[ServerSentEvent]:
        try:
            while word := await tell.get():
                yield ServerSentEvent(word)
        finally:
            self.ended = True

    async def has(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.sent) < count:
                await asyncio.sleep(0.005)


async def test_a_stream_that_tells_nothing_sends_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ALIVE_SECONDS", 0.05)
    wire, tell = Wire(), asyncio.Queue[str]()
    answer = wire.start(wire.told(tell))
    await wire.has(2)
    assert set(wire.sent) == {b": \n\n"}
    tell.put_nowait("news")
    tell.put_nowait("")
    await answer
    assert wire.sent[-2:] == [b"data: news\r\n\r\n", b""]
    assert wire.ended


async def test_one_look_serves_all_streams_and_starts_again_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ALIVE_SECONDS", 0.0)
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.02)
    for _ in range(2):
        wires, tells = [Wire() for _ in range(3)], [asyncio.Queue[str]() for _ in range(3)]
        answers = [wire.start(wire.told(tell)) for wire, tell in zip(wires, tells, strict=True)]
        for wire in wires:
            await wire.has(2)
        for tell in tells:
            tell.put_nowait("")
        await asyncio.gather(*answers)
        await asyncio.sleep(0.1)
        assert [wire.sent[-1] for wire in wires] == [b"", b"", b""], "nothing comes after the end"


async def test_a_stream_ends_when_its_client_goes() -> None:
    wire, tell = Wire(), asyncio.Queue[str]()
    answer = wire.start(wire.told(tell))
    tell.put_nowait("news")
    await wire.has(1)
    wire.gone.set()
    await answer
    assert wire.ended


async def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "UNREAD_SECONDS", 0.05)
    wire, tell = Wire(), asyncio.Queue[str]()

    async def stuck(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    monkeypatch.setattr(wire, "send", stuck)
    answer = wire.start(wire.told(tell))
    tell.put_nowait("news")
    with pytest.raises(TimeoutError):
        await answer
    assert wire.ended


async def test_a_client_that_does_not_read_the_end_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "UNREAD_SECONDS", 0.05)
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.02)
    wire, tell = Wire(), asyncio.Queue[str]()

    async def stuck_at_the_end(message: Message) -> None:
        if message["type"] == "http.response.body" and not message["more_body"]:
            await asyncio.sleep(3600)

    monkeypatch.setattr(wire, "send", stuck_at_the_end)
    answer = wire.start(wire.told(tell))
    tell.put_nowait("")
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            await asyncio.shield(answer)
    assert wire.ended
