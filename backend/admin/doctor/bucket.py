"""How the storage's checks speak to it: with signed addresses and plain HTTP, so that its own answers are seen."""

import re
from dataclasses import dataclass
from typing import Any

import httpx

from backend.admin.doctor.visit import NotTried, Visit
from backend.config import settings
from backend.core import capabilities
from backend.core.errors import StorageUnavailable

GROUP = "Storage"
KIND = "video/mp4"
BODY = b"The doctor was here.\n"
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")

DOCS = "docs/operations.md"
KEEP_HOST = "nginx: proxy_set_header Host $http_host; Caddy does it by itself"
NOT_VERIFIED = (
    "Whoever holds an upload address could store anything under it. Let no proxy in front of S3_PUBLIC_URL change"
    f" requests ({KEEP_HOST}; proxy_request_buffering off), and use a storage server that verifies signatures."
)


@dataclass(frozen=True, slots=True)
class Reached:
    """The answer of an endpoint to a signed listing; `answer` is None when nothing answered, and `why` says why."""

    answer: httpx.Response | None
    why: str = ""

    @property
    def good(self) -> bool:
        return self.answer is not None and self.answer.status_code == 200


@dataclass(frozen=True, slots=True)
class Door:
    """Where the checks knock: at the public address, as browsers do, or at the internal one where that is all we reach.

    `server` is the name of what stands behind it, from the table of capabilities.
    """

    visit: Visit
    internal: bool
    server: str

    def sign(self, operation: str, *, expires_seconds: int = 60, **params: Any) -> str:
        return self.visit.storage.sign_call(
            operation, internal=self.internal, expires_seconds=expires_seconds, **params
        )

    async def put(
        self,
        key: str,
        body: bytes = BODY,
        *,
        signed_length: int | None = None,
        headers: dict[str, str] | None = None,
        expires_seconds: int = 60,
        **params: Any,
    ) -> httpx.Response:
        """Store `body` under an address signed for `signed_length` bytes of KIND."""
        length = len(body) if signed_length is None else signed_length
        signed = {"Key": key, "ContentType": KIND, "ContentLength": length, **params}
        url = self.sign("put_object", expires_seconds=expires_seconds, **signed)
        return await self.visit.http.put(url, content=body, headers={"Content-Type": KIND, **(headers or {})})

    @property
    def where(self) -> str:
        """To be added to words where the public address could not be asked, as the check of it explains."""
        return " (Asked at the internal address.)" if self.internal else ""


def origin() -> str:
    """The origin of our pages."""
    return settings.public_url.rstrip("/")


def error_code(answer: httpx.Response) -> str:
    """S3's code in an error's body, or nothing."""
    found = _CODE.search(answer.text[:4000])
    return found[1] if found else ""


def told(answer: httpx.Response) -> str:
    """An answer in short, for a finding's detail."""
    return f"HTTP {answer.status_code} {error_code(answer)}".rstrip()


def is_refused(answer: httpx.Response) -> bool:
    return 400 <= answer.status_code < 500


async def reach(visit: Visit, *, internal: bool) -> Reached:
    """Ask an endpoint for a signed listing of one key."""

    async def ask() -> Reached:
        try:
            url = visit.storage.sign_call("list_objects_v2", internal=internal, MaxKeys=1, Prefix=visit.prefix)
            return Reached(await visit.http.get(url))
        except StorageUnavailable as error:
            return Reached(None, f"no request could be signed: {error.__cause__}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Reached(None, f"{type(error).__name__}: {error}".rstrip(": "))

    return await visit.shared("internal" if internal else "public", ask)


async def inside(visit: Visit) -> Door:
    """The internal endpoint. Raises NotTried when it does not take our requests."""
    reached = await reach(visit, internal=True)
    if reached.answer is None or not reached.good:
        raise NotTried("Not tried: the storage does not take our requests (see “The storage answers”).")
    server = capabilities.detect(settings.s3_endpoint_url, dict(reached.answer.headers))
    return Door(visit, internal=True, server=server)


async def outside(visit: Visit) -> Door:
    """Where browsers knock, if that can be reached from here; else the internal endpoint.

    Raises NotTried when signed requests are refused there: then all that follows fails of the same cause.
    """
    door = await inside(visit)
    reached = await reach(visit, internal=False)
    if reached.answer is None:
        return door
    if not reached.good:
        raise NotTried("Not tried: signed addresses are refused at S3_PUBLIC_URL (see “Signed addresses hold there”).")
    return Door(visit, internal=False, server=door.server)
