"""What sends: a loop in each worker, beside its jobs. No transaction is open while a request is on its way."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import structlog
from redis.exceptions import RedisError

from backend import __version__
from backend.config import settings
from backend.core import http
from backend.core.db import is_away, transaction
from backend.core.errors import UrlNotAllowed
from backend.core.redis import redis
from backend.core.security import Unreadable
from backend.webhooks import deliveries
from backend.webhooks.deliveries import Outcome, Taken
from backend.webhooks.events import BELL
from backend.webhooks.models import WebhookDelivery
from backend.webhooks.signing import secrets_of, signed

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
CLEAN_SECONDS = 600.0
#: What is kept of an answer.
ANSWER_BYTES = 2048


class Courier:
    """The slots of one process. A ring, a slot that comes free, each second: all mean, look for what is due."""

    def __init__(self, *, draining: Callable[[], bool]) -> None:
        self._draining = draining
        self._under_way: dict[asyncio.Task[None], Taken] = {}
        self._look = asyncio.Event()
        self._closed = False
        self._rescue_at = self._clean_at = 0.0

    async def keep(self) -> None:
        """Deliver until `draining`, then end what is under way; cancelled, give it back. What is away is waited for."""
        hearing = asyncio.create_task(self._hear())
        failing = False
        try:
            while not self._draining():
                self._look.clear()
                try:
                    await self._once()
                    failing = False
                except Exception as error:  # a loop that dies would deliver nothing more: say it once, go on
                    if not failing:
                        log.warning("webhooks.failed", error=repr(error))
                    failing = True
                    await asyncio.sleep(LOOK_SECONDS)
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._look.wait()
                except TimeoutError:
                    pass
            if self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            self._closed = True
            hearing.cancel()
            await self._stop()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _once(self) -> None:
        now = time.monotonic()
        free = settings.webhook_slots - len(self._under_way)
        taken: list[Taken] = []
        if free > 0 or now >= self._rescue_at:
            async with transaction() as session:
                if now >= self._rescue_at:
                    self._rescue_at = now + LOOK_SECONDS
                    await deliveries.rescue(session)
                if free > 0:
                    taken = await deliveries.take(session, most=free)
        for each in taken:
            task = asyncio.create_task(self._carry(each))
            self._under_way[task] = each
            task.add_done_callback(self._ended)
        if now >= self._clean_at:
            async with transaction() as session:
                removed = await deliveries.clean(session)
            # What is removed in lots goes on with the next look.
            self._clean_at = 0.0 if removed else now + CLEAN_SECONDS

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._under_way[task]
        self._look.set()

    async def _carry(self, taken: Taken) -> None:
        try:
            outcome = await send(taken)
            until = time.monotonic() + deliveries.LEASE_MARGIN_SECONDS
            while True:
                try:
                    async with transaction() as session:
                        state = await deliveries.settle(session, taken, outcome)
                    break
                except Exception as error:  # while the database is away; later another worker sends it again
                    if not is_away(error) or time.monotonic() > until:
                        raise
                await asyncio.sleep(0.5)
        except Exception:  # whatever it was: the lease ends, and it is sent again
            log.exception("webhook.not_settled", delivery_id=str(taken.delivery.id))
            return
        log.info(
            "webhook.tried",
            delivery_id=str(taken.delivery.id),
            type=taken.delivery.type,
            attempt=taken.delivery.attempt,
            status=outcome.status,
            state=state,
        )

    async def _hear(self) -> None:
        while not self._closed:  # a Redis client may swallow a cancel
            try:
                # redis-py types this for its synchronous client, too.
                if await cast("Awaitable[object]", redis.client.blpop([BELL], timeout=1)):
                    self._look.set()
            except (RedisError, OSError):
                await asyncio.sleep(LOOK_SECONDS)

    async def _stop(self) -> None:
        left = dict(self._under_way)
        for task in left:
            task.cancel()
        if left:
            await asyncio.gather(*left, return_exceptions=True)
            async with transaction() as session:
                await deliveries.give_back(session, [each.token for each in left.values()])


# --- one request -----------------------------------------------------------------------------------------------------


def body_of(delivery: WebhookDelivery) -> bytes:
    """What is sent, the same at every try."""
    timestamp = delivery.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    body: dict[str, Any] = {"type": delivery.type, "timestamp": timestamp, "data": delivery.data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def send(taken: Taken) -> Outcome:
    """Send one delivery once. Never raises for what the receiver does."""
    at = datetime.now(UTC)
    began = time.monotonic()
    answer: http.Answer | None = None
    error: str | None = None
    try:
        body = body_of(taken.delivery)
        proof = signed(secrets_of(taken.endpoint, at), event_id=taken.delivery.event_id, at=at, body=body)
        answer = await http.post(
            taken.endpoint.url,
            headers={"Content-Type": "application/json", "User-Agent": f"Dailies/{__version__}", **proof},
            body=body,
            timeout_seconds=settings.webhook_timeout_seconds,
            max_answer_bytes=ANSWER_BYTES,
        )
    except UrlNotAllowed as refusal:
        error = refusal.message
    except http.NoAnswer as failure:
        error = str(failure)
    except Unreadable:
        error = "The secret cannot be read, because SECRET_KEY was changed. Make a new secret."
    except Exception:  # what nobody foresaw counts as a try: else it would be tried for ever
        log.exception("webhook.not_sent", delivery_id=str(taken.delivery.id))
        error = "Something went wrong on our side."
    took = round((time.monotonic() - began) * 1000)
    if answer is None:
        return Outcome(at, took, error=_shown(error or ""))
    text = answer.body.decode("utf-8", "replace")
    return Outcome(at, took, status=answer.status, answer=_shown(text), retry_after=_retry_after(answer, at))


def _shown(text: str) -> str:
    """Of what came from elsewhere what can be stored and shown."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _retry_after(answer: http.Answer, now: datetime) -> float:
    """Seconds that the receiver asks us to wait; 0 when it does not, or in words nobody can read."""
    given = answer.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:10])
    try:
        return (parsedate_to_datetime(given) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # the year 10^20, no zone
        return 0.0
