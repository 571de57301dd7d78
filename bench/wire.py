"""Requests over connections that stay open, with as little work of our own as can be: what is measured is the server.

A general client takes as much of the machine as the server it asks.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """What came back; its body is JSON."""

    status_code: int
    body: bytes


class Wire:
    """One server; as many connections as requests are on their way at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        """Raises OSError, asyncio.IncompleteReadError: when the server ends the connection."""
        content = json.dumps(body).encode()
        said = {"Host": f"{self._host}:{self._port}", "Content-Type": "application/json", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        message = f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        while self._free:
            kept = self._free.pop()
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # servers end what is idle
                return await self._exchange(*kept, message)
        return await self._exchange(*await asyncio.open_connection(self._host, self._port), message)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> Reply:
        writer.write(message)
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        reply = Reply(int(answered[9:12]), await reader.readexactly(length))
        self._free.append((reader, writer))
        return reply

    async def close(self) -> None:
        for _, writer in self._free:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._free = []
