"""What the API of videos and uploads takes and answers."""

import unicodedata
import uuid
from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import unquote_plus

from pydantic import AfterValidator, BaseModel, Field, computed_field, model_validator

from backend.core.web import Line, Paragraph, StrictModel
from backend.videos.models import UploadState, VideoStatus

MAX_FILENAME_LENGTH = 255
MAX_TITLE_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 5000
_MAX_SIZE_BYTES = 2**63 - 1


def _one_line(value: str) -> str:
    # Composed, so that a name typed on one system finds the file named on another.
    return unicodedata.normalize("NFC", " ".join(value.split()))


def _lines(value: str) -> str:
    return unicodedata.normalize("NFC", "\n".join(line.rstrip() for line in value.split("\n")))


Title = Annotated[Line, AfterValidator(_one_line), Field(max_length=MAX_TITLE_LENGTH)]
Description = Annotated[Paragraph, AfterValidator(_lines), Field(max_length=MAX_DESCRIPTION_LENGTH)]
Filename = Annotated[Line, AfterValidator(_one_line), Field(max_length=MAX_FILENAME_LENGTH)]


# --- uploads ---------------------------------------------------------------------------------------------------------


class PublicUploadIn(StrictModel):
    """A file somebody wants to send without an account."""

    filename: Filename = Field(
        examples=["holiday.mp4"], description="Its extension is kept in the key, and is required"
    )


class PublicUploadOut(BaseModel):
    """PUT the file to `upload_url` before `expires_at`; `claim` lets a signed-in user adopt it."""

    upload_url: str
    s3_path: str
    expires_in: int = Field(description="Seconds")
    expires_at: datetime
    claim: str


Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Hex SHA-256 by which you know the file again")]


class UploadTexts(StrictModel):
    """What the video is to be called; may be sent before, with or after the file."""

    title: Title | None = Field(None, description="By default the file's name without its extension")
    description: Description | None = None
    project_id: uuid.UUID | None = Field(None, description="By default your own project")


class PresignIn(UploadTexts):
    """A file about to be uploaded."""

    filename: Filename = Field(examples=["holiday.mp4"])
    size: int = Field(strict=True, gt=0, le=_MAX_SIZE_BYTES, description="Bytes", examples=[1_048_576])
    content_type: Line = Field(max_length=100, examples=["video/mp4"])
    multipart: bool = Field(
        False, strict=True, description="Send it in parts, each signed on demand: it can then go on after a break"
    )
    checksum: Checksum | None = None
    bytes_per_second: int | None = Field(
        None, strict=True, gt=0, le=2**40, description="What your line took the last time; sizes the parts"
    )


class PresignOut(BaseModel):
    """PUT the file to `upload_url` with exactly these `headers`, then POST `video_id` to /api/videos."""

    upload_id: uuid.UUID
    video_id: uuid.UUID
    upload_url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str]
    s3_key: str
    expires_in: int = Field(description="Seconds")
    expires_at: datetime


class MultipartOut(BaseModel):
    """Sign parts of exactly `part_size` bytes (the last is shorter), PUT each, then complete the upload."""

    upload_id: uuid.UUID
    video_id: uuid.UUID
    s3_key: str
    multipart: Literal[True] = True
    part_size: int = Field(description="Bytes")
    part_count: int
    expires_in: int = Field(description="Seconds")
    expires_at: datetime = Field(description="Until then it can go on")


class PartsIn(StrictModel):
    """The parts to sign."""

    part_numbers: list[Annotated[int, Field(strict=True)]] = Field(min_length=1, max_length=100)


class SignedPartOut(BaseModel):
    """PUT exactly `size_bytes` to `url`."""

    number: int
    url: str
    size_bytes: int


class SignedPartsOut(BaseModel):
    """Addresses of parts; ask again when they have ended."""

    parts: list[SignedPartOut]
    expires_in: int = Field(description="Seconds")


class PartOut(BaseModel):
    """A part that has arrived."""

    number: int
    size_bytes: int
    etag: str


class ErrorOut(BaseModel):
    """Why something ended badly; `retryable` when the same again may succeed."""

    code: str
    message: str
    retryable: bool


class UploadOut(BaseModel):
    """One attempt to bring one object in."""

    id: uuid.UUID
    video_id: uuid.UUID = Field(description="The id its video has or will have")
    video: uuid.UUID | None = Field(description="`video_id` once the video is there")
    project_id: uuid.UUID
    state: UploadState
    filename: str
    content_type: str
    size_bytes: int | None
    s3_key: str
    multipart: bool
    part_size: int | None
    part_count: int | None
    parts: list[PartOut] | None = Field(description="What has arrived; only where one upload is asked for")
    checksum: str | None
    title: str | None
    description: str | None
    error: ErrorOut | None
    created_at: datetime
    expires_at: datetime
    completed_at: datetime | None


class UploadListOut(BaseModel):
    """Uploads, newest first."""

    uploads: list[UploadOut]


class DuplicateOut(BaseModel):
    """A video whose file had the same checksum."""

    video_id: uuid.UUID
    title: str


class DuplicatesOut(BaseModel):
    """The videos one can see that have the same file."""

    duplicates: list[DuplicateOut]


class _EventBucket(BaseModel):
    name: str = Field("", max_length=255)


class _EventObject(BaseModel):
    key: str = Field("", max_length=4096)


class _EventSubject(BaseModel):
    bucket: _EventBucket = _EventBucket()
    object: _EventObject = _EventObject()


class StorageEvent(BaseModel):
    """One thing that happened; what else S3 says of it is not read."""

    s3: _EventSubject = _EventSubject()


class StorageEventsIn(BaseModel):
    """Event notifications as S3 and MinIO send them."""

    Records: list[StorageEvent] = Field(default_factory=list, max_length=1000)

    def keys(self, bucket: str) -> list[str]:
        """The keys in `bucket` that something happened to, as we know them."""
        return [unquote_plus(each.s3.object.key) for each in self.Records if each.s3.bucket.name == bucket]


class UsageOut(BaseModel):
    """What counts towards one's quota, in bytes."""

    used_bytes: int = Field(description="Of videos")
    reserved_bytes: int = Field(description="Of uploads that are under way")
    limit_bytes: int | None = Field(description="null: there is no limit")


class ConfirmIn(StrictModel):
    """Confirms an upload: `video_id` of a presigned one, or `s3_key` and `claim` of one sent without an account."""

    video_id: uuid.UUID | None = None
    s3_key: Line | None = Field(None, max_length=1024)
    claim: Line | None = Field(None, max_length=8192)
    title: Title | None = Field(None, description="By default the file's name without its extension")
    description: Description | None = None

    @model_validator(mode="after")
    def _one_upload(self) -> Self:
        if (self.video_id is None) == (self.s3_key is None):
            raise ValueError("give video_id, or s3_key with its claim")
        if (self.s3_key is None) != (self.claim is None):
            raise ValueError("s3_key and claim belong together")
        return self


# --- videos ----------------------------------------------------------------------------------------------------------


class VideoPatch(StrictModel):
    """What may be changed; fields that are not sent stay."""

    title: Title = ""
    description: Description = ""


class VideoMove(StrictModel):
    """Where a video is to go."""

    project_id: uuid.UUID


class PreviewOut(BaseModel):
    """Small pictures of the whole video, row by row on one sheet; `preview.vtt` tells where it is."""

    columns: int
    rows: int
    count: int
    tile_width: int
    tile_height: int
    interval: float = Field(description="Seconds from one picture to the next")


class RenditionOut(BaseModel):
    """What is played instead of the original: its pictures in another file (remux), or new ones (transcode)."""

    kind: Literal["remux", "transcode"]
    size_bytes: int


class VideoOut(BaseModel):
    """A video. Width and height are as displayed: after rotation and sample aspect."""

    id: uuid.UUID
    project_id: uuid.UUID
    title: str
    description: str
    status: VideoStatus
    phase: str | None
    playable: bool | None = Field(description="Whether browsers play it: the original, or the rendition")
    not_playable_reason: str | None = Field(description="Why they do not play the original")
    source: str
    filename: str
    content_type: str
    size_bytes: int
    missing_bytes: int | None = Field(
        description="Of a file that was cut off (MP4 and MOV): how much its end lacks; null: nothing that is known"
    )
    duration: float | None = Field(description="Seconds; of what is there where the end is missing")
    width: int | None
    height: int | None
    coded_width: int | None
    coded_height: int | None
    rotation: int | None = Field(description="Degrees clockwise that show it upright")
    fps: float | None
    vfr: bool | None
    bit_depth: int | None
    hdr: str | None
    container: str | None
    video_codec: str | None
    audio_codec: str | None
    has_audio: bool | None
    poster_url: str | None
    preview: PreviewOut | None
    rendition: RenditionOut | None
    has_ladder: bool = Field(description="Whether it can be streamed in several sizes (HLS)")
    prompt: str | None = Field(None, description="What it was generated from; null for others, as the next two")
    orientation: str | None = None
    model_used: str | None = None
    error: ErrorOut | None
    job_id: uuid.UUID | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


class Pagination(BaseModel):
    """Where a page stands; `page` is null when a cursor led to it, `next_cursor` is null on the last."""

    page: int | None
    limit: int
    total: int
    total_pages: int
    next_cursor: str | None

    @computed_field(description="As `total_pages`, for clients that read camelCase")  # type: ignore[prop-decorator]
    @property
    def totalPages(self) -> int:
        return self.total_pages


class VideoListOut(BaseModel):
    """One page of a list of videos."""

    videos: list[VideoOut]
    pagination: Pagination


class PlaybackOut(BaseModel):
    """Where the bytes of a video can be read, with ranges, until `expires_at`.

    With a CDN configured the address is the CDN's and is not signed; ask again after `expires_at` all the same.
    """

    url: str
    content_type: str
    expires_in: int = Field(description="Seconds")
    expires_at: datetime
