"""A job's life in steps: waiting, every attempt, what people did, the end. Pages put their own words to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs.models import Job, JobAttempt, JobState
from backend.jobs.schemas import JobOut
from backend.orgs import audit
from backend.orgs.access import Actor
from backend.orgs.models import AuditEntry

Mark = Literal["done", "good", "failed", "now"]
#: `queued`: until its first attempt. `retried`, `cancel_asked`, `restarted`: by hand. `running` to `stopped`: an
#: attempt, by its outcome. `waiting`: for its next attempt. `cancelled`, `given_up`: an end outside of any attempt.
What = Literal[
    "upload",
    "uploaded",
    "queued",
    "retried",
    "cancel_asked",
    "restarted",
    "running",
    "completed",
    "failed",
    "released",
    "lost",
    "stopped",
    "waiting",
    "cancelled",
    "given_up",
]

_OUTCOMES: dict[str | None, tuple[What, Mark]] = {
    None: ("running", "now"),
    "completed": ("completed", "good"),
    "failed": ("failed", "failed"),
    "released": ("released", "done"),
    "lost": ("lost", "done"),
    "cancelled": ("stopped", "done"),
}
_DEEDS: dict[str, What] = {
    "job.retry": "retried",
    "jobs.retry": "retried",
    "job.cancel": "cancel_asked",
    "jobs.cancel": "cancel_asked",
    "job.restart": "restarted",
    "jobs.restart": "restarted",
}
#: A shorter wait is not worth a figure.
NOTICEABLE_SECONDS = 0.1


@dataclass(frozen=True)
class Step:
    """One thing that happened. `seconds` is how long it took or, for `queued`, waited; None where that says nothing."""

    what: What
    mark: Mark
    at: datetime
    seconds: float | None = None
    detail: str | None = None
    code: str | None = None
    attempt: JobAttempt | None = None
    deed: AuditEntry | None = None
    words: str = ""


def steps_of(
    job: JobOut,
    attempts: Sequence[JobAttempt],
    deeds: Sequence[AuditEntry],
    *,
    words: Callable[[Step], str],
    due_at: datetime | None = None,
) -> list[Step]:
    """The steps of one job in the order of time; those without words are left out.

    `deeds` are entries of the audit log about it, `due_at` is when a waiting job may begin.
    """
    waited = _between(job.created_at, attempts[0].started_at) if attempts else 0.0
    steps = [Step("queued", "done", job.created_at, waited if waited >= NOTICEABLE_SECONDS else None)]
    later = [_of_attempt(attempt, job) for attempt in attempts]
    later += [Step(_DEEDS[deed.action], "done", deed.at, deed=deed) for deed in deeds if deed.action in _DEEDS]
    if job.finished_at is not None and job.error is not None:
        if job.status == JobState.CANCELLED and not any(attempt.outcome == "cancelled" for attempt in attempts):
            later.append(Step("cancelled", "done", job.finished_at))
        if job.status == JobState.FAILED and job.error.code == "attempts_exhausted":
            later.append(Step("given_up", "failed", job.finished_at, None, job.error.message, job.error.code))
    steps += sorted(later, key=lambda step: step.at)
    if job.status == JobState.QUEUED and attempts:
        steps.append(Step("waiting", "now", due_at or steps[-1].at))
    return [told for step in steps if (told := replace(step, words=words(step))).words]


async def note_retry(session: AsyncSession, *, actor: Actor, job: Job) -> None:
    """Remember that somebody queued a failed job again: the attempts that follow do not tell why there are more."""
    await _note(session, actor=actor, job=job, action="job.retry")


async def note_cancel(session: AsyncSession, *, actor: Actor, job: Job) -> None:
    """Remember that its owner cancelled a job, or asked for it."""
    await _note(session, actor=actor, job=job, action="job.cancel")


async def _note(session: AsyncSession, *, actor: Actor, job: Job, action: str) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type="job",
        object_id=job.id,
        project_id=job.project_id,
        detail={"kind": job.kind},
    )


def _of_attempt(attempt: JobAttempt, job: JobOut) -> Step:
    what, mark = _OUTCOMES.get(attempt.outcome, ("released", "done"))
    if mark == "failed" and job.status != JobState.FAILED:
        mark = "done"  # it was made good since, or will be
    took = _between(attempt.started_at, attempt.finished_at) if attempt.finished_at else None
    return Step(what, mark, attempt.started_at, took, attempt.error_message, attempt.error_code, attempt)


def _between(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
