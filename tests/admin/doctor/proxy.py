"""A proxy in front of a real server that does to requests and answers what misconfigured ones do."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.conftest import free_port
from tests.serving import serving

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"]
#: What is said between two neighbours only.
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}


@dataclass
class Proxy:
    """Passes everything on, Host included, but for what the hooks change. `url` is where it listens."""

    target: str
    port: int = field(default_factory=free_port)
    #: Given the request; what it answers is the answer, and nothing is passed on.
    refuse: Callable[[Request], Response | None] | None = None
    #: Given the headers that would be sent on; changes them.
    ask: Callable[[httpx.Headers], object] | None = None
    #: Given the request and the whole answer; gives another.
    answer: Callable[[Request, Response], Response] | None = None
    #: Awaited before anything else.
    wait: Callable[[Request], Awaitable[None]] | None = None
    #: Hand answers on as they come, and not whole.
    streams: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: Request) -> Response:
        if self.wait is not None:
            await self.wait(request)
        if self.refuse is not None and (refusal := self.refuse(request)) is not None:
            return refusal
        headers = httpx.Headers([pair for pair in request.headers.raw if pair[0].decode().lower() not in HOP])
        if self.ask is not None:
            self.ask(headers)
        path = request.scope["raw_path"].decode()
        url = httpx.URL(f"{self.target}{path}?{request.url.query}" if request.url.query else f"{self.target}{path}")
        client = httpx.AsyncClient(timeout=30, trust_env=False)
        asked = client.build_request(request.method, url, headers=headers, content=await request.body())
        got = await client.send(asked, stream=True)
        kept = {name: value for name, value in got.headers.items() if name.lower() not in HOP}
        if self.streams and self.answer is None and got.headers.get("content-type", "").startswith("text/event-stream"):
            return StreamingResponse(_passed(client, got), got.status_code, kept)
        body = await got.aread()
        await got.aclose()
        await client.aclose()
        whole = Response(body, got.status_code)
        # "content-length" of an answer to HEAD tells of a body that is not there.
        whole.raw_headers = [(name.encode(), value.encode()) for name, value in kept.items()]
        if "content-length" not in kept:
            whole.headers["content-length"] = str(len(body))
        return self.answer(request, whole) if self.answer else whole


async def _passed(client: httpx.AsyncClient, got: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in got.aiter_raw():
        yield chunk
    await got.aclose()
    await client.aclose()


@asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[Proxy]:
    app = Starlette(routes=[Route("/{path:path}", proxy.handle, methods=METHODS)])
    async with serving(app, proxy.port, date_header=False):
        yield proxy
