"""Checks of the storage: both endpoints, what is signed and must be refused, multipart, ranges, its clock."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from backend.admin.doctor.bucket import (
    BODY,
    DOCS,
    KEEP_HOST,
    KIND,
    error_code,
    inside,
    is_refused,
    outside,
    reach,
    told,
)
from backend.admin.doctor.findings import Finding, check, clock, failed, ok, warning
from backend.admin.doctor.visit import Visit
from backend.config import settings
from backend.core import capabilities
from backend.core.db import transaction

GROUP = "Storage"
NOT_VERIFIED = (
    "Whoever holds an upload address could store anything under it. Let no proxy in front of S3_PUBLIC_URL change"
    f" requests ({KEEP_HOST}; proxy_request_buffering off), and use a storage server that verifies signatures."
)
#: What the storage's refusal of an ordinary request asks for, by S3's code or by the status.
_FIXES = {
    "InvalidAccessKeyId": "Set S3_ACCESS_KEY_ID to a key that the storage knows.",
    "SignatureDoesNotMatch": "Set S3_SECRET_ACCESS_KEY to the secret of S3_ACCESS_KEY_ID.",
    "RequestTimeTooSkewed": "Set this machine's clock: run a time service (chrony, systemd-timesyncd).",
    "AuthorizationHeaderMalformed": "Set S3_REGION to the region of the bucket.",
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
        return failed(words, fix.format(bucket=settings.s3_bucket), told(reached.answer))
    server = capabilities.detect(settings.s3_endpoint_url, dict(reached.answer.headers))
    name = "an S3 server we do not know" if server == "unknown" else SERVERS[server]
    return ok(f"{name} at {endpoint}.")


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


@check(GROUP, "Uploads in parts work")
async def multipart(visit: Visit) -> Finding:
    door = await outside(visit)
    key = visit.key("parts")
    answer = await visit.http.post(
        door.sign("create_multipart_upload", Key=key, ContentType=KIND), headers={"Content-Type": KIND}
    )
    found = re.search(r"<UploadId>([^<]+)</UploadId>", answer.text)
    rights = (
        "Give the user s3:PutObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts (minio-init/policy.json)."
    )
    if answer.status_code != 200 or found is None:
        return failed("No upload in parts could be begun.", rights, told(answer))
    part: dict[str, Any] = {"Key": key, "UploadId": found[1]}
    visit.opened(key, found[1])
    url = door.sign("upload_part", **part, PartNumber=1, ContentLength=len(BODY))
    if not is_refused(answer := await visit.http.put(url, content=BODY + b"more")):
        return failed("A part longer than signed was taken.", NOT_VERIFIED, told(answer))
    answer = await visit.http.put(url, content=BODY)
    etag = answer.headers.get("etag")
    if answer.status_code != 200 or not etag:
        return failed("A signed part was refused.", rights, told(answer))
    body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>"
    answer = await visit.http.post(door.sign("complete_multipart_upload", **part), content=body.format(etag))
    info = await visit.storage.head(key)
    if "<Error>" in answer.text or info is None or info.size_bytes != len(BODY):
        return failed("An upload in parts could not be completed.", rights, told(answer))
    return ok("Begun, sent, completed; a part of another length is refused." + door.where)


@check(GROUP, "What this server can do")
async def facts(visit: Visit) -> Finding:
    """Tries what servers differ in, and keeps it for the code that signs."""
    door = await inside(visit)
    tried = {
        "if_none_match": await _if_none_match(visit),
        "checksums": await _checksums(visit),
        "list_uploads_by_prefix": await _lists_by_prefix(visit),
        # 404: there is no rule yet. Who may not look (403) learns nothing.
        "bucket_cors": {200: True, 404: True, 501: False}.get(
            (await visit.http.get(door.sign("get_bucket_cors"))).status_code
        ),
    }
    probed = {name: value for name, value in tried.items() if value is not None}
    async with transaction() as session:
        found = await capabilities.keep(session, server=door.server, probed=probed)
    can, cannot = (
        [CAPABILITIES[name] for name, value in capabilities.as_facts(found).items() if value is wanted]
        for wanted in (True, False)
    )
    if not found.if_none_match:
        return warning(
            "An upload address can replace what was stored through it, until it expires. Every upload is compared"
            " again when it is confirmed; a later change would not be noticed.",
            "Use a storage server that knows If-None-Match (Swift, MinIO from 2024, Amazon S3, R2), or a shorter"
            " PRESIGNED_URL_EXPIRATION.",
            _listed(can, cannot),
        )
    return ok("What is stored is never overwritten through an old address.", _listed(can, cannot))


CAPABILITIES = {
    "if_none_match": "If-None-Match on PUT",
    "equal_parts": "wants parts of equal size",
    "post_policy": "forms with a policy",
    "list_uploads_by_prefix": "lists open uploads by prefix",
    "checksums": "verifies SHA-256",
    "bucket_cors": "CORS is set on the bucket",
}


def _listed(can: list[str], cannot: list[str]) -> str:
    return f"Yes: {', '.join(can) or 'nothing'}. No: {', '.join(cannot) or 'nothing'}."


async def _if_none_match(visit: Visit) -> bool | None:
    door, key = await inside(visit), visit.key("once")

    async def put() -> int:
        return (await door.put(key, headers={"If-None-Match": "*"}, IfNoneMatch="*")).status_code

    first = await put()
    if first == 200:
        return await put() in (409, 412)
    return False if first in (400, 501) else None  # refused for another reason: nothing is known


async def _checksums(visit: Visit) -> bool:
    door = await inside(visit)
    for data, good in ((BODY, True), (b"something else", False)):
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        answer = await door.put(
            visit.key(f"sum-{good}"), headers={"x-amz-checksum-sha256": digest}, ChecksumSHA256=digest
        )
        if (answer.status_code == 200) is not good:
            return False
    return True


async def _lists_by_prefix(visit: Visit) -> bool:
    door, key = await inside(visit), visit.key("listed")
    answer = await visit.http.post(door.sign("create_multipart_upload", Key=key))
    found = re.search(r"<UploadId>([^<]+)</UploadId>", answer.text)
    if found is None:
        return False
    visit.opened(key, found[1])
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
    wrong_length,
    wrong_type,
    wrong_signature,
    expired,
    multipart,
    facts,
    time_there,
)
