"""What admins read of jobs and workers."""

from collections.abc import Sequence
from datetime import UTC, datetime

from backend.admin.numbers import Count
from backend.admin.service import Row
from backend.core import web, words
from backend.jobs.models import JobAttempt, JobState
from backend.jobs.timeline import Step, steps_of
from backend.jobs.words import STAGES
from backend.orgs.audit import Deed
from backend.orgs.models import AuditEntry
from backend.orgs.words import place_deed

_STATES = {
    JobState.QUEUED: "Waiting",
    JobState.RUNNING: "Running",
    JobState.COMPLETED: "Completed",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}
_STEPS = {
    "queued": "Queued",
    "retried": "Tried again by hand",
    "cancel_asked": "Cancelled by hand",
    "restarted": "Started again as another job",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "released": "given back, without being spent",
    "lost": "the worker was lost; given to another",
    "stopped": "cancelled",
    "waiting": "Waiting for the next attempt",
    "cancelled": "Cancelled",
    "given_up": "Given up",
}
_ACTIONS = {
    "job.retry": "Retried a job",
    "job.cancel": "Cancelled a job",
    "job.restart": "Started a cancelled job again",
    "jobs.retry": "Retried {jobs}",
    "jobs.cancel": "Cancelled {jobs}",
    "jobs.restart": "Started {jobs} again",
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


def state(name: str) -> str:
    """A job's state in a word."""
    return _STATES[JobState(name)]


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


def timeline(row: Row, attempts: Sequence[JobAttempt], deeds: Sequence[AuditEntry]) -> list[Step]:
    """A job's life in the order of time: queued, every attempt, and what people did."""
    return steps_of(row.job, attempts, deeds, words=_step, due_at=row.job.run_at)


def _step(step: Step) -> str:
    words = _STEPS[step.what]
    return f"Attempt {step.attempt.attempt}: {words}" if step.attempt else words


def deed(done: Deed) -> str:
    """What somebody did, as a short sentence without its subject."""
    entry, number = done.entry, done.number
    detail = entry.detail
    if entry.action not in _ACTIONS:
        return place_deed(entry)
    return _ACTIONS[entry.action].format(
        jobs=f"{number:,} {'job' if number == 1 else 'jobs'}",
        object=entry.object_id,
        email=detail.get("email", ""),
        roles=" and ".join(detail.get("after", [])) or "none",
    )


#: What the log can be narrowed to, by the name of the action.
ACTIONS = {
    "job.retry": "One job retried",
    "job.cancel": "One job cancelled",
    "job.restart": "One job started again",
    "jobs.retry": "Many jobs retried",
    "jobs.cancel": "Many jobs cancelled",
    "jobs.restart": "Many jobs started again",
    "queue.pause": "Queue paused",
    "queue.resume": "Queue resumed",
    "user.roles": "Roles given",
}


def chosen(entry: AuditEntry) -> str:
    """Which jobs an order was about: what it was narrowed to, or that they were selected by hand."""
    narrowed = entry.detail.get("filter")
    if narrowed is None:
        return "selected by hand" if "selected" in entry.detail else ""
    return ", ".join(f"{name}: {value}" for name, value in narrowed.items()) or "all"


web.templates().filters.update(
    job_count=count,
    job_kind=kind,
    job_state=state,
    job_stands=stands,
    job_remark=remark,
    job_took=took,
    deed=deed,
    deed_of=chosen,
)
