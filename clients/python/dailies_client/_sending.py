"""Bringing a file in: in one request, or in parts that go on after a break."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from dailies_client._api import Api, segment
from dailies_client._files import File, Meter, OnProgress, Piece, Source
from dailies_client._flows import Answer, AtOnce, Do, Exchange, Flow, Request, Sleep
from dailies_client._parsing import parse
from dailies_client.errors import ConnectionFailed, DailiesError, StorageRefused, UnexpectedAnswer, UploadIncomplete
from dailies_client.models import Upload, Video

TYPES: Mapping[str, str] = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}
#: Larger files are sent in parts.
WHOLE_BYTES = 16 * 1024 * 1024
_STORAGE_SECONDS = 60
_PASSING = {408, 429, 500, 502, 503, 504}
_ADDRESS_ENDED = 403
_IS_THERE = 412
_ROUNDS = 3


@dataclass(frozen=True)
class Wanted:
    """What is to become of the file. What is None is left to the platform."""

    title: str | None = None
    description: str | None = None
    project_id: str | None = None
    filename: str | None = None
    content_type: str | None = None

    @property
    def texts(self) -> dict[str, str]:
        """Of the video, as the API takes them."""
        named = {"title": self.title, "description": self.description}
        return {name: value for name, value in named.items() if value is not None}


def send_file(
    api: Api, file: File, wanted: Wanted, *, on_progress: OnProgress | None, resume: bool, parallel: int
) -> Flow[Video]:
    """The video that the file has become."""
    if parallel < 1:
        raise ValueError("parallel must be at least 1")
    source: Source = yield Do(lambda: Source(file))
    try:
        meter = Meter(source.size, on_progress)
        body = {**_announced(source, wanted), "checksum": (yield Do(source.fingerprint))}
        if source.size <= WHOLE_BYTES:
            return (yield from _send_whole(api, source, body, wanted, meter))
        upload = (yield from _unfinished(api, body)) if resume else None
        if upload is None:
            begun = yield from api.json("POST", "/api/upload/presigned-url", json={**body, "multipart": True})
            upload = yield from api.one(Upload, "GET", f"/api/uploads/{segment(begun['upload_id'])}")
        return (yield from _send_parts(api, source, upload, wanted.texts, meter, parallel))
    finally:
        source.close()


def resume_upload(
    api: Api, upload_id: str, file: File, *, on_progress: OnProgress | None, parallel: int
) -> Flow[Video]:
    """The video that the file has become; also when it had before."""
    upload = yield from api.one(Upload, "GET", f"/api/uploads/{segment(upload_id)}")
    if upload.video is not None:
        return (yield from api.one(Video, "GET", f"/api/videos/{segment(upload.video)}"))
    if not upload.multipart:
        raise ValueError("this upload is not sent in parts: send the file anew")
    source: Source = yield Do(lambda: Source(file))
    try:
        fingerprint = yield Do(source.fingerprint)
        if source.size != upload.size_bytes or upload.checksum not in (None, fingerprint):
            raise ValueError("this is not the file that the upload began with")
        return (yield from _send_parts(api, source, upload, {}, Meter(source.size, on_progress), parallel))
    finally:
        source.close()


def _announced(source: Source, wanted: Wanted) -> dict[str, Any]:
    filename = wanted.filename or source.name
    if filename is None:
        raise ValueError("say the filename: the file has none")
    content_type = wanted.content_type or TYPES.get(PurePath(filename).suffix.lower(), "application/octet-stream")
    named = {"filename": filename, "size": source.size, "content_type": content_type, "project_id": wanted.project_id}
    return {**{name: value for name, value in named.items() if value is not None}, **wanted.texts}


# --- in one request --------------------------------------------------------------------------------------------------


def _send_whole(api: Api, source: Source, body: Mapping[str, Any], wanted: Wanted, meter: Meter) -> Flow[Video]:
    piece = Piece(source, 1, 0, source.size, meter)
    for last in (False, True):
        begun = yield from api.json("POST", "/api/upload/presigned-url", json=body)
        request = Request(
            begun["method"], begun["upload_url"], headers=begun["headers"], content=piece, seconds=_STORAGE_SECONDS
        )
        tried = 0
        while (error := (yield from _refusal(request))) is not None:
            if isinstance(error, StorageRefused) and error.status == _ADDRESS_ENDED and not last:
                break
            pause = _pause(api, error, tried)
            if pause is None:
                raise error
            tried += 1
            yield Sleep(pause)
        else:
            confirmed = {"video_id": begun["video_id"], **wanted.texts}
            return (yield from api.one(Video, "POST", "/api/videos", json=confirmed))
        yield from api.json(
            "DELETE", f"/api/uploads/{segment(begun['upload_id'])}"
        )  # and once more, with a new address
    raise AssertionError("the last round ends in itself")


# --- in parts --------------------------------------------------------------------------------------------------------


def _unfinished(api: Api, body: Mapping[str, Any]) -> Flow[Upload | None]:
    """An upload of this file, into this project, that can go on."""
    uploads = yield from api.many(Upload, "/api/uploads", "uploads", params={"state": "open"})
    same = [
        each
        for each in uploads
        if each.multipart and each.checksum == body["checksum"] and each.size_bytes == body["size"]
    ]
    if not same:
        return None
    project_id = body.get("project_id")
    if project_id is None:  # where it goes when nothing is said: the first of those one may reach
        projects = (yield from api.json("GET", "/api/projects"))["projects"]
        project_id = projects[0]["id"] if projects else None
    mine = next((each for each in same if each.project_id == project_id), None)
    return (yield from api.one(Upload, "GET", f"/api/uploads/{segment(mine.id)}")) if mine else None


def _send_parts(
    api: Api, source: Source, upload: Upload, texts: Mapping[str, str], meter: Meter, parallel: int
) -> Flow[Video]:
    for _ in range(_ROUNDS):
        if upload.part_size is None or upload.part_count is None:
            raise UnexpectedAnswer("the upload has no parts")
        pieces = [
            Piece(source, number, offset, min(upload.part_size, source.size - offset), meter)
            for number, offset in enumerate(range(0, source.size, upload.part_size), 1)
        ]
        there = {part.number: part.size_bytes for part in upload.parts or ()}
        missing = []
        for number, piece in enumerate(pieces, 1):
            if there.get(number) == piece.size:
                meter.set(number, piece.size)
            else:
                missing.append(_send_part(api, upload.id, number, piece))
        yield AtOnce(missing, parallel)
        try:
            done = yield from api.json("POST", f"/api/uploads/{segment(upload.id)}/complete", json=dict(texts))
            return parse(Video, done)
        except UploadIncomplete as error:  # the storage lost some of it, or another sender is not done with its own
            problem = error
            upload = yield from api.one(Upload, "GET", f"/api/uploads/{segment(upload.id)}")
    raise problem


def _send_part(api: Api, upload_id: str, number: int, piece: Piece) -> Flow[None]:
    tried = 0
    while True:
        # Signed anew for each try: the address before may have ended.
        body = {"part_numbers": [number]}
        signed = (yield from api.json("POST", f"/api/uploads/{segment(upload_id)}/parts", json=body))["parts"][0]
        request = Request("PUT", signed["url"], content=piece, seconds=_STORAGE_SECONDS)
        error = yield from _refusal(request)
        if error is None:
            return
        pause = _pause(api, error, tried, also=_ADDRESS_ENDED)
        if pause is None:
            raise error
        tried += 1
        yield Sleep(pause)


def _refusal(request: Request) -> Flow[DailiesError | None]:
    """What came in the way of the bytes; None when the storage has them."""
    try:
        answer: Answer = yield Exchange(request)
    except ConnectionFailed as failed:
        return failed
    if answer.status < 300 or answer.status == _IS_THERE:
        return None
    return refused(answer)


def refused(answer: Answer) -> StorageRefused:
    return StorageRefused(answer.status, answer.content[:300].decode(errors="replace"))


def _pause(api: Api, error: DailiesError, tried: int, *, also: int | None = None) -> float | None:
    """The seconds to wait before the storage is asked again, None when it is not."""
    passing = isinstance(error, ConnectionFailed) or (
        isinstance(error, StorageRefused) and (error.status in _PASSING or error.status == also)
    )
    return api.backoff(tried) if passing and tried < api.retries else None
