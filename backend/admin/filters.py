"""Which jobs the admins' page shows, as its address says it: the query it means, and the links that change it."""

import uuid
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import emails
from backend.accounts.models import User
from backend.admin.search import meaning
from backend.core.web import Paragraph
from backend.jobs.models import Job, JobState

S = TypeVar("S", bound=Select[*tuple[Any, ...]])

State = Literal["", "queued", "running", "completed", "failed", "cancelled"]
Window = Literal["hour", "day"]

STATES: tuple[tuple[State, str], ...] = (
    ("", "All"),
    ("queued", "Waiting"),
    ("running", "Running"),
    ("failed", "Failed"),
    ("completed", "Completed"),
    ("cancelled", "Cancelled"),
)


class JobFilter(BaseModel):
    """Jobs in this state, of this queue, kind, project and owner, that these words fit. Empty: any."""

    model_config = ConfigDict(frozen=True)

    state: State = ""
    queue: str = Field("", max_length=30)
    kind: str = Field("", max_length=60)
    project: uuid.UUID | None = None
    owner: str = Field("", max_length=320)
    text: Paragraph = Field(
        "", max_length=200, description="What `admin.search` finds: an id, a name, words of an error"
    )

    @property
    def narrows(self) -> bool:
        """Whether this leaves anything out."""
        return any(self.model_dump().values())

    @property
    def narrows_more(self) -> bool:
        """Whether this leaves anything out but by state."""
        return any(self.model_dump(exclude={"state"}).values())

    def words(self) -> dict[str, str]:
        """What is chosen, as an address or a log entry says it."""
        return {name: str(value) for name, value in self.model_dump().items() if value}

    def url(self, **changes: object) -> str:
        """The page's address with some parts changed; what is empty is left out."""
        now = {name: value for name, value in {**self.model_dump(), **changes}.items() if value}
        return "/admin/queue" + (f"?{urlencode(now)}" if now else "")

    async def narrow(self, session: AsyncSession, statement: S) -> S:
        """`statement`, which selects from jobs, for these jobs only."""
        for column, value in ((Job.state, self.state), (Job.queue, self.queue), (Job.kind, self.kind)):
            if value:
                statement = statement.where(column == value)
        if self.project is not None:
            statement = statement.where(Job.project_id == self.project)
        if self.owner:
            key = emails.key(self.owner)
            statement = statement.where(Job.owner_id == select(User.id).where(User.email_key == key).scalar_subquery())
        if self.text:
            statement = statement.where(await meaning(session, self.text))
        return statement


class PageQuery(JobFilter):
    """The page's whole address."""

    window: Window = "hour"
    cursor: str = Field("", max_length=2000)

    @property
    def filter(self) -> JobFilter:
        return JobFilter(**{name: getattr(self, name) for name in JobFilter.model_fields})

    @property
    def narrows(self) -> bool:
        return self.filter.narrows

    def url(self, **changes: object) -> str:
        """The same, and a changed filter begins at the newest job."""
        changes.setdefault("cursor", "")
        if changes.setdefault("window", self.window) == "hour":
            changes["window"] = ""
        return super().url(**changes)

    @property
    def chips(self) -> list["Chip"]:
        return [Chip(state or "all", label, self.url(state=state), state == self.state) for state, label in STATES]


class AuditQuery(BaseModel):
    """Which entries of the audit log: by what was done and by whom, older than one."""

    model_config = ConfigDict(frozen=True)

    action: str = Field("", max_length=60)
    email: Paragraph = Field("", max_length=320)
    before: int | None = Field(None, ge=1, lt=2**63)

    def url(self, **changes: object) -> str:
        """The page's address with some parts changed, from the newest on."""
        now = {name: value for name, value in {**self.model_dump(), "before": None, **changes}.items() if value}
        return "/admin/audit" + (f"?{urlencode(now)}" if now else "")


@dataclass(frozen=True)
class Chip:
    """One filter by state."""

    key: str
    label: str
    url: str
    chosen: bool


#: Which states a bulk action takes from.
ACTS_ON: dict[str, tuple[JobState, ...]] = {
    "retry": (JobState.FAILED,),
    "cancel": (JobState.QUEUED, JobState.RUNNING),
    "restart": (JobState.CANCELLED,),
}
