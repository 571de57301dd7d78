"""Live events: one Redis subscription a process, fanned out to all streams; framing as Server-Sent Events.

An event is a hint with the newest state in it. It may be lost: whoever follows something reads the truth first, again
when told so, and again after a while without news.
"""

import asyncio
import json
import math
import random
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, cast

import structlog
from fastapi import Depends
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from backend.core.redis import redis

log = structlog.get_logger(__name__)

CHANNEL = "dailies:events"
#: Events a slow reader may have waiting; beyond it they are dropped, and it is told to read the truth again.
MAX_WAITING = 64
QUIET_SECONDS = 5.0
#: Streams read the truth again after about this long without news, for what was lost on the way to Redis: when its
#: connection breaks they do so at once, and each two seconds until it is back.
READ_AGAIN_SECONDS = 120.0
WITHOUT_REDIS_SECONDS = 2.0
#: A stream that tells nothing for so long sends a comment: proxies cut what is silent, most of them after a minute,
#: some after fifty seconds.
ALIVE_SECONDS = 40.0
#: Who reads nothing for so long is cut off.
UNREAD_SECONDS = 30.0
#: How often it is looked who is due for a comment, or to be cut off: both come up to this much later.
LOOK_SECONDS = 2.0
#: Streams that are opened at the same time. The others wait for their turn, and not for a database connection.
OPENED_AT_ONCE = 3

Payload = dict[str, Any]

#: What OpenAPI says of an answer that is a stream: the fields of one event.
STREAM_CONTENT: dict[str, Any] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "event": {"type": "string"},
                "data": {"type": "string"},
                "retry": {"type": "integer", "description": "Milliseconds"},
            },
        }
    }
}


async def publish(topics: Iterable[str], payload: Payload) -> None:
    """Tell all processes. Raises RedisError or OSError when Redis is away. Never call it inside a transaction."""
    await redis.client.publish(CHANNEL, json.dumps({"topics": list(topics), "payload": payload}))


class Closed(Exception):
    """The process is shutting down: end the stream, the client will connect again elsewhere."""


class Subscription:
    """What one stream has waiting."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._waiting: asyncio.Queue[Payload | None] = asyncio.Queue(MAX_WAITING)

    async def next(self, seconds: float = READ_AGAIN_SECONDS) -> Payload | None:
        """The next event; None means "read the truth": none came for about so long, or some may have been missed.

        About: half of it to half as long again, so that a thousand streams do not read at once; and up to the end of
        its next twelfth (at least a second), so that those which read in the same one do it together. Raises Closed.
        """
        if self._hub.closing:
            raise Closed
        pause = seconds * random.uniform(0.5, 1.5) if self._hub.connected else min(seconds, WITHOUT_REDIS_SECONDS)  # noqa: S311
        step = max(1.0, seconds / 12) if self._hub.connected else 1.0
        loop = asyncio.get_running_loop()
        # Cheaper than a time-out, which ends what waits by an exception.
        alarm = loop.call_at(math.ceil((loop.time() + pause) / step) * step, self.put, None)
        try:
            payload = await self._waiting.get()
        finally:
            alarm.cancel()
        if self._hub.closing:
            raise Closed
        return payload

    def put(self, payload: Payload | None) -> None:
        if payload is None or self._waiting.full():
            while not self._waiting.empty():
                self._waiting.get_nowait()
            payload = None
        self._waiting.put_nowait(payload)


class Hub:
    """Opened and closed by the web process's lifespan. Unopened or without Redis, streams still work by reading."""

    def __init__(self) -> None:
        self.connected = False
        self.closing = False
        self._topics: dict[str, set[Subscription]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)

    @property
    def streams(self) -> int:
        """How many subscriptions are open."""
        return len(set().union(*self._topics.values()))

    def open(self) -> None:
        self.closing = False
        self._tasks = [asyncio.create_task(each) for each in (self._listen(), self._end_with_server())]

    async def close(self) -> None:
        """End all streams."""
        self._end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.connected = False

    def _end(self) -> None:
        self.closing = True
        self._wake_all()

    async def _end_with_server(self) -> None:
        # It waits for all answers to end before it says that the process does.
        await EventSourceResponse._listen_for_exit_signal()
        self._end()

    @contextmanager
    def subscribe(self, topics: Iterable[str]) -> Iterator[Subscription]:
        """Receive events of these topics from now on: subscribe first, then read the truth."""
        subscription = Subscription(self)
        names = set(topics)
        for name in names:
            self._topics.setdefault(name, set()).add(subscription)
        try:
            yield subscription
        finally:
            for name in names:
                listeners = self._topics.get(name, set())
                listeners.discard(subscription)
                if not listeners:
                    self._topics.pop(name, None)

    async def turn(self) -> AsyncIterator[None]:
        """A dependency, the first of a route that opens a stream: its turn to ask the database who asks, and what."""
        async with self._opening:
            yield

    def deliver(self, topics: Iterable[str], payload: Payload) -> None:
        """Hand an event to this process's streams, once to each."""
        for subscription in set().union(*(self._topics.get(name, ()) for name in topics)):
            subscription.put(payload)

    def _wake_all(self) -> None:
        for subscription in set().union(*self._topics.values()):
            subscription.put(None)

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        self._wake_all()  # events may have been missed, or the pace of reading changes

    async def _listen(self) -> None:
        while not self.closing:
            try:
                await self._receive()
            except Exception as error:  # whatever it was: without this task, all streams would be without events
                if not isinstance(error, RedisError | OSError):
                    log.exception("events.listener_broke")
                elif self.connected:
                    log.warning("events.redis_away", error=repr(error))
                if self.connected:
                    self._set_connected(False)
                await asyncio.sleep(1.0)

    async def _receive(self) -> None:
        """Read until the connection breaks. A silent connection is pinged, and given up when it stays silent."""
        async with redis.client.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            pinged = False
            while not self.closing:  # a Redis client may swallow a cancel
                message = await pubsub.get_message(timeout=QUIET_SECONDS)
                if message is None:
                    if pinged:
                        raise TimeoutError("no answer to a ping")
                    await pubsub.ping()
                    pinged = True
                    continue
                pinged = False
                if message["type"] == "subscribe":
                    self._set_connected(True)
                elif message["type"] == "message":
                    self._hear(message["data"])

    def _hear(self, data: str) -> None:
        """Deliver what was published; what is no event of ours is passed over."""
        try:
            event = json.loads(data)
            topics, payload = list(event["topics"]), dict(event["payload"])
            self.deliver(topics, payload)
        except (LookupError, TypeError, ValueError) as error:
            log.warning("events.not_an_event", error=repr(error))


hub = Hub()

#: For the `dependencies` of such a route; over before the first event is sent.
in_turn = Depends(hub.turn, scope="function")


def message(data: str, *, event: str, id: str) -> ServerSentEvent:
    """One framed event. Clients that lose the connection come back after one to three seconds, not all at once."""
    return ServerSentEvent(data, event=event, id=id, retry=random.randint(1000, 3000))  # noqa: S311


class EventStream(EventSourceResponse):
    """Sends events until they end or the client goes; see ALIVE_SECONDS and UNREAD_SECONDS.

    The library would run five tasks for each stream, and its comments alone are most of what thousands of them cost.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            return await super().__call__(scope, receive, send)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        events = cast("AsyncGenerator[ServerSentEvent, None]", aiter(self.body_iterator))
        try:
            async with asyncio.timeout(None) as limit, aclosing(events):
                line = _Line(send, receive, limit)
                try:
                    async for event in events:
                        await line.say(event.encode())
                    await line.say(b"", more_body=False)
                finally:
                    line.close()
        except TimeoutError:
            if not line.gone:
                raise
        return None


_COMMENT = b": \n\n"


class _Line:
    """An open stream. When its client goes, or reads nothing, `limit` ends it."""

    def __init__(self, send: Send, receive: Receive, limit: asyncio.Timeout) -> None:
        self.gone = False
        self._send, self._receive, self._limit = send, receive, limit
        self._now = asyncio.get_running_loop().time
        self._at = self._now()
        self._saying = False
        self._leaving = asyncio.create_task(self._leave())
        self._comment: asyncio.Task[None] | None = None
        _watch.add(self)

    async def say(self, chunk: bytes, *, more_body: bool = True) -> None:
        self._at, self._saying = self._now(), True
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more_body})
        self._at, self._saying = self._now(), False

    def look(self) -> None:
        """What is to be done after a while."""
        silent = self._now() - self._at
        if self._saying:
            if silent >= UNREAD_SECONDS:
                self._end()
        elif silent >= ALIVE_SECONDS:
            self._comment = asyncio.create_task(self.say(_COMMENT))

    def close(self) -> None:
        _watch.discard(self)
        self._leaving.cancel()
        if self._comment is not None:
            self._comment.cancel()

    async def _leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._end()

    def _end(self) -> None:
        _watch.discard(self)  # once is enough
        self._limit.reschedule(self._now())


class _Watch:
    """Looks at all open streams together: a timer for each would cost more than most of them tell."""

    def __init__(self) -> None:
        self._lines: set[_Line] = set()
        self._looking: asyncio.Task[None] | None = None

    def add(self, line: _Line) -> None:
        self._lines.add(line)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    def discard(self, line: _Line) -> None:
        self._lines.discard(line)

    async def _look(self) -> None:
        while self._lines:
            await asyncio.sleep(LOOK_SECONDS)
            for line in list(self._lines):
                line.look()


_watch = _Watch()


def event_stream(messages: AsyncIterable[ServerSentEvent]) -> EventStream:
    """The answer that sends them."""
    return EventStream(messages, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
