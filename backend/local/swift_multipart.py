"""Uploads in parts, where Swift's own S3 differs from others in a way that spoils objects or leaves bytes.

Called once, before a server is loaded and before there are several processes: what is changed are methods of Swift's
classes, and what is under way in one process concerns the others.
"""

import fcntl
import functools
import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
from swift.common.utils import InputProxy

WAIT_SECONDS = 0.005  #: between two tries to hold what others hold


def keep_to_s3() -> None:
    """An upload is dead once it is complete or given up, and nothing stays of one that was given up."""
    from swift.common.middleware.s3api.controllers import multi_upload  # after set_swift_dir

    _Gate.prepare()
    _take_parts_of_open_uploads_only(multi_upload)
    _complete_what_has_arrived(multi_upload)
    _abort_parts_before_their_upload(multi_upload)


class _Ended(OSError):
    """The upload was completed or given up while this part was being sent. Swift's proxy drops what came of it."""


class _Gate:
    """What the parts of one upload have to pass, and its end has to shut; in all processes the same.

    Locks of the kernel keep them apart: a part that is stored holds the gate with others, the end holds it alone. A
    mark tells a part that there was an end since it began. Both go with the processes; what is stored needs neither.
    """

    #: Ends of different uploads share a mark so rarely that all they cost is a part that is sent again.
    _MARKS = 1 << 16
    _MARK_BYTES = 8

    marks: mmap.mmap  #: made before there are several processes
    _file: int

    def __init__(self, upload_id: str) -> None:
        number = int.from_bytes(hashlib.sha256(upload_id.encode()).digest()[:7], "big")
        self._place = number
        self._mark = slice(begin := number % self._MARKS * self._MARK_BYTES, begin + self._MARK_BYTES)

    @classmethod
    def prepare(cls) -> None:
        """Once, before there are several processes, in Swift's folder."""
        cls.marks = mmap.mmap(-1, cls._MARKS * cls._MARK_BYTES)

    def __enter__(self) -> "_Gate":
        self._file = os.open("ends", os.O_RDWR | os.O_CREAT, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # what it holds goes with it

    @property
    def mark(self) -> bytes:
        """Another after each end."""
        return self.marks[self._mark]

    def change_mark(self) -> None:
        """Let the parts know that there is an end."""
        self.marks[self._mark] = os.urandom(self._MARK_BYTES)

    def take(self, how: int) -> bool:
        """Hold the gate with others (F_RDLCK) or alone (F_WRLCK), or no more (F_UNLCK); False when that must wait."""
        lock = struct.pack("@hhqqi0q", how, os.SEEK_SET, self._place, 1, 0)  # flock of fcntl.h
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, lock)
        except BlockingIOError:
            return False
        return True


class _Sending(InputProxy):  # type: ignore[misc]
    """One part on its way in. Until its last byte is here it can be ended; from then on it is waited for."""

    def __init__(self, body: Any, size_bytes: int | None, gate: _Gate) -> None:
        super().__init__(body)
        self._size_bytes = size_bytes
        self._gate = gate
        self._arrived = False
        self.ended = not gate.take(fcntl.F_RDLCK)
        self._mark = gate.mark
        if not self.ended:
            gate.take(fcntl.F_UNLCK)
        if size_bytes == 0:
            self._arrive()

    def chunk_update(self, chunk: bytes, eof: bool, *args: Any, **more: Any) -> bytes:
        self.ended = self.ended or (not self._arrived and self._gate.mark != self._mark)
        # With the last byte it may be stored at once, without another look at us.
        if self.bytes_received >= self._size_bytes if self._size_bytes is not None else not chunk:
            self._arrive()
        if self.ended:
            raise _Ended
        return chunk

    def _arrive(self) -> None:
        if self._arrived or self.ended:
            return
        self._arrived = self._gate.take(fcntl.F_RDLCK) and self._gate.mark == self._mark
        self.ended = not self._arrived


@contextmanager
def _ending(upload_id: str) -> Iterator[None]:
    """Within it no part of the upload is written, and none that began before is written later."""
    with _Gate(upload_id) as gate:
        gate.change_mark()  # those on their way are ended at once
        while not gate.take(fcntl.F_WRLCK):  # those that are here are waited for
            eventlet.sleep(WAIT_SECONDS)
        gate.change_mark()  # those that began meanwhile
        yield


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
        with _Gate(upload_id) as gate:
            part = req.environ["wsgi.input"] = _Sending(req.environ["wsgi.input"], req.message_length(), gate)
            try:
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
        with _ending(s3.get_param(req, "uploadId")):
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
        with _ending(upload_id):
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
