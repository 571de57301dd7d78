"""Performing effects: with httpx, in this thread or in the running event loop."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import httpx

from dailies_client._flows import (
    Alone,
    Answer,
    AtOnce,
    Chunked,
    Do,
    Effect,
    Emit,
    Exchange,
    Flow,
    NextChunk,
    Open,
    Request,
    Run,
    Sleep,
)
from dailies_client.errors import ConnectionFailed

T = TypeVar("T")
_CONNECT_SECONDS = 10


class Stopped(BaseException):
    """Another of several flows has failed, or was interrupted: this one ends as well."""


def _arguments(request: Request) -> dict[str, Any]:
    given: dict[str, Any] = {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "timeout": httpx.Timeout(request.seconds, connect=_CONNECT_SECONDS),
    }
    if request.params:
        given["params"] = dict(request.params)
    if request.json is not None:
        given["json"] = request.json
    if request.content is not None:
        given["headers"]["Content-Length"] = str(request.content.size)
    return given


def _answer(response: httpx.Response, content: bytes) -> Answer:
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tells failures of the network in our own words."""
    try:
        yield
    except httpx.RequestError as error:
        raise ConnectionFailed(f"{type(error).__name__}: {error}".rstrip(": ")) from error


class SyncDriver:
    """Performs effects one after the other. A client may be used by several threads."""

    def __init__(self, transport: httpx.BaseTransport | None) -> None:
        self._http = httpx.Client(transport=transport, follow_redirects=False)
        self._lock = threading.RLock()

    def close(self) -> None:
        self._http.close()

    def run(self, flow: Flow[T], stop: threading.Event | None = None) -> T:
        with contextlib.closing(Run(flow)) as run, _SyncScope(self._http, stop) as scope:
            while run.effect is not None:
                self._perform(run, scope)
            return run.result

    def iterate(self, flow: Generator[Any, Any, None]) -> Iterator[Any]:
        with contextlib.closing(Run(flow)) as run, _SyncScope(self._http, None) as scope:
            while run.effect is not None:
                if isinstance(run.effect, Emit):
                    yield run.effect.value
                    run.feed(None)
                else:
                    self._perform(run, scope)

    def _perform(self, run: Run[Any], scope: "_SyncScope") -> None:
        assert run.effect is not None
        try:
            with _told():
                result = self._result(run.effect, scope)
        except Exception as error:
            run.fail(error)
        else:
            run.feed(result)

    def _result(self, effect: Effect | Emit[Any], scope: "_SyncScope") -> Any:
        scope.check()
        match effect:
            case Exchange(request):
                response = self._http.request(**_arguments(request), content=scope.chunks(request.content))
                return _answer(response, response.content)
            case Open(request):
                return scope.open(request)
            case NextChunk():
                return scope.next_chunk()
            case Sleep(seconds):
                return scope.sleep(seconds)
            case Do(call):
                return call()
            case Alone(flow):
                with self._lock:
                    return self.run(flow, scope.stop)
            case AtOnce(flows, most):
                return self._at_once(list(flows), most)
        raise TypeError(effect)

    def _at_once(self, flows: list[Flow[Any]], most: int) -> list[Any]:
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=most, thread_name_prefix="dailies") as pool:
            try:
                futures = [pool.submit(self.run, flow, stop) for flow in flows]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failed = next((error for each in done if (error := each.exception()) is not None), None)
                if failed is not None:
                    raise failed
                return [each.result() for each in futures]
            except BaseException:  # also when a person interrupts it
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


class _SyncScope(contextlib.AbstractContextManager["_SyncScope"]):
    """What one flow has open, and whether it has to stop."""

    def __init__(self, http: httpx.Client, stop: threading.Event | None) -> None:
        self._http = http
        self.stop = stop or threading.Event()
        self._streams = contextlib.ExitStack()
        self._stream: Iterator[bytes] = iter(())

    def __exit__(self, *_: object) -> None:
        self._streams.close()

    def check(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        self.stop.wait(seconds)

    def chunks(self, content: Chunked | None) -> Iterator[bytes] | None:
        return None if content is None else self._read(content)

    def _read(self, content: Chunked) -> Iterator[bytes]:
        offset = 0
        content.passed(0)
        while chunk := content.read(offset):
            self.check()
            yield chunk
            offset += len(chunk)
            content.passed(offset)

    def open(self, request: Request) -> Answer:
        self._streams.close()
        response = self._streams.enter_context(self._http.stream(**_arguments(request)))
        self._stream = response.iter_bytes()
        return _answer(response, b"" if response.is_success else response.read())

    def next_chunk(self) -> bytes | None:
        return next(self._stream, None)


class AsyncDriver:
    """Performs effects in the running event loop; what blocks is done in a thread."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None) -> None:
        self._http = httpx.AsyncClient(transport=transport, follow_redirects=False)
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        with contextlib.closing(Run(flow)) as run:
            async with _AsyncScope(self._http) as scope:
                while run.effect is not None:
                    await self._perform(run, scope)
                return run.result

    async def iterate(self, flow: Generator[Any, Any, None]) -> AsyncIterator[Any]:
        with contextlib.closing(Run(flow)) as run:
            async with _AsyncScope(self._http) as scope:
                while run.effect is not None:
                    if isinstance(run.effect, Emit):
                        yield run.effect.value
                        run.feed(None)
                    else:
                        await self._perform(run, scope)

    async def _perform(self, run: Run[Any], scope: "_AsyncScope") -> None:
        assert run.effect is not None
        try:
            with _told():
                result = await self._result(run.effect, scope)
        except Exception as error:
            run.fail(error)
        else:
            run.feed(result)

    async def _result(self, effect: Effect | Emit[Any], scope: "_AsyncScope") -> Any:
        match effect:
            case Exchange(request):
                response = await self._http.request(**_arguments(request), content=scope.chunks(request.content))
                return _answer(response, response.content)
            case Open(request):
                return await scope.open(request)
            case NextChunk():
                return await scope.next_chunk()
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Do(call):
                return await asyncio.to_thread(call)
            case Alone(flow):
                async with self._lock:
                    return await self.run(flow)
            case AtOnce(flows, most):
                return await self._at_once(list(flows), most)
        raise TypeError(effect)

    async def _at_once(self, flows: list[Flow[Any]], most: int) -> list[Any]:
        places = asyncio.Semaphore(most)

        async def in_turn(flow: Flow[Any]) -> Any:
            async with places:
                return await self.run(flow)

        tasks = [asyncio.create_task(in_turn(flow)) for flow in flows]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise


class _AsyncScope(contextlib.AbstractAsyncContextManager["_AsyncScope"]):
    """What one flow has open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._streams = contextlib.AsyncExitStack()
        self._stream: AsyncIterator[bytes] | None = None

    async def __aexit__(self, *_: object) -> None:
        await self._streams.aclose()

    def chunks(self, content: Chunked | None) -> AsyncIterator[bytes] | None:
        return None if content is None else self._read(content)

    async def _read(self, content: Chunked) -> AsyncIterator[bytes]:
        offset = 0
        content.passed(0)
        while chunk := await asyncio.to_thread(content.read, offset):
            yield chunk
            offset += len(chunk)
            content.passed(offset)

    async def open(self, request: Request) -> Answer:
        await self._streams.aclose()
        response = await self._streams.enter_async_context(self._http.stream(**_arguments(request)))
        self._stream = response.aiter_bytes()
        return _answer(response, b"" if response.is_success else await response.aread())

    async def next_chunk(self) -> bytes | None:
        assert self._stream is not None
        return await anext(self._stream, None)
