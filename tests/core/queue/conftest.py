"""Both doorbells behind one set of words, each with its real server, reached over a line that can be cut."""

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from arq.constants import job_key_prefix
from fastapi import FastAPI
from pydantic import SecretStr

from backend.config import settings
from backend.core.queue import Doorbell, arq_queue, make_doorbell, sqs_queue
from backend.core.redis import redis
from tests.conftest import ROOT, free_port
from tests.jobs.conftest import declare, jobs  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ACCOUNT = "123456789012"


class Line:
    """A TCP line to a server. Cut, it refuses and drops; frozen, it accepts and stays silent."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def mend(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def freeze(self) -> None:
        self._flowing.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                ways = [self._pump(reader, far_writer), self._pump(far_reader, writer)]
                tasks = [asyncio.create_task(way) for way in ways]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                far_writer.close()
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[str]:
    """The address of a server that speaks SQS, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{address}/moto-api/data.json")
                break
            except httpx.TransportError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise
                time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


class Bells(Protocol):
    """What the contract needs to know of an implementation beside the protocol itself."""

    name: str
    line: Line

    def make(self) -> Doorbell:
        """A bell, as `settings` choose it; closed at the end of the test."""

    async def queue(self) -> str:
        """A new queue."""

    async def waiting(self, queue: str) -> int:
        """How many rings wait to be answered, or are being answered."""

    async def put_garbage(self, queue: str) -> None:
        """What no bell sent."""


class ArqBells:
    name = "arq"

    def __init__(self, line: Line) -> None:
        self.line = line

    def make(self) -> Doorbell:
        bell = make_doorbell()
        assert isinstance(bell, arq_queue.ArqDoorbell)
        return bell

    async def queue(self) -> str:
        return f"q{secrets.token_hex(4)}"

    async def waiting(self, queue: str) -> int:
        return int(await redis.client.zcard(arq_queue.queue_name(queue)))

    async def put_garbage(self, queue: str) -> None:
        def job(function: object, *arguments: object) -> bytes:
            return arq_queue.serialize({"t": 0, "f": function, "a": arguments, "k": {}, "et": 0})

        bodies = [b"", b"\xff\x00", b"[]", b"{}", job("rm_rf"), job(None), job("run_job"), job("run_job", "a", "b")]
        for number, body in enumerate(bodies):
            job_id = f"{queue}-{number}"
            await redis.client.set(job_key_prefix + job_id, body, ex=60)
            await redis.client.zadd(arq_queue.queue_name(queue), {job_id: 1})
        await redis.client.zadd(arq_queue.queue_name(queue), {f"{queue}-nothing": 1})


class SqsBells:
    name = "sqs"

    def __init__(self, line: Line, client: "SQSClient") -> None:
        self.line = line
        self.client = client

    def make(self, **options: Any) -> sqs_queue.SqsDoorbell:
        if options:
            return sqs_queue.SqsDoorbell(**options)
        bell = make_doorbell()
        assert isinstance(bell, sqs_queue.SqsDoorbell)
        return bell

    async def queue(self, *, max_receives: int | None = None) -> str:
        name = f"q{secrets.token_hex(4)}"

        def create() -> None:
            attributes: Any = {}
            if max_receives is not None:
                self.client.create_queue(QueueName=f"dailies-{name}-dead")
                arn = f"arn:aws:sqs:{settings.aws_region}:{ACCOUNT}:dailies-{name}-dead"
                policy = {"deadLetterTargetArn": arn, "maxReceiveCount": max_receives}
                attributes["RedrivePolicy"] = json.dumps(policy)
            made = self.client.create_queue(QueueName=f"dailies-{name}", Attributes=attributes)
            assert made["QueueUrl"] == sqs_queue.queue_url(name)

        await asyncio.to_thread(create)
        return name

    async def waiting(self, queue: str) -> int:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

        def count() -> int:
            url = sqs_queue.queue_url(queue)
            found = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            return sum(int(number) for number in found.values())

        return await asyncio.to_thread(count)

    async def put(self, queue: str, *bodies: str) -> None:
        def send() -> None:
            for body in bodies:
                self.client.send_message(QueueUrl=sqs_queue.queue_url(queue), MessageBody=body)

        await asyncio.to_thread(send)

    async def put_garbage(self, queue: str) -> None:
        good = str(uuid.uuid4())
        wrong: list[Any] = [None, [], {}, 7, "x", {"job_id": good}, {"job_id": 7, "queue": queue}]
        wrong += [{"job_id": "no id", "queue": queue}, {"job_id": good, "queue": None}, {"job_id": [], "queue": "x"}]
        await self.put(queue, "garbage", "{", "[" * 50_000, "\U0001f514", *(json.dumps(each) for each in wrong))


@pytest.fixture
async def arq_bells(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ArqBells]:
    url = urlsplit(settings.redis_url.get_secret_value())
    line = Line(url.hostname or "127.0.0.1", url.port or 6379)
    await line.mend()
    over_line = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{line.port}")).geturl()
    monkeypatch.setattr(settings, "redis_url", SecretStr(over_line))
    yield ArqBells(line)
    await line.cut()


@pytest.fixture
async def sqs_bells(app: FastAPI, sqs_server: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqsBells]:
    line = Line("127.0.0.1", urlsplit(sqs_server).port or 0)
    await line.mend()
    monkeypatch.setattr(settings, "doorbell", "sqs")
    monkeypatch.setattr(settings, "sqs_queue_url_prefix", f"{sqs_server}/{ACCOUNT}/dailies-")
    monkeypatch.setattr(settings, "sqs_endpoint_url", f"http://127.0.0.1:{line.port}")
    monkeypatch.setattr(settings, "sqs_access_key_id", "tests")
    monkeypatch.setattr(settings, "sqs_secret_access_key", SecretStr("tests"))
    # What an unreachable listener had under way comes back after this.
    monkeypatch.setattr(sqs_queue, "VISIBILITY_SECONDS", 5.0)
    client = boto3.client(
        "sqs",
        endpoint_url=sqs_server,
        region_name=settings.aws_region,
        aws_access_key_id="tests",
        aws_secret_access_key="tests",
    )
    yield SqsBells(line, client)
    client.close()
    await line.cut()


@pytest.fixture(params=["arq", "sqs"])
def bells(request: pytest.FixtureRequest) -> Bells:
    chosen: Bells = request.getfixturevalue(f"{request.param}_bells")
    return chosen


class Listening:
    """A listener in this process: what it heard, how many it answers at once, and how many slots it says are free."""

    def __init__(self, answer: Callable[[], Awaitable[None]] | None = None, *, slots: int = 4) -> None:
        self.slots = slots
        self.begun = self.ended = self.now = self.most = 0
        self._answer = answer
        self._task: asyncio.Task[None] | None = None

    async def answer(self) -> None:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self._answer is not None:
                await self._answer()
            self.ended += 1
        finally:
            self.now -= 1

    def start(self, bell: Doorbell, *queues: str) -> "Listening":
        self._task = asyncio.create_task(bell.listen(list(queues), self.answer, free=self.free))
        return self

    def free(self) -> int:
        return max(0, self.slots - self.now)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def hears(self, times: int, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while self.ended < times:
                assert self._task is None or not self._task.done(), self._task
                await asyncio.sleep(0.02)


@pytest.fixture
async def listening() -> AsyncIterator[Callable[..., Listening]]:
    """Makes listeners, and stops them at the end of the test."""
    made: list[Listening] = []

    def make(answer: Callable[[], Awaitable[None]] | None = None, *, slots: int = 4) -> Listening:
        made.append(Listening(answer, slots=slots))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.05)
