"""What is being made, as it goes: one stream for the gallery, the composer and a single thing's page.

Steps of a running job are rendered from the event itself; whenever something starts or ends, the truth is read again
and compared with what was last seen. No stream holds a database session while it waits.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from sse_starlette import ServerSentEvent

from backend.core.db import transaction
from backend.core.events import READ_AGAIN_SECONDS, Closed, Payload, hub, message
from backend.core.readings import Readings, patiently
from backend.core.web import templates
from backend.generation import pages_wall
from backend.jobs import live, progress
from backend.jobs.models import JobState
from backend.jobs.schemas import JobOut
from backend.orgs.access import Actor
from backend.orgs.streams import Follower

#: A stream ends after this long: the browser comes back at once, and has to be signed in still.
STREAM_SECONDS = 600.0
#: Many starts and ends at once become one look.
PAUSE_SECONDS = 0.2
#: What was fetched because something began may still be on its way, as it was then, when that ends within this time.
FETCHED_SECONDS = 10.0
#: The kinds of jobs that make things.
KINDS = ("generate", "generate_gpu")


@dataclass(frozen=True)
class Snapshot:
    """How many things there are, and what is being made."""

    total: int
    work: dict[uuid.UUID, JobOut]

    @property
    def mark(self) -> str:
        """A short text that differs when something came or went, started or ended."""
        return f"{self.total}.{len(self.work)}"


async def gallery_events(
    *, actor: Actor, seen: str | None, project_id: uuid.UUID | None = None
) -> AsyncIterator[ServerSentEvent]:
    """`made-{id}` with a fragment (how far it is), `end-{id}` and `gallery` without: fetch that part again.

    A video that was made ends twice: when it can be played, and when it has its poster. Where something ends soon after
    it began, `gallery` follows: a page that is only being fetched does not hear its end.

    `seen` is the mark of what the page, or the stream before a lost connection, has shown; with a project, it shows
    nothing else.
    """
    until = time.monotonic() + STREAM_SECONDS
    follower = Follower(actor, project_id)
    shown = actor.project_ids if project_id is None else [project_id]
    with hub.subscribe(progress.project_topic(each) for each in shown) as subscription:
        try:
            before = await _look(follower, project_id)
            began = dict.fromkeys(before.work, time.monotonic())
            if seen is not None and seen != before.mark:
                yield _say("gallery", before)
            for generation_id, job in before.work.items():  # what went on while the page was on its way
                yield await _fragment(generation_id, job, before.mark)
            while time.monotonic() < until:
                payload = await subscription.next(_again_seconds(before))
                if (pictured := _of_a_video(payload)) is not None:
                    await follower.look_sometimes()
                    yield _say(f"end-{pictured}", before)
                    continue
                if _is_of_another(payload):
                    continue
                step = _step(payload, before)
                if step is not None:
                    await follower.look_sometimes()
                    yield await _fragment(*step, before.mark)
                    continue
                after = await _look(follower, project_id)
                now = time.monotonic()
                brief = any(now - began[each] < FETCHED_SECONDS for each in began.keys() - after.work.keys())
                began = {each: began.get(each, now) for each in after.work}
                for event in _differences(before, after, brief=brief):
                    yield event
                for generation_id, job in after.work.items():
                    if before.work.get(generation_id) != job:
                        yield await _fragment(generation_id, job, after.mark)
                before = after
                await asyncio.sleep(PAUSE_SECONDS)
        except Closed:
            return


@dataclass(frozen=True)
class _Watcher:
    """Who sees the same as others with these projects."""

    project_ids: tuple[uuid.UUID, ...]
    actor: Actor = field(compare=False)


async def look(actor: Actor) -> Snapshot:
    """How things stand for the actor now."""
    async with transaction() as session:
        counts = await pages_wall.count(session, actor=actor)
        work = await pages_wall.in_work(session, actor=actor) if counts.of(state="working") else {}
        return Snapshot(counts.total, work)


async def _read(watchers: Sequence[_Watcher]) -> dict[_Watcher, Snapshot]:
    return {watcher: await look(watcher.actor) for watcher in watchers}


_snapshots = Readings(_read)


async def _look(follower: Follower, project_id: uuid.UUID | None) -> Snapshot:
    """Raises Closed when access ended meanwhile: the browser comes back, perhaps to the login."""
    actor = await follower.look()
    if project_id is not None:
        actor = actor.within(project_id)
    snapshot = await patiently(lambda: _snapshots.get(_Watcher(actor.project_ids, actor)))
    assert snapshot is not None
    return snapshot


def _again_seconds(shown: Snapshot) -> float:
    return min((live.read_again_seconds(job) for job in shown.work.values()), default=READ_AGAIN_SECONDS)


def _is_of_another(payload: Payload | None) -> bool:
    return payload is not None and payload["job"]["kind"] not in KINDS


def _of_a_video(payload: Payload | None) -> str | None:
    """The id of a video (that of its generation) whose processing made a step to its end: there may be a poster now."""
    if not _is_of_another(payload) or payload is None or payload["job"]["status"] != JobState.COMPLETED:
        return None
    video_id: str | None = payload["job"]["video_id"]
    return video_id


def _step(payload: Payload | None, shown: Snapshot) -> tuple[uuid.UUID, JobOut] | None:
    """The job of an event that says no more than how far a running one is; None when the truth has to be read."""
    told = progress.State.told(payload) if payload is not None else None
    if told is None or told.job.status != JobState.RUNNING:
        return None
    for generation_id, job in shown.work.items():
        if job.id == told.job.id and job.status == JobState.RUNNING:
            # Events know no estimate: it stays as it was read.
            return generation_id, told.job.model_copy(update={"estimated_seconds": job.estimated_seconds})
    return None


def _differences(before: Snapshot, after: Snapshot, *, brief: bool) -> Iterator[ServerSentEvent]:
    for generation_id in before.work.keys() - after.work.keys():
        yield _say(f"end-{generation_id}", after)
    if brief or after.work.keys() - before.work.keys() or before.total != after.total:
        yield _say("gallery", after)


def _say(event: str, state: Snapshot) -> ServerSentEvent:
    # Browsers drop events without data.
    return message("changed", event=event, id=state.mark)


async def _fragment(generation_id: uuid.UUID, job: JobOut, mark: str) -> ServerSentEvent:
    previews = await pages_wall.previews_of([generation_id]) if job.status == JobState.RUNNING else {}
    template = templates().get_template("generation/_progress.html")
    html = template.render(job=job, preview=previews.get(generation_id))
    return message(html, event=f"made-{generation_id}", id=mark)
