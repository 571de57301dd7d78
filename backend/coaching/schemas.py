"""What the API of sessions and analyses takes and answers."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from backend.coaching.models import AnalysisStatus, Discipline, View
from backend.coaching.options import MOST_FPS
from backend.core.web import Line, StrictModel
from backend.videos.schemas import Description, ErrorOut, Pagination, Title

MOST_PLAYERS = 50
MOST_NAME = 100


def _each_once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in values))


PlayerId = Annotated[Line, Field(min_length=1, max_length=MOST_NAME)]
PlayerIds = Annotated[list[PlayerId], Field(max_length=MOST_PLAYERS), AfterValidator(_each_once)]
SampleFps = Annotated[
    float, Field(ge=1, le=MOST_FPS, description="Frames that are looked at, a second of the video", examples=[10])
]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SessionIn(StrictModel):
    """A practice. `player_ids` are yours: whatever you call your players."""

    title: Title = Field(min_length=1, examples=["Nets, Tuesday"])
    player_ids: PlayerIds = Field(default_factory=list)
    notes: Description | None = None
    view: View = View.UNKNOWN
    discipline: Discipline = Discipline.GENERAL
    project_id: uuid.UUID | None = Field(None, description="By default your own, or your organization's only one")


class SessionChange(StrictModel):
    """Fields that are not sent stay."""

    title: Title | None = Field(None, min_length=1)
    player_ids: PlayerIds | None = None
    notes: Description | None = None
    view: View | None = None
    discipline: Discipline | None = None


class SessionOut(BaseModel):
    """A session; `session_id` is its `id`, by the name that some clients read."""

    id: uuid.UUID
    session_id: uuid.UUID
    project_id: uuid.UUID
    title: str
    player_ids: list[str]
    notes: str
    view: View
    discipline: Discipline
    analyses: int = Field(description="How many analyses it has")
    created_at: datetime
    updated_at: datetime


class SessionListOut(BaseModel):
    sessions: list[SessionOut]
    pagination: Pagination


class SessionQuery(StrictModel):
    """Which sessions, newest first."""

    q: Annotated[str, Field(max_length=200, description="Part of the title")] = ""
    player_id: Annotated[str, Field(max_length=100)] = ""
    discipline: Discipline | None = None
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Point(StrictModel):
    """A place on the first frame, from its upper left corner: 0 to 1 of its width and height."""

    x: float = Field(ge=0, le=1)
    y: float = Field(ge=0, le=1)


class AnalysisSettings(StrictModel):
    """How a video is to be looked at."""

    sample_fps: SampleFps = 10
    include_frames: bool = Field(False, description="Also a picture of each sampled frame, with the skeleton on it")
    athlete: Literal["largest", "moving"] | Point = Field("largest", description="Whom to follow, of several people")


class InitiateIn(StrictModel):
    """A video about to be sent into a session."""

    session_id: uuid.UUID
    sample_fps: SampleFps = 10
    include_frames: bool = False


class InitiateOut(BaseModel):
    """PUT the file to `presigned_url`, then complete. Its Content-Type is not part of the signature."""

    job_id: uuid.UUID
    session_id: uuid.UUID
    presigned_url: str
    expires_in: int = Field(description="Seconds")
    s3_bucket: str
    s3_key: str


class CompleteIn(StrictModel):
    job_id: uuid.UUID


class CompleteOut(BaseModel):
    """The file is there, and its analysis queued."""

    job_id: uuid.UUID
    status: Literal["processing"]
    sqs_message_id: str | None = Field(description="Of the message in SQS, where that is the doorbell")
    message: str


class AnalyseIn(AnalysisSettings):
    """A video to analyse: one of the session's project, or one that is being uploaded."""

    video_id: uuid.UUID | None = None
    upload_id: uuid.UUID | None = Field(
        None, description="Its analysis starts when it has arrived, whoever confirms it"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.video_id is None) == (self.upload_id is None):
            raise ValueError("Send either video_id or upload_id")
        return self


class AnalysisOut(BaseModel):
    """An analysis job. `job_id` is its `id`; follow it live at `stream_url`."""

    id: uuid.UUID
    job_id: uuid.UUID
    session_id: uuid.UUID
    project_id: uuid.UUID
    video_id: uuid.UUID | None
    status: AnalysisStatus
    stage: str | None
    progress: float = Field(description="0 to 100")
    sample_fps: float
    include_frames: bool
    options: dict[str, Any]
    s3_bucket: str
    s3_key: str
    error: ErrorOut | None
    stream_url: str | None = Field(description="Events of the job that works on it, once there is one")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class AnalysisDetailOut(AnalysisOut):
    summary: dict[str, Any] | None = Field(description="Phases, metrics and findings, once it is completed")


class AnalysisListOut(BaseModel):
    analysis_jobs: list[AnalysisOut]


class FilesOut(BaseModel):
    """Signed addresses of an analysis's files, by the names that its summary gives them."""

    files: dict[str, str]
    expires_in: int = Field(description="Seconds")


class PhasesIn(StrictModel):
    """When phases begin, in seconds of the video; those that are not sent stay."""

    set_up: Seconds | None = None
    load: Seconds | None = None
    strike: Seconds | None = None
    impact: Seconds | None = None
    follow_through: Seconds | None = None
    end: Seconds | None = None


class PlayerOut(BaseModel):
    player_id: str
    sessions: int
    last_session_at: datetime


class PlayersOut(BaseModel):
    players: list[PlayerOut]


class MetricPoint(BaseModel):
    """A metric's value in one analysis."""

    analysis_id: uuid.UUID
    session_id: uuid.UUID
    session_title: str
    video_title: str | None
    at: datetime
    value: float


class PlayerMetricsOut(BaseModel):
    """One metric over a player's sessions, oldest first, and the names of those that have values."""

    player_id: str
    metric: str | None
    available: list[str]
    points: list[MetricPoint]
