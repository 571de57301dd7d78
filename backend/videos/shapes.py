"""Videos and uploads as the API and webhooks show them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from backend.core.storage import Part
from backend.videos.models import Upload, UploadState, Video
from backend.videos.schemas import ErrorOut, PartOut, UploadOut, VideoOut

_MADE = ("error", "poster_url", "rendition")
_SAME = [name for name in VideoOut.model_fields if name not in _MADE]
_MADE_OF = ("poster_key", "error_code", "error_message", "error_retryable")
_MADE_OF_RENDITION = ("rendition_key", "rendition_kind", "rendition_size_bytes")
#: What the rows of a list have, in this order: all that a video's shape is made of.
LISTED = [Video.__table__.c[name] for name in (*_SAME, *_MADE_OF, *_MADE_OF_RENDITION)]


def video_out(video: Video, *, poster_url: str | None) -> VideoOut:
    """A video; its poster's address ends, and is made by whoever shows it."""
    shown = {name: getattr(video, name) for name in _SAME}
    return VideoOut(**shown, **_made(video, poster_url))


def listed(row: Row[Any], *, poster_url: str | None) -> dict[str, Any]:
    """The same of a row of a list, as plain values: half the time goes into checking what we know to be right."""
    return dict(zip(_SAME, row, strict=False)) | _made(row, poster_url)  # the row has more, behind


def _made(video: Video | Row[Any], poster_url: str | None) -> dict[str, Any]:
    error = None
    if video.error_code is not None:
        error = {
            "code": video.error_code,
            "message": video.error_message or "",
            "retryable": bool(video.error_retryable),
        }
    rendition = None
    if video.rendition_key is not None:
        rendition = {"kind": video.rendition_kind, "size_bytes": video.rendition_size_bytes}
    return {"poster_url": poster_url, "rendition": rendition, "error": error}


def upload_out(upload: Upload, *, state: UploadState, parts: Sequence[Part] | None = None) -> UploadOut:
    """An upload in the state that is to be shown; with the parts that have arrived, where they were asked for."""
    error = None
    if upload.error_code is not None:
        error = ErrorOut(code=upload.error_code, message=upload.error_message or "", retryable=True)
    return UploadOut(
        id=upload.id,
        video_id=upload.video_id,
        video=upload.video_id if upload.state == UploadState.COMPLETED else None,
        project_id=upload.project_id,
        state=state,
        filename=upload.filename,
        content_type=upload.content_type,
        size_bytes=upload.size_bytes,
        s3_key=upload.s3_key,
        multipart=upload.resumable,
        part_size=upload.part_size,
        part_count=upload.part_count,
        parts=None
        if parts is None
        else [PartOut(number=p.number, size_bytes=p.size_bytes, etag=p.etag) for p in parts],
        checksum=upload.checksum,
        title=upload.title,
        description=upload.description,
        error=error,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        completed_at=upload.completed_at,
    )
