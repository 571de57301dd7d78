"""Streams end with the access of whoever follows them: a session or key that ends, a member who leaves."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from weakref import WeakValueDictionary

import structlog

from backend.core.db import autocommit
from backend.core.events import Closed
from backend.core.readings import Readings, patiently
from backend.orgs.access import Actor, Proof, reload

log = structlog.get_logger(__name__)

#: A stream that tells much looks no more often than this whether it still may.
LOOK_SECONDS = 2.0
#: Who is told something twice within so long is looked at before the next message would have to wait for it.
OFTEN_SECONDS = 5.0
_AHEAD_SECONDS = 1.0
#: Looked at together, at most: while rows become actors, nothing else happens in this process.
_TOGETHER = 100


async def _read(proofs: Sequence[Proof]) -> dict[Proof, Actor]:
    async with autocommit() as session:
        return await reload(session, proofs)


_actors = Readings(_read, most=_TOGETHER)


class _Sight:
    """The actor of a proof as last seen, for all streams that it opened, and when somebody was told something."""

    def __init__(self, actor: Actor) -> None:
        self.actor: Actor | None = actor
        self.at = time.monotonic()
        self.told_at = 0.0

    def note(self, actor: Actor | None, at: float) -> None:
        """As it was at this moment, or later. What is known of a later one stays."""
        if at >= self.at:
            self.actor, self.at = actor, at


class _Ahead:
    """Looks at those who are told something often, so that their messages wait for nobody."""

    def __init__(self) -> None:
        self._proofs: set[Proof] = set()
        self._looking: asyncio.Task[None] | None = None

    def add(self, proof: Proof) -> None:
        self._proofs.add(proof)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self._proofs:
            now = time.monotonic()
            seen = {proof: sight for proof in self._proofs if (sight := _sights.get(proof))}
            self._proofs = {
                proof for proof, sight in seen.items() if sight.actor and now - sight.told_at < OFTEN_SECONDS
            }
            due = [proof for proof in self._proofs if now - seen[proof].at >= _AHEAD_SECONDS]
            try:
                for first in range(0, len(due), _TOGETHER):
                    some, began = due[first : first + _TOGETHER], time.monotonic()
                    found = await _read(some)
                    for proof in some:
                        seen[proof].note(found.get(proof), began)
            except Exception as error:  # messages look for themselves then, and wait
                log.debug("streams.not_seen_ahead", error=repr(error))
            del seen
            await asyncio.sleep(0.2)


_ahead = _Ahead()


_sights: WeakValueDictionary[Proof, _Sight] = WeakValueDictionary()


class Follower:
    """Whoever follows a stream: of one project, or (None) of all those the actor saw when it was opened."""

    def __init__(self, actor: Actor, project_id: uuid.UUID | None = None) -> None:
        self.actor = actor
        self._project_id = project_id
        self._sight = _sights.setdefault(actor.proof, _Sight(actor))
        self._sight.note(actor, time.monotonic())

    async def look(self) -> Actor:
        """The actor as of now.

        Raises Closed: when there is no access any more, or other projects came or went: whoever still may comes back.
        """
        actor = await patiently(lambda: _actors.get(self.actor.proof))
        self._sight.note(actor, time.monotonic())
        return self._seen()

    async def look_sometimes(self) -> None:
        """The same, unless it was done just before: to be called before each message. Raises Closed."""
        now = time.monotonic()
        if now - self._sight.told_at < OFTEN_SECONDS:
            _ahead.add(self.actor.proof)
        self._sight.told_at = now
        if now - self._sight.at >= LOOK_SECONDS:
            await self.look()
        else:
            self._seen()

    def _seen(self) -> Actor:
        actor = self._sight.actor
        if actor is None or not self._sees_as_before(actor):
            raise Closed
        self.actor = actor
        return actor

    def _sees_as_before(self, actor: Actor) -> bool:
        if self._project_id is None:
            return actor.project_ids == self.actor.project_ids
        return self._project_id in actor.project_ids
