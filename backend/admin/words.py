"""What admins read of jobs and workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from backend.admin.numbers import Count
from backend.admin.service import Row
from backend.core import web, words
from backend.jobs.models import JobAttempt, JobState
from backend.jobs.words import STAGES
from backend.orgs.models import AuditEntry

_STATES = {
    JobState.QUEUED: "Waiting",
    JobState.RUNNING: "Running",
    JobState.COMPLETED: "Completed",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}
_OUTCOMES: dict[str | None, tuple[str, Literal["done", "good", "failed", "now"]]] = {
    None: ("Running", "now"),
    "completed": ("Completed", "good"),
    "failed": ("Failed", "failed"),
    "released": ("Given back, without spending the attempt", "done"),
    "lost": ("The worker was lost; its lease ran out", "done"),
    "cancelled": ("Cancelled", "done"),
}
_ACTIONS = {
    "job.retry": "Retried a job",
    "job.cancel": "Cancelled a job",
    "jobs.retry": "Retried {jobs}",
    "jobs.cancel": "Cancelled {jobs}",
    "queue.pause": "Paused the queue {object}",
    "queue.resume": "Resumed the queue {object}",
    "user.roles": "Roles of {email}: {roles}",
}


def count(number: Count) -> str:
    """`1,204`; `about 1.2 million` when it is an estimate."""
    if number.exact:
        return f"{number.number:,}"
    if number.number >= 1_000_000:
        return f"≈ {number.number / 1_000_000:.1f} M"
    return f"≈ {round(number.number, -2):,}"


def kind(name: str) -> str:
    """`process_video` as people say it."""
    return name.replace("_", " ").capitalize()


def stands(row: Row) -> str:
    """A job's state in a word or two, with its stage while it runs."""
    job = row.job
    if job.status == JobState.RUNNING:
        if job.cancel_requested_at is not None:
            return "Stopping"
        return STAGES.get(job.stage or "", "Running")
    if job.status == JobState.QUEUED and job.run_at > datetime.now(UTC):
        return "Waiting for its time"
    return _STATES[job.status]


def remark(row: Row) -> str:
    """What else there is to say: why it failed, or when it is tried next."""
    job = row.job
    if job.status == JobState.QUEUED:
        ahead = (job.run_at - datetime.now(UTC)).total_seconds()
        if ahead > 0:
            again = "Tries again" if job.attempt else "Starts"
            return f"{again} in {words.span(ahead)}"
        return ""
    return job.error.message if job.error else ""


def took(row: Row) -> str:
    """How long it ran, or has been running or waiting."""
    job, now = row.job, datetime.now(UTC)
    if job.status == JobState.QUEUED:
        waited = (now - max(job.run_at, job.created_at)).total_seconds()
        return words.span(waited) if waited > 0 else ""
    if job.started_at is None:
        return ""
    return words.span(max(0.0, ((job.finished_at or now) - job.started_at).total_seconds()))


@dataclass(frozen=True)
class Step:
    """One thing that happened to a job. `attempt` is there for its log and command."""

    words: str
    kind: Literal["done", "good", "failed", "now"]
    at: datetime
    seconds: float | None = None
    detail: str | None = None
    code: str | None = None
    attempt: JobAttempt | None = None


def timeline(row: Row, attempts: Sequence[JobAttempt], deeds: Sequence[AuditEntry]) -> list[Step]:
    """A job's life in the order of time: queued, every attempt, and what people did."""
    job = row.job
    waited = (attempts[0].started_at - job.created_at).total_seconds() if attempts else None
    steps = [Step("Queued", "done", job.created_at, waited if waited and waited >= 0.1 else None)]
    for attempt in attempts:
        said, mark = _OUTCOMES.get(attempt.outcome, ("Tried", "done"))
        if mark == "failed" and job.status != JobState.FAILED:
            mark = "done"  # it was made good since, or will be
        spent = (attempt.finished_at - attempt.started_at).total_seconds() if attempt.finished_at else None
        steps.append(
            Step(
                f"Attempt {attempt.attempt}: {said[:1].lower()}{said[1:]}",
                mark,
                attempt.started_at,
                spent,
                attempt.error_message,
                attempt.error_code,
                attempt,
            )
        )
    steps += [Step(f"{deed(entry)}: {entry.actor_email or 'the system'}", "done", entry.at) for entry in deeds]
    if job.status == JobState.CANCELLED and job.finished_at and not any(a.outcome == "cancelled" for a in attempts):
        steps.append(Step("Cancelled", "done", job.finished_at))
    if job.status == JobState.FAILED and job.error and job.error.code == "attempts_exhausted" and job.finished_at:
        steps.append(Step("Given up", "failed", job.finished_at, None, job.error.message, job.error.code))
    return [steps[0], *sorted(steps[1:], key=lambda step: step.at)]


def deed(entry: AuditEntry) -> str:
    """An entry of the audit log as a short sentence without its subject."""
    detail = entry.detail
    number = detail.get("number", 0)
    return _ACTIONS.get(entry.action, entry.action).format(
        jobs=f"{number:,} {'job' if number == 1 else 'jobs'}",
        object=entry.object_id,
        email=detail.get("email", ""),
        roles=" and ".join(detail.get("after", [])) or "none",
    )


web.templates().filters.update(
    job_count=count, job_kind=kind, job_stands=stands, job_remark=remark, job_took=took, deed=deed
)
