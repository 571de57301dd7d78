"""Talking to a server that the operator's settings name: its answers, and what its refusals mean for us.

Such a server may be on a private network, so nothing here looks at where its name leads. The key goes to it alone:
redirects are not followed, and proxies of the environment are not used.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from backend.generation.providers.base import Failed, Remote

#: One answer in JSON, pictures in base64 apart.
MAX_JSON_BYTES = 1024 * 1024
CONNECT_SECONDS = 10.0
#: How long an answer may leave us without a byte, while the other side computes.
SILENCE_SECONDS = 1800.0
MAX_WORDS = 300

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]+")
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)


class Ended(Exception):
    """There will be no result; `failed` says why."""

    def __init__(self, failed: Failed) -> None:
        self.failed = failed
        super().__init__(failed.code)


class Away(Exception):
    """It does not answer, or says that it cannot now; `retry_after` is what it asked for, in seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.message = message
        self.retry_after = retry_after
        super().__init__(message)


@dataclass(frozen=True)
class Endpoint:
    """`base` reaches up to and with the version, as `https://gpu.example.org/v1`."""

    base: str
    key: str = field(repr=False)

    def url(self, path: str) -> str:
        return self.base.rstrip("/") + path

    @property
    def origin(self) -> str:
        """Scheme, host and port, the port of the scheme left out."""
        return origin_of(self.base)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def remote(self, url: str) -> Remote:
        """What is at this address, which may be relative; the key goes along only to this very server."""
        whole = urljoin(self.url("/"), url)
        own = origin_of(whole) == self.origin
        return Remote(whole, self.headers if own else {}, self.origin if own else None)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS, pool=None)
        async with httpx.AsyncClient(headers=self.headers, timeout=timeout, trust_env=False) as client:
            yield client

    @asynccontextmanager
    async def submit(self, client: httpx.AsyncClient, path: str, **content: Any) -> AsyncIterator[httpx.Response]:
        """The answer to a POST that costs something, its body still to be read; only a success gets through.

        Raises Ended, also when the answer breaks off while it is read: `unknown`, unless nothing was sent at all.
        """
        try:
            async with client.stream("POST", self.url(path), **content) as answer:
                if not answer.is_success:
                    raise Ended(self.refusal(answer, await self._beginning(answer)))
                yield answer
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            words = "The provider cannot be reached at the moment."
            raise Ended(Failed("provider_error", words, retryable=True, waits=True)) from error
        except httpx.TimeoutException as error:
            words = "The provider took the request and then did not answer in time."
            raise Ended(Failed("provider_timeout", words, unknown=True)) from error
        except httpx.HTTPError as error:
            raise Ended(cut_off()) from error

    async def ask(self, client: httpx.AsyncClient, path: str) -> tuple[int, dict[str, Any]]:
        """Status and object of a GET that changes nothing. Raises Away."""
        try:
            async with client.stream("GET", self.url(path), timeout=60.0) as answer:
                body = await self._beginning(answer)
        except httpx.HTTPError as error:
            raise Away("The provider cannot be reached at the moment.") from error
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Away("The provider is busy.", _seconds(answer.headers))
        said = parse(body)
        if answer.is_success and said is None:
            raise Away("The provider answered something that cannot be read.")
        return answer.status_code, said or {}

    def refusal(self, answer: httpx.Response, body: bytes) -> Failed:
        """What an answer that is no success means, where it was to begin something."""
        status, words = answer.status_code, self.words(body)
        if _OUT_OF_MEMORY.search(words):
            return Failed("gpu_oom", "The provider's GPU has too little memory free.", retryable=True)
        if status in (401, 403):
            return Failed("provider_error", f"The provider refused our key{after(words)}")
        if status in (429, 502, 503):
            return Failed("provider_error", f"The provider is busy{after(words)}", retryable=True, waits=True)
        if status in (408, 504):
            # A gateway gave up waiting: what is behind it may have begun.
            return Failed("provider_timeout", "The provider took the request and gave no answer in time.", unknown=True)
        if status >= 500:
            return Failed("provider_error", f"The provider failed{after(words)}", retryable=True)
        if 300 <= status < 400:
            return Failed("provider_error", "The provider sends us to another address; its setting has to name that.")
        return Failed("provider_error", f"The provider refused this{after(words)}")

    def words(self, body: bytes) -> str:
        """What a server says is wrong, fit to be shown; empty where it says it in no known form."""
        said = parse(body)
        return self.clean(_message(said) if said is not None else "")

    def clean(self, text: str) -> str:
        """The same as `shown`, and without our key."""
        return shown(text.replace(self.key, "…") if self.key else text)

    async def _beginning(self, answer: httpx.Response) -> bytes:
        return (await read(answer, MAX_JSON_BYTES))[0]


async def read(answer: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Up to so many bytes of it, and whether that is all. Raises httpx.HTTPError where it breaks off."""
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True


def shown(text: str) -> str:
    """Somebody else's words, fit to be shown: one line, no addresses, not too many."""
    text = _BLANK.sub(" ", _ADDRESS.sub("…", text.encode(errors="replace").decode())).strip()
    return text if len(text) <= MAX_WORDS else text[:MAX_WORDS].rstrip() + "…"


def parse(body: bytes) -> dict[str, Any] | None:
    """A JSON object, or None."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def of_failure(endpoint: Endpoint, said: Mapping[str, Any]) -> Failed:
    """What a job that failed over there says of it."""
    words = endpoint.clean(_message(said))
    if _OUT_OF_MEMORY.search(words):
        return Failed("gpu_oom", "The provider's GPU has too little memory free.", retryable=True)
    return Failed("provider_error", f"The provider could not make it{after(words)}")


def cut_off() -> Failed:
    words = "The connection to the provider broke after it had taken the request."
    return Failed("provider_error", words, unknown=True)


def origin_of(url: str) -> str:
    """Scheme, host and port; empty where there is none of them."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    if usual is None or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")


def _message(said: Mapping[str, Any]) -> str:
    """OpenAI's `error.message`, FastAPI's `detail`, and what others made of them."""
    for name in ("error", "detail", "message", "fail_reason"):
        found = said.get(name)
        if isinstance(found, list):
            found = next((each for each in found if isinstance(each, dict)), None)
        if isinstance(found, dict):
            found = found.get("message") or found.get("msg") or found.get("code")
        if isinstance(found, str) and found.strip():
            return found
    return ""


def after(words: str) -> str:
    """The end of a sentence, with what was said."""
    if not words:
        return "."
    return f": {words}" + ("" if words.endswith((".", "!", "?", "…")) else ".")


def _seconds(headers: httpx.Headers) -> float | None:
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None
