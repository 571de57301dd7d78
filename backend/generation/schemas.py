"""What the API of generations takes and answers."""

import unicodedata
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from backend.core.paging import DEFAULT_LIMIT, MAX_LIMIT, MAX_PAGE
from backend.core.web import Line, Paragraph, StrictModel
from backend.generation.models import Door, Kind
from backend.generation.providers.base import Orientation
from backend.generation.spec import MAX_IMAGES, MAX_PROMPT_LENGTH, MAX_SECONDS, MAX_SEED, MIN_SECONDS, ImageRef
from backend.jobs.schemas import JobErrorOut, JobOut
from backend.videos.schemas import ConfirmIn, Description, Pagination, Title

#: Words for where a generation stands, as its clients read them. `needs_review` is `failed` with that code.
Status = Literal["pending", "processing", "completed", "failed", "cancelled"]


def _filled(value: str) -> str:
    value = unicodedata.normalize("NFC", value)
    if all(unicodedata.category(character) in ("Cc", "Cf", "Cn", "Zl", "Zp", "Zs") for character in value):
        raise ValueError("must not be blank")  # zero-width characters alone show as nothing
    return value


Prompt = Annotated[Paragraph, AfterValidator(_filled), Field(min_length=1, max_length=MAX_PROMPT_LENGTH)]
Word = Annotated[Line, Field(max_length=60)]


class WishIn(StrictModel):
    """How it is to be made; what is not said is left to the provider, or is as is usual for the kind."""

    orientation: Orientation | None = Field(None, description="By default portrait; of an image, square")
    seconds: float | None = Field(
        None, ge=MIN_SECONDS, le=MAX_SECONDS, allow_inf_nan=False, description="Of a video; by default 7"
    )
    seed: int | None = Field(None, strict=True, ge=0, le=MAX_SEED, description="The same again looks the same")
    provider: Word | None = Field(None, description="By default what the installation chose for the kind")
    model: Annotated[Line, Field(max_length=200)] | None = None
    voice: Word | None = Field(None, description="Of what is spoken: a language as `de`, or `female`, `male`, `child`")
    pace: Word | None = Field(None, description="slow, normal, fast, or a factor as 1.2")
    emotion: Word | None = None
    background_noise: Word | None = Field(None, description="Of a sound: none, rain, wind, sea, street, room, crowd")
    images: list[ImageRef] | None = Field(None, max_length=MAX_IMAGES, description="A storyboard, in its order")


class GenerationIn(WishIn):
    """Something to be made."""

    prompt: Prompt
    kind: Kind = Kind.VIDEO
    project_id: uuid.UUID | None = Field(None, description="By default your own project")


class AgainIn(WishIn):
    """What is to be different this time."""

    prompt: Prompt | None = None


class VideoIn(WishIn):
    """A video: with `video_id`, or `s3_key` and `claim`, one that was uploaded; with `prompt` one to be made."""

    video_id: uuid.UUID | None = None
    s3_key: Line | None = Field(None, max_length=1024)
    claim: Line | None = Field(None, max_length=8192)
    title: Title | None = Field(None, description="Of an upload; by default the file's name without its extension")
    description: Description | None = None
    prompt: Prompt | None = None
    project_id: uuid.UUID | None = Field(None, description="With `prompt`; by default your own project")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        said = {name for name in self.model_fields_set if getattr(self, name) is not None}
        uploaded, wished = said & set(ConfirmIn.model_fields), said & set(GenerationIn.model_fields)
        if uploaded and wished:
            raise ValueError(f"{min(uploaded)} is of an upload and {min(wished)} of a prompt: give one of both")
        if wished and self.prompt is None:
            raise ValueError(f"{min(wished)} needs a prompt")
        if not wished and (self.video_id is None) == (self.s3_key is None):
            raise ValueError("give video_id, or s3_key with its claim, or prompt")
        if (self.s3_key is None) != (self.claim is None):
            raise ValueError("s3_key and claim belong together")
        return self

    def generation(self) -> GenerationIn:
        """As something to be made."""
        return GenerationIn(**{name: getattr(self, name) for name in GenerationIn.model_fields if name != "kind"})


class SourceImageIn(StrictModel):
    """A picture about to be sent."""

    content_type: Literal["image/jpeg", "image/png", "image/webp"]
    size: int = Field(strict=True, gt=0, le=2**53, description="Bytes")
    project_id: uuid.UUID | None = Field(None, description="By default your own project")


class SourceImageOut(BaseModel):
    """PUT the picture to `upload_url` with exactly these `headers`, then name `image_id` among a prompt's `images`."""

    image_id: uuid.UUID
    upload_url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str]
    expires_in: int = Field(description="Seconds")


class GenerationOut(BaseModel):
    """What was asked for, where it stands, and what came of it. Times in seconds, sizes in pixels."""

    id: uuid.UUID
    project_id: uuid.UUID
    door: Door
    kind: Kind
    task_type: str | None
    prompt: str
    orientation: Orientation | None
    seconds: float | None
    spec: dict[str, Any] = Field(description="All that the provider was told beside the prompt")
    provider: str
    model_used: str | None
    seed: int | None
    status: Status
    stage: str | None
    progress: float = Field(description="Percent")
    queue_position: int | None
    estimated_seconds: float | None = Field(description="What such generations took of late")
    needs_review: bool = Field(description="It was sent and the answer is unknown: it is not sent again by itself")
    error: JobErrorOut | None
    notes: list[str] = Field(description="What is not as it was asked for, in sentences")
    job_id: uuid.UUID | None
    video_id: uuid.UUID | None
    content_type: str | None
    size_bytes: int | None
    width: int | None
    height: int | None
    duration: float | None
    url: str | None = Field(description="Where the result is read; the address ends")
    poster_url: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class Started(BaseModel):
    """It is queued: follow `stream_url`."""

    generation: GenerationOut
    job: JobOut
    stream_url: str


class StudioJob(JobOut):
    """A job as the studio's first clients read it: `status` is pending, processing, completed or failed for what makes
    something. The names in camelCase say the same as those beside them."""

    status: str  # type: ignore[assignment]
    stream_url: str
    streamUrl: str
    queuePosition: int | None
    estimatedSeconds: float | None
    videoId: uuid.UUID | None
    projectId: uuid.UUID
    createdAt: datetime
    startedAt: datetime | None
    finishedAt: datetime | None


class StudioStarted(BaseModel):
    """It is queued: follow `stream_url`."""

    job: StudioJob
    stream_url: str
    streamUrl: str
    generation_id: uuid.UUID
    generationId: uuid.UUID


class LimitsOut(BaseModel):
    """How many generations one may still start."""

    limit: int | None = Field(description="In an hour; null: there is no limit")
    used: int = Field(description="In the hour that ends now")
    left: int | None
    next_at: datetime | None = Field(description="When one more is free; null while some are left")


class FileOut(BaseModel):
    """Where a result is read, with ranges, until `expires_at`."""

    url: str
    content_type: str
    filename: str
    expires_in: int = Field(description="Seconds")
    expires_at: datetime


class GenerationQuery(BaseModel):
    """Which generations to list, newest first. `page` counts from 1; `cursor` continues a page instead."""

    q: Annotated[Paragraph, AfterValidator(lambda value: unicodedata.normalize("NFC", value))] = Field(
        "", max_length=200, description="Words, or beginnings of words, of the prompt that must all occur"
    )
    kind: Kind | None = None
    state: Status | None = None
    door: Door | None = None
    project_id: uuid.UUID | None = None
    page: int | None = Field(None, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="`next_cursor` of the page before")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: object) -> object:
        # A form that filters by GET sends its empty fields too.
        return {k: v for k, v in values.items() if v != ""} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _one_way_to_page(self) -> Self:
        if self.page is not None and self.cursor is not None:
            raise ValueError("give page or cursor, not both")
        return self


class GenerationPage(BaseModel):
    """One page of generations."""

    generations: list[GenerationOut]
    pagination: Pagination
