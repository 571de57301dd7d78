"""Checks of uploads in parts: that they work, and that nobody can write them once they are complete.

On the second rests that what was looked at is what stays (docs/adr/0011).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from backend.admin.doctor.bucket import BODY, GROUP, KIND, NOT_VERIFIED, Door, is_refused, outside, told
from backend.admin.doctor.findings import Finding, check, failed, ok
from backend.admin.doctor.visit import NotTried, Visit

#: As long as what the check stores, and not the same.
OTHER = bytes(reversed(BODY))
#: A part is held back for so long at most, in seconds: a server may wait for it before it completes.
HOLD_SECONDS = 2.0
_RIGHTS = (
    "Give the user s3:PutObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts (minio-init/policy.json)."
)
_LIVES_ON = (
    "Use a storage server where an upload's addresses end when it is completed, as in Amazon S3. Until then whoever"
    " holds one can replace a film that was already looked at, for PRESIGNED_URL_EXPIRATION: let that be short."
)


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload in parts; without an id it could not be begun, and `answer` says why."""

    door: Door
    key: str
    upload_id: str
    answer: httpx.Response

    def part_url(self) -> str:
        """Where its only part goes, of the length of BODY."""
        return self.door.sign("upload_part", **self._named(), PartNumber=1, ContentLength=len(BODY))

    async def complete(self, etag: str) -> httpx.Response:
        """Put it together of its part with this ETag."""
        body = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        url = self.door.sign("complete_multipart_upload", **self._named())
        whole = f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>"
        return await self.door.visit.http.post(url, content=whole)

    def _named(self) -> dict[str, Any]:
        return {"Key": self.key, "UploadId": self.upload_id}


async def begin(visit: Visit, door: Door, key: str) -> Begun:
    """Begin an upload in parts, which is given up at the visit's end when nothing completed it."""
    url = door.sign("create_multipart_upload", Key=key, ContentType=KIND)
    answer = await visit.http.post(url, headers={"Content-Type": KIND})
    found = re.search(r"<UploadId>([^<]+)</UploadId>", answer.text) if answer.status_code == 200 else None
    if found is not None:
        visit.opened(key, found[1])
    return Begun(door, key, found[1] if found else "", answer)


@check(GROUP, "Uploads in parts work")
async def multipart(visit: Visit) -> Finding:
    door = await outside(visit)
    begun = await begin(visit, door, visit.key("parts"))
    if not begun.upload_id:
        return failed("No upload in parts could be begun.", _RIGHTS, told(begun.answer))
    url = begun.part_url()
    if not is_refused(answer := await visit.http.put(url, content=BODY + b"more")):
        return failed("A part longer than signed was taken.", NOT_VERIFIED, told(answer))
    answer = await visit.http.put(url, content=BODY)
    etag = answer.headers.get("etag")
    if answer.status_code != 200 or not etag:
        return failed("A signed part was refused.", _RIGHTS, told(answer))
    answer = await begun.complete(etag)
    info = await visit.storage.head(begun.key)
    if "<Error>" in answer.text or info is None or info.size_bytes != len(BODY):
        return failed("An upload in parts could not be completed.", _RIGHTS, told(answer))
    return ok("Begun, sent, completed; a part of another length is refused." + door.where)


@check(GROUP, "A part's address ends with its upload", seconds=30)
async def parts_end(visit: Visit) -> Finding:
    """Sends a part once more, slowly, while the upload is completed; and again after that."""
    door = await outside(visit)
    begun = await begin(visit, door, visit.key("ended"))
    url = begun.part_url()
    sent = await visit.http.put(url, content=BODY)
    if sent.status_code != 200:
        raise NotTried("Not tried: an upload in parts does not come so far (see “Uploads in parts work”).")
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield OTHER[:5]
        under_way.set()
        await go_on.wait()
        yield OTHER[5:]

    held = asyncio.ensure_future(visit.http.put(url, content=slowly(), headers={"Content-Length": str(len(OTHER))}))
    completing = None
    try:
        await asyncio.wait({held, asyncio.ensure_future(under_way.wait())}, return_when=asyncio.FIRST_COMPLETED)
        completing = asyncio.ensure_future(begun.complete(sent.headers.get("etag", "")))
        await asyncio.wait({completing}, timeout=HOLD_SECONDS)
    finally:
        go_on.set()
        under_way.set()
        # That the slow one breaks is as good as that it is refused.
        await asyncio.gather(held, *([completing] if completing else []), return_exceptions=True)
    completed = completing.result()
    if completed.status_code != 200 or "<Error>" in completed.text:
        return ok("With a part of it still under way an upload is not completed." + door.where)
    stored = await visit.http.get(door.sign("get_object", Key=begun.key))
    if stored.content != BODY:
        did = "changed what was stored" if stored.status_code == 200 else "made what was stored unreadable"
        return failed(f"A part that was under way while its upload was completed {did}.", _LIVES_ON, told(stored))
    late = await visit.http.put(url, content=OTHER)
    stored = await visit.http.get(door.sign("get_object", Key=begun.key))
    if stored.content != BODY:
        return failed("A part sent after its upload was completed changed what was stored.", _LIVES_ON, told(late))
    if not is_refused(late):
        words = "A part is taken after its upload was completed. It changed nothing, and its bytes may stay for ever."
        return failed(words, _LIVES_ON, told(late))
    return ok("Sent during or after the completion, a part changes nothing." + door.where)
