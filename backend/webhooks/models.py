"""Endpoints, what is to be delivered to them, and each try."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Timestamped


class EventType(StrEnum):
    """What is told: each in the transaction in which it comes about."""

    UPLOAD_COMPLETED = "upload.completed"  #: the file is there, and its video
    UPLOAD_FAILED = "upload.failed"  #: what arrived is not what was announced
    UPLOAD_EXPIRED = "upload.expired"
    UPLOAD_CANCELLED = "upload.cancelled"
    VIDEO_CREATED = "video.created"
    VIDEO_UPDATED = "video.updated"  #: its texts
    VIDEO_COMPLETED = "video.completed"  #: poster and something that plays are there
    VIDEO_FAILED = "video.failed"
    VIDEO_DELETED = "video.deleted"  #: out of sight; its objects follow
    VIDEO_RESTORED = "video.restored"
    VIDEO_MOVED = "video.moved"  #: to another project: both are told
    JOB_STARTED = "job.started"  #: an attempt has begun
    JOB_COMPLETED = "job.completed"
    JOB_FAILED = "job.failed"  #: nothing further will be tried
    JOB_CANCELLED = "job.cancelled"

    @property
    def family(self) -> str:
        """The pattern that asks for all of its kind."""
        return f"{self.partition('.')[0]}.*"


#: What an endpoint may ask for.
PATTERNS = (*dict.fromkeys(each.family for each in EventType), *(each.value for each in EventType))
#: Sent by a button, whatever was asked for.
TEST_TYPE = "webhook.test"


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  #: to be sent at `next_try_at`
    DELIVERING = "delivering"  #: a worker is sending it; if it is not heard of until `lease_until`, another does
    DELIVERED = "delivered"  #: answered with 2xx
    DEAD = "dead"  #: given up, `error` says why; nothing is sent unless somebody asks for it
    CANCELLED = "cancelled"  #: somebody switched the endpoint off before it was sent


class WebhookEndpoint(Identified, Timestamped, Base):
    """An address, and what it wants to hear. Secrets are sealed (`core.security.seal`)."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        Index("ix_webhook_endpoints_enabled", "project_id", postgresql_where="enabled"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(String(2000))
    description: Mapped[str] = mapped_column(String(200), server_default="")
    events: Mapped[list[str]] = mapped_column(ARRAY(String(60)))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    previous_secret: Mapped[bytes | None] = mapped_column(LargeBinary)  #: signs as well until then
    previous_until: Mapped[datetime | None]
    enabled: Mapped[bool] = mapped_column(server_default="true")
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    disabled_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]  #: the first failure after the last success


class WebhookDelivery(Identified, Base):
    """One event for one endpoint. `event_id` is what receivers know it by, the same at every try."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        UniqueConstraint("endpoint_id", "event_id"),
        ForeignKeyConstraint(
            ["project_id", "endpoint_id"], ["webhook_endpoints.project_id", "webhook_endpoints.id"], ondelete="CASCADE"
        ),
        CheckConstraint("(state = 'delivering') = (lease_token IS NOT NULL)", name="lease"),
        Index("ix_webhook_deliveries_due", "endpoint_id", "next_try_at", "id", postgresql_where="state = 'pending'"),
        Index("ix_webhook_deliveries_lease", "lease_until", postgresql_where="state = 'delivering'"),
        Index("ix_webhook_deliveries_recent", "endpoint_id", "created_at", "id"),
        Index("ix_webhook_deliveries_finished", "finished_at", postgresql_where="finished_at IS NOT NULL"),
    )

    project_id: Mapped[uuid.UUID]
    endpoint_id: Mapped[uuid.UUID]
    event_id: Mapped[uuid.UUID]
    type: Mapped[str] = mapped_column(String(60))
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(String(20), server_default=DeliveryState.PENDING)
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")  #: tries since it was last asked for
    next_try_at: Mapped[datetime | None] = mapped_column(server_default=func.clock_timestamp())
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    status: Mapped[int | None] = mapped_column(SmallInteger)  #: of the last answer
    error: Mapped[str | None] = mapped_column(Text)  #: of the last try, or why it was given up
    #: The clock's and not the transaction's: what one transaction tells has an order.
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]


class WebhookAttempt(Base):
    """One try, append-only: what was answered, or why nothing was."""

    __tablename__ = "webhook_attempts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "delivery_id"],
            ["webhook_deliveries.project_id", "webhook_deliveries.id"],
            ondelete="CASCADE",
        ),
        Index(None, "delivery_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    project_id: Mapped[uuid.UUID]
    delivery_id: Mapped[uuid.UUID]
    at: Mapped[datetime]
    url: Mapped[str] = mapped_column(String(2000))
    status: Mapped[int | None] = mapped_column(SmallInteger)
    answer: Mapped[str | None] = mapped_column(Text)  #: its beginning
    error: Mapped[str | None] = mapped_column(Text)
    duration_ms: Mapped[int]
