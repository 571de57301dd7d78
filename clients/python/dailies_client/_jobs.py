"""Background work, and following it as it goes."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from dailies_client._api import Api, segment
from dailies_client._flows import Emit, Flow, Group, NextChunk, Open, Sleep, Values, listing, operation
from dailies_client._parsing import parse
from dailies_client._sse import Event, Reader
from dailies_client.errors import ConnectionFailed, TimedOut, UnexpectedAnswer
from dailies_client.models import Job, JobStatus

D = TypeVar("D")
OnJob = Callable[[Job], None]

#: The platform sends something about each 40 seconds.
_SILENCE_SECONDS = 60
_END_WAS_SENT = 204


class Jobs(Group[D]):
    """Jobs of one's projects."""

    @listing
    def list(
        self, *, status: JobStatus | None = None, kind: str | None = None, video_id: str | None = None
    ) -> Values[Job]:
        """All that match, newest first."""
        return self._api.pages(Job, "/api/jobs", "jobs", {"status": status, "kind": kind, "video_id": video_id})

    @operation
    def get(self, job_id: str) -> Flow[Job]:
        """One job."""
        return self._api.one(Job, "GET", f"/api/jobs/{segment(job_id)}")

    @operation
    def cancel(self, job_id: str) -> Flow[Job]:
        """A queued one ends at once, a running one within seconds. Raises InvalidState when it is over."""
        return self._api.one(Job, "POST", f"/api/jobs/{segment(job_id)}/cancel")

    @operation
    def retry(self, job_id: str) -> Flow[Job]:
        """Try a failed one again. Raises InvalidState for one that has not failed."""
        return self._api.one(Job, "POST", f"/api/jobs/{segment(job_id)}/retry")

    @listing
    def follow(self, job_id: str) -> Values[Job]:
        """Its state now, and each change as it happens, up to its end. Lost connections are made again."""
        return _follow(self._api, job_id)

    @operation
    def wait(self, job_id: str, *, timeout: float | None = None, on_progress: OnJob | None = None) -> Flow[Job]:
        """Its last state, whether it ended well or badly: see `status`. `on_progress` is called with each state.

        Raises TimedOut: after `timeout` seconds, at the latest when the server next says that it is still there.
        """
        return _wait(self._api, job_id, timeout, on_progress)


class _Following:
    """The stream of one job, over as many connections as it takes."""

    def __init__(self, api: Api, job_id: str, timeout: float | None = None) -> None:
        self._api = api
        self._path = f"/api/jobs/{segment(job_id)}/stream"
        self._until = None if timeout is None else time.monotonic() + timeout
        self._reader: Reader | None = None  # while a connection is open
        self._events: list[Event] = []
        self._last_id: str | None = None
        self._pause_seconds = 0.0
        self._tried = 0
        self._over = False

    def next(self) -> Flow[Job | None]:
        """The next state, None after the last. Raises ApiError, ConnectionFailed, TimedOut."""
        while not self._over:
            while self._events:
                event = self._events.pop(0)
                self._last_id = event.id or self._last_id
                self._pause_seconds = event.retry_seconds or self._pause_seconds
                if event.data:
                    job = parse(Job, _decoded(event.data))
                    self._over = job.is_final
                    return job
            self._in_time()
            yield from self._read()
        return None

    def _read(self) -> Flow[None]:
        try:
            if self._reader is None:
                yield from self._connect()
            elif (chunk := (yield NextChunk())) is not None:
                self._events, self._tried = self._reader.feed(chunk), 0
            else:  # it ends so when the server restarts
                self._reader = None
                yield Sleep(self._pause())
        except ConnectionFailed:
            self._reader = None
            self._in_time()
            if self._tried >= self._api.retries:
                raise
            yield Sleep(self._pause())

    def _connect(self) -> Flow[None]:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        seconds = _SILENCE_SECONDS if self._until is None else max(0.1, self._until - time.monotonic())
        answer = yield from self._api.send(
            "GET", self._path, headers=headers, effect=Open, seconds=min(seconds, _SILENCE_SECONDS)
        )
        self._reader = Reader()
        self._over = answer.status == _END_WAS_SENT

    def _pause(self) -> float:
        self._tried += 1
        seconds = max(self._pause_seconds, self._api.backoff(self._tried - 1))
        return seconds if self._until is None else max(0.0, min(seconds, self._until - time.monotonic()))

    def _in_time(self) -> None:
        if self._until is not None and time.monotonic() >= self._until:
            raise TimedOut("the job has not ended")


def _decoded(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise UnexpectedAnswer("an event is no JSON") from error


def _follow(api: Api, job_id: str) -> Values[Job]:
    following = _Following(api, job_id)
    while (job := (yield from following.next())) is not None:
        yield Emit(job)


def _wait(api: Api, job_id: str, timeout: float | None, on_progress: OnJob | None) -> Flow[Job]:
    following = _Following(api, job_id, timeout)
    last: Job | None = None
    while (job := (yield from following.next())) is not None:
        last = job
        if on_progress is not None:
            on_progress(job)
    if last is None:
        raise UnexpectedAnswer("the stream of the job ended without a word")
    return last
