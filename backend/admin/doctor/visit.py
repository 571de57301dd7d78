"""What one run of the doctor holds: a storage opened by the settings of now, an HTTP client, and its test objects."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import structlog

from backend.core.errors import StorageUnavailable
from backend.core.storage import Storage

log = structlog.get_logger(__name__)

T = TypeVar("T")

PREFIX = "doctor/"
#: Objects of a run that was killed are removed by a later one when they are older than this.
LEFT_SECONDS = 3600
REQUEST_SECONDS = 5.0
CLEAN_SECONDS = 20.0


class NotTried(Exception):
    """Something that a check needs has failed already; the message says what."""


class Visit:
    """One run. Every object it makes is below a prefix of its own, and removed at its end."""

    def __init__(self, storage: Storage, http: httpx.AsyncClient) -> None:
        self.storage = storage
        self.http = http
        self.prefix = new_prefix()
        self._keys: list[str] = []
        self._uploads: list[tuple[str, str]] = []
        self._shared: dict[str, asyncio.Future[Any]] = {}

    def key(self, name: str) -> str:
        """A key for a test object."""
        key = self.prefix + name
        self._keys.append(key)
        return key

    def opened(self, key: str, upload_id: str) -> None:
        """Remember a multipart upload, so that it is given up when nothing completed it."""
        self._uploads.append((key, upload_id))

    async def shared(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """What several checks need, found out once. It goes on when the check that began it has no time left."""
        if name not in self._shared:
            self._shared[name] = asyncio.ensure_future(make())
        found: T = await asyncio.shield(self._shared[name])
        return found

    async def clean(self) -> None:
        """Remove what was made, and what an earlier run left. Never raises: the next run tries again."""
        for future in self._shared.values():
            future.cancel()
        await asyncio.gather(*self._shared.values(), return_exceptions=True)
        if not self._keys:
            return
        try:
            async with asyncio.timeout(CLEAN_SECONDS):
                await self.storage.delete(self._keys)
                for key, upload_id in self._uploads:
                    await self.storage.abort_multipart(key, upload_id)
                await self.storage.delete([key for key in await self.storage.list_keys(PREFIX) if is_left(key)])
                for each in await self.storage.list_multiparts(PREFIX):
                    if is_left(each.key):
                        await self.storage.abort_multipart(each.key, each.upload_id)
        except (StorageUnavailable, TimeoutError) as error:
            log.warning("doctor.not_cleaned", prefix=self.prefix, error=type(error).__name__)


def new_prefix() -> str:
    """Where a run's objects go: it tells their age, and nobody can guess it."""
    return f"{PREFIX}{int(time.time())}-{secrets.token_hex(4)}/"


def is_left(key: str) -> bool:
    """Whether a key is of a run that ended long ago without cleaning up: its prefix holds the time."""
    made = re.match(rf"{PREFIX}(\d+)-", key)
    return made is not None and int(made[1]) < time.time() - LEFT_SECONDS


@asynccontextmanager
async def visiting() -> AsyncIterator[Visit]:
    """A run, cleaned up at its end. The storage is opened anew, as a process that starts now would open it."""
    storage = Storage()
    async with httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False) as http:
        await asyncio.to_thread(storage.open)  # reads descriptions of services, and may ask the machine for its keys
        visit = Visit(storage, http)
        try:
            yield visit
        finally:
            await asyncio.shield(visit.clean())
            storage.close()
