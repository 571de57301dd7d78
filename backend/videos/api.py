"""The API of videos."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, status
from pydantic_core import to_json

from backend.core.db import SessionDep, autocommit
from backend.core.errors import Unauthenticated
from backend.core.web import errors, redirect, wants_html
from backend.orgs.access import Actor, CurrentActor, OptionalActor, Permission
from backend.videos import listing, moving, playback, service, verification
from backend.videos.ladder import PLAYLIST_TYPE
from backend.videos.schemas import ConfirmIn, PlaybackOut, VideoListOut, VideoMove, VideoOut, VideoPatch
from backend.videos.search import VideoQuery
from backend.videos.uploads import Texts

router = APIRouter(tags=["videos"])


async def confirm_upload(body: ConfirmIn, actor: Actor) -> tuple[VideoOut, bool]:
    """Look at the object and make the video, whose processing is then queued; and whether this made it: the same again
    answers the same video. Its route is in generation/studio_api.py, with that of making one from a prompt."""
    texts = Texts(body.title, body.description)
    if body.video_id is not None:
        confirmed = await verification.confirm(actor=actor, video_id=body.video_id, texts=texts)
    else:
        confirmed = await verification.adopt(actor=actor, s3_key=body.s3_key or "", claim=body.claim or "", texts=texts)
    return await service.public(confirmed.video), confirmed.created


@router.get("/api/videos", response_model=VideoListOut, responses=errors(400, 401, 422, 503), summary="List videos")
async def list_videos(query: Annotated[VideoQuery, Query()], actor: CurrentActor) -> Response:
    """A page of the videos one can see. `page` counts from 1; `cursor` continues at any depth at the same speed.

    `total` is exact but for words that very many have: then it is about right. By `source` it is counted up to 1,000.
    """
    async with autocommit() as session:
        page = await listing.list_videos(session, actor=actor, query=query)
    return Response(to_json(service.public_page(page)), media_type="application/json")


@router.get("/videos", response_model=VideoListOut, responses=errors(400, 401, 422, 503), summary="List videos")
async def list_videos_at_page(
    request: Request, query: Annotated[VideoQuery, Query()], actor: OptionalActor
) -> Response:
    if wants_html(request):
        return redirect(request, "/dashboard")
    if actor is None:
        raise Unauthenticated
    return await list_videos(query, actor)


@router.get("/api/videos/{video_id}", responses=errors(401, 404, 422, 503), summary="One video")
async def get_video(video_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> VideoOut:
    return await service.public(await service.get_video(session, actor=actor, video_id=video_id))


@router.patch(
    "/api/videos/{video_id}", responses=errors(400, 401, 403, 404, 413, 415, 422, 503), summary="Change the texts"
)
async def update_video(video_id: uuid.UUID, body: VideoPatch, actor: CurrentActor, session: SessionDep) -> VideoOut:
    video = await service.get_video(
        session, actor=actor, video_id=video_id, permission=Permission.EDIT, for_update=True
    )
    changes = body.model_dump(exclude_unset=True)
    return await service.public(await service.update_video(session, video=video, **changes))


@router.delete(
    "/api/videos/{video_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(401, 403, 404, 422, 503),
    summary="Delete a video",
)
async def delete_video(video_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> None:
    """It is out of sight at once; its objects are removed right after."""
    video = await service.get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT)
    await service.delete_video(session, actor=actor, video=video)


@router.post(
    "/api/videos/{video_id}/move",
    responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
    summary="Move a video to another project",
)
async def move_video(video_id: uuid.UUID, body: VideoMove, actor: CurrentActor, session: SessionDep) -> VideoOut:
    """Its jobs, its upload and its records of objects go along; what was logged and told of it before stays where it
    was. One needs to edit in both projects. While it is processed: 409 `invalid_state`."""
    moved = await moving.move_video(session, actor=actor, video_id=video_id, project_id=body.project_id)
    return await service.public(moved)


@router.post(
    "/api/videos/{video_id}/retry",
    responses=errors(401, 403, 404, 409, 422, 503),
    summary="Process a failed video again",
)
async def retry_video(video_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> VideoOut:
    video = await service.get_video(session, actor=actor, video_id=video_id, permission=Permission.EDIT)
    return await service.public(await service.retry_video(session, actor=actor, video=video))


@router.get("/api/videos/{video_id}/playback-url", responses=errors(401, 404, 422, 503), summary="Where a video plays")
async def playback_url(
    video_id: uuid.UUID,
    actor: CurrentActor,
    session: SessionDep,
    download: Annotated[bool, Query(description="Save it under its file name instead of playing it")] = False,
) -> PlaybackOut:
    """An address that serves ranges: of the rendition, where browsers do not play the original. A download is always of
    the original. With a CDN configured the address is the CDN's, unsigned."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    found = await playback.playback_url(video, download=download)
    return PlaybackOut(
        url=found.url,
        content_type=found.content_type,
        expires_in=found.expires_in,
        expires_at=found.expires_at,
    )


@router.get(
    "/api/videos/{video_id}/preview.vtt",
    response_class=Response,
    responses={200: {"content": {"text/vtt": {}}}, **errors(401, 404, 422, 503)},
    summary="Small pictures of a video",
)
async def preview_track(video_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> Response:
    """A WebVTT track whose cues name parts of a picture, as `sheet.jpg#xywh=160,0,160,90`; the address is signed."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    return _fresh(await playback.preview_track(video), "text/vtt")


_PLAYLIST: dict[int | str, dict[str, Any]] = {
    200: {"content": {PLAYLIST_TYPE: {}}},
    **errors(401, 404, 422, 503),
}


@router.get(
    "/api/videos/{video_id}/hls/master.m3u8",
    response_class=Response,
    responses=_PLAYLIST,
    summary="A video in several sizes",
)
async def master_playlist(video_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> Response:
    """An HLS playlist of the sizes there are, where `has_ladder`."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    return _fresh(await playback.master_playlist(session, video), PLAYLIST_TYPE)


@router.get(
    "/api/videos/{video_id}/hls/{rung}.m3u8", response_class=Response, responses=_PLAYLIST, summary="One of the sizes"
)
async def rung_playlist(video_id: uuid.UUID, rung: str, actor: CurrentActor, session: SessionDep) -> Response:
    """The segments of one size; their addresses are signed, and good for as long as those of `playback-url`."""
    video = await service.get_video(session, actor=actor, video_id=video_id)
    return _fresh(await playback.rung_playlist(session, video, rung), PLAYLIST_TYPE)


def _fresh(text: str, content_type: str) -> Response:
    # Signed addresses end: what holds them is not kept.
    return Response(text, media_type=content_type, headers={"Cache-Control": "no-store"})
