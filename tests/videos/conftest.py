"""After each test of broken rules: whatever is a video holds exactly what was announced and sent first."""

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import func, select

from backend.config import settings
from backend.core.db import transaction
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.videos import sweep
from backend.videos.models import Upload, UploadState, Video
from tests.conftest import Person
from tests.videos.abuse import Case


@pytest.fixture
async def case(user: Person, other: Person, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    monkeypatch.setattr(settings, "upload_part_size_mb", 5)
    made = Case(user, other)
    yield made
    async with transaction() as session:
        for upload in await session.scalars(select(Upload)):
            upload.check_at = func.now() if upload.check_at is not None else None
    await sweep.sweep()
    async with transaction() as session:
        uploads = (await session.scalars(select(Upload).where(Upload.state == UploadState.COMPLETED))).all()
        videos = (await session.scalars(select(Video))).all()
        processing = await session.scalar(select(func.count()).where(Job.kind == "process_video"))
    assert sorted(video.id for video in videos) == sorted(upload.video_id for upload in uploads)
    assert processing == len(videos)
    for video in videos:
        found = await storage.head(video.s3_key)
        assert found is not None
        assert (found.size_bytes, found.etag) == (video.size_bytes, video.etag)
        async with httpx.AsyncClient() as client:
            stored = await client.get(await storage.presign_get(video.s3_key, expires_seconds=60))
        assert hashlib.sha256(stored.content).digest() == hashlib.sha256(made.sent[str(video.id)]).digest()
