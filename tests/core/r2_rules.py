"""An S3 server with the rules of Cloudflare R2, as its documentation has them, in front of the real one of the tests.

What R2 has not is answered 501; parts of one upload, but the last, have to be of one length; a body has to come with
its length and without trailing checksums. All else goes on to the storage behind, signatures included.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx

#: Headers of calls that R2 does not implement.
_NOT_THERE = (
    "x-amz-acl",
    "x-amz-grant-read",
    "x-amz-tagging",
    "x-amz-server-side-encryption",
    "x-amz-object-lock-mode",
    "x-amz-website-redirect-location",
    "x-amz-trailer",
)
_QUERIES_NOT_THERE = {"acl", "tagging", "versioning", "policy", "object-lock", "replication"}
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "expect"}


@dataclass
class R2:
    """`refused` says what broke a rule; `calls` what was asked for, as method and query."""

    behind: str
    port: int = 0
    refused: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    _parts: dict[str, dict[int, int]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            method, target, _ = first.split()
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            refusal = self._judge(method, target, headers, body)
            if refusal is not None:
                self.refused.append(f"{method} {target.partition('?')[2]}: {refusal[1]}")
                text = f"<Error><Code>{refusal[1]}</Code><Message>As R2 says.</Message></Error>".encode()
                writer.write(_head(refusal[0], {"content-type": "application/xml"}, len(text)) + text)
            else:
                await self._pass_on(method, target, headers, body, writer)
            await writer.drain()
        writer.close()

    def _judge(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, str] | None:
        query = parse_qs(urlsplit(target).query, keep_blank_values=True)
        self.calls.append(f"{method} {','.join(sorted(name for name in query if not name.startswith('X-Amz-')))}")
        if any(name in headers for name in _NOT_THERE) or _QUERIES_NOT_THERE & set(query):
            return 501, "NotImplemented"
        if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            return 501, "NotImplemented"
        if method == "POST" and headers.get("content-type", "").startswith("multipart/form-data"):
            return 501, "NotImplemented"  # POST policies
        if method == "PUT" and "content-length" not in headers:
            return 411, "MissingContentLength"
        upload_id = query.get("uploadId", [""])[0]
        if method == "PUT" and upload_id:
            self._parts.setdefault(upload_id, {})[int(query["partNumber"][0])] = len(body)
        if method == "POST" and upload_id:
            numbers = [int(each) for each in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
            sizes = [self._parts[upload_id][number] for number in numbers]
            if len(set(sizes[:-1])) > 1 or (len(sizes) > 1 and sizes[-1] > sizes[0]):
                return 400, "InvalidPart"
        return None

    async def _pass_on(
        self, method: str, target: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        sent = {name: value for name, value in headers.items() if name not in _HOP}  # the host, which is signed, too
        async with httpx.AsyncClient(timeout=60) as client:
            request = client.build_request(method, f"{self.behind}{target}", headers=sent, content=body)
            answer = await client.send(request)
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP | {"server"}}
        length = int(answer.headers.get("content-length", "0")) if method == "HEAD" else len(answer.content)
        writer.write(_head(answer.status_code, kept, length) + answer.content)


def _head(status: int, headers: dict[str, str], length: int) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {length}", "connection: close", "", ""]).encode("latin-1")


@asynccontextmanager
async def r2_in_front(behind: str) -> AsyncIterator[R2]:
    """On a free port of loopback."""
    rules = R2(behind)
    async with await asyncio.start_server(rules.serve, "127.0.0.1", 0, limit=2**20) as server:
        rules.port = server.sockets[0].getsockname()[1]
        yield rules
