"""The API of uploads: places to send bytes to."""

import hmac
import uuid
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response, status

from backend.config import settings
from backend.core import openapi
from backend.core.db import SessionDep, transaction
from backend.core.errors import NotFound, Unauthenticated
from backend.core.limits import hit, network
from backend.core.storage import Part
from backend.core.web import client_ip, errors
from backend.orgs.access import CurrentActor, get_visible
from backend.videos import multipart, quota, service, sweep, uploads, verification
from backend.videos.models import Upload
from backend.videos.schemas import (
    Checksum,
    DuplicateOut,
    DuplicatesOut,
    MultipartOut,
    PartsIn,
    PresignIn,
    PresignOut,
    PublicUploadIn,
    PublicUploadOut,
    SignedPartOut,
    SignedPartsOut,
    StorageEventsIn,
    UploadListOut,
    UploadOut,
    UploadTexts,
    UsageOut,
    VideoOut,
)
from backend.videos.shapes import upload_out

router = APIRouter(tags=["uploads"])


async def public_upload_allowed(request: Request) -> None:
    """Raises NotFound where the installation does not offer it, RateLimited when an address asks too often."""
    if not settings.public_upload_enabled:
        raise NotFound
    await hit("public_upload", network(client_ip(request)), per_minute=settings.public_uploads_per_minute)


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
    responses=errors(400, 401, 403, 409, 413, 415, 422, 503),
    summary="Reserve an upload",
)
async def presign(body: PresignIn, actor: CurrentActor) -> PresignOut | MultipartOut:
    """MP4, MOV, AVI, WebM and MKV, when extension and type agree. The size and the type are part of the signature: the
    storage refuses anything else. With `multipart` no URL is answered: sign the parts as you send them."""
    file = uploads.Announced(
        filename=body.filename,
        size_bytes=body.size,
        content_type=body.content_type,
        resumable=body.multipart,
        checksum=body.checksum,
        bytes_per_second=body.bytes_per_second,
        project_id=body.project_id,
        texts=uploads.Texts(body.title, body.description),
    )
    begun = await uploads.begin(actor=actor, file=file)
    upload = begun.upload
    if begun.url is None:
        assert upload.part_size is not None
        assert upload.part_count is not None
        return MultipartOut(
            upload_id=upload.id,
            video_id=upload.video_id,
            s3_key=upload.s3_key,
            part_size=upload.part_size,
            part_count=upload.part_count,
            expires_in=settings.upload_keep_days * 24 * 3600,
            expires_at=upload.expires_at,
        )
    return PresignOut(
        upload_id=upload.id,
        video_id=upload.video_id,
        upload_url=begun.url,
        headers=begun.headers,
        s3_key=upload.s3_key,
        expires_in=settings.presigned_url_expiration,
        expires_at=upload.expires_at,
    )


@router.get("/api/uploads", responses=errors(401, 422, 503), summary="Uploads that can go on")
async def list_uploads(
    actor: CurrentActor,
    session: SessionDep,
    state: Annotated[Literal["open"], Query(description="Those that have begun and are not yet videos")] = "open",
) -> UploadListOut:
    return UploadListOut(uploads=[_public(each) for each in await uploads.list_open(session, actor=actor)])


@router.get("/api/uploads/duplicates", responses=errors(401, 422, 503), summary="Videos of the same file")
async def list_duplicates(
    actor: CurrentActor, session: SessionDep, fingerprint: Annotated[Checksum, Query()]
) -> DuplicatesOut:
    """Compares with the `checksum` that was sent when uploads were reserved."""
    found = await uploads.duplicates(session, actor=actor, checksum=fingerprint)
    return DuplicatesOut(duplicates=[DuplicateOut(video_id=each.id, title=each.title) for each in found])


@router.get("/api/uploads/{upload_id}", responses=errors(401, 404, 422, 503), summary="How an upload stands")
async def get_upload(upload_id: uuid.UUID, actor: CurrentActor) -> UploadOut:
    """With the parts that have arrived, as the storage lists them."""
    async with transaction() as session:
        upload = await get_visible(session, Upload, actor, upload_id)
    return _public(upload, await multipart.arrived(upload))


@router.patch(
    "/api/uploads/{upload_id}",
    responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
    summary="Say what an upload's video is to be called",
)
async def change_upload(upload_id: uuid.UUID, body: UploadTexts, actor: CurrentActor, session: SessionDep) -> UploadOut:
    """Fields that are not sent stay. It counts also when nobody confirms the upload."""
    changes = body.model_dump(exclude_unset=True)
    return _public(await uploads.change(session, actor=actor, upload_id=upload_id, changes=changes))


@router.post(
    "/api/uploads/{upload_id}/parts",
    responses=errors(400, 401, 403, 404, 409, 410, 413, 415, 422, 503),
    summary="Sign parts",
)
async def sign_parts(upload_id: uuid.UUID, body: PartsIn, actor: CurrentActor) -> SignedPartsOut:
    """Addresses for up to a hundred parts. Each takes exactly the bytes its part has; sign again when it has ended."""
    parts, seconds = await multipart.sign_parts(actor=actor, upload_id=upload_id, numbers=body.part_numbers)
    return SignedPartsOut(
        parts=[SignedPartOut(number=each.number, url=each.url, size_bytes=each.size_bytes) for each in parts],
        expires_in=seconds,
    )


@router.post(
    "/api/uploads/{upload_id}/complete",
    status_code=status.HTTP_201_CREATED,
    responses={
        200: {"model": VideoOut, "description": "Completed before"},
        **errors(400, 401, 403, 404, 409, 410, 413, 415, 422, 503),
    },
    summary="Complete an upload",
)
async def complete_upload(
    upload_id: uuid.UUID, actor: CurrentActor, response: Response, body: UploadTexts | None = None
) -> VideoOut:
    """The storage is asked what has arrived; when it is the whole file it becomes a video. Again: the same video."""
    body = body or UploadTexts()
    done = await verification.complete(
        actor=actor,
        upload_id=upload_id,
        texts=uploads.Texts(body.title, body.description),
        project_id=body.project_id,
    )
    if not done.created:
        response.status_code = status.HTTP_200_OK
    return await service.public(done.video)


@router.delete(
    "/api/uploads/{upload_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(401, 403, 404, 409, 422, 503),
    summary="Give an upload up",
)
async def abort_upload(upload_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> None:
    """Removes what arrived. An upload that is already a video answers 409 `invalid_state`."""
    await uploads.abort(session, actor=actor, upload_id=upload_id)


@openapi.proved_by(openapi.STORAGE)
def sent_by_the_storage(request: Request) -> None:
    """Raises NotFound where no events are expected, Unauthenticated without the token."""
    token = settings.storage_events_token.get_secret_value()
    if not token:
        raise NotFound
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise Unauthenticated("Send the token of STORAGE_EVENTS_TOKEN as a bearer token.")


@router.post(
    "/api/storage/events",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[Depends(sent_by_the_storage)],
    responses=errors(400, 401, 404, 413, 415, 422, 503),
    summary="For the storage: what arrived",
)
async def storage_events(body: StorageEventsIn) -> None:
    """Notifications in the form of S3 and MinIO. They are a hint: the storage is asked before anything follows."""
    await sweep.arrived(body.keys(settings.s3_bucket))


@router.get("/api/usage", responses=errors(401, 404, 422, 503), summary="Storage used, and the quota")
async def usage(
    actor: CurrentActor,
    session: SessionDep,
    organization_id: Annotated[
        uuid.UUID | None, Query(description="Of an organization one is in, not of oneself")
    ] = None,
) -> UsageOut:
    found = await quota.usage_for(session, actor=actor, organization_id=organization_id)
    return UsageOut(used_bytes=found.used_bytes, reserved_bytes=found.reserved_bytes, limit_bytes=found.limit_bytes)


def _public(upload: Upload, parts: Sequence[Part] | None = None) -> UploadOut:
    return upload_out(upload, state=uploads.state_of(upload), parts=parts)
