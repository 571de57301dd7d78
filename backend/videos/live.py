"""The library and a video's page as they change: events carry fragments of the pages, or say what to fetch.

Small steps of a running job are rendered from the event itself. Whenever something starts, ends or may have been
missed, the truth is read again and compared with what was last seen. No stream holds a database session while it waits.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sse_starlette import ServerSentEvent

from backend.core.db import transaction
from backend.core.events import READ_AGAIN_SECONDS, Closed, Payload, hub, message
from backend.core.readings import Readings, patiently
from backend.core.web import templates
from backend.jobs import live, progress
from backend.jobs.models import JobState
from backend.jobs.schemas import JobOut
from backend.orgs.access import Actor
from backend.orgs.streams import Follower
from backend.videos.models import Video
from backend.videos.work import Snapshot, Work, look_for_many, states_of

#: A stream ends after this long: the browser comes back at once, and has to be signed in still.
STREAM_SECONDS = 600.0
#: Many starts and ends at once become one look.
PAUSE_SECONDS = 0.2


async def library_events(
    *, actor: Actor, seen: str | None, project_id: uuid.UUID | None = None
) -> AsyncIterator[ServerSentEvent]:
    """`job-{id}` with a fragment, `video-{id}`, `now` and `library` without: fetch that part again.

    `seen` is the mark of what the page, or the stream before a lost connection, has shown; with a project, it shows
    nothing else.
    """
    until = time.monotonic() + STREAM_SECONDS
    follower = Follower(actor, project_id)
    shown = actor.project_ids if project_id is None else [project_id]
    with hub.subscribe(progress.project_topic(each) for each in shown) as subscription:
        try:
            before = await _look(follower, project_id)
            if seen is not None and seen != before.mark:
                for part in ("now", "library"):
                    yield _say(part, before)
            while time.monotonic() < until:
                payload = await subscription.next(_again_seconds(before))
                job = _step(payload, {work.job.id for work in before.work if work.job.status == JobState.RUNNING})
                if job is not None:
                    await follower.look_sometimes()
                    yield _fragment(f"job-{job.id}", job, before.mark)
                    continue
                after = await _look(follower, project_id)
                for event in _differences(before, after):
                    yield event
                before = after
                await asyncio.sleep(PAUSE_SECONDS)
        except Closed:
            return


async def video_events(*, video: Video, follower: Follower, seen: str | None = None) -> AsyncIterator[ServerSentEvent]:
    """`progress` with a fragment, `history` when an attempt began or ended, `done` to fetch the whole page again.

    `seen` is the last move of its jobs that the page, or the stream before a lost connection, has shown.
    """
    had_poster = video.poster_key is not None
    # Its steps are jobs of their own, which are told of where all of a project's are.
    with hub.subscribe([progress.project_topic(video.project_id)]) as subscription:
        try:
            while True:
                now = await patiently(lambda: _in_work.get(video.id))
                if now is None or (now.has_poster and not had_poster):
                    yield message("done", event="done", id="done")
                    return
                moved = str(now.state.version.moved)
                yield _fragment("progress", now.state.job, moved)
                if seen != moved:
                    yield message("changed", event="history", id=moved)
                    seen = moved
                again = live.read_again_seconds(now.state.job)
                while _is_of_another(await subscription.next(again), video.id):
                    pass
                await follower.look_sometimes()
                await asyncio.sleep(PAUSE_SECONDS)
        except Closed:
            return


@dataclass(frozen=True)
class _InWork:
    """A video that is being processed."""

    state: progress.State
    has_poster: bool


async def _read_videos(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, _InWork]:
    async with transaction() as session:
        videos = {video.id: video for video in await session.scalars(select(Video).where(Video.id.in_(ids)))}
        states = await states_of(session, list(videos.values()))
    return {key: _InWork(state, videos[key].poster_key is not None) for key, state in states.items()}


@dataclass(frozen=True)
class _Watcher:
    """Who sees the same as others with these projects."""

    project_ids: tuple[uuid.UUID, ...]
    actor: Actor = field(compare=False)


async def _read_snapshots(watchers: Sequence[_Watcher]) -> dict[_Watcher, Snapshot]:
    async with transaction() as session:
        found = await look_for_many(session, [watcher.actor for watcher in watchers])
    return dict(zip(watchers, found, strict=True))


_in_work = Readings(_read_videos)
_snapshots = Readings(_read_snapshots)


async def _look(follower: Follower, project_id: uuid.UUID | None) -> Snapshot:
    """How things stand. Raises Closed when access ended meanwhile: the browser comes back, perhaps to the login."""
    actor = await follower.look()
    if project_id is not None:
        actor = actor.within(project_id)
    snapshot = await patiently(lambda: _snapshots.get(_Watcher(actor.project_ids, actor)))
    assert snapshot is not None
    return snapshot


def _again_seconds(shown: Snapshot) -> float:
    """How long a library that shows this waits for news: places in the queue change without any."""
    return min((live.read_again_seconds(work.job) for work in shown.work), default=READ_AGAIN_SECONDS)


def _is_of_another(payload: Payload | None, video_id: uuid.UUID) -> bool:
    return payload is not None and payload["job"]["video_id"] != str(video_id)


def _step(payload: Payload | None, running: set[uuid.UUID]) -> JobOut | None:
    """The job of an event that says no more than how far a running job is; None when the truth has to be read."""
    if payload is None:
        return None
    told = progress.State.told(payload)
    return told.job if told and told.job.id in running and told.job.status == JobState.RUNNING else None


def _differences(before: Snapshot, after: Snapshot) -> Iterator[ServerSentEvent]:
    was = {work.video_id: work for work in before.work}
    now = {work.video_id: work for work in after.work}
    started, ended = now.keys() - was.keys(), was.keys() - now.keys()
    if before.mark != after.mark or started or ended:
        yield _say("now", after)
    if before.total != after.total or started:
        yield _say("library", after)
    else:
        pictured = {video_id for video_id in was.keys() & now if was[video_id].has_poster != now[video_id].has_poster}
        for video_id in ended | pictured:
            yield _say(f"video-{video_id}", after)
    for work in now.values():
        if work.video_id in was and _shown(was[work.video_id]) != _shown(work):
            yield _fragment(f"job-{work.job.id}", work.job, after.mark)


def _shown(work: Work) -> tuple[object, ...]:
    job = work.job
    return (job.id, job.status, job.stage, job.progress, job.queue_position, job.waiting_for, job.cancel_requested_at)


def _say(event: str, state: Snapshot) -> ServerSentEvent:
    # Browsers drop events without data.
    return message("changed", event=event, id=state.mark)


def _fragment(event: str, job: JobOut, mark: str) -> ServerSentEvent:
    html = templates().get_template("jobs/_progress.html").render(job=job)
    return message(html, event=event, id=mark)
