"""The worker's verbs on deliveries: take those that are due, write how a try ended, give back, rescue, clean up.

A delivery is taken with a lease and a token; whoever lost the lease writes nothing. Locks go endpoint first, then
delivery. All times are the database's.
"""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import CursorResult, Uuid, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.orgs import audit
from backend.webhooks.models import DeliveryState, WebhookAttempt, WebhookDelivery, WebhookEndpoint

log = structlog.get_logger(__name__)

#: Under way at once for one endpoint and for one project, so that receivers who hang leave slots to others. Two workers
#: that take in the same moment do not see each other: then it may be so many for each.
PER_ENDPOINT = 4
PER_PROJECT = 8
#: What a lease lasts beyond the time a receiver has to answer.
LEASE_MARGIN_SECONDS = 30.0
#: A receiver cannot put us off for longer.
LONGEST_WAIT_SECONDS = 86_400.0
_CLEANED_AT_ONCE = 1000
_GONE = 410
_ASKS_TO_WAIT = (429, 503)


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that is ours to send, and where to."""

    delivery: WebhookDelivery
    endpoint: WebhookEndpoint
    token: uuid.UUID


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try ended: with a status, or with why there is none. `retry_after` in seconds."""

    at: datetime
    duration_ms: int
    status: int | None = None
    answer: str | None = None
    error: str | None = None
    retry_after: float = 0.0

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


# Endpoint by endpoint, of each the oldest: how much waits for one of them costs the others nothing.
_TAKE = text(
    """
    WITH RECURSIVE waiting AS (
        (SELECT endpoint_id FROM webhook_deliveries WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT (
            SELECT next.endpoint_id FROM webhook_deliveries AS next
            WHERE next.state = 'pending' AND next.endpoint_id > waiting.endpoint_id
            ORDER BY next.endpoint_id LIMIT 1
        ) FROM waiting WHERE waiting.endpoint_id IS NOT NULL
    ), busy AS MATERIALIZED (
        SELECT project_id, endpoint_id FROM webhook_deliveries WHERE state = 'delivering'
    ), due AS (
        SELECT oldest.*, row_number() OVER (PARTITION BY oldest.project_id ORDER BY number, next_try_at, oldest.id)
            + (SELECT count(*) FROM busy WHERE busy.project_id = oldest.project_id) AS turn
        FROM waiting, LATERAL (
            SELECT id, project_id, next_try_at, row_number() OVER (ORDER BY next_try_at, id)
                + (SELECT count(*) FROM busy WHERE busy.endpoint_id = waiting.endpoint_id) AS number
            FROM webhook_deliveries
            WHERE endpoint_id = waiting.endpoint_id AND state = 'pending' AND next_try_at <= now()
            ORDER BY next_try_at, id LIMIT :per_endpoint
        ) AS oldest
        WHERE oldest.number <= :per_endpoint
    ), chosen AS MATERIALIZED (
        SELECT free.id FROM due JOIN webhook_deliveries AS free ON free.id = due.id
        WHERE due.turn <= :per_project AND free.state = 'pending'
        ORDER BY due.turn, due.next_try_at, due.id LIMIT :most FOR UPDATE OF free SKIP LOCKED
    )
    UPDATE webhook_deliveries AS taken SET state = 'delivering', attempt = attempt + 1, next_try_at = NULL,
        lease_token = gen_random_uuid(), lease_until = now() + make_interval(secs => :lease)
    FROM chosen WHERE taken.id = chosen.id RETURNING taken.id
    """
)


async def take(session: AsyncSession, *, most: int) -> list[Taken]:
    """Deliveries that are due and that nobody else is taking, from each project in turn."""
    limits = {
        "most": most,
        "per_endpoint": PER_ENDPOINT,
        "per_project": PER_PROJECT,
        "lease": settings.webhook_timeout_seconds + LEASE_MARGIN_SECONDS,
    }
    ids = (await session.scalars(_TAKE, limits)).all()
    if not ids:
        return []
    both = select(WebhookDelivery, WebhookEndpoint).join(
        WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id
    )
    rows = (await session.execute(both.where(WebhookDelivery.id.in_(ids)))).all()
    return [Taken(row[0], row[1], row[0].lease_token) for row in rows if row[0].lease_token is not None]


async def settle(session: AsyncSession, taken: Taken, outcome: Outcome) -> DeliveryState | None:
    """Write a try and what follows from it; None: nothing is, as the lease was lost or the endpoint deleted."""
    endpoint = await session.get(
        WebhookEndpoint, taken.endpoint.id, with_for_update={"key_share": True}, populate_existing=True
    )
    if endpoint is None:
        return None
    now = (await session.execute(select(func.now()))).scalar_one()
    state, reason, wait = _next(endpoint, taken.delivery.attempt, outcome)
    ended = state != DeliveryState.PENDING
    moved = await session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == taken.delivery.id, WebhookDelivery.lease_token == taken.token)
        .values(
            state=state,
            status=outcome.status,
            error=reason,
            next_try_at=None if ended else now + timedelta(seconds=wait),
            finished_at=now if ended else None,
            lease_token=None,
            lease_until=None,
        )
    )
    assert isinstance(moved, CursorResult)
    if moved.rowcount == 0:
        return None
    session.add(
        WebhookAttempt(
            project_id=endpoint.project_id,
            delivery_id=taken.delivery.id,
            at=outcome.at,
            url=taken.endpoint.url,
            status=outcome.status,
            answer=outcome.answer,
            error=outcome.error,
            duration_ms=outcome.duration_ms,
        )
    )
    if outcome.delivered:
        endpoint.failing_since = None
    elif endpoint.enabled:
        endpoint.failing_since = endpoint.failing_since or now
        if outcome.status == _GONE:
            await _switch_off(session, endpoint, now, "It answered 410: it is gone and wants to hear no more.")
        elif endpoint.failing_since < now - timedelta(days=settings.webhook_disable_days):
            days = f"{settings.webhook_disable_days:g}"
            await _switch_off(session, endpoint, now, f"Nothing could be delivered for {days} days. {_words(outcome)}")
    await session.flush()
    return state


def _next(endpoint: WebhookEndpoint, attempt: int, outcome: Outcome) -> tuple[DeliveryState, str | None, float]:
    """The state after a try, why, and the seconds until the next one."""
    waits = settings.webhook_retry_seconds
    words = _words(outcome)
    if outcome.delivered:
        return DeliveryState.DELIVERED, None, 0
    if outcome.status == _GONE:
        return DeliveryState.DEAD, words, 0
    if not endpoint.enabled:
        return DeliveryState.DEAD, f"{words} The webhook is switched off: it is not tried again.", 0
    if attempt > len(waits):
        return DeliveryState.DEAD, f"{words} It was tried {attempt} times.", 0
    wait = waits[attempt - 1] * random.uniform(0.9, 1.1)  # noqa: S311  # many that failed together do not come together
    if outcome.status in _ASKS_TO_WAIT:
        wait = max(wait, min(outcome.retry_after, LONGEST_WAIT_SECONDS))
    return DeliveryState.PENDING, words, wait


def _words(outcome: Outcome) -> str | None:
    if outcome.status is None:
        return outcome.error
    return f"It answered {outcome.status}{', and redirects are not followed' if 300 <= outcome.status < 400 else ''}."


async def _switch_off(session: AsyncSession, endpoint: WebhookEndpoint, now: datetime, reason: str) -> None:
    endpoint.enabled, endpoint.disabled_at, endpoint.disabled_reason = False, now, reason
    await end_pending(session, endpoint, DeliveryState.DEAD, f"The webhook was switched off. {reason}")
    await audit.record(
        session,
        actor=None,
        action="webhook.disabled",
        object_type="webhook",
        object_id=endpoint.id,
        project_id=endpoint.project_id,
        detail={"url": endpoint.url, "reason": reason},
    )
    log.warning("webhook.disabled", endpoint_id=str(endpoint.id), reason=reason)


async def end_pending(session: AsyncSession, endpoint: WebhookEndpoint, state: DeliveryState, reason: str) -> None:
    """Send nothing more of what waits for an endpoint."""
    await session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.state == DeliveryState.PENDING)
        .values(state=state, error=reason, next_try_at=None, finished_at=func.now())
        .execution_options(synchronize_session=False)
    )


# --- what nobody will end --------------------------------------------------------------------------------------------

# Nobody knows whether it arrived: it is sent again, and this try counts for nothing.
_BACK = {
    "state": DeliveryState.PENDING,
    "attempt": WebhookDelivery.attempt - 1,
    "next_try_at": func.now(),
    "lease_token": None,
    "lease_until": None,
}


async def give_back(session: AsyncSession, tokens: Sequence[uuid.UUID]) -> None:
    """These were not sent to their end: the worker stops."""
    held = WebhookDelivery.lease_token == func.any(bindparam("tokens", list(tokens), type_=ARRAY(Uuid)))
    await session.execute(update(WebhookDelivery).where(held).values(_BACK), execution_options=_NO_SYNC)


_LOST = (
    select(WebhookDelivery.id)
    .where(WebhookDelivery.state == DeliveryState.DELIVERING, WebhookDelivery.lease_until < func.now())
    .with_for_update(skip_locked=True)
)


async def rescue(session: AsyncSession) -> int:
    """Take deliveries from workers that were not heard of until their leases ended; answers how many."""
    ids = (await session.scalars(_LOST)).all()
    if ids:
        await session.execute(
            update(WebhookDelivery).where(WebhookDelivery.id.in_(ids)).values(_BACK), execution_options=_NO_SYNC
        )
        log.warning("webhook.leases_ended", deliveries=len(ids))
    return len(ids)


async def clean(session: AsyncSession) -> int:
    """Remove some that ended long ago; answers how many."""
    until = func.now() - timedelta(days=settings.webhook_keep_days)
    old = select(WebhookDelivery.id).where(WebhookDelivery.finished_at < until).limit(_CLEANED_AT_ONCE)
    chosen = old.with_for_update(skip_locked=True)
    removed = await session.execute(
        delete(WebhookDelivery).where(WebhookDelivery.id.in_(chosen.scalar_subquery())), execution_options=_NO_SYNC
    )
    assert isinstance(removed, CursorResult)
    return removed.rowcount


_NO_SYNC = {"synchronize_session": False}
