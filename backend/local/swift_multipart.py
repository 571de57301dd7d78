"""Uploads in parts, where Swift's own S3 differs from others in a way that spoils objects or leaves bytes.

Called once, before a server is loaded: what is changed are methods of Swift's classes. All requests come through this
one process, so what is under way is known here.
"""

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eventlet.event import Event
from swift.common.utils import InputProxy


def keep_to_s3() -> None:
    """An upload is dead once it is complete or given up, and nothing stays of one that was given up."""
    from swift.common.middleware.s3api.controllers import multi_upload  # after set_swift_dir

    _take_parts_of_open_uploads_only(multi_upload)
    _complete_what_has_arrived(multi_upload)
    _abort_parts_before_their_upload(multi_upload)


class _Ended(OSError):
    """The upload was completed or given up while this part was being sent. Swift's proxy drops what came of it."""


class _Sending(InputProxy):  # type: ignore[misc]
    """One part on its way in. Until its last byte is here it can be ended; from then on it is waited for."""

    def __init__(self, body: Any, size_bytes: int | None) -> None:
        super().__init__(body)
        self.size_bytes = size_bytes
        self.arrived = size_bytes == 0
        self.ended = False
        self.over = Event()

    def chunk_update(self, chunk: bytes, eof: bool, *args: Any, **more: Any) -> bytes:
        if self.ended:
            raise _Ended
        # With the last byte it may be stored at once, without another look at us.
        self.arrived = self.bytes_received >= self.size_bytes if self.size_bytes is not None else not chunk
        return chunk


class _Uploads:
    """What is under way, by the id of the upload. Nothing here is given up between a look and what follows from it."""

    def __init__(self) -> None:
        self._sending: dict[str, set[_Sending]] = {}
        self._ending: dict[str, int] = {}

    @contextmanager
    def sending(self, upload_id: str, part: _Sending) -> Iterator[None]:
        part.ended = upload_id in self._ending
        self._sending.setdefault(upload_id, set()).add(part)
        try:
            yield
        finally:
            self._sending[upload_id].discard(part)
            if not self._sending[upload_id]:
                del self._sending[upload_id]
            part.over.send()

    @contextmanager
    def ending(self, upload_id: str) -> Iterator[None]:
        """Within it no part of the upload is written, and none that began before is written later."""
        self._ending[upload_id] = self._ending.get(upload_id, 0) + 1
        try:
            for part in list(self._sending.get(upload_id, ())):
                if part.arrived:
                    part.over.wait()
                else:
                    part.ended = True
            yield
        finally:
            self._ending[upload_id] -= 1
            if not self._ending[upload_id]:
                del self._ending[upload_id]


_uploads = _Uploads()


def _take_parts_of_open_uploads_only(s3: Any) -> None:
    # Swift takes parts for an upload as long as its object is there, and writes them over what the object consists of.
    known, store = s3._get_upload_info, s3.PartController.PUT

    def open_uploads_only(request: Any, app: Any, upload_id: str) -> Any:
        info, is_open = known(request, app, upload_id)
        if request.method == "PUT" and (not is_open or _is_complete(s3, app, request, upload_id)):
            raise s3.NoSuchUpload(upload_id=upload_id)
        return info, is_open

    @functools.wraps(store)
    def put(self: Any, req: Any) -> Any:
        upload_id, place = s3.get_param(req, "uploadId"), (req.container_name, req.object_name)
        part = req.environ["wsgi.input"] = _Sending(req.environ["wsgi.input"], req.message_length())
        try:
            with _uploads.sending(upload_id, part):
                if part.ended:
                    raise _Ended
                return store(self, req)
        except Exception as error:
            if not part.ended:
                raise
            req.container_name, req.object_name = place
            open_uploads_only(req, self.app, upload_id)
            # It goes on after all, or is only about to end: the part may be sent again.
            raise s3.ServiceUnavailable from error

    s3._get_upload_info = open_uploads_only
    s3.PartController.PUT = put


def _complete_what_has_arrived(s3: Any) -> None:
    # What is put together are the very parts that were named: none is replaced meanwhile, or after.
    join = s3.UploadController.POST

    @functools.wraps(join)
    def post(self: Any, req: Any) -> Any:
        with _uploads.ending(s3.get_param(req, "uploadId")):
            answer = join(self, req)
            answer.body = answer.body  # reading it does the work
        return answer

    s3.UploadController.POST = post


def _abort_parts_before_their_upload(s3: Any) -> None:
    # Swift forgets the upload first: killed before it has removed all parts, it cannot be told to again.
    forget = s3.UploadController.DELETE

    @functools.wraps(forget)
    def delete(self: Any, req: Any) -> Any:
        upload_id = s3.get_param(req, "uploadId")
        _, is_open = s3._get_upload_info(req, self.app, upload_id)
        parts = req.container_name + s3.MULTIUPLOAD_SUFFIX
        if _is_complete(s3, self.app, req, upload_id):  # killed before it forgot the upload: the parts are the object
            _delete(s3, self.app, req, parts, f"{req.object_name}/{upload_id}")
            raise s3.NoSuchUpload(upload_id=upload_id)
        prefix = f"{s3.wsgi_to_str(req.object_name)}/{upload_id}/"
        query = {"format": "json", "prefix": prefix, "delimiter": "/", "marker": ""}
        with _uploads.ending(upload_id):
            while is_open and (found := json.loads(req.get_response(self.app, "GET", parts, "", query=query).body)):
                for each in found:
                    _delete(s3, self.app, req, parts, s3.bytes_to_wsgi(each["name"].encode()))
                query["marker"] = found[-1]["name"]
            return forget(self, req)

    s3.UploadController.DELETE = delete


def _is_complete(s3: Any, app: Any, request: Any, upload_id: str) -> bool:
    """Whether the object is there that was made of this upload."""
    source = request.headers.pop("X-Amz-Copy-Source", None)
    try:
        found = request.get_response(app, "HEAD").sysmeta_headers.get(s3.sysmeta_header("object", "upload-id"))
    except s3.NoSuchKey:
        return False
    finally:
        if source is not None:
            request.headers["X-Amz-Copy-Source"] = source
    return bool(found == upload_id)


def _delete(s3: Any, app: Any, request: Any, container: str, name: str) -> None:
    try:
        request.get_response(app, "DELETE", container, name)
    except s3.NoSuchKey:
        pass
