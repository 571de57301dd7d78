"""Uploads in parts, as S3 has them: there is nothing before they are put together, and nobody can write it after."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import unescape

from botocore.exceptions import ClientError, HTTPClientError

from backend.config import settings
from backend.core.storage_client import ANSWER_SECONDS, StorageClient, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ListPartsOutputTypeDef

_UPLOAD_ID = re.compile(r"<UploadId>([^<]+)</UploadId>")
_NO_UPLOAD = {"NoSuchUpload", "404", "NoSuchKey"}
_OTHER_PARTS = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}


@dataclass(frozen=True)
class Part:
    """One part that has arrived; numbers begin at 1."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class OpenMultipart:
    """A multipart upload that is neither complete nor aborted."""

    key: str
    upload_id: str
    started_at: datetime


class NoSuchMultipart(Exception):
    """The multipart upload is not open: it was completed, aborted, or never there."""


class PartsChanged(Exception):
    """The parts are not (any more) those that were named, or the storage does not take them together."""


class StorageParts(StorageClient):
    """What can be done with uploads in parts."""

    async def presign_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        *,
        size_bytes: int,
        expires_seconds: int,
        content_type: str | None = None,
    ) -> str:
        """A URL that stores one part of exactly `size_bytes`; with a `content_type`, sent with exactly this one.

        boto3's own would not sign the type of a part. When the upload is complete or aborted the URL is dead.
        """
        query = {"partNumber": str(number), "uploadId": upload_id}
        headers = {"content-length": str(size_bytes)} | ({"content-type": content_type} if content_type else {})
        return self._presign("PUT", key, expires_seconds=expires_seconds, query=query, headers=headers)

    async def create_multipart(self, key: str, *, content_type: str) -> str:
        """Begin an upload in parts; answers the storage's name for it."""

        def call() -> str:
            if (name := self._begin(key, content_type)) is not None:
                return name
            answer = self._calls.create_multipart_upload(Bucket=settings.s3_bucket, Key=key, ContentType=content_type)
            # What was asked for first may have been begun, too, and only its answer lost.
            others = self._calls.list_multipart_uploads(Bucket=settings.s3_bucket, Prefix=key).get("Uploads", [])
            for other in others:
                if other["Key"] == key and other["UploadId"] != answer["UploadId"]:
                    self._calls.abort_multipart_upload(Bucket=settings.s3_bucket, Key=key, UploadId=other["UploadId"])
            return answer["UploadId"]

        return await self._run("create_multipart", call, seconds=ANSWER_SECONDS)

    def _begin(self, key: str, content_type: str) -> str | None:
        """One try, without what boto3 does around it, which is most of a reservation; None when it did not work."""
        headers = {"content-type": content_type}
        url = self._presign("POST", key, query={"uploads": ""}, headers=headers, expires_seconds=60, internal=True)
        try:
            answer = self._send("POST", url, headers)
        except HTTPClientError:
            return None
        found = _UPLOAD_ID.search(answer.text) if answer.status_code == 200 else None
        return unescape(found[1]) if found else None

    async def list_parts(self, key: str, upload_id: str) -> list[Part]:
        """The parts that have arrived, in order. Raises NoSuchMultipart."""

        def page(after: int) -> "ListPartsOutputTypeDef":
            more: Any = {"PartNumberMarker": after} if after else {}
            return self._calls.list_parts(Bucket=settings.s3_bucket, Key=key, UploadId=upload_id, **more)

        parts: list[Part] = []
        after = 0
        while True:
            with _no_upload():
                answer = await self._run(
                    "list_parts", partial(page, after), seconds=ANSWER_SECONDS, expected=_NO_UPLOAD
                )
            parts += [Part(p["PartNumber"], p["Size"], p["ETag"].strip('"')) for p in answer.get("Parts", [])]
            if not answer.get("IsTruncated"):
                return parts
            after = answer["NextPartNumberMarker"]

    async def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Put the parts together into the object. Raises NoSuchMultipart, PartsChanged."""
        named = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]

        def call() -> None:
            self._long_calls.complete_multipart_upload(
                Bucket=settings.s3_bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": named},  # type: ignore[typeddict-item]
            )

        with _no_upload():
            await self._run("complete_multipart", call, expected=_NO_UPLOAD | _OTHER_PARTS)

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        """Drop an upload in parts with all that has arrived of it; one that is not open is fine."""

        def call() -> None:
            self._calls.abort_multipart_upload(Bucket=settings.s3_bucket, Key=key, UploadId=upload_id)

        try:
            with _no_upload():
                await self._run("abort_multipart", call, expected=_NO_UPLOAD)
        except NoSuchMultipart:
            pass

    async def list_multiparts(self, prefix: str = "") -> list[OpenMultipart]:
        """The uploads in parts that are open below `prefix`. Some servers answer for exact keys only."""

        def call() -> list[OpenMultipart]:
            pages = self._calls.get_paginator("list_multipart_uploads").paginate(
                Bucket=settings.s3_bucket, Prefix=prefix
            )
            found = [each for page in pages for each in page.get("Uploads", [])]
            return [OpenMultipart(each["Key"], each["UploadId"], each["Initiated"]) for each in found]

        return await self._run("list_multiparts", call)

    async def abort_multiparts(self, key: str) -> int:
        """Drop every open upload in parts of exactly this key; answers how many there were."""
        found = [each for each in await self.list_multiparts(key) if each.key == key]
        for each in found:
            await self.abort_multipart(key, each.upload_id)
        return len(found)


@contextmanager
def _no_upload() -> Iterator[None]:
    """Says in our words what the storage says of an upload in parts."""
    try:
        yield
    except ClientError as error:
        if code_of(error) in _OTHER_PARTS:
            raise PartsChanged(code_of(error)) from error
        raise NoSuchMultipart(code_of(error)) from error
