"""What the storage server can do: one table of the servers we know, corrected by what the doctor tried.

Servers that speak S3 differ. The code that signs asks `capabilities.current()`; it never asks which server it is.
What was tried is kept in Postgres, one row for each storage, and read again by every process within minutes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from sqlalchemy import String, func
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from backend.config import settings
from backend.core.db import Base, transaction

if TYPE_CHECKING:  # it may itself ask us
    from backend.core.storage import Storage

log = structlog.get_logger(__name__)

#: How often a process reads again what the doctor of another may have written; until something is known, sooner.
READ_SECONDS = 300.0
UNKNOWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a storage server does, as far as servers differ and something is decided by it.

    Where a fact is not known, the value is the one that cannot do harm.
    """

    #: A name of `KNOWN`, or "unknown".
    server: str = "unknown"
    #: A signed `If-None-Match: *` keeps a PUT from replacing an object that is there (`videos.uploads`: only then may
    #: a file be an object of its own at once, which events tell of).
    if_none_match: bool = False
    #: Open multipart uploads can be listed by a prefix, and not by the exact key alone (`videos.reconcile`).
    list_uploads_by_prefix: bool = False


#: The servers we know, as they come. What the doctor tries (`PROBED`) wins over it.
KNOWN = {
    each.server: each
    for each in (
        Capabilities("swift", if_none_match=True, list_uploads_by_prefix=True),
        Capabilities("minio", if_none_match=True),
        Capabilities("aws", if_none_match=True, list_uploads_by_prefix=True),
        Capabilities("r2", if_none_match=True, list_uploads_by_prefix=True),
        Capabilities("seaweedfs", list_uploads_by_prefix=True),
    )
}
UNKNOWN = Capabilities()
#: What the doctor tries on the server itself.
PROBED = tuple(field.name for field in fields(Capabilities) if field.name != "server")

_HOSTS = {".amazonaws.com": "aws", ".amazonaws.com.cn": "aws", ".r2.cloudflarestorage.com": "r2"}
_SERVERS = {"minio": "minio", "amazons3": "aws", "seaweedfs": "seaweedfs"}


class StorageFacts(Base):
    """What was found out about a storage: its server, and which of `PROBED` it can do."""

    __tablename__ = "storage_facts"

    endpoint: Mapped[str] = mapped_column(String(500), primary_key=True)
    server: Mapped[str] = mapped_column(String(30))
    probed: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    probed_at: Mapped[datetime] = mapped_column(server_default=func.now())


def endpoint() -> str:
    """Which storage the settings name: the key of its row."""
    return f"{settings.s3_endpoint_url or f'aws:{settings.s3_region}'}/{settings.s3_bucket}"[:500]


def by_address(url: str | None) -> str:
    """The server that its host name gives away; without an endpoint it is AWS."""
    host = urlsplit(url).hostname or "" if url else ".amazonaws.com"
    return next((server for end, server in _HOSTS.items() if host.endswith(end)), "unknown")


def detect(url: str | None, headers: Mapping[str, str]) -> str:
    """The server, by its address and by what its answers carry (`headers`, with names in lower case)."""
    named = by_address(url)
    if named != "unknown":
        return named
    if "x-trans-id" in headers and "x-openstack-request-id" in headers:
        return "swift"
    said = headers.get("server", "").lower()
    return next((server for word, server in _SERVERS.items() if word in said), "unknown")


def of(server: str, probed: Mapping[str, Any] | None = None) -> Capabilities:
    """The table's line for a server, corrected by what was tried on it."""
    tried: dict[str, Any] = {name: bool(value) for name, value in (probed or {}).items() if name in PROBED}
    return replace(KNOWN.get(server, UNKNOWN), **tried)


_current: tuple[str, Capabilities] | None = None


def current() -> Capabilities:
    """What the storage of the settings can do, as far as this process knows. Asks nobody."""
    if _current is not None and _current[0] == endpoint():
        return _current[1]
    return of(by_address(settings.s3_endpoint_url))


async def learn(storage: "Storage") -> Capabilities:
    """Read what is kept about this storage; when nothing is, look at what its answers give away.

    Raises StorageUnavailable.
    """
    async with transaction() as session:
        row = await session.get(StorageFacts, endpoint())
    if row is not None:
        return _remember(of(row.server, row.probed))
    return _remember(of(detect(settings.s3_endpoint_url, await storage.answer_headers())))


async def keep(session: AsyncSession, *, server: str, probed: Mapping[str, bool]) -> Capabilities:
    """Write down what the doctor tried; what it could not try this time stays as it was."""
    statement = insert(StorageFacts).values(endpoint=endpoint(), server=server, probed=dict(probed))
    stored: dict[str, Any] = (
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["endpoint"],
                set_={
                    "server": server,
                    "probed": StorageFacts.probed.op("||")(statement.excluded.probed),
                    "probed_at": func.now(),
                },
            ).returning(StorageFacts.probed)
        )
    ).scalar_one()
    return _remember(of(server, stored))


async def keep_current(storage: "Storage") -> None:
    """Learn now, and again every few minutes, until cancelled. What is away is waited for."""
    while True:
        seconds = READ_SECONDS
        try:
            await learn(storage)
        except Exception as error:  # current() answers with what is known by the address meanwhile
            log.info("capabilities.unknown", error=type(error).__name__)
            seconds = UNKNOWN_SECONDS
        await asyncio.sleep(seconds)


def _remember(found: Capabilities) -> Capabilities:
    global _current
    if _current is None or _current[1] != found:
        log.info("capabilities", **asdict(found))
    _current = (endpoint(), found)
    return found


def forget() -> None:
    """Drop what this process knows."""
    global _current
    _current = None
