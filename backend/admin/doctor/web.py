"""Checks of the platform's own address: what it means for cookies, whether it leads here, whether streams flow."""

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import httpx
from sse_starlette import ServerSentEvent

from backend.admin.doctor.alike import different
from backend.admin.doctor.bucket import DOCS, origin
from backend.admin.doctor.findings import Finding, check, failed, ok, warning
from backend.admin.doctor.visit import NotTried, Visit
from backend.config import settings
from backend.core.security import sign_claim
from backend.core.web import DIST

GROUP = "Pages"
STREAM_PATH = "/api/admin/doctor/stream"
SETTINGS_PATH = "/api/admin/doctor/settings"
#: Who asks without being signed in shows this: only a process with our SECRET_KEY can have made it.
TOLD_BY = "X-Doctor"
PURPOSE = "doctor-stream"
#: Five events, this many seconds apart.
EVENTS = 5
APART_SECONDS = 0.4
UNBUFFER = (
    "Let the proxy in front of PUBLIC_URL pass text/event-stream on at once (nginx: proxy_buffering off; no gzip of it)"
    f" ({DOCS}, TLS and the reverse proxy)."
)


async def test_events() -> AsyncIterator[ServerSentEvent]:
    """A short stream whose events are told apart by when they come."""
    for number in range(EVENTS):
        yield ServerSentEvent(f"{time.time():.3f}", event="beat", id=str(number))
        if number < EVENTS - 1:
            await asyncio.sleep(APART_SECONDS)


@check(GROUP, "The platform's address")
async def public_url(visit: Visit) -> Finding:
    return judge_public_url(settings.public_url, settings.environment)


def judge_public_url(url: str, environment: str) -> Finding:
    """What PUBLIC_URL means for cookies and for who can come."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return ok(f"{url}: cookies are marked Secure.")
    if _is_loopback(host):
        if environment == "production":
            return warning(
                f"PUBLIC_URL is {url}: only browsers on this machine can use that.",
                "Set PUBLIC_URL to the address that people type, like https://video.example.org.",
            )
        return ok(f"{url}, for browsers on this machine.")
    return warning(
        f"PUBLIC_URL is {url}: passwords and cookies cross the network unencrypted.",
        f"Put a proxy with TLS in front and set PUBLIC_URL to its https address ({DOCS}, TLS and the reverse proxy).",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _listen(visit: Visit) -> tuple[httpx.Response, list[float]] | str:
    """The answer of PUBLIC_URL to our own test stream, and when (monotonic seconds) its events came."""
    headers = {TOLD_BY: sign_claim(PURPOSE, {}, 60), "Accept": "text/event-stream"}
    came: list[float] = []
    try:
        async with visit.http.stream("GET", origin() + STREAM_PATH, headers=headers) as answer:
            if answer.status_code == 200 and answer.headers.get("content-type", "").startswith("text/event-stream"):
                came = [time.monotonic() async for line in answer.aiter_lines() if line.startswith("data:")]
            return answer, came
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{type(error).__name__}: {error}".rstrip(": ")


@check(GROUP, "The address leads here")
async def leads_here(visit: Visit) -> Finding:
    found = await visit.shared("stream", lambda: _listen(visit))
    local = settings.environment == "local" and _is_loopback(urlsplit(origin()).hostname or "")
    if isinstance(found, str) and local:  # elsewhere it is the loopback of another machine, or outside a container
        fix = "Start the web process (`make run`, or `dailies web`), or set PUBLIC_URL to where it listens."
        return failed(f"Nothing answers at {settings.public_url}, an address of this machine.", fix, found)
    if isinstance(found, str):
        return warning(
            f"This machine does not reach {settings.public_url} itself, which can be right behind some routers.",
            "If browsers do not reach it either, set PUBLIC_URL to the address that people type, and start the web"
            " process and the proxy in front of it.",
            found,
        )
    answer, came = found
    if not came:
        return failed(
            f"{settings.public_url} is answered by something else than this installation.",
            "Set PUBLIC_URL to this installation's own address, give all processes the same SECRET_KEY, and let a proxy"
            " pass all paths and headers on.",
            f"HTTP {answer.status_code}",
        )
    return ok(f"{settings.public_url} is answered by this installation.")


@check(GROUP, "The server was started with these settings")
async def same_settings(visit: Visit) -> Finding:
    found = await visit.shared("stream", lambda: _listen(visit))
    if isinstance(found, str) or not found[1]:
        raise NotTried("Not tried: no server of this installation was reached (see “The address leads here”).")
    answer = await visit.http.get(origin() + SETTINGS_PATH, headers={TOLD_BY: sign_claim(PURPOSE, {}, 60)})
    if answer.status_code != 200:
        raise NotTried(f"Not tried: the server at {origin()} does not tell (HTTP {answer.status_code}).")
    return judge_settings(different(answer.json()))


def judge_settings(names: Sequence[str]) -> Finding:
    """The verdict on the settings, by their names, in which the running server differs from this process."""
    if not names:
        return ok(f"What is found here holds for the server at {origin()}.")
    return warning(
        f"The server at {origin()} was started with other values of {', '.join(names)}: what is said here of these is"
        " not true of it.",
        "Run the doctor in the server's environment, open /admin/doctor, which runs inside it, or restart the server.",
    )


@check(GROUP, "Live progress flows (event stream)")
async def streams_flow(visit: Visit) -> Finding:
    found = await visit.shared("stream", lambda: _listen(visit))
    if isinstance(found, str) or not found[1]:
        raise NotTried("Not tried from here: see “The address leads here”. The page asks from the browser.")
    return judge_stream(found[1])


def judge_stream(came: Sequence[float]) -> Finding:
    """The verdict on when (in seconds) the test's events came: together means that something held them back."""
    if len(came) < EVENTS:
        words = f"{len(came)} of {EVENTS} events of a stream came."
        return failed(words, f"Let the proxy keep streams open: proxy_read_timeout 60s or more. {UNBUFFER}")
    spread, expected = came[-1] - came[0], (EVENTS - 1) * APART_SECONDS
    if spread < expected / 2:
        return failed("The events of a stream came all together: progress would stand still, then jump.", UNBUFFER)
    return ok("Events come one by one, as they are sent.")


@check(GROUP, "The pages' scripts and styles are built")
async def built(visit: Visit) -> Finding:
    if not await asyncio.to_thread((DIST / "manifest.json").exists):
        fix = "Run `npm ci --ignore-scripts && npm run build` (compose: docker compose build web)."
        return failed("static/dist is empty: pages would have no looks and no scripts.", fix)
    return ok("static/dist is there.")


CHECKS = (public_url, leads_here, same_settings, streams_flow, built)
