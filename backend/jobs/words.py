"""What a job is doing, in words for pages."""

from backend.core import web
from backend.jobs.models import JobState
from backend.jobs.schemas import JobOut

#: A stage's name → words. Each domain adds the stages of its own tasks.
STAGES: dict[str, str] = {}

WAITING_FOR = {"paused": "Waiting: processing is paused", "worker": "Waiting for a worker"}
_ENDS = {JobState.COMPLETED: "Ready", JobState.FAILED: "Failed", JobState.CANCELLED: "Cancelled"}


def doing(job: JobOut) -> str:
    """One short line: `Reading metadata`, `2 ahead in the queue`."""
    if job.status in _ENDS:
        return _ENDS[job.status]
    if job.cancel_requested_at is not None:
        return "Stopping"
    if job.status == JobState.QUEUED:
        if job.waiting_for is not None:
            return WAITING_FOR[job.waiting_for]
        return f"{job.queue_position} ahead in the queue" if job.queue_position else "Next in the queue"
    return "Starting" if job.stage is None else STAGES.get(job.stage, "Working")


web.templates().filters["doing"] = doing
