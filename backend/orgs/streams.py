"""Streams end with the access of whoever follows them: a session or key that ends, a member who leaves."""

import time
import uuid
from collections.abc import Sequence
from weakref import WeakValueDictionary

from backend.core.db import autocommit
from backend.core.events import Closed
from backend.core.readings import Readings, patiently
from backend.orgs.access import Actor, Proof, reload

#: A stream that tells much looks no more often than this whether it still may.
LOOK_SECONDS = 2.0


async def _read(proofs: Sequence[Proof]) -> dict[Proof, Actor]:
    async with autocommit() as session:
        return await reload(session, proofs)


_actors = Readings(_read)


class _Sight:
    """The actor of a proof as last seen, for all streams that it opened."""

    def __init__(self, actor: Actor) -> None:
        self.actor: Actor | None = actor
        self.at = time.monotonic()

    def note(self, actor: Actor | None) -> None:
        self.actor, self.at = actor, time.monotonic()


_sights: WeakValueDictionary[Proof, _Sight] = WeakValueDictionary()


class Follower:
    """Whoever follows a stream: of one project, or (None) of all those the actor saw when it was opened."""

    def __init__(self, actor: Actor, project_id: uuid.UUID | None = None) -> None:
        self.actor = actor
        self._project_id = project_id
        self._sight = _sights.setdefault(actor.proof, _Sight(actor))
        self._sight.note(actor)

    async def look(self) -> Actor:
        """The actor as of now.

        Raises Closed: when there is no access any more, or other projects came or went: whoever still may comes back.
        """
        self._sight.note(await patiently(lambda: _actors.get(self.actor.proof)))
        return self._seen()

    async def look_sometimes(self) -> None:
        """The same, unless it was done just before: to be called before each message. Raises Closed."""
        if time.monotonic() - self._sight.at >= LOOK_SECONDS:
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
