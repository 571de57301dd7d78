"""The jobs that process a video as one: how far all of it is, in the shape of its first job."""

import uuid
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs import progress
from backend.jobs import service as jobs
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.progress import State, Version

#: How much of the whole a step is, in the end: a conversion is nearly all of it.
_WEIGHTS = {"make_poster": 1, "make_rendition": 20}
#: Up to here goes the first job, which finds out what else there is to do.
_FIRST_PERCENT = 10.0


async def whole_many(session: AsyncSession, roots: Sequence[Job]) -> list[State | None]:
    """How the processing that began with each of these jobs stands; None where nothing of it waits or runs."""
    steps = await _steps_of(session, [root.id for root in roots])
    every = [*roots, *(step for each in steps.values() for step in each)]
    shown = await jobs.public_many(session, every)
    fresh = await progress.freshen([progress.state_of(job, out) for job, out in zip(every, shown, strict=True)])
    states = {state.job.id: state for state in fresh}
    return [whole(states[root.id], [states[step.id] for step in steps[root.id]]) for root in roots]


def whole(root: State, steps: Sequence[State]) -> State | None:
    """The first job with the state, the stage and the progress of all required ones, as of the last move of any."""
    live = [state.job for state in (root, *steps) if state.job.status in LIVE_STATES]
    if not live:
        return None
    # What runs is told before what waits, and what takes longest before the rest.
    now = max(live, key=lambda job: (job.status == JobState.RUNNING, _WEIGHTS.get(job.kind, 0)))
    parts = [(_WEIGHTS.get(state.job.kind, 1), state.job.progress) for state in steps]
    share = sum(weight * percent for weight, percent in parts) / max(1, sum(weight for weight, _ in parts))
    done = _FIRST_PERCENT / 100 * root.job.progress + (1 - _FIRST_PERCENT / 100) * share
    place = ("queue_position", "waiting_for", "estimated_seconds")
    told = ("status", "stage", *place, "attempt", "cancel_requested_at", "finished_at")
    job = root.job.model_copy(update={"progress": round(done, 1), **{name: getattr(now, name) for name in told}})
    return State(Version(max(each.version.moved for each in (root, *steps)), round(job.progress * 10)), job)


async def _steps_of(session: AsyncSession, root_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Job]]:
    steps: dict[uuid.UUID, list[Job]] = defaultdict(list)
    below = select(Job).where(Job.parent_id.in_(root_ids), Job.required).order_by(Job.created_at, Job.id)
    for step in await session.scalars(below, execution_options={"populate_existing": True}):
        if step.parent_id is not None:
            steps[step.parent_id].append(step)
    return steps
