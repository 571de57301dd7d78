"""Checks of the storage: both endpoints, what is signed and must be refused, multipart, ranges, its clock."""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from backend.admin.doctor.bucket import (
    BODY,
    DOCS,
    GROUP,
    KEEP_HOST,
    KIND,
    NOT_VERIFIED,
    error_code,
    inside,
    is_refused,
    outside,
    reach,
    told,
)
from backend.admin.doctor.findings import Finding, check, clock, failed, ok, warning
from backend.admin.doctor.parts import begin, multipart, parts_end
from backend.admin.doctor.visit import Visit
from backend.config import settings
from backend.core import capabilities
from backend.core.db import transaction

#: What the storage's refusal of an ordinary request asks for, by S3's code or by the status.
_FIXES = {
    "InvalidAccessKeyId": "Set S3_ACCESS_KEY_ID to a key that the storage knows.",
    "SignatureDoesNotMatch": "Set S3_SECRET_ACCESS_KEY to the secret of S3_ACCESS_KEY_ID.",
    "RequestTimeTooSkewed": "Set this machine's clock: run a time service (chrony, systemd-timesyncd).",
    "PermanentRedirect": "Set S3_REGION and S3_ENDPOINT_URL to those of the bucket.",
    "NoSuchBucket": "Make the bucket {bucket}, or set S3_BUCKET to one that is there.",
    "403": "Set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY, and give that user the rights of minio-init/policy.json.",
    "404": "Make the bucket {bucket}, or set S3_BUCKET and S3_ENDPOINT_URL to those of an S3 server.",
}


@check(GROUP, "The storage answers")
async def answers(visit: Visit) -> Finding:
    endpoint = settings.s3_endpoint_url or f"AWS, {settings.s3_region}"
    reached = await reach(visit, internal=True)
    if reached.answer is None:
        fix = "Start the storage, or set S3_ENDPOINT_URL (and its keys) to where this machine reaches it."
        return failed(f"Nothing answers at {endpoint}.", fix, reached.why)
    if not reached.good:
        code = error_code(reached.answer)
        fix = _FIXES.get(code) or _FIXES.get(str(reached.answer.status_code)) or _FIXES["404"]
        words = f"{endpoint} refuses to list the bucket {settings.s3_bucket}."
        if code in _OTHER_REGION and (region := expected_region(reached.answer)) != settings.s3_region:
            words = f"{endpoint} does not take signatures for the region {settings.s3_region}."
            fix = f"Set S3_REGION={region}." if region else "Set S3_REGION to the region of the bucket."
        return failed(words, fix.format(bucket=settings.s3_bucket), told(reached.answer))
    server = capabilities.detect(settings.s3_endpoint_url, dict(reached.answer.headers))
    name = "an S3 server we do not know" if server == "unknown" else SERVERS[server]
    return ok(f"{name} at {endpoint}.")


#: Codes with which servers refuse a signature's scope, of which the region is a part.
_OTHER_REGION = {
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "PermanentRedirect",
    "IllegalLocationConstraintException",
}


def expected_region(answer: httpx.Response) -> str:
    """The region that a refusal asks for, in any of the ways in which servers say so; or nothing."""
    body = answer.text[:4000].replace("&apos;", "'").replace("&#39;", "'").replace("&#x27;", "'")
    found = re.search(r"<Region>([a-z0-9-]{1,60})</Region>|expecting '([a-z0-9-]{1,60})'", body)
    said = (found[1] or found[2]) if found else answer.headers.get("x-amz-bucket-region", "")
    return said if re.fullmatch(r"[a-z0-9-]{1,60}", said) else ""


#: The servers of the table of capabilities, as people call them.
SERVERS = {"swift": "OpenStack Swift", "minio": "MinIO", "aws": "Amazon S3", "r2": "R2", "seaweedfs": "SeaweedFS"}


@check(GROUP, "Browsers' address reachable from here")
async def public_reachable(visit: Visit) -> Finding:
    await inside(visit)
    reached = await reach(visit, internal=False)
    if reached.answer is None:
        return warning(
            f"This machine does not reach {settings.storage_public_origin} itself, which can be right behind some"
            " routers. The checks that follow went to S3_ENDPOINT_URL; the page's own ask from the browser.",
            f"If browsers do not reach it either, set S3_PUBLIC_URL to the storage's public address ({DOCS}, TLS and"
            " the reverse proxy) and its name in the DNS.",
            reached.why,
        )
    return ok(f"{settings.storage_public_origin} answers.")


@check(GROUP, "Signed addresses hold there")
async def signed_host(visit: Visit) -> Finding:
    await inside(visit)
    reached = await reach(visit, internal=False)
    if reached.answer is None or reached.good:
        return ok("The host that we sign is the host that the storage sees.")
    code = error_code(reached.answer)
    if code:
        words = f"The storage refuses what is signed for {settings.storage_public_origin}, and takes it at its own."
        fix = f"The host is signed: let the proxy in front of the storage keep it ({KEEP_HOST})."
        return failed(words, fix, told(reached.answer))
    fix = f"Set S3_PUBLIC_URL to an address that leads to the storage itself ({DOCS}, TLS and the reverse proxy)."
    return failed(f"{settings.storage_public_origin} is not answered by the storage.", fix, told(reached.answer))


@check(GROUP, "A signed upload arrives")
async def signed_put(visit: Visit) -> Finding:
    door = await outside(visit)
    key = visit.key("put")
    answer = await door.put(key)
    if answer.status_code != 200:
        fix = (
            f"Give the user {settings.s3_access_key_id or 'of S3_ACCESS_KEY_ID'} the right s3:PutObject on the bucket"
            " (minio-init/policy.json), let the storage have room, and let a proxy pass bodies on"
            " (nginx: client_max_body_size 0)."
        )
        return failed("A signed PUT of a few bytes was refused.", fix, told(answer))
    info = await visit.storage.head(key)
    if info is None or info.size_bytes != len(BODY):
        fix = "S3_PUBLIC_URL and S3_ENDPOINT_URL must lead to the same storage and bucket."
        return failed("What was put at the public address is not there at the internal one.", fix)
    return ok("Put at the public address, found at the internal one." + door.where)


@check(GROUP, "Films can be read in parts (Range)")
async def ranges(visit: Visit) -> Finding:
    door = await outside(visit)
    key = visit.key("range")
    await door.put(key)
    answer = await visit.http.get(door.sign("get_object", Key=key), headers={"Range": "bytes=4-9"})
    if answer.status_code == 206 and answer.content == BODY[4:10]:
        return ok("A range of bytes comes as 206 Partial Content." + door.where)
    if answer.status_code == 200:
        fix = (
            "Let the proxy in front of S3_PUBLIC_URL pass the Range header on (nginx: proxy_buffering off, no slice or"
        )
        fix += " cache that drops it): else players cannot seek, and every probe reads whole files."
        return failed("The whole object came where a part was asked for.", fix, told(answer))
    fix = "Give the user the right s3:GetObject on the bucket (minio-init/policy.json)."
    return failed("A signed GET was refused.", fix, told(answer))


@check(GROUP, "Files are served under the type we choose")
async def chosen_type(visit: Visit) -> Finding:
    door = await outside(visit)
    key = visit.key("type")
    await door.put(key)
    chosen: dict[str, Any] = {"ResponseContentType": "video/webm", "ResponseContentDisposition": "attachment"}
    answer = await visit.http.get(door.sign("get_object", Key=key, **chosen))
    kind = answer.headers.get("content-type", "")
    if kind.startswith("video/webm") and answer.headers.get("content-disposition") == "attachment":
        return ok("The type and the name of a download are those that were signed." + door.where)
    fix = "Use a storage server that honours response-content-type, and let no proxy overwrite Content-Type."
    return warning("The storage chooses the type itself: downloads may open in the browser.", fix, f"{kind!r}")


@check(GROUP, "Browsers are told not to guess types (nosniff)")
async def not_sniffed(visit: Visit) -> Finding:
    door = await outside(visit)
    key = visit.key("nosniff")
    await door.put(key)
    answer = await visit.http.get(door.sign("get_object", Key=key, ResponseContentType=KIND))
    # Said twice, by the server and by a proxy, it holds as well.
    if answer.headers.get("x-content-type-options", "").lower().partition(",")[0].strip() == "nosniff":
        return ok("X-Content-Type-Options: nosniff comes with files." + door.where)
    return warning(
        "Files come without X-Content-Type-Options: nosniff. The type is chosen by us, and the storage's origin is not"
        " that of the pages, so a browser that guesses otherwise finds nothing to take there; it should not guess.",
        "Let what is in front of S3_PUBLIC_URL add it (nginx: add_header X-Content-Type-Options nosniff always;"
        " Caddy: header X-Content-Type-Options nosniff; a CDN: a rule for answers, at CDN_BASE_URL too). Amazon S3 and"
        " R2 cannot send it by themselves; MinIO and `make run` do.",
        told(answer),
    )


@check(GROUP, "A wrong length is refused")
async def wrong_length(visit: Visit) -> Finding:
    door = await outside(visit)
    for name, length in (("longer", len(BODY) - 1), ("shorter", len(BODY) + 1)):
        answer = await door.put(visit.key(name), signed_length=length)
        if not is_refused(answer):
            return failed(f"A file {name} than its signed length was taken.", NOT_VERIFIED, told(answer))
    return ok("Longer and shorter files than signed are refused." + door.where)


@check(GROUP, "A wrong type is refused")
async def wrong_type(visit: Visit) -> Finding:
    door = await outside(visit)
    answer = await door.put(visit.key("type-of-page"), headers={"Content-Type": "text/html"})
    if not is_refused(answer):
        return failed("A web page was taken where a film was signed.", NOT_VERIFIED, told(answer))
    return ok("Another type than signed is refused." + door.where)


@check(GROUP, "A forged address is refused")
async def wrong_signature(visit: Visit) -> Finding:
    door = await outside(visit)
    signed = door.sign("put_object", Key=visit.key("honest"), ContentType=KIND, ContentLength=len(BODY))
    forged = visit.key("forged")
    url = signed.replace("/honest?", "/forged?")
    answer = await visit.http.put(url, content=BODY, headers={"Content-Type": KIND})
    if not is_refused(answer):
        return failed(f"An address signed for another object stored {forged}.", NOT_VERIFIED, told(answer))
    return ok("A signature holds for one object only." + door.where)


@check(GROUP, "An expired address is refused", seconds=20)
async def expired(visit: Visit) -> Finding:
    door = await outside(visit)
    url = door.sign("put_object", Key=visit.key("expired"), ContentType=KIND, ContentLength=len(BODY))
    # Signed long ago as far as the server can tell: the time is in the address, and is signed as well.
    old = re.sub(r"X-Amz-Date=\d{8}T\d{6}Z", "X-Amz-Date=20200101T000000Z", url)
    if not is_refused(answer := await visit.http.put(old, content=BODY, headers={"Content-Type": KIND})):
        return failed("An address with a changed time was taken.", NOT_VERIFIED, told(answer))
    short = door.sign("list_objects_v2", expires_seconds=1, MaxKeys=1, Prefix=visit.prefix)
    for _ in range(8):
        await asyncio.sleep(1.0)
        answer = await visit.http.get(short)
        if is_refused(answer):
            return ok("Refused once its time is over." + door.where)
    fix = "Use a storage server that verifies X-Amz-Expires, and see that its clock is right."
    return failed("An address still works seconds after its time.", fix, told(answer))


@check(GROUP, "What this server can do")
async def facts(visit: Visit) -> Finding:
    """Tries what servers differ in, and keeps it for the code that signs and reconciles."""
    door = await inside(visit)
    tried = {"if_none_match": await _if_none_match(visit), "list_uploads_by_prefix": await _lists_by_prefix(visit)}
    probed = {name: value for name, value in tried.items() if value is not None}
    async with transaction() as session:
        found = await capabilities.keep(session, server=door.server, probed=probed)
    if not found.if_none_match and settings.storage_events_token.get_secret_value():
        return warning(
            "STORAGE_EVENTS_TOKEN is set, and this server does not know If-None-Match: all files come in parts, of"
            " which no event tells, and an upload that nobody confirmed waits for the worker's look.",
            "Leave STORAGE_EVENTS_TOKEN out, or use a storage server that knows If-None-Match (Swift, MinIO from 2024,"
            " Amazon S3, R2).",
        )
    events = "can" if found.if_none_match else "cannot"
    listed = "lists them" if found.list_uploads_by_prefix else "asks for each key of the ledger, for no listing tells"
    return ok(f"Its events {events} announce uploads (STORAGE_EVENTS_TOKEN). Of open uploads `reconcile` {listed}.")


async def _if_none_match(visit: Visit) -> bool | None:
    door, key = await inside(visit), visit.key("once")

    async def put() -> int:
        return (await door.put(key, headers={"If-None-Match": "*"}, IfNoneMatch="*")).status_code

    first = await put()
    if first == 200:
        return await put() in (409, 412)
    return False if first in (400, 501) else None  # refused for another reason: nothing is known


async def _lists_by_prefix(visit: Visit) -> bool:
    door, key = await inside(visit), visit.key("listed")
    begun = await begin(visit, door, key)
    if not begun.upload_id:
        return False
    listing = await visit.http.get(door.sign("list_multipart_uploads", Prefix=visit.prefix))
    return listing.status_code == 200 and f"<Key>{key}</Key>" in listing.text


@check(GROUP, "The storage's clock")
async def time_there(visit: Visit) -> Finding:
    await inside(visit)
    reached = await reach(visit, internal=True)
    assert reached.answer is not None
    return judge_date(reached.answer.headers, reached.answer.elapsed.total_seconds())


def judge_date(headers: Mapping[str, str] | httpx.Headers, took_seconds: float) -> Finding:
    """The verdict on an answer's Date (whole seconds) that has just come."""
    try:
        there = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return ok("Its answers carry no date.")
    ahead = (there - datetime.now(UTC)).total_seconds() + took_seconds / 2 + 0.5
    return clock(ahead if abs(ahead) > 1.5 + took_seconds / 2 else 0.0, "the storage")


CHECKS = (
    answers,
    public_reachable,
    signed_host,
    signed_put,
    ranges,
    chosen_type,
    not_sniffed,
    wrong_length,
    wrong_type,
    wrong_signature,
    expired,
    multipart,
    parts_end,
    facts,
    time_there,
)
