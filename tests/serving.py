"""An ASGI application behind a real socket, in the process of the tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: the test run keeps its own.

    And its end stays its own: sse-starlette finds a server by its handlers, and ends all event streams of the process
    for good once that server is to exit.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int, **settings: Any) -> AsyncIterator[str]:
    """Serves it on this port of the loopback, without its lifespan; yields its address. `settings` are uvicorn's."""
    server = QuietServer(uvicorn.Config(app, port=port, lifespan="off", **{"log_level": "error", **settings}))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        await task
