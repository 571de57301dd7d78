"""What the task service answers, as frozen dataclasses."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from dailies_client.models import Problem

TaskType = Literal[
    "generate_video",
    "video_generation",
    "generate_image",
    "image_generation",
    "process_audio",
    "audio_synthesis",
    "render_animation",
    "test_prompt",
]
TaskStatus = Literal["queued", "processing", "completed", "failed", "cancelled"]


@dataclass(frozen=True)
class NewTask:
    """A task that was just queued; `estimated_duration` is in seconds."""

    task_id: str
    status: TaskStatus
    project_id: str
    estimated_duration: float
    queue_position: int | None
    created_at: datetime


@dataclass(frozen=True)
class TaskResult:
    """Whoever has `media_url` reads the file, as long as it is there; no key is needed."""

    media_url: str
    payload_media_id: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class TaskCallback:
    """How far the callback is: waiting, sending, delivered or failed."""

    state: str
    job_id: str | None
    status: int | None
    error: str | None
    attempts: int
    next_try_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True)
class CmsSync:
    """How far the result is on its way into the project's CMS: waiting, sending, synced or failed."""

    state: str
    job_id: str | None
    document_id: str | None
    error: str | None
    attempts: int
    next_try_at: datetime | None
    synced_at: datetime | None


@dataclass(frozen=True)
class Task:
    """A task; `progress` is from 0 to 1."""

    task_id: str
    project_id: str
    task_type: str
    status: TaskStatus
    priority: int
    progress: float
    current_step: str | None
    queue_position: int | None
    attempt: int
    result: TaskResult | None
    error: Problem | None
    metadata: dict[str, Any]
    callback: TaskCallback | None
    cms: CmsSync | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.status in ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class TaskCancelled:
    """`processing` while its worker is still stopping, which takes seconds."""

    task_id: str
    status: TaskStatus
    message: str


@dataclass(frozen=True)
class TaskWorker:
    """A worker that takes tasks."""

    id: str
    status: str
    slots: int
    running: int
    has_gpu: bool
    gpus: list[dict[str, Any]]
    started_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True)
class TaskWorkers:
    """Who works on tasks now; `gpu_utilization` is in percent."""

    workers: list[TaskWorker]
    total_workers: int
    active_workers: int
    gpu_utilization: float | None
