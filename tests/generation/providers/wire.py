"""HTTP on loopback, byte by byte: answers may come in pieces, stall, break off, or not come at all."""

import asyncio
import contextlib
import email.parser
import email.policy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

S = TypeVar("S", bound="Server")


class Reset(Exception):
    """Raised by a script: the connection is cut here and now."""


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str | bytes]:
        """The fields of multipart/form-data; files as bytes."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        assert message.get_content_type() == "multipart/form-data", self.headers
        fields: dict[str, str | bytes] = {}
        for part in message.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            fields[name] = data if part.get_filename() else data.decode()
        return fields


#: Answers a request, in as many pieces as it likes.
Script = Callable[[Asked], AsyncIterator[bytes]]


def head(status: int, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(status: int, body: bytes, **headers: str) -> bytes:
    return head(status, Content_Length=str(len(body)), **headers) + body


def said(status: int, body: object, **headers: str) -> bytes:
    return whole(status, json.dumps(body).encode(), Content_Type="application/json", **headers)


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body; the empty one ends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@dataclass
class Server:
    """Scripts by method and path; what no script answers is 404."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    #: Connections that are open now.
    open: int = 0
    #: What the last requests ended as: True where the other side went away before the answer's end.
    deserted: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str, path: str = "") -> int:
        return sum(each.method == method and each.path.startswith(path) for each in self.asked)

    def answer(self, asked: Asked) -> AsyncIterator[bytes]:
        return _once(said(404, {"detail": "Not Found"}))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await _body(reader, headers)
            method, path, _ = first.split()
            asked = Asked(method, path, headers, body)
            self.asked.append(asked)
            gone = asyncio.ensure_future(reader.read(1))  # nothing more comes but the end
            sending = asyncio.ensure_future(self._send(asked, writer))
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                self.deserted += 1
                sending.cancel()
            for each in (gone, sending):
                each.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _send(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        try:
            async for piece in self.answer(asked):
                writer.write(piece)
                await writer.drain()
        except Reset:
            writer.transport.abort()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


async def _once(answer: bytes) -> AsyncIterator[bytes]:
    yield answer


@asynccontextmanager
async def serving(server: S) -> AsyncIterator[S]:
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 60.0) -> None:
    """Wait for it; the time is there to end a test that hangs."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert loop.time() < end, what
        await asyncio.sleep(0.02)
