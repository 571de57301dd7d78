"""Checks of what lets our pages speak to the storage: its address as browsers see it, the preflight, what they read."""

import ipaddress
from urllib.parse import urlsplit

import httpx

from backend.admin.doctor.bucket import DOCS, KIND, Door, inside, origin, outside, told
from backend.admin.doctor.findings import Finding, check, failed, ok, warning
from backend.admin.doctor.visit import Visit
from backend.config import settings
from backend.videos.multipart import part_size_for

GROUP = "Storage for browsers"
LARGEST_PUT_BYTES = 5 * 1024**3
#: How an origin is let in, by the server; others take a rule of the bucket.
_SERVER_FIXES = {
    "swift": "Start `make run` with PUBLIC_URL={origin}: the embedded storage lets in that origin.",
    "minio": "Set MINIO_API_CORS_ALLOW_ORIGIN={origin} for MinIO and restart it (compose: PUBLIC_URL={origin} in .env,"
    " then docker compose up -d).",
}
_RULE = (
    "Give the bucket a CORS rule: AllowedOrigins {origin}; AllowedMethods GET, HEAD, PUT; AllowedHeaders *;"
    f" ExposeHeaders ETag ({DOCS}, Another S3)."
)
_PROXY = (
    "The storage itself answers rightly, a proxy at {public} does not let it through: pass OPTIONS requests and all"
    " Access-Control-* headers on (nginx: no proxy_hide_header, no `return` for OPTIONS)."
)


@check(GROUP, "Browsers' address of the storage")
async def public_address(visit: Visit) -> Finding:
    return judge_public_address(settings.public_url, settings.storage_public_origin, given=bool(settings.s3_public_url))


def judge_public_address(pages: str, storage: str, *, given: bool) -> Finding:
    """Whether a browser that opened `pages` can get to `storage`, as far as the two addresses tell."""
    page, there = urlsplit(pages), urlsplit(storage)
    name = "S3_PUBLIC_URL" if given else "S3_PUBLIC_URL (not set, so S3_ENDPOINT_URL)"
    fix = f"Set S3_PUBLIC_URL to an address that browsers reach, like https://files.example.org ({DOCS}, TLS and the"
    fix += " reverse proxy)."
    host = there.hostname or ""
    if page.scheme == "https" and there.scheme != "https":
        return failed(
            f"{name} is {storage}: a page over https may not send or play anything over http.",
            "Give the storage TLS as well, and set S3_PUBLIC_URL to its https address.",
        )
    if _is_loopback(host) and not _is_loopback(page.hostname or ""):
        return failed(f"{name} is {storage}: in a browser on another machine that is the other machine itself.", fix)
    if "." not in host and ":" not in host and not _is_loopback(host) and host != page.hostname:
        return failed(f"{name} is {storage}: “{host}” is a name inside the container network only.", fix)
    return ok(f"Browsers go to {storage}.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@check(GROUP, "Uploads from the page are let in (CORS)")
async def preflight(visit: Visit) -> Finding:
    door = await outside(visit)
    answer = await _ask(visit, door)
    why = judge_preflight(answer, origin())
    if not why:
        return ok(f"The storage lets {origin()} send files." + door.where)
    return failed(why, await _fix(visit, door), told(answer))


async def _ask(visit: Visit, door: Door) -> httpx.Response:
    """The question that a browser asks before it sends a file."""
    url = door.sign("put_object", Key=visit.prefix + "preflight", ContentType=KIND, ContentLength=1)
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,if-none-match"}
    return await visit.http.options(url, headers={"Origin": origin(), **asked})


async def _fix(visit: Visit, door: Door) -> str:
    """Whom it is up to: the proxy, when the storage behind it answers rightly."""
    if not door.internal:
        behind = await inside(visit)
        if not judge_preflight(await _ask(visit, behind), origin()):
            return _PROXY.format(public=settings.storage_public_origin)
    return _SERVER_FIXES.get(door.server, _RULE).format(origin=origin())


def judge_preflight(answer: httpx.Response, our_origin: str) -> str:
    """What is wrong with the answer to a preflight, or nothing."""
    allowed = answer.headers.get("access-control-allow-origin")
    if answer.status_code not in (200, 204):
        return f"The storage refuses the question that browsers ask before an upload from {our_origin}."
    if allowed is None:
        return f"The storage does not say that {our_origin} may send files: browsers refuse to."
    if allowed not in ("*", our_origin):
        return f"The storage lets in {allowed}, but the pages are at {our_origin}."
    methods = {word.strip().upper() for word in answer.headers.get("access-control-allow-methods", "").split(",")}
    if not methods & {"PUT", "*"}:
        return "The storage does not let browsers PUT."
    headers = {word.strip().lower() for word in answer.headers.get("access-control-allow-headers", "").split(",")}
    if "*" not in headers and "content-type" not in headers:
        return "The storage does not let browsers name the type of a file (Content-Type)."
    return ""


@check(GROUP, "Pages can read an upload's ETag")
async def etag(visit: Visit) -> Finding:
    door = await outside(visit)
    answer = await door.put(visit.key("etag"), headers={"Origin": origin()})
    exposed = answer.headers.get("access-control-expose-headers", "")
    allowed = answer.headers.get("access-control-allow-origin")
    if allowed not in ("*", origin()):
        words = "The storage takes the file, and its answer is hidden from the page."
        return failed(words, await _fix(visit, door), f"Access-Control-Allow-Origin: {allowed}")
    if not {word.strip().lower() for word in exposed.split(",")} & {"etag", "*"}:
        fix = (
            _PROXY.format(public=settings.storage_public_origin)
            if not door.internal and await _exposed_behind(visit)
            else f"Let the storage answer Access-Control-Expose-Headers: ETag (ExposeHeaders of the bucket's CORS rule;"
            f" {DOCS}, Another S3)."
        )
        return failed("ETag is not in Access-Control-Expose-Headers.", fix, f"exposed: {exposed or 'nothing'}")
    return ok("ETag is exposed." + door.where)


async def _exposed_behind(visit: Visit) -> bool:
    answer = await (await inside(visit)).put(visit.key("etag-behind"), headers={"Origin": origin()})
    return "etag" in answer.headers.get("access-control-expose-headers", "").lower()


@check(GROUP, "The largest file fits")
async def largest(visit: Visit) -> Finding:
    return judge_largest(settings.max_upload_bytes)


def judge_largest(size_bytes: int) -> Finding:
    """S3 takes 5 GiB in one PUT, and 5 TiB in 10,000 parts, which have the size that this needs."""
    size = f"MAX_UPLOAD_SIZE_MB={size_bytes // 1024**2}"
    if size_bytes > LARGEST_PUT_BYTES:
        return warning(
            f"{size}: the pages send such files in parts, but programs that ask for one address cannot send more than"
            " 5 GiB through it.",
            "Let programs ask with `multipart: true` (docs/api.md), or set MAX_UPLOAD_SIZE_MB to at most 5120.",
        )
    return ok(f"{size} fits into one upload address, and into parts of {part_size_for(size_bytes) // 1024**2} MiB.")


CHECKS = (public_address, preflight, etag, largest)
