"""Every setting of the platform, read once from the environment (and `.env`); documented in `.env.example`."""

import re
from ipaddress import ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split)]
Ports = Annotated[list[Annotated[int, Field(ge=1, le=65_535)]], NoDecode, BeforeValidator(_split)]
Waits = Annotated[list[Annotated[float, Field(ge=0, le=2_592_000)]], NoDecode, BeforeValidator(_split)]
GivenRoles = Annotated[list[Literal["coach_pro_plus", "org_pro"]], NoDecode, BeforeValidator(_split)]
Features = Annotated[
    list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]], NoDecode, BeforeValidator(_split)
]
CommaSeparatedNumbers = Annotated[list[Annotated[int, Field(ge=144, le=4320)]], NoDecode, BeforeValidator(_split)]


def _numbers(value: object) -> object:
    return dict(item.split("=", 1) for item in _split(value)) if isinstance(value, str) else value  # type: ignore[attr-defined]


SlotsByQueue = Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode, BeforeValidator(_numbers)]


def _is_target(target: str) -> bool:
    """A network in its own form (no host bits set), or a host's name."""
    try:
        ip_network(target)
    except ValueError:
        return re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9_.-]+", target) is not None
    return True


class ConfigurationError(Exception):
    """A setting is missing or cannot work; the message is one line for the operator."""


class Settings(BaseSettings):
    """Names are the environment variables in lower case; units are in the names."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    environment: Literal["local", "production"] = "production"
    public_url: str = "http://127.0.0.1:8000"
    secret_key: SecretStr = SecretStr("")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "json"
    trusted_proxies: CommaSeparated = Field(default_factory=list)
    metrics_token: SecretStr = SecretStr("")

    database_url: SecretStr = SecretStr("")
    database_pool_size: int = Field(default=10, ge=1, le=200)
    database_pool_timeout_seconds: float = Field(default=5.0, gt=0)
    redis_url: SecretStr = SecretStr("")

    doorbell: Literal["arq", "sqs"] = "arq"
    sqs_queue_url_prefix: str = ""
    sqs_video_analysis_queue_url: str = ""
    sqs_endpoint_url: str | None = None
    aws_region: str = "us-east-1"
    sqs_access_key_id: str = ""
    sqs_secret_access_key: SecretStr = SecretStr("")

    s3_endpoint_url: str | None = None
    s3_public_url: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key_id: str = ""
    s3_secret_access_key: SecretStr = SecretStr("")
    s3_bucket: str = "dailies"
    s3_coach_videos_bucket: str = ""
    s3_upload_url_expires_seconds: int = Field(default=3600, ge=60, le=604_800)
    cdn_base_url: str | None = None

    open_registration: bool = True
    password_min_length: int = Field(default=8, ge=8, le=128)
    access_token_minutes: int = Field(default=10, ge=1, le=1440)
    refresh_token_days: int = Field(default=30, ge=1, le=365)
    session_days: int = Field(default=30, ge=1, le=365)
    login_attempts_per_minute: int = Field(default=10, ge=1)
    registrations_per_hour: int = Field(default=20, ge=1)
    address_requests_per_minute: int = Field(default=6000, ge=0)
    user_requests_per_minute: int = Field(default=3000, ge=0)
    key_requests_per_minute: int = Field(default=3000, ge=0)
    web_processes: int = Field(default=1, ge=1)
    idempotency_keep_hours: int = Field(default=24, ge=1, le=720)
    default_roles: GivenRoles = Field(default=["coach_pro_plus"])
    default_features: Features = Field(default=["video_upload_enabled"])

    public_upload_enabled: bool = True
    upload_url_expiration: int = Field(default=1800, ge=60, le=604_800)
    public_uploads_per_minute: int = Field(default=60, ge=1)
    presigned_url_expiration: int = Field(default=900, ge=60, le=604_800)
    playback_url_expiration: int = Field(default=3600, ge=60, le=604_800)
    max_upload_size_mb: int = Field(default=2048, ge=1, le=5_242_880)
    multipart_threshold_mb: int = Field(default=64, ge=1, le=5120)
    upload_part_size_mb: int = Field(default=64, ge=5, le=5120)
    upload_keep_days: int = Field(default=7, ge=1, le=90)
    upload_sweep_seconds: int = Field(default=10, ge=1, le=3600)
    user_quota_mb: int = Field(default=0, ge=0)
    organization_quota_mb: int = Field(default=0, ge=0)
    storage_events_token: SecretStr = SecretStr("")

    max_duration_seconds: int = Field(default=43_200, ge=1)
    probe_timeout_seconds: int = Field(default=30, ge=1)
    poster_timeout_seconds: int = Field(default=60, ge=1)
    preview_timeout_seconds: int = Field(default=300, ge=1)
    transcode_timeout_seconds: int = Field(default=43_200, ge=60)
    rendition_max_height: int = Field(default=1080, ge=144, le=4320)
    ladder_heights: CommaSeparatedNumbers = Field(default_factory=list)
    video_encoder: Literal["libx264", "h264_nvenc", "h264_qsv", "h264_vaapi"] = "libx264"
    stall_seconds: int = Field(default=120, ge=5)
    sandbox: Literal["auto", "bwrap", "none"] = "auto"
    work_dir: str = ""
    work_dir_max_mb: int = Field(default=0, ge=0)
    pose_model_file: str = ""
    analysis_timeout_seconds: int = Field(default=7200, ge=60)
    pose_delegate: Literal["auto", "cpu", "gpu"] = "auto"
    delete_undo_seconds: int = Field(default=10, ge=0, le=3600)

    outbound_plain_http: bool = True
    outbound_ports: Ports = Field(default_factory=lambda: [80, 443])
    allowed_private_targets: CommaSeparated = Field(default_factory=list)
    webhook_timeout_seconds: float = Field(default=15.0, gt=0, le=300)
    webhook_retry_seconds: Waits = Field(
        default_factory=lambda: [5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0]
    )
    webhook_slots: int = Field(default=32, ge=0, le=1000)
    webhook_disable_days: float = Field(default=5.0, gt=0)
    webhook_keep_days: int = Field(default=30, ge=1)

    videos_api_url: str = ""
    videos_api_key: SecretStr = SecretStr("")
    videos_api_dialect: Literal["form", "json", "openrouter"] = "form"
    videos_model: str = ""
    images_model: str = ""
    speech_model: str = ""
    speech_voice: str = ""
    chat_api_url: str = ""
    chat_api_key: SecretStr = SecretStr("")
    chat_model: str = ""
    diffusers_python: str = ""
    diffusers_video_model: str = ""
    diffusers_image_model: str = ""
    diffusers_steps: int = Field(default=0, ge=0, le=500)
    diffusers_fps: int = Field(default=0, ge=0, le=60)
    diffusers_free_vram_mb: int = Field(default=0, ge=0)

    generations_per_hour: int = Field(default=5, ge=0)
    tasks_queued_max: int = Field(default=10_000, ge=0)
    generation_max_mb: int = Field(default=512, ge=1, le=102_400)
    source_image_max_mb: int = Field(default=20, ge=1, le=200)
    provider_video: str = "animatic"
    provider_image: str = "animatic"
    provider_audio: str = "animatic"

    job_lease_seconds: int = Field(default=30, ge=3)
    worker_slots: int = Field(default=4, ge=1, le=256)
    worker_grace_seconds: int = Field(default=20, ge=0)
    worker_queues: CommaSeparated = Field(
        default_factory=lambda: ["default", "media", "media_long", "generation", "outbound", "analysis"]
    )
    worker_queue_slots: SlotsByQueue = Field(
        default_factory=lambda: {"media_long": 1, "generation": 2, "gpu": 1, "outbound": 2, "analysis": 1}
    )

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us over TLS; decides cookie names and flags."""
        return urlsplit(self.public_url).scheme == "https"

    @property
    def max_upload_bytes(self) -> int:
        """The largest file that may be declared for upload, in bytes."""
        return self.max_upload_size_mb * 1024 * 1024

    @property
    def storage_public_origin(self) -> str:
        """Scheme, host and port at which browsers reach the storage, for the CSP."""
        parts = urlsplit(self.s3_public_url or self.s3_endpoint_url or f"https://s3.{self.s3_region}.amazonaws.com")
        return f"{parts.scheme}://{parts.netloc}"

    def check(self) -> None:
        """Refuse to start with settings that cannot work.

        Raises ConfigurationError: with one line that names the setting and what it needs.
        """
        if len(self.secret_key.get_secret_value().encode()) < 32:
            raise ConfigurationError("SECRET_KEY must hold at least 32 bytes; make one with: openssl rand -hex 32")
        for name in ("database_url", "redis_url"):
            if not getattr(self, name).get_secret_value():
                raise ConfigurationError(f"{name.upper()} is not set")
        parts = urlsplit(self.public_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            raise ConfigurationError("PUBLIC_URL must be an origin like https://video.example.org")
        for target in self.allowed_private_targets:
            if not _is_target(target):
                words = "networks like 10.1.0.0/16 and names like receiver.internal"
                raise ConfigurationError(f"ALLOWED_PRIVATE_TARGETS holds {words}, and not {target}")
        for name in ("videos_api_url", "chat_api_url"):
            if (url := getattr(self, name)) and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
                raise ConfigurationError(f"{name.upper()} must be an address like http://gpu.internal:8000/v1")
        if self.doorbell == "sqs" and not self.sqs_queue_url_prefix.startswith(("http://", "https://")):
            raise ConfigurationError("SQS_QUEUE_URL_PREFIX must be the address of a queue without its last name")
        if self.s3_coach_videos_bucket not in ("", self.s3_bucket):
            raise ConfigurationError("S3_COACH_VIDEOS_BUCKET must be S3_BUCKET or empty: one bucket holds all files")


settings = Settings()
