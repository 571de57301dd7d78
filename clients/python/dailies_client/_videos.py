"""Videos, and the uploads they come from."""

import time
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

from dailies_client._api import Api, segment
from dailies_client._files import File, OnProgress, Sink
from dailies_client._flows import Answer, Do, Flow, Group, NextChunk, Open, Request, Sleep, Values, listing, operation
from dailies_client._sending import Wanted, refused, resume_upload, send_file
from dailies_client.errors import ConnectionFailed, DailiesError, StorageRefused, TimedOut, UnexpectedAnswer
from dailies_client.models import Playback, Upload, Usage, Video, VideoStatus

D = TypeVar("D")
Sort = Literal["created_at", "title", "duration", "size"]
OnVideo = Callable[[Video], None]

_STORAGE_SECONDS = 60
_LONGEST_PAUSE_SECONDS = 5.0
_PASSING = {403, 408, 429, 500, 502, 503, 504}


class Videos(Group[D]):
    """The library."""

    @operation
    def upload(
        self,
        file: File,
        *,
        title: str | None = None,
        description: str | None = None,
        project_id: str | None = None,
        filename: str | None = None,
        content_type: str | None = None,
        on_progress: OnProgress | None = None,
        resume: bool = True,
        parallel: int = 4,
    ) -> Flow[Video]:
        """Send a file and confirm it; its processing then begins.

        What is larger than 16 MiB goes in parts, `parallel` of them at once, each sent again when it fails. An upload
        of the same file into the same project that was cut off before goes on where it was, from whatever program,
        unless `resume` is False. `on_progress(sent, total)` is called one at a time, from several threads in a
        `Client`; what it raises ends the upload, which can be resumed.

        Raises ApiError, StorageRefused, ConnectionFailed; ValueError for a file that changes or cannot be sought.
        """
        wanted = Wanted(title, description, project_id, filename, content_type)
        return send_file(self._api, file, wanted, on_progress=on_progress, resume=resume, parallel=parallel)

    @listing
    def list(
        self,
        *,
        q: str | None = None,
        status: VideoStatus | None = None,
        source: str | None = None,
        sort: Sort | None = None,
        order: Literal["asc", "desc"] | None = None,
    ) -> Values[Video]:
        """All that match, newest first unless `sort` says otherwise. `q`: words that must all occur."""
        params = {"q": q, "status": status, "source": source, "sort": sort, "order": order}
        return self._api.pages(Video, "/api/videos", "videos", params)

    @operation
    def get(self, video_id: str) -> Flow[Video]:
        """One video."""
        return _get(self._api, video_id)

    @operation
    def update(self, video_id: str, *, title: str | None = None, description: str | None = None) -> Flow[Video]:
        """Change the texts; what is None stays."""
        return self._api.one(Video, "PATCH", f"/api/videos/{segment(video_id)}", json=Wanted(title, description).texts)

    @operation
    def delete(self, video_id: str) -> Flow[None]:
        """Out of sight at once; its objects are removed right after."""
        return self._api.json("DELETE", f"/api/videos/{segment(video_id)}")

    @operation
    def retry(self, video_id: str) -> Flow[Video]:
        """Process a failed one again. Raises InvalidState for one that has not failed."""
        return self._api.one(Video, "POST", f"/api/videos/{segment(video_id)}/retry")

    @operation
    def move(self, video_id: str, project_id: str) -> Flow[Video]:
        """To another project, where one may edit as well."""
        return self._api.one(Video, "POST", f"/api/videos/{segment(video_id)}/move", json={"project_id": project_id})

    @operation
    def playback_url(self, video_id: str, *, download: bool = False) -> Flow[Playback]:
        """An address that serves ranges, of what browsers play; with `download` of the file as it was sent."""
        return _playback(self._api, video_id, download=download)

    @operation
    def wait(self, video_id: str, *, timeout: float | None = None, on_progress: OnVideo | None = None) -> Flow[Video]:
        """Until all of its processing is over, well or badly: see `status`. Asks again each few seconds.

        Raises TimedOut: after `timeout` seconds.
        """
        return _wait(self._api, video_id, timeout, on_progress)

    @operation
    def download(self, video_id: str, to: File, *, on_progress: OnProgress | None = None) -> Flow[int]:
        """Save the file as it was sent; answers its size in bytes.

        A path appears when the file is whole, and replaces what is there. After a break it goes on where it was.
        """
        return _download(self._api, video_id, to, on_progress)


class Uploads(Group[D]):
    """What is on its way."""

    @operation
    def list_open(self) -> Flow[list[Upload]]:
        """Those that have begun and are no videos yet."""
        return self._api.many(Upload, "/api/uploads", "uploads", params={"state": "open"})

    @operation
    def get(self, upload_id: str) -> Flow[Upload]:
        """How one stands, with the parts that have arrived."""
        return self._api.one(Upload, "GET", f"/api/uploads/{segment(upload_id)}")

    @operation
    def resume(
        self, upload_id: str, file: File, *, on_progress: OnProgress | None = None, parallel: int = 4
    ) -> Flow[Video]:
        """Send what is missing of it. `Videos.upload` finds by itself what it can go on with.

        Raises ValueError: for another file than it began with, or when it is not sent in parts.
        """
        return resume_upload(self._api, upload_id, file, on_progress=on_progress, parallel=parallel)

    @operation
    def abort(self, upload_id: str) -> Flow[None]:
        """Give one up; what arrived is removed."""
        return self._api.json("DELETE", f"/api/uploads/{segment(upload_id)}")

    @operation
    def usage(self, *, organization_id: str | None = None) -> Flow[Usage]:
        """Storage used, and the quota."""
        return self._api.one(Usage, "GET", "/api/usage", params={"organization_id": organization_id})


def _get(api: Api, video_id: str) -> Flow[Video]:
    return api.one(Video, "GET", f"/api/videos/{segment(video_id)}")


def _playback(api: Api, video_id: str, *, download: bool) -> Flow[Playback]:
    params = {"download": "true"} if download else {}
    return api.one(Playback, "GET", f"/api/videos/{segment(video_id)}/playback-url", params=params)


def _wait(api: Api, video_id: str, timeout: float | None, on_progress: OnVideo | None) -> Flow[Video]:
    until = None if timeout is None else time.monotonic() + timeout
    pause = 0.5
    while True:
        video = yield from _get(api, video_id)
        if on_progress is not None:
            on_progress(video)
        if video.status in ("completed", "failed"):
            return video
        left = pause if until is None else until - time.monotonic()
        if left <= 0:
            raise TimedOut(f"the video is still {video.status}")
        yield Sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _download(api: Api, video_id: str, to: File, on_progress: OnProgress | None) -> Flow[int]:
    sink: Sink = yield Do(lambda: Sink(to))
    done, tried, version = 0, 0, ""
    total: int | None = None
    try:
        while True:
            place = yield from _playback(api, video_id, download=True)
            headers = {"Accept-Encoding": "identity"}
            if done:
                headers |= {"Range": f"bytes={done}-", "If-Range": version}
            error: DailiesError
            try:
                answer: Answer = yield Open(Request("GET", place.url, headers=headers, seconds=_STORAGE_SECONDS))
                if answer.status != (206 if done else 200):
                    raise refused(answer)
                if total is None:
                    total, version = int(answer.headers["content-length"]), answer.headers.get("etag", "")
                chunk: bytes | None
                while (chunk := (yield NextChunk())) is not None:
                    yield Do(partial(sink.write, chunk))
                    done, tried = done + len(chunk), 0
                    if on_progress is not None:
                        on_progress(done, total)
                if done == total:
                    yield Do(sink.finish)
                    return done
                error = ConnectionFailed(f"{done} of {total} bytes came")
            except (LookupError, ValueError) as odd:
                raise UnexpectedAnswer("the storage does not say how long the file is") from odd
            except (ConnectionFailed, StorageRefused) as failed:
                error = failed
            passing = not isinstance(error, StorageRefused) or error.status in _PASSING
            if tried >= api.retries or not passing:
                raise error
            yield Sleep(api.backoff(tried))
            tried += 1
    finally:
        sink.give_up()
