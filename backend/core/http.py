"""Requests to addresses that users name: webhooks, callbacks, a project's CMS, pictures to work from.

The name is resolved once, every address it has must be allowed, and one of exactly these is connected to: a name that
means something else a moment later changes nothing. Redirects are answers like any other, proxies of the environment
are not used, and the answer is cut in size and time.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from ssl import SSLContext

import httpx

from backend.config import settings
from backend.core.addresses import Address, is_allowed, literal
from backend.core.errors import UrlNotAllowed

MAX_URL_LENGTH = 2000
#: What of an answer is read, and how long its body may take once the status is known.
MAX_ANSWER_BYTES = 64 * 1024
BODY_SECONDS = 5.0
#: For one address of several; the whole request has its own limit.
CONNECT_SECONDS = 5.0
RESOLVE_SECONDS = 5.0

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
#: Resolvers take 127.1, 0x7f000001 and 0177.0.0.1 for addresses: so does RFC 3986 for what ends like one.
_NUMBER = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")
#: What is sent: bytes, or what makes them anew for each address that is tried.
Body = bytes | Callable[[], AsyncIterator[bytes]]
# Threads of their own: a name server that hangs takes them, and nothing else.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="resolve")


class NameNotFound(UrlNotAllowed):
    """The name has no address now; that may be the name servers' trouble, and over a moment later."""


class NoAnswer(Exception):
    """The request was allowed, and no status came back; the message says why, for people.

    `cut`: there was a connection, and it broke.
    """

    def __init__(self, message: str, *, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


class TooLarge(Exception):
    """The answer is longer than it may be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is no more than its beginning, as it was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Destination:
    url: httpx.URL  #: with the name as it is sent: lower case, IDNA, without a last dot
    addresses: tuple[str, ...]


async def check_url(url: str) -> None:
    """Look whether a request may go there, as things are now. Raises UrlNotAllowed."""
    await _destination(url)


async def post(
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    timeout_seconds: float,
    max_answer_bytes: int = MAX_ANSWER_BYTES,
) -> Answer:
    """Send it and read the beginning of the answer, whatever its status. Raises UrlNotAllowed, NoAnswer."""
    return await request(
        "POST", url, headers=headers, body=body, timeout_seconds=timeout_seconds, max_answer_bytes=max_answer_bytes
    )


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Body = b"",
    timeout_seconds: float,
    max_answer_bytes: int = MAX_ANSWER_BYTES,
) -> Answer:
    """The same with any method. A body that is made as it is sent needs its Content-Length among the headers.

    Raises UrlNotAllowed, NoAnswer.
    """
    async with _answer_of(method, url, headers, body, timeout_seconds) as (response, limit):
        limit.reschedule(asyncio.get_running_loop().time() + BODY_SECONDS + 1)
        return Answer(response.status_code, response.headers, await _beginning(response, max_answer_bytes))


async def download(
    url: str,
    path: Path,
    *,
    max_bytes: int,
    timeout_seconds: float,
    headers: Mapping[str, str] | None = None,
    trusted: bool = False,
) -> Answer:
    """Write what is there into `path`, as it comes; of an answer that is no 200, its beginning is the answer's body.

    `trusted`: an address of the operator's settings, which may be of a private network. Raises UrlNotAllowed, NoAnswer,
    TooLarge.
    """
    async with _answer_of("GET", url, headers or {}, b"", timeout_seconds, trusted=trusted) as (response, _):
        if response.status_code != 200:
            return Answer(response.status_code, response.headers, await _beginning(response, MAX_ANSWER_BYTES))
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:19]) > max_bytes:
            raise TooLarge
        size = 0
        with path.open("wb") as file:
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge
                await asyncio.to_thread(file.write, chunk)
        return Answer(response.status_code, response.headers, b"")


# --- where it may go -------------------------------------------------------------------------------------------------


async def _destination(url: str, *, trusted: bool = False) -> _Destination:
    parsed = httpx.URL(url) if trusted else _parse(url)
    name = _name(parsed)
    address = literal(name)
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = [address] if address else await resolve(name)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise NameNotFound(f"{name} could not be found.") from error
    if not found or not (trusted or all(is_allowed(name, each) for each in found)):
        raise UrlNotAllowed(f"{name} is not an address of the public internet.")
    return _Destination(parsed, tuple(dict.fromkeys(str(each) for each in found)))


async def resolve(name: str) -> list[Address]:
    """All addresses of a name, in the order in which to try them. Raises OSError, UnicodeError."""
    ask = partial(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    answers = await asyncio.get_running_loop().run_in_executor(_threads, ask)
    # One that cannot be read counts as one that is not allowed: of no address at all is nothing sent anywhere.
    found = [literal(str(answer[4][0])) for answer in answers]
    return [] if None in found else [each for each in found if each is not None]


def _parse(url: str) -> httpx.URL:
    # What is checked is what is sent to: one parser, and nothing that another might read differently.
    if len(url) > MAX_URL_LENGTH:
        raise UrlNotAllowed(f"Addresses may have up to {MAX_URL_LENGTH} characters.")
    if "\\" in url or any(character.isspace() or not character.isprintable() for character in url):
        raise UrlNotAllowed("Addresses hold no spaces, control characters or backslashes.")
    try:
        parsed = httpx.URL(url)
        name = _name(parsed).removesuffix(".")
        port = parsed.port or _PORTS.get(parsed.scheme)
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlNotAllowed("This is not an address.") from error
    if parsed.scheme not in (("https", "http") if settings.outbound_plain_http else ("https",)):
        raise UrlNotAllowed("Addresses begin with https://" + (" or http://." if settings.outbound_plain_http else "."))
    if "@" in re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[0]:
        raise UrlNotAllowed("Addresses may not hold a user name or a password.")
    if literal(name) is None and (not _NAME.fullmatch(name) or _NUMBER.fullmatch(name)):
        raise UrlNotAllowed("The host of this address is not written as hosts are.")
    if parsed.port == 0 or port not in settings.outbound_ports:
        ports = " or ".join(map(str, settings.outbound_ports))
        raise UrlNotAllowed(f"Port {port} cannot be reached from here, only {ports}.")
    return parsed.copy_with(host=name)


def _name(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower()


# --- sending ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _answer_of(
    method: str, url: str, headers: Mapping[str, str], body: Body, timeout_seconds: float, *, trusted: bool = False
) -> AsyncIterator[tuple[httpx.Response, asyncio.Timeout]]:
    """The head of the answer, and the limit under which the rest has to come."""
    try:
        async with asyncio.timeout(timeout_seconds) as limit:
            to = await _destination(url, trusted=trusted)
            # The transport alone: a client would look at cookies and at where a redirect leads.
            limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
            async with httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=limits) as transport:
                response = await _send(transport, to, method, headers, body)
                try:
                    yield response, limit
                finally:
                    await response.aclose()
    except TimeoutError as error:
        raise NoAnswer(f"No answer within {timeout_seconds:g} s.") from error
    except httpx.HTTPError as error:
        cut = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        raise NoAnswer(_words(error), cut=cut) from error


async def _send(
    transport: httpx.AsyncHTTPTransport, to: _Destination, method: str, headers: Mapping[str, str], body: Body
) -> httpx.Response:
    failure: httpx.HTTPError | None = None
    for address in to.addresses:
        request = httpx.Request(
            method,
            to.url.copy_with(host=address),
            headers={"Accept-Encoding": "identity", **headers, "Host": to.url.netloc.decode("ascii")},
            content=body if isinstance(body, bytes) else body(),
            extensions={
                "sni_hostname": _name(to.url),  # certificates are for names
                "timeout": {"connect": CONNECT_SECONDS},  # what else is long ends by the limit of the whole
            },
        )
        try:
            return await transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = error
    assert failure is not None
    raise failure


async def _beginning(response: httpx.Response, size: int) -> bytes:
    """The status is the answer: a body that breaks off or does not end is cut where it is."""
    read = b""
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) >= size:
                    break
    return read[:size]


@cache
def _tls() -> SSLContext:
    return httpx.create_ssl_context()  # SSL_CERT_FILE and SSL_CERT_DIR count, for an operator's own authority


def _words(error: httpx.HTTPError) -> str:
    detail = str(error)[:200].strip()
    if isinstance(error, httpx.ConnectTimeout):
        return f"No connection within {CONNECT_SECONDS:g} s."
    if isinstance(error, httpx.ConnectError):
        return f"No connection: {detail or 'refused'}."
    return f"The connection broke: {detail or type(error).__name__}."
