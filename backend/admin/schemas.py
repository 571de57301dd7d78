"""What the admins' API takes and gives."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.accounts.schemas import UserOut
from backend.admin.filters import JobFilter
from backend.core.web import StrictModel
from backend.jobs.models import JobState
from backend.jobs.schemas import JobOut

#: Jobs that one bulk request names, at most.
MOST_IDS = 1000

Action = Literal["retry", "cancel", "restart"]


class CountOut(BaseModel):
    """How many. `exact` is false where counting would take long: then it is the database's estimate."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    exact: bool


class QueueOut(BaseModel):
    """A queue as it stands."""

    name: str
    paused_at: datetime | None
    paused_by: str | None
    counts: dict[str, CountOut] = Field(description="By state")
    oldest_seconds: float | None = Field(description="Age of the due job that waits longest")


class BucketOut(BaseModel):
    """What ended in a stretch of time, and how long completed jobs had waited, in seconds."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    completed: int
    failed: int
    wait_half: float | None = Field(description="Half of the jobs waited at most this long")
    wait_most: float | None = Field(description="95 % of the jobs waited at most this long")
    waiting: int = Field(description="Jobs that waited at its end, reckoned back from those that wait now")


class QueuesOut(BaseModel):
    """All queues, and what they did: the last hour by the minute, or the last day by the half-hour."""

    queues: list[QueueOut]
    window: Literal["hour", "day"]
    buckets: list[BucketOut]


class AdminJobOut(JobOut):
    """A job, and whose it is."""

    owner_id: uuid.UUID | None
    owner_email: str | None
    project_name: str
    worker: str | None
    priority: int
    run_at: datetime
    parent_id: uuid.UUID | None
    request_id: str = Field(description="Of the request that queued it; empty when none did")


class AdminPagination(BaseModel):
    """`next_cursor` continues after the last row, and is null on the last page. Totals: see `count`."""

    limit: int
    next_cursor: str | None


class AdminJobPage(BaseModel):
    """One page of jobs, newest first."""

    jobs: list[AdminJobOut]
    pagination: AdminPagination


class AttemptOut(BaseModel):
    """One attempt: who tried, when, and how it ended (`completed`, `failed`, `released`, `lost`, `cancelled`)."""

    model_config = ConfigDict(from_attributes=True)

    attempt: int
    worker: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    error_code: str | None
    error_message: str | None
    command: str | None = Field(description="The last command it ran, signed addresses left out")
    log_tail: str | None = Field(description="The end of what it logged")


class RelativeOut(BaseModel):
    """A job that another started, or was started by."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    kind: str
    state: JobState
    required: bool


class AdminJobDetail(BaseModel):
    """A job with its attempts and the jobs it started, oldest first."""

    job: AdminJobOut
    attempts: list[AttemptOut]
    parent: RelativeOut | None
    children: list[RelativeOut]


class BulkIn(StrictModel):
    """Which jobs: those with these ids, or all that a filter finds.

    Where an answer said `more`, its `cursor` and `order` go on: the order is one in the audit log, too.
    """

    action: Action
    ids: list[uuid.UUID] | None = Field(default=None, max_length=MOST_IDS)
    filter: JobFilter | None = None
    cursor: str | None = Field(default=None, max_length=2000)
    order: uuid.UUID | None = None


class BulkOut(BaseModel):
    """What was done: `skipped` are jobs that had moved on. While `more`, ask again with `cursor` and `order`."""

    done: int
    skipped: int
    more: bool
    cursor: str | None = None
    order: uuid.UUID


class WorkerOut(BaseModel):
    """A worker process: alive, stopped as asked, or lost."""

    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    kinds: list[str]
    slots: int
    running: int
    load: float | None
    memory_bytes: int | None
    gpus: list[dict[str, Any]]
    started_at: datetime
    last_seen_at: datetime
    state: Literal["alive", "stopped", "lost"]


class WorkersOut(BaseModel):
    """The worker processes of the last day, those alive first."""

    workers: list[WorkerOut]


class AuditOut(BaseModel):
    """One entry of the audit log."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor_id: uuid.UUID | None
    actor_email: str
    action: str
    object_type: str
    object_id: str
    project_id: uuid.UUID | None
    organization_id: uuid.UUID | None
    detail: dict[str, Any]
    ip: str
    request_id: str


class AuditPage(BaseModel):
    """Entries, newest first; `next_before` continues, and is null on the last page.

    What one order did in many lots is several entries, whose `object_id` is the order's.
    """

    entries: list[AuditOut]
    next_before: int | None


class UsersOut(BaseModel):
    """The account with an address, or none."""

    users: list[UserOut]


Feature = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]


class UserIn(StrictModel):
    """What an admin may change about an account."""

    roles: list[Literal["admin", "auditor", "coach_pro_plus", "org_pro"]] | None = Field(None, max_length=10)
    features: list[Feature] | None = Field(None, max_length=50)


class OrgIn(StrictModel):
    """What an admin may change about an organization."""

    features: list[Feature] = Field(max_length=50)


class OrgFeaturesOut(BaseModel):
    """An organization as admins see it."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str
    features: list[str]
