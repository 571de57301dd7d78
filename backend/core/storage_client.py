"""The two clients that speak to the storage, and what its failures are called here."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import structlog
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from backend.config import settings
from backend.core.errors import StorageUnavailable
from backend.core.signing import Keys, Signer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: A storage that takes longer to tell of one object hangs: somebody waits for the answer, so it is not waited for.
ANSWER_SECONDS = 10.0
#: To put ten thousand parts together, or to copy some gigabytes, takes a storage a while.
LONG_SECONDS = 900


class StorageClient:
    """Signs for browsers with the public endpoint, calls with the internal one; opened once.

    Every method raises StorageUnavailable when the storage does not answer or refuses us.
    """

    def __init__(self) -> None:
        self._internal: S3Client | None = None
        self._public: S3Client | None = None
        self._patient: S3Client | None = None
        self._credentials: Any = None
        self._signers: dict[bool, Signer] = {}  #: for ourselves (True), for browsers

    def open(self) -> None:
        keys = settings.s3_access_key_id or None, settings.s3_secret_access_key.get_secret_value() or None
        self._credentials = boto3.Session(*keys).get_credentials()
        self._patient = self._client(settings.s3_endpoint_url, read_timeout=LONG_SECONDS)
        self._internal = self._client(settings.s3_endpoint_url)
        # The host is part of the signature: what a browser will use is signed for the name it will use.
        self._public = self._client(settings.s3_public_url or settings.s3_endpoint_url)
        self._signers = {
            internal: Signer(client.meta.endpoint_url, settings.s3_region, self._keys)
            for internal, client in ((True, self._internal), (False, self._public))
        }

    def close(self) -> None:
        for client in (self._internal, self._public, self._patient):
            if client is not None:
                client.close()
        self._internal = self._public = self._patient = None
        self._signers = {}

    @property
    def _calls(self) -> "S3Client":
        if self._internal is None:
            raise RuntimeError("the storage is not open")
        return self._internal

    @property
    def _long_calls(self) -> "S3Client":
        if self._patient is None:
            raise RuntimeError("the storage is not open")
        return self._patient

    def _keys(self) -> Keys:
        if self._credentials is None:
            raise NoCredentialsError
        keys: Keys = self._credentials.get_frozen_credentials()
        return keys

    def _presign(
        self,
        method: str,
        key: str,
        *,
        expires_seconds: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> str:
        """An address in the bucket, for one call on one key; `headers` in lower case."""
        name = f"{settings.s3_bucket}/{key}"
        with _translated("sign"):
            return self._signer(internal).sign(
                method, name, expires_seconds=expires_seconds, query=query, headers=headers
            )

    def _presign_gets(self, keys: Iterable[str], *, expires_seconds: int, query: Mapping[str, str]) -> list[str]:
        names = [f"{settings.s3_bucket}/{key}" for key in keys]
        with _translated("sign"):
            return self._signer(internal=False).sign_gets(names, expires_seconds=expires_seconds, query=query)

    def _signer(self, internal: bool) -> Signer:
        signer = self._signers.get(internal)
        if signer is None:
            raise RuntimeError("the storage is not open")
        return signer

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> AWSResponse:
        """What the storage answers to a signed address, over boto3's own connections. Raises HTTPClientError."""
        session = self._calls._endpoint.http_session  # type: ignore[attr-defined]  # its proxies, certificates, times
        answer: AWSResponse = session.send(AWSRequest(method=method, url=url, headers=headers, data=b"").prepare())
        return answer

    def _sign(self, client: "S3Client | None", verb: str, params: dict[str, Any], expires_seconds: int) -> str:
        if client is None:
            raise RuntimeError("the storage is not open")
        with _translated("sign"):
            return client.generate_presigned_url(verb, Params=params, ExpiresIn=expires_seconds)

    async def _run(
        self, verb: str, call: Callable[[], T], *, seconds: float | None = None, expected: Collection[str] = ()
    ) -> T:
        """Raises what the storage answered when its code is `expected`, and StorageUnavailable otherwise."""
        with _translated(verb, expected):
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(call)

    def _client(self, endpoint: str | None, *, read_timeout: int = 20) -> "S3Client":
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
                read_timeout=read_timeout,
                retries={"max_attempts": 2, "mode": "standard"},
            ),
        )


def code_of(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


@contextmanager
def _translated(verb: str, expected: Collection[str] = ()) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, TimeoutError) as error:
        code = code_of(error) if isinstance(error, ClientError) else type(error).__name__
        if code in expected:
            raise
        log.warning("storage.failed", verb=verb, code=code)
        raise StorageUnavailable(retry_after_seconds=5) from error
