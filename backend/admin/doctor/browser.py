"""The checks that only a browser can make: its script measures, and what it measured is judged here."""

import time
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import BaseModel, Field

from backend.admin.doctor.bucket import BODY, DOCS, KIND, origin
from backend.admin.doctor.findings import CLOCK_WARNING_SECONDS, Finding, State, failed, ok, warning
from backend.admin.doctor.visit import new_prefix
from backend.admin.doctor.web import EVENTS, STREAM_PATH, judge_stream
from backend.config import settings
from backend.core.middleware import session_cookie_name
from backend.core.security import read_claim, sign_claim
from backend.core.storage import storage
from backend.core.web import StrictModel

GROUP = "From this browser"
_PURPOSE = "doctor-browser"
#: An object that a page left lying is removed by a later run of the doctor.
SECONDS = 120

Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]


class Errand(BaseModel):
    """What the script is to do: store these words, read a part of them, listen to a stream, and say how it went."""

    claim: str
    put_url: str
    get_url: str
    content_type: str
    body: str
    stream_url: str = STREAM_PATH
    events: int = EVENTS


class Stored(StrictModel):
    """How the PUT ended. `hidden`: something answered there, and the browser was not allowed to see what."""

    state: Literal["ok", "refused", "hidden", "unreachable"]
    status: int = Field(default=0, ge=0, le=999)
    etag: bool = False
    error: str = Field(default="", max_length=300)


class Seen(StrictModel):
    """What the script measured."""

    claim: str = Field(max_length=2000)
    origin: str = Field(max_length=300)
    now_ms: Finite = Field(description="The browser's clock when this was sent, in ms since 1970")
    put: Stored
    range_status: int = Field(ge=0, le=999)
    range_bytes: int = Field(ge=0, le=10_000)
    beats_ms: list[Finite] = Field(max_length=100, description="When each event of the stream came")


def send_out() -> Errand:
    """One errand, good for two minutes."""
    key = new_prefix() + "browser"
    signed: dict[str, Any] = {"Key": key, "ContentType": KIND, "ContentLength": len(BODY)}
    return Errand(
        claim=sign_claim(_PURPOSE, {"key": key}, SECONDS),
        put_url=storage.sign_call("put_object", expires_seconds=SECONDS, **signed),
        get_url=storage.sign_call("get_object", expires_seconds=SECONDS, Key=key),
        content_type=KIND,
        body=BODY.decode(),
    )


async def come_back(request: Request, seen: Seen) -> list[Finding]:
    """Remove what the script stored, and judge what it tells and what came with it.

    Raises ValidationFailed for an errand that is not ours or over; StorageUnavailable.
    """
    await storage.delete([read_claim(_PURPOSE, seen.claim)["key"]])
    found = {
        "page_address": ("Opened at the platform's address", judge_origin(seen.origin)),
        "put": ("A file goes from here to the storage", judge_put(seen.put)),
        "etag": ("Its ETag can be read", judge_etag(seen.put)),
        "ranges": ("Films can be read in parts", judge_range(seen)),
        "stream": ("Live progress flows", judge_stream([beat / 1000 for beat in seen.beats_ms])),
        "clock": ("This browser's clock", judge_clock(seen.now_ms / 1000 - time.time())),
        "headers": ("Cookies and headers arrive", judge_headers(request)),
    }
    return [
        Finding(each.state, each.words, each.fix, each.detail, f"browser.{name}", GROUP, title)
        for name, (title, each) in found.items()
    ]


def judge_origin(opened: str) -> Finding:
    if opened == origin():
        return ok(f"{opened}.")
    words = f"This page was opened at {opened}, and PUBLIC_URL is {origin()}: uploads and cookies are made for that."
    return failed(words, f"Open {origin()}, or set PUBLIC_URL={opened}.")


def judge_put(put: Stored) -> Finding:
    there = settings.storage_public_origin
    if put.state == "ok":
        return ok(f"Stored at {there}.")
    if put.state == "refused":
        fix = "See the checks of the storage; if they are well, something between this browser and it changes requests."
        return failed(f"{there} refused the file.", fix, f"HTTP {put.status}")
    if put.state == "hidden":
        fix = f"Let the storage answer CORS for {origin()}: see “Uploads from the page are let in”, or {DOCS}."
        return failed(f"{there} answers, and does not let this page send files to it (CORS).", fix, put.error)
    fix = (
        f"Set S3_PUBLIC_URL to an address that this browser reaches ({DOCS}, TLS and the reverse proxy): its name must"
        " be in the DNS, its port open, its certificate valid."
    )
    return failed(f"This browser does not reach the storage at {there}.", fix, put.error)


def judge_etag(put: Stored) -> Finding:
    if put.state != "ok":
        return Finding(State.SKIPPED, "Not tried: no file could be sent.")
    if put.etag:
        return ok("Uploads in parts can go on where they stopped.")
    fix = "Let the storage answer Access-Control-Expose-Headers: ETag (ExposeHeaders of the bucket's CORS rule;"
    return failed("The page cannot read the ETag of what it stored.", f"{fix} {DOCS}, Another S3).")


def judge_range(seen: Seen) -> Finding:
    if seen.put.state != "ok":
        return Finding(State.SKIPPED, "Not tried: no file could be sent.")
    if (seen.range_status, seen.range_bytes) == (206, 6):
        return ok("Players can seek.")
    fix = "Let the proxy in front of S3_PUBLIC_URL pass the Range header on (nginx: proxy_buffering off)."
    told = f"HTTP {seen.range_status}, {seen.range_bytes} bytes"
    return failed("Six bytes were asked for, and something else came: players cannot seek.", fix, told)


def judge_clock(ahead_seconds: float) -> Finding:
    """Ages and remaining times on pages are off by as much; nothing else is."""
    if abs(ahead_seconds) < CLOCK_WARNING_SECONDS:
        return ok("Right to a few seconds.")
    told = f"{abs(ahead_seconds):.0f} s {'ahead' if ahead_seconds > 0 else 'behind'}"
    fix = "Set the clock of this device, or of the server, by the network (chrony, systemd-timesyncd)."
    return warning(f"It is {told} of the server's: times on the pages are off by as much.", fix)


def judge_headers(request: Request) -> Finding:
    """What came with the script's last request, through whatever is in front of us."""
    headers = request.headers
    proxy = "the proxy in front of PUBLIC_URL"
    if session_cookie_name() not in request.cookies:
        return failed("The session's cookie did not arrive.", f"Let {proxy} pass the Cookie header on.")
    ours = urlsplit(origin())
    if headers.get("host") != ours.netloc and headers.get("sec-fetch-site") is None:
        fix = f"Let {proxy} keep the Host header (nginx: proxy_set_header Host $host)."
        return failed(f"The server was asked for {headers.get('host')} and not for {ours.netloc}.", fix)
    if "x-forwarded-for" in headers and not settings.trusted_proxies:
        return warning(
            "A proxy is in front, and its word is not taken: all visitors share its address, and its limits.",
            f"Set TRUSTED_PROXIES to the proxy's address as the web process sees it ({DOCS}, TLS and the reverse"
            " proxy).",
            f"seen from {request.client.host if request.client else 'nowhere'}",
        )
    if settings.is_https and request.url.scheme != "https" and settings.trusted_proxies:
        fix = f"Let {proxy} send X-Forwarded-Proto: https, and set TRUSTED_PROXIES to its address."
        return warning("PUBLIC_URL is https, and requests arrive as http.", fix)
    return ok("As the browser sent them.")
