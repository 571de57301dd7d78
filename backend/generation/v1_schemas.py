"""What the task service takes and answers (`/api/v1`)."""

import json
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from backend.core.paging import MAX_PAGE
from backend.core.web import StrictModel
from backend.generation.task_types import MAX_METADATA_CHARACTERS, Url, plain
from backend.jobs.schemas import JobErrorOut

TaskName = Literal[
    "generate_video",
    "video_generation",
    "generate_image",
    "image_generation",
    "process_audio",
    "audio_synthesis",
    "render_animation",
    "test_prompt",
]
TaskState = Literal["queued", "processing", "completed", "failed", "cancelled"]


def _short(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(plain(value))) > MAX_METADATA_CHARACTERS:
        raise ValueError(f"must not have more than {MAX_METADATA_CHARACTERS} characters")
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_short)]
TaskData = Annotated[dict[str, Any], AfterValidator(plain)]


class TaskIn(StrictModel):
    """A task. What `task_data` holds depends on its type:

    - `generate_video`: storyboard_images[] (addresses), scene_description, camera_angle, lighting, character_positions,
      audio_cues, orientation (landscape)
    - `generate_image`: character_description, style_guide, reference_images[], pose, lighting
    - `process_audio`: text, character_voice_profile, emotion, pace, background_noise
    - `render_animation`: as `generate_video`, with duration (1 to 60 s) and fps (12 to 60)
    - `test_prompt`: prompt, task_type (which of the others it is for)

    Descriptions may be a text, a list, or names with values.
    """

    project_id: uuid.UUID
    task_type: TaskName
    task_data: TaskData = Field(examples=[{"scene_description": "A harbour at dawn", "camera_angle": "low"}])
    priority: int = Field(2, strict=True, ge=1, le=3, description="1 first, 3 last")
    callback_url: Url | None = Field(None, description="Where its end is POSTed to")
    metadata: Metadata | None = Field(None, description="Yours: it comes back in answers and callbacks")


class TaskMade(BaseModel):
    """A task that is queued."""

    task_id: uuid.UUID
    status: TaskState
    project_id: uuid.UUID
    estimated_duration: float = Field(description="Seconds that it will run, by what such tasks took of late")
    queue_position: int | None = Field(description="About how many tasks go first; projects take turns. 1000: or more")
    created_at: datetime


class TrialOut(BaseModel):
    """What a dry run was for, who would make it, and how many seconds that would run."""

    task_type: str
    provider: str
    estimated_duration: float


class ResultMetadata(BaseModel):
    """Of the result: seconds, pixels, bytes."""

    duration: float | None
    resolution: str | None = Field(examples=["1280x720"])
    file_size: int
    content_type: str
    model_used: str | None
    seed: int | None
    trial: TrialOut | None = Field(description="Of a dry run")


class TaskResult(BaseModel):
    """What came of it. The address of the file is good as long as the file is there, for whoever has it."""

    media_url: str
    payload_media_id: str | None = Field(description="Of the CMS's document, once it is there")
    metadata: ResultMetadata


class CallbackOut(BaseModel):
    """How far the last callback is. It is tried again for some hours."""

    state: Literal["waiting", "sending", "delivered", "failed"]
    job_id: uuid.UUID | None = Field(description="Of the job that sends it, which people may have tried again")
    status: int | None = Field(description="Of the last answer")
    error: str | None = Field(description="Of the last try")
    attempts: int
    next_try_at: datetime | None
    delivered_at: datetime | None


class CmsSyncOut(BaseModel):
    """How far the result is on its way into the CMS."""

    state: Literal["waiting", "sending", "synced", "failed"]
    job_id: uuid.UUID | None = Field(description="Of the job that sends it, which people may have tried again")
    document_id: str | None
    error: str | None = Field(description="Of the last try")
    attempts: int
    next_try_at: datetime | None
    synced_at: datetime | None


class TaskOut(BaseModel):
    """Where a task stands, and what came of it."""

    task_id: uuid.UUID
    project_id: uuid.UUID
    task_type: str
    status: TaskState
    priority: int
    progress: float = Field(ge=0, le=1)
    current_step: str | None
    queue_position: int | None = None
    attempt: int = Field(description="Attempts begun; what fails for want of GPU memory is tried again by itself")
    result: TaskResult | None
    error: JobErrorOut | None
    metadata: dict[str, Any]
    callback: CallbackOut | None = Field(description="Null without a callback_url, and before the end")
    cms: CmsSyncOut | None = Field(description="Null where the project has no CMS, and before the end")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class TaskCancelled(BaseModel):
    """`processing` while its worker is still stopping, which takes seconds."""

    task_id: uuid.UUID
    status: TaskState
    message: str


class TaskQuery(BaseModel):
    """Which tasks to list, newest first."""

    status: TaskState | None = None
    task_type: TaskName | None = None
    page: int = Field(default=1, ge=1, le=MAX_PAGE)
    limit: int = Field(default=20, ge=1, le=100)


class TaskPage(BaseModel):
    """One page of tasks."""

    tasks: list[TaskOut]
    page: int
    limit: int
    total: int
    total_pages: int


class GpuOut(BaseModel):
    """A GPU of a worker: memory in MiB, use in percent."""

    name: str
    memory_mib: int | None
    memory_used_mib: int | None
    use_percent: int | None


class TaskWorkerOut(BaseModel):
    """A worker that takes tasks. What it works on is its projects' own."""

    id: uuid.UUID
    status: Literal["idle", "busy"]
    slots: int
    running: int
    has_gpu: bool
    gpus: list[GpuOut]
    started_at: datetime
    last_seen_at: datetime


class WorkersOut(BaseModel):
    """Who works on tasks now."""

    workers: list[TaskWorkerOut]
    total_workers: int
    active_workers: int = Field(description="Those that have something to do")
    gpu_utilization: float | None = Field(description="Percent, the mean of all GPUs; null without any")
