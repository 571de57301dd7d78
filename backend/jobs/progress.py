"""Live progress: the newest state of each job in Redis for latecomers, and an event for those who watch.

Postgres stays the truth. Everything here may be lost, and nothing here raises because Redis is away.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from redis.exceptions import RedisError

from backend.core import events
from backend.core.redis import redis
from backend.jobs.models import Job, JobState
from backend.jobs.schemas import JobOut, from_row

log = structlog.get_logger(__name__)

LATEST_SECONDS = 3600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def job_topic(job_id: uuid.UUID) -> str:
    return f"job:{job_id}"


def project_topic(project_id: uuid.UUID) -> str:
    return f"project:{project_id}"


def _latest_key(job_id: uuid.UUID) -> str:
    return f"job:{job_id}:latest"


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Orders what is said of one job: by the time of its last move (microseconds), then by progress (per mille)."""

    moved: int
    progress: int

    def __str__(self) -> str:
        return f"{self.moved}-{self.progress}"

    @classmethod
    def parse(cls, text: str | None) -> "Version | None":
        """Read a Last-Event-ID; None when it is none of ours."""
        moved, _, progress = (text or "").partition("-")
        if len(text or "") > 40 or not (moved.isdecimal() and progress.isdecimal()):
            return None
        return cls(int(moved), int(progress))


@dataclass(frozen=True, slots=True)
class State:
    """A job as it stood at a version."""

    version: Version
    job: JobOut

    def payload(self) -> dict[str, Any]:
        return {"moved": self.version.moved, "job": self.job.model_dump(mode="json")}

    @classmethod
    def read(cls, payload: dict[str, Any]) -> "State":
        job = JobOut.model_validate(payload["job"])
        return cls(Version(int(payload["moved"]), round(job.progress * 10)), job)

    @classmethod
    def told(cls, payload: dict[str, Any]) -> "State | None":
        """The state that an event tells; None when a process of another version told what this one does not know."""
        try:
            return cls.read(payload)
        except (LookupError, TypeError, ValueError):
            return None


def state_of(job: Job, shown: JobOut | None = None) -> State:
    """The state of a row; `shown` when its shape (with queue position and estimate) was already made.

    `updated_at` is the time of the last move: heartbeats and progress leave it alone.
    """
    out = shown or from_row(job)
    return State(Version((job.updated_at - _EPOCH) // timedelta(microseconds=1), round(out.progress * 10)), out)


async def publish(state: State) -> None:
    """Tell everybody who watches the job or its project. Call it after the commit."""
    payload = state.payload()
    job = state.job
    try:
        if job.status == JobState.RUNNING:
            latest = {"moved": state.version.moved, "stage": job.stage, "progress": job.progress}
            await redis.client.set(_latest_key(job.id), json.dumps(latest), ex=LATEST_SECONDS)
        await events.publish((job_topic(job.id), project_topic(job.project_id)), payload)
    except (RedisError, OSError) as error:
        log.debug("progress.not_published", job_id=str(job.id), error=repr(error))


async def freshen(states: Sequence[State]) -> list[State]:
    """The same states with the progress of running jobs as Redis knows it, which is newer than the last heartbeat's."""
    running = [state for state in states if state.job.status == JobState.RUNNING]
    if not running:
        return list(states)
    try:
        texts = await redis.client.mget([_latest_key(state.job.id) for state in running])
    except (RedisError, OSError):
        return list(states)
    newer: dict[uuid.UUID, State] = {}
    for state, text in zip(running, texts, strict=True):
        latest = json.loads(text) if text else {}
        # Another move since, or another attempt's leftover: the row knows better.
        if latest.get("moved") == state.version.moved and latest["progress"] >= state.job.progress:
            job = state.job.model_copy(update={"stage": latest["stage"], "progress": latest["progress"]})
            newer[job.id] = State(Version(state.version.moved, round(job.progress * 10)), job)
    return [newer.get(state.job.id, state) for state in states]
