"""Where the bytes of a video are read: what plays, the poster, the preview, the ladder, the download.

The type that is sent is ours to choose, whatever the sender of a file said it was.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.config import settings
from backend.core.errors import NotFound
from backend.core.storage import storage
from backend.videos import ladder
from backend.videos.models import Video
from backend.videos.preview import Sheet, track

_POSTER = "image/jpeg"
#: What is sent for an original, by its container; MOV is told apart from MP4 by little, and not every browser knows it.
_TYPES = {"mp4": "video/mp4", "mov": "video/mp4", "webm": "video/webm"}


@dataclass(frozen=True)
class Playback:
    """An address that plays or downloads a video, and for how long."""

    url: str
    content_type: str
    expires_in: int
    expires_at: datetime


async def playback_url(video: Video, *, download: bool = False) -> Playback:
    """Where bytes are read, with ranges: of the rendition where there is one, for browsers do not play the original.

    `download` is of the original, and makes browsers save it under its file name; what plays has its name, too. With
    `CDN_BASE_URL` set, playing goes through the CDN on the object's own path, unsigned: to guard it, and to choose its
    headers, is the CDN's part. Downloads are signed by the storage in any case, for only that can carry a name.
    """
    key, content_type, filename = video.s3_key, video.content_type, video.filename
    if not download:
        content_type = _TYPES.get(video.container or "", content_type)
        if video.rendition_key is not None:
            ending = video.rendition_key.rpartition(".")[2]
            key, content_type, filename = video.rendition_key, f"video/{ending}", f"{Path(filename).stem}.{ending}"
    seconds = settings.playback_url_expiration
    if settings.cdn_base_url and not download:
        url = _cdn_url(settings.cdn_base_url, key)
    else:
        url = await storage.presign_get(
            key,
            expires_seconds=seconds,
            content_type=content_type,
            filename=filename,
            download=download,
        )
    return Playback(url, content_type, seconds, datetime.now(UTC) + timedelta(seconds=seconds))


async def poster_url(video: Video) -> str | None:
    """Where the poster's JPEG is, or None while there is none."""
    return await _address(video.poster_key, _POSTER) if video.poster_key is not None else None


def poster_urls(rows: Iterable[Row[Any]]) -> dict[str, str]:
    """Where the posters of a list are, by their keys."""
    keys = [row.poster_key for row in rows if row.poster_key is not None]
    if settings.cdn_base_url:
        return {key: _cdn_url(settings.cdn_base_url, key) for key in keys}
    seconds = settings.playback_url_expiration
    return dict(zip(keys, storage.presign_gets(keys, expires_seconds=seconds, content_type=_POSTER), strict=True))


async def preview_track(video: Video) -> str:
    """The preview as WebVTT, with signed addresses. Raises NotFound while there is none."""
    if video.preview_key is None or video.preview is None:
        raise NotFound
    return track(Sheet(**video.preview), await _address(video.preview_key, "image/jpeg"))


async def master_playlist(session: AsyncSession, video: Video) -> str:
    """The list of sizes. Raises NotFound while there is none."""
    return ladder.master_playlist(await _rungs(session, video))


async def sizes(session: AsyncSession, video: Video) -> list[str]:
    """The names of the sizes it is streamed in ("720p"), the largest first; none where there is no ladder."""
    return [rung["name"] for rung in reversed(await _rungs(session, video))] if video.has_ladder else []


async def rung_playlist(session: AsyncSession, video: Video, name: str) -> str:
    """The segments of one size, with signed addresses. Raises NotFound."""
    for rung in await _rungs(session, video):
        if rung["name"] == name:
            return ladder.rung_playlist(rung, await _address(rung["key"], ladder.CONTENT_TYPE))
    raise NotFound


async def _rungs(session: AsyncSession, video: Video) -> list[dict[str, Any]]:
    rungs: list[dict[str, Any]] | None = None
    if video.has_ladder:
        rungs = await session.scalar(select(Video.ladder).where(Video.id == video.id))
    if not rungs:
        raise NotFound
    return rungs


async def _address(key: str, content_type: str) -> str:
    if settings.cdn_base_url:
        return _cdn_url(settings.cdn_base_url, key)
    seconds = settings.playback_url_expiration
    return await storage.presign_get(key, expires_seconds=seconds, content_type=content_type)


def _cdn_url(base: str, key: str) -> str:
    return f"{base.rstrip('/')}/{quote(key)}"
