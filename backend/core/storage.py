"""The one S3 code path: signing for browsers with the public endpoint, calls of our own with the internal one."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from backend.config import settings
from backend.core.storage_client import ANSWER_SECONDS, code_of
from backend.core.storage_parts import NoSuchMultipart, OpenMultipart, Part, PartsChanged, StorageParts

__all__ = [
    "ListedObject",
    "NoSuchMultipart",
    "ObjectInfo",
    "OpenMultipart",
    "Part",
    "PartsChanged",
    "Storage",
    "disposition",
    "storage",
]

#: Files of our own go in parts from this size on. The threads of one transfer are few: other jobs send, too.
#: A small object is here by then, whole.
READ_SECONDS = 60.0
_TRANSFER = TransferConfig(
    multipart_threshold=64 * 1024 * 1024, multipart_chunksize=16 * 1024 * 1024, max_concurrency=3, use_threads=True
)
_MISSING = {"404", "NoSuchKey", "NotFound"}


@dataclass(frozen=True)
class ObjectInfo:
    """What the storage says of an object."""

    size_bytes: int
    content_type: str
    etag: str


@dataclass(frozen=True)
class ListedObject:
    """One entry of a listing."""

    key: str
    size_bytes: int
    modified_at: datetime


def disposition(filename: str, *, download: bool) -> str:
    """A Content-Disposition that names the file (RFC 6266: plain ASCII, and the whole name in UTF-8)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in filename)
    way = "attachment" if download else "inline"
    return f"{way}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


class Storage(StorageParts):
    """One bucket. Every method raises StorageUnavailable when the storage does not answer or refuses us."""

    async def presign_put(
        self,
        key: str,
        *,
        expires_seconds: int,
        content_type: str | None = None,
        size_bytes: int | None = None,
        only_new: bool = False,
    ) -> str:
        """A URL that stores one object. Type and length (bytes), when given, are signed: others are refused.

        `only_new`: it has to be sent with `If-None-Match: *`, and a storage that knows this replaces nothing.
        """
        headers: dict[str, str] = {}
        if content_type is not None:
            headers["content-type"] = content_type
        if size_bytes is not None:
            headers["content-length"] = str(size_bytes)
        if only_new:
            headers["if-none-match"] = "*"
        return self._presign("PUT", key, expires_seconds=expires_seconds, headers=headers)

    async def presign_get(
        self,
        key: str,
        *,
        expires_seconds: int,
        content_type: str | None = None,
        filename: str | None = None,
        download: bool = False,
        internal: bool = False,
    ) -> str:
        """A URL that reads one object; the type and the name sent are ours to choose, and whether browsers save it."""
        query: dict[str, str] = {}
        if content_type is not None:
            query["response-content-type"] = content_type
        if filename is not None:
            query["response-content-disposition"] = disposition(filename, download=download)
        return self._presign("GET", key, expires_seconds=expires_seconds, query=query, internal=internal)

    def presign_gets(self, keys: Iterable[str], *, expires_seconds: int, content_type: str) -> list[str]:
        """As `presign_get`, for a whole list at once."""
        query = {"response-content-type": content_type}
        return self._presign_gets(keys, expires_seconds=expires_seconds, query=query)

    def sign_call(self, operation: str, *, internal: bool = False, expires_seconds: int = 60, **params: Any) -> str:
        """An address for any one call on the bucket (boto3's name for it), to be sent as it is: the doctor's way to
        see the server's own answers. Headers that `params` bind must be sent along."""
        client = self._internal if internal else self._public
        return self._sign(client, operation, {"Bucket": settings.s3_bucket, **params}, expires_seconds)

    async def answer_headers(self) -> dict[str, str]:
        """The headers of the storage's answers, with names in lower case: they tell which server it is."""

        def call() -> dict[str, str]:
            answer = self._calls.head_bucket(Bucket=settings.s3_bucket)
            return {name.lower(): value for name, value in answer["ResponseMetadata"]["HTTPHeaders"].items()}

        return await self._run("headers", call, seconds=ANSWER_SECONDS)

    async def head(self, key: str) -> ObjectInfo | None:
        """What is stored under `key`, or None when nothing is."""

        def call() -> ObjectInfo | None:
            try:
                answer = self._calls.head_object(Bucket=settings.s3_bucket, Key=key)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return None
                raise
            return ObjectInfo(answer["ContentLength"], answer.get("ContentType", ""), answer["ETag"].strip('"'))

        return await self._run("head", call, seconds=ANSWER_SECONDS)

    async def read(self, key: str, *, most_bytes: int) -> bytes:
        """A small object of our own, whole. Raises StorageUnavailable; also when it is gone, or larger."""

        def call() -> bytes:
            answer = self._calls.get_object(Bucket=settings.s3_bucket, Key=key)
            with answer["Body"] as body:
                found: bytes = body.read(most_bytes + 1)
            if len(found) > most_bytes:
                raise OSError(f"an object of more than {most_bytes} bytes")
            return found

        return await self._run("read", call, seconds=READ_SECONDS)

    async def put_file(self, key: str, path: Path, *, content_type: str) -> None:
        """Store a local file under `key`, a large one in parts. Cancelled, it waits until nothing is sent any more."""
        stop = threading.Event()

        def sent(_: int) -> None:
            if stop.is_set():  # the thread cannot be stopped from outside
                raise InterruptedError

        def call() -> None:
            large = path.stat().st_size >= _TRANSFER.multipart_threshold
            try:
                (self._long_calls if large else self._calls).upload_file(
                    str(path),
                    settings.s3_bucket,
                    key,
                    ExtraArgs={"ContentType": content_type, "ContentDisposition": "inline"},
                    Callback=sent,
                    Config=_TRANSFER,
                )
            except S3UploadFailedError as error:
                raise error.__context__ or error from None

        sending = asyncio.ensure_future(self._run("put", call))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.gather(sending, return_exceptions=True)
            raise

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are fine."""

        def call() -> None:
            for key in keys:
                try:
                    self._calls.delete_object(Bucket=settings.s3_bucket, Key=key)
                except ClientError as error:
                    if code_of(error) not in _MISSING:
                        raise

        await self._run("delete", call)

    async def copy(self, source: str, target: str, *, etag: str, content_type: str) -> bool:
        """Copy an object within the storage, if it still has this `etag`; False when it has not."""

        def call() -> bool:
            try:
                self._long_calls.copy_object(
                    Bucket=settings.s3_bucket,
                    Key=target,
                    CopySource={"Bucket": settings.s3_bucket, "Key": source},
                    CopySourceIfMatch=f'"{etag}"',
                    ContentType=content_type,
                    MetadataDirective="REPLACE",
                )
            except ClientError as error:
                if code_of(error) in {"PreconditionFailed", "412", *_MISSING}:
                    return False
                raise
            return True

        return await self._run("copy", call)

    async def list_objects(self, prefix: str = "", *, after: str = "") -> AsyncIterator[ListedObject]:
        """Everything below `prefix`, in the order of the keys' bytes, on from the key `after`; page by page."""

        def page(token: str | None) -> "tuple[list[ListedObject], str | None]":
            more: Any = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
            answer = self._calls.list_objects_v2(Bucket=settings.s3_bucket, Prefix=prefix, **more)
            found = [
                ListedObject(each["Key"], each["Size"], each["LastModified"]) for each in answer.get("Contents", [])
            ]
            return found, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

        token = None
        while True:
            found, token = await self._run("list", lambda at=token: page(at))  # type: ignore[misc]
            for each in found:
                yield each
            if token is None:
                return

    async def list_keys(self, prefix: str) -> list[str]:
        """All keys below `prefix`."""
        return [each.key async for each in self.list_objects(prefix)]

    async def ping(self) -> None:
        """Raise StorageUnavailable unless the bucket can be reached."""
        await self._run("ping", lambda: self._calls.head_bucket(Bucket=settings.s3_bucket), seconds=ANSWER_SECONDS)


storage = Storage()
