"""What the API answers, as frozen dataclasses. Ids are text, times are aware datetimes, sizes are bytes."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

VideoStatus = Literal["uploaded", "processing", "completed", "failed"]
JobStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
UploadState = Literal["waiting", "uploading", "verifying", "completed", "failed", "cancelled", "expired"]
DeliveryState = Literal["pending", "delivering", "delivered", "dead", "cancelled"]
Scope = Literal["read", "write", "tasks", "admin"]
Role = Literal["viewer", "editor", "admin", "owner"]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a session. Each `refresh_token` works once: keep the newest (`on_tokens`)."""

    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class User:
    """An account as its owner sees it."""

    id: str
    email: str
    name: str
    roles: list[str]
    features: list[str]
    created_at: datetime


@dataclass(frozen=True)
class Problem:
    """Why something ended badly; `retryable` when the same again may succeed."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Preview:
    """Small pictures of the whole video, row by row on one sheet; `interval` is in seconds."""

    columns: int
    rows: int
    count: int
    tile_width: int
    tile_height: int
    interval: float


@dataclass(frozen=True)
class Rendition:
    """What is played instead of the original."""

    kind: str
    size_bytes: int


@dataclass(frozen=True)
class Video:
    """A video. Width and height are as displayed; `duration` is in seconds."""

    id: str
    project_id: str
    title: str
    description: str
    status: VideoStatus
    phase: str | None
    playable: bool | None
    not_playable_reason: str | None
    source: str
    filename: str
    content_type: str
    size_bytes: int
    missing_bytes: int | None
    duration: float | None
    width: int | None
    height: int | None
    coded_width: int | None
    coded_height: int | None
    rotation: int | None
    fps: float | None
    vfr: bool | None
    bit_depth: int | None
    hdr: str | None
    container: str | None
    video_codec: str | None
    audio_codec: str | None
    has_audio: bool | None
    poster_url: str | None
    preview: Preview | None
    rendition: Rendition | None
    has_ladder: bool
    prompt: str | None
    orientation: str | None
    model_used: str | None
    error: Problem | None
    job_id: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True)
class Playback:
    """Where the bytes of a video can be read until `expires_at`; `expires_in` is in seconds."""

    url: str
    content_type: str
    expires_in: int
    expires_at: datetime


@dataclass(frozen=True)
class Part:
    """A part that has arrived."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class Upload:
    """One attempt to bring one file in. `video` is `video_id` once the video is there."""

    id: str
    video_id: str
    video: str | None
    project_id: str
    state: UploadState
    filename: str
    content_type: str
    size_bytes: int | None
    s3_key: str
    multipart: bool
    part_size: int | None
    part_count: int | None
    parts: list[Part] | None
    checksum: str | None
    title: str | None
    description: str | None
    error: Problem | None
    created_at: datetime
    expires_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True)
class Usage:
    """What counts towards one's quota; `limit_bytes` is None when there is no limit."""

    used_bytes: int
    reserved_bytes: int
    limit_bytes: int | None


@dataclass(frozen=True)
class Job:
    """Background work. `progress` is in percent; `estimated_seconds` is what such jobs took of late."""

    id: str
    kind: str
    queue: str
    status: JobStatus
    stage: str | None
    progress: float
    attempt: int
    max_attempts: int
    queue_position: int | None
    waiting_for: str | None
    estimated_seconds: float | None
    error: Problem | None
    video_id: str | None
    project_id: str
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.status in ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Project:
    """A project one may reach. `permissions` is what these credentials may do in it."""

    id: str
    name: str
    personal: bool
    organization_id: str | None
    role: Role
    permissions: list[str]
    created_at: datetime


@dataclass(frozen=True)
class Key:
    """An API key without its secret."""

    id: str
    project_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    state: Literal["active", "expired", "revoked"]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaces_id: str | None


@dataclass(frozen=True)
class NewKey(Key):
    """A new key with its text, which nobody can see again."""

    key: str = field(repr=False)


@dataclass(frozen=True)
class Webhook:
    """An address that is told of events. It was switched off by itself when `disabled_reason` says so."""

    id: str
    project_id: str
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class NewWebhook(Webhook):
    """A new webhook with the secret that signs what it is sent, which nobody can see again."""

    secret: str = field(repr=False)


@dataclass(frozen=True)
class NewSecret:
    """A new secret. Until `previous_secret_until` each delivery is signed with both."""

    secret: str = field(repr=False)
    previous_secret_until: datetime | None


@dataclass(frozen=True)
class Attempt:
    """One try to deliver: the status and the beginning of the answer, or why there is none."""

    at: datetime
    url: str
    status: int | None
    answer: str | None
    error: str | None
    duration_ms: int


@dataclass(frozen=True)
class Delivery:
    """An event for one webhook. `event_id` is its `webhook-id` at every try."""

    id: str
    webhook_id: str
    project_id: str
    event_id: str
    type: str
    state: DeliveryState
    attempt: int
    next_try_at: datetime | None
    status: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class DeliveryDetail(Delivery):
    """With what is sent, and all tries, oldest first."""

    body: dict[str, Any]
    attempts: list[Attempt]
