"""A PayloadCMS as far as its wire goes, word for word as version 3.90 answers; the real one is in tests/payload."""

import asyncio
import contextlib
import email.parser
import email.policy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "6f1c9d1e-stub-key"
_FORBIDDEN = {"errors": [{"message": "You are not allowed to perform this action."}]}
_TAKEN = {
    "errors": [
        {
            "name": "ValidationError",
            "data": {"collection": "results", "errors": [{"message": "Value must be unique", "path": "task_id"}]},
            "message": "The following field is invalid: task_id",
        }
    ]
}


@dataclass
class Stub:
    """`results` holds documents, `media` files beside, `bare` has no field for the task. `next` answers go first."""

    port: int = 0
    documents: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"results": [], "media": [], "bare": []})
    requests: list[str] = field(default_factory=list)
    next: list[tuple[int, Any]] = field(default_factory=list)
    #: Done just before the next POST: somebody else is faster.
    rival: dict[str, Any] | None = None
    most_bytes: int = 20 * 1024 * 1024
    hangs_up: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            method, target, _ = first.split()
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append(f"{method} {urlsplit(target).path}")
            if self.hangs_up and method != "GET":
                writer.transport.abort()
                return
            status, said = self.next.pop(0) if self.next else self.answer(method, target, headers, body)
            text = said if isinstance(said, bytes) else json.dumps(said).encode()
            writer.write(
                f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                f"Connection: close\r\n\r\n".encode()
                + text
            )
            await writer.drain()
        writer.close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        _, api, slug, *rest = parts.path.split("/")
        if api != "api" or slug not in self.documents:
            return 404, {"message": f'Route not found "{parts.path}"'}
        if headers.get("authorization") != f"users API-Key {KEY}":
            return 403, _FORBIDDEN
        documents = self.documents[slug]
        if method == "GET":
            if slug == "bare":
                words = "The following path cannot be queried: task_id"
                return 400, {"errors": [{"name": "QueryError", "data": [{"path": "task_id"}], "message": words}]}
            wanted = parse_qs(parts.query)["where[task_id][equals]"][0]
            found = [each for each in documents if each["task_id"] == wanted]
            return 200, {"docs": found[:1], "totalDocs": len(found), "limit": 1}
        fields, file = _parts(headers, body)
        if slug == "media" and file is None and method == "POST":
            return 400, {"errors": [{"message": "No files were uploaded."}]}
        if file is not None and len(file["bytes"]) > self.most_bytes:
            words = "File size limit has been reached"
            return 413, {"errors": [{"name": "APIError", "data": {"size": self.most_bytes}, "message": words}]}
        if method == "POST":
            if self.rival is not None:
                documents.append({"id": len(documents) + 1, **self.rival})
                self.rival = None
            if any(each["task_id"] == fields["task_id"] for each in documents):
                return 400, _TAKEN
            document = {"id": len(documents) + 1, **fields, **(file or {})}
            documents.append(document)
            return 201, {"doc": _shown(document), "message": "Result successfully created."}
        for document in documents:
            if str(document["id"]) == rest[0]:
                document |= {**fields, **(file or {})}
                return 200, {"doc": _shown(document), "message": "Updated successfully."}
        return 404, {"errors": [{"message": "Not Found"}]}


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "bytes"}


def _parts(headers: dict[str, str], body: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The fields, and the file; of a form only `_payload` counts, as there."""
    content_type = headers.get("content-type", "")
    if not content_type.startswith("multipart/"):
        return json.loads(body), None
    whole = f"Content-Type: {content_type}\r\n\r\n".encode() + body
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(whole)
    fields: dict[str, Any] = {}
    file: dict[str, Any] | None = None
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = part.get_param("name", header="content-disposition")
        if name == "_payload":
            fields = json.loads(content)
        elif name == "file":
            kind, size = part.get_content_type(), len(content)
            file = {"filename": part.get_filename(), "mimeType": kind, "filesize": size, "bytes": content}
    return fields, file


@asynccontextmanager
async def payload_stub() -> AsyncIterator[Stub]:
    """On a free port of loopback."""
    stub = Stub()
    async with await asyncio.start_server(stub.serve, "127.0.0.1", 0) as server:
        stub.port = server.sockets[0].getsockname()[1]
        yield stub
