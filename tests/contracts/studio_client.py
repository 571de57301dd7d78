"""A client of the studio that was written against the original: it reads server-sent events."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass
class Client:
    """One that was written against the original: it knows no name but those of its documents."""

    http: httpx.AsyncClient

    async def events(self, path: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        async with self.http.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            event = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(":")
                if name == "event":
                    event = value.strip()
                elif name == "data":
                    yield event, json.loads(value)
