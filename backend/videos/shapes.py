"""Videos and uploads as the API and webhooks show them."""

from collections.abc import Sequence

from backend.core.storage import Part
from backend.videos.models import Upload, UploadState, Video
from backend.videos.schemas import ErrorOut, PartOut, UploadOut, VideoOut


def video_out(video: Video, *, poster_url: str | None) -> VideoOut:
    """A video; its poster's address ends, and is made by whoever shows it."""
    error = None
    if video.error_code is not None:
        error = ErrorOut(
            code=video.error_code, message=video.error_message or "", retryable=bool(video.error_retryable)
        )
    rendition = None
    if video.rendition_key is not None:
        rendition = {"kind": video.rendition_kind, "size_bytes": video.rendition_size_bytes}
    made = ("error", "poster_url", "rendition")
    shown = {name: getattr(video, name) for name in VideoOut.model_fields if name not in made}
    return VideoOut(**shown, poster_url=poster_url, rendition=rendition, error=error)


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
