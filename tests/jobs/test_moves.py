"""Every move from every state: the legal ones lead where they should, and the others change nothing."""

import itertools
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func

from backend.core.db import transaction
from backend.core.errors import InvalidState
from backend.jobs import leases, moves, service, tasks
from backend.jobs.models import FINAL_STATES, LIVE_STATES, Job, JobState
from backend.jobs.moves import JobError, LeaseLost
from tests.jobs.conftest import Declare, Jobs

Verb = Callable[[Jobs, Job, uuid.UUID], Awaitable[object]]

Q, R, C, F, X = JobState  # queued, running, completed, failed, cancelled: a new state must be given its row below


async def claim(jobs: Jobs, job: Job, token: uuid.UUID) -> object:
    return await jobs.claim()


def held(move: Callable[..., Awaitable[object]], **options: Any) -> Verb:
    """A verb of whoever has, or had, the lease."""

    async def verb(jobs: Jobs, job: Job, token: uuid.UUID) -> object:
        async with transaction() as session:
            return await move(session, job_id=job.id, token=token, **options)

    return verb


async def cancel(jobs: Jobs, job: Job, token: uuid.UUID) -> object:
    async with transaction() as session:
        return await service.cancel_job(session, actor=None, job=job)


async def retry(jobs: Jobs, job: Job, token: uuid.UUID) -> object:
    async with transaction() as session:
        return await service.retry_job(session, actor=None, job=job)


async def reap(jobs: Jobs, job: Job, token: uuid.UUID) -> object:
    if job.state == JobState.RUNNING:
        await jobs.change(job.id, lease_until=func.now() - func.make_interval(0, 0, 0, 0, 0, 0, 1.0))
    return await tasks.reap() or None


VERBS: dict[str, Verb] = {
    "claim": claim,
    "heartbeat": held(leases.heartbeat, stage="x", progress=1.0),
    "finish": held(leases.finish),
    "fail": held(leases.fail, error=JobError("x", "x")),
    "fail, retryable": held(leases.fail, error=JobError("x", "x", retryable=True)),
    "release": held(leases.release),
    "confirm_cancel": held(leases.confirm_cancel),
    "reap": reap,
    "cancel": cancel,
    "retry": retry,
}

#: What each verb makes of each state; what is not here is refused.
LEGAL: dict[tuple[JobState, str], JobState] = {
    (Q, "claim"): R,
    (R, "heartbeat"): R,
    (R, "finish"): C,
    (R, "fail"): F,
    (R, "fail, retryable"): Q,
    (R, "release"): Q,
    (R, "confirm_cancel"): X,
    (R, "reap"): Q,
    (Q, "cancel"): X,
    (R, "cancel"): R,  # asked for; the worker confirms it
    (F, "retry"): Q,
}
#: The same for a running job that somebody wants cancelled: whatever ends the attempt, but its success, cancels it.
LEGAL_CANCELLING: dict[str, JobState] = {
    "heartbeat": R,
    "finish": C,
    "fail": X,
    "fail, retryable": X,
    "release": X,
    "confirm_cancel": X,
    "reap": X,
    "cancel": R,
}


async def bring_to(jobs: Jobs, kind: str, state: JobState) -> tuple[Job, uuid.UUID]:
    """A job in this state, and the token under which it was run (a made-up one if it never was)."""
    job = await jobs.start(kind)
    if state == JobState.QUEUED:
        return job, uuid.uuid4()
    token = (await jobs.claimed()).lease_token
    assert token is not None
    if ending := {C: "finish", F: "fail", X: "confirm_cancel"}.get(state):
        await VERBS[ending](jobs, job, token)
    job = await jobs.read(job.id)
    assert job.state == state
    return job, token


def looks(job: Job) -> dict[str, object]:
    return {column.name: getattr(job, column.name) for column in Job.__table__.columns}


async def refused(verb: str, jobs: Jobs, job: Job, token: uuid.UUID) -> None:
    before = looks(await jobs.read(job.id))
    try:
        answer = await VERBS[verb](jobs, job, token)
    except (LeaseLost, InvalidState):
        answer = None
    assert answer is None
    assert looks(await jobs.read(job.id)) == before


def test_every_state_is_either_live_or_final() -> None:
    assert sorted([*LIVE_STATES, *FINAL_STATES]) == sorted(JobState)


@pytest.mark.parametrize(("state", "verb"), list(itertools.product(JobState, VERBS)))
async def test_each_verb_in_each_state(jobs: Jobs, declare: Declare, state: JobState, verb: str) -> None:
    job, token = await bring_to(jobs, declare(backoff_seconds=0), state)
    target = LEGAL.get((state, verb))
    if target is None:
        await refused(verb, jobs, job, token)
        return
    await VERBS[verb](jobs, job, token)
    after = await jobs.read(job.id)
    assert after.state == target
    assert (after.lease_token is not None) == (target == JobState.RUNNING)
    assert (after.finished_at is not None) == (target in FINAL_STATES)


@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_while_a_running_job_is_being_cancelled(jobs: Jobs, declare: Declare, verb: str) -> None:
    job, token = await bring_to(jobs, declare(backoff_seconds=0), R)
    await cancel(jobs, job, token)
    if verb in LEGAL_CANCELLING:
        await VERBS[verb](jobs, job, token)
        assert (await jobs.read(job.id)).state == LEGAL_CANCELLING[verb]
    else:
        await refused(verb, jobs, job, token)


@pytest.mark.parametrize("verb", [name for name in VERBS if (R, name) in LEGAL and name not in ("cancel", "reap")])
async def test_no_verb_of_a_holder_works_with_a_token_of_an_earlier_attempt(
    jobs: Jobs, declare: Declare, verb: str
) -> None:
    job, stale = await bring_to(jobs, declare(), R)
    await VERBS["release"](jobs, job, stale)
    await jobs.claimed()
    await refused(verb, jobs, job, stale)


@pytest.mark.parametrize("actual", list(JobState))
async def test_a_move_is_made_from_its_source_only(jobs: Jobs, declare: Declare, actual: JobState) -> None:
    job, token = await bring_to(jobs, declare(), actual)
    before = looks(job)
    async with transaction() as session:
        for source, target, key in itertools.product(JobState, JobState, (token, None)):
            if source != actual:
                assert await moves.move(session, job.id, source, target, token=key) is None
    assert looks(await jobs.read(job.id)) == before
