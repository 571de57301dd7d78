"""The API of uploads: places to send bytes to."""

import uuid

from fastapi import APIRouter, Depends, Request, status

from backend.config import settings
from backend.core.db import SessionDep
from backend.core.errors import NotFound
from backend.core.limits import hit
from backend.core.web import client_ip, errors
from backend.orgs.access import CurrentActor, get_visible
from backend.videos import uploads
from backend.videos.models import Upload
from backend.videos.schemas import ErrorOut, PresignIn, PresignOut, PublicUploadIn, PublicUploadOut, UploadOut

router = APIRouter(tags=["uploads"])


async def public_upload_allowed(request: Request) -> None:
    """Raises NotFound where the installation does not offer it, RateLimited when an address asks too often."""
    if not settings.public_upload_enabled:
        raise NotFound
    await hit("public_upload", client_ip(request), per_minute=settings.public_uploads_per_minute)


@router.post(
    "/upload",
    dependencies=[Depends(public_upload_allowed)],
    responses=errors(400, 403, 404, 413, 415, 422, 429, 503),
    summary="A URL to send one file to, without an account",
)
async def public_upload(body: PublicUploadIn) -> PublicUploadOut:
    """PUT the file to `upload_url`, with a Content-Type of your own. Nothing is kept until somebody adopts the object:
    `POST /api/videos` with `s3_path` as `s3_key`, and the `claim`."""
    place = await uploads.sign_public(body.filename)
    return PublicUploadOut(
        upload_url=place.url,
        s3_path=place.key,
        expires_in=settings.upload_url_expiration,
        expires_at=place.expires_at,
        claim=place.claim,
    )


@router.post(
    "/api/upload/presigned-url",
    responses=errors(400, 401, 403, 413, 415, 422, 503),
    summary="Reserve an upload",
)
async def presign(body: PresignIn, actor: CurrentActor, session: SessionDep) -> PresignOut:
    """MP4, MOV, AVI, WebM and MKV, when extension and type agree. The size and the type are part of the signature: the
    storage refuses anything else."""
    begun = await uploads.begin(
        session, actor=actor, filename=body.filename, size=body.size, content_type=body.content_type
    )
    return PresignOut(
        upload_id=begun.upload.id,
        video_id=begun.upload.video_id,
        upload_url=begun.url,
        headers=begun.headers,
        s3_key=begun.upload.s3_key,
        expires_in=settings.presigned_url_expiration,
        expires_at=begun.upload.expires_at,
    )


@router.get("/api/uploads/{upload_id}", responses=errors(401, 404, 422, 503), summary="How an upload stands")
async def get_upload(upload_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> UploadOut:
    upload = await get_visible(session, Upload, actor, upload_id)
    error = None
    if upload.error_code is not None:
        error = ErrorOut(code=upload.error_code, message=upload.error_message or "", retryable=True)
    return UploadOut(
        id=upload.id,
        video_id=upload.video_id,
        project_id=upload.project_id,
        state=uploads.state_of(upload),
        filename=upload.filename,
        content_type=upload.content_type,
        size_bytes=upload.size_bytes,
        s3_key=upload.s3_key,
        error=error,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        completed_at=upload.completed_at,
    )


@router.delete(
    "/api/uploads/{upload_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(401, 403, 404, 409, 422, 503),
    summary="Give an upload up",
)
async def abort_upload(upload_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> None:
    """Removes what arrived. An upload that is already a video answers 409 `invalid_state`."""
    await uploads.abort(session, actor=actor, upload_id=upload_id)
