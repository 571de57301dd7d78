"""The one S3 code path: signing for browsers with the public endpoint, calls of our own with the internal one."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backend.config import settings
from backend.core.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

log = structlog.get_logger(__name__)

_MISSING = {"404", "NoSuchKey", "NotFound"}
#: A storage that takes longer to tell of one object hangs: somebody waits for the answer, so it is not waited for.
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class ObjectInfo:
    """What the storage says of an object."""

    size_bytes: int
    content_type: str
    etag: str


def attachment(filename: str) -> str:
    """A Content-Disposition that saves under `filename` (RFC 6266: plain ASCII, and the whole name in UTF-8)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


class Storage:
    """One bucket. Every method raises StorageUnavailable when the storage does not answer or refuses us."""

    def __init__(self) -> None:
        self._internal: S3Client | None = None
        self._public: S3Client | None = None

    def open(self) -> None:
        self._internal = self._client(settings.s3_endpoint_url)
        # The host is part of the signature: what a browser will use is signed for the name it will use.
        self._public = self._client(settings.s3_public_url or settings.s3_endpoint_url)

    def close(self) -> None:
        for client in (self._internal, self._public):
            if client is not None:
                client.close()
        self._internal = self._public = None

    async def presign_put(
        self,
        key: str,
        *,
        expires_seconds: int,
        content_type: str | None = None,
        size_bytes: int | None = None,
    ) -> str:
        """A URL that stores one object. Type and length (bytes), when given, are signed: others are refused."""
        params: dict[str, Any] = {"Bucket": settings.s3_bucket, "Key": key}
        if content_type is not None:
            params["ContentType"] = content_type
        if size_bytes is not None:
            params["ContentLength"] = size_bytes
        return self._sign(self._public, "put_object", params, expires_seconds)

    async def presign_get(
        self,
        key: str,
        *,
        expires_seconds: int,
        content_type: str | None = None,
        download_name: str | None = None,
        internal: bool = False,
    ) -> str:
        """A URL that reads one object; the type sent is ours to choose, and `download_name` makes it a download."""
        params: dict[str, Any] = {"Bucket": settings.s3_bucket, "Key": key}
        if content_type is not None:
            params["ResponseContentType"] = content_type
        if download_name is not None:
            params["ResponseContentDisposition"] = attachment(download_name)
        return self._sign(self._internal if internal else self._public, "get_object", params, expires_seconds)

    async def head(self, key: str) -> ObjectInfo | None:
        """What is stored under `key`, or None when nothing is."""

        def call() -> ObjectInfo | None:
            try:
                answer = self._calls.head_object(Bucket=settings.s3_bucket, Key=key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            return ObjectInfo(answer["ContentLength"], answer.get("ContentType", ""), answer["ETag"].strip('"'))

        return await self._run("head", call, seconds=_ANSWER_SECONDS)

    async def put_file(self, key: str, path: Path, *, content_type: str) -> None:
        """Store a local file under `key`."""

        def call() -> None:
            with path.open("rb") as file:
                self._calls.put_object(Bucket=settings.s3_bucket, Key=key, Body=file, ContentType=content_type)

        await self._run("put", call)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are fine."""

        def call() -> None:
            for key in keys:
                try:
                    self._calls.delete_object(Bucket=settings.s3_bucket, Key=key)
                except ClientError as error:
                    if _code(error) not in _MISSING:
                        raise

        await self._run("delete", call)

    async def list_keys(self, prefix: str) -> list[str]:
        """All keys below `prefix`."""

        def call() -> list[str]:
            pages = self._calls.get_paginator("list_objects_v2").paginate(Bucket=settings.s3_bucket, Prefix=prefix)
            return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

        return await self._run("list", call)

    async def ping(self) -> None:
        """Raise StorageUnavailable unless the bucket can be reached."""
        await self._run("ping", lambda: self._calls.head_bucket(Bucket=settings.s3_bucket), seconds=_ANSWER_SECONDS)

    @property
    def _calls(self) -> "S3Client":
        if self._internal is None:
            raise RuntimeError("the storage is not open")
        return self._internal

    def _sign(self, client: "S3Client | None", verb: str, params: dict[str, Any], expires_seconds: int) -> str:
        if client is None:
            raise RuntimeError("the storage is not open")
        with _translated("sign"):
            return client.generate_presigned_url(verb, Params=params, ExpiresIn=expires_seconds)

    async def _run(self, verb: str, call: Callable[[], T], *, seconds: float | None = None) -> T:
        with _translated(verb):
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(call)

    def _client(self, endpoint: str | None) -> "S3Client":
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=settings.s3_region,
            aws_access_key_id=settings.s3_access_key_id or None,
            aws_secret_access_key=settings.s3_secret_access_key.get_secret_value() or None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                # Default checksums break R2 and other servers.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=3,
                read_timeout=20,
                retries={"max_attempts": 2, "mode": "standard"},
            ),
        )


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


@contextmanager
def _translated(verb: str) -> "Iterator[None]":
    try:
        yield
    except (ClientError, BotoCoreError, TimeoutError) as error:
        code = _code(error) if isinstance(error, ClientError) else type(error).__name__
        log.warning("storage.failed", verb=verb, code=code)
        raise StorageUnavailable(retry_after_seconds=5) from error


storage = Storage()
