"""Bringing a result into the project's CMS, as a job: a CMS that is down or refuses never loses the result."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import structlog
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core import http
from backend.core.db import transaction
from backend.core.queue import task
from backend.core.security import Unreadable, unseal
from backend.core.storage import storage
from backend.generation import cms
from backend.generation.callbacks import hasten
from backend.generation.delivery_models import CmsMode, CmsSync, CmsTarget
from backend.generation.links import ENDINGS, media_url
from backend.generation.models import Generation, Kind
from backend.generation.results import Media, media_of
from backend.jobs.models import Job, JobState
from backend.jobs.running import JobError, Run
from backend.videos.workspace import temp_folder

log = structlog.get_logger(__name__)

SEAL = "cms key"
_TIMEOUT_SECONDS = 1800
_FETCH_SECONDS = 600


async def _ended(session: AsyncSession, job: Job, state: JobState, error: JobError) -> None:
    """Whatever the CMS says: who waits for the result hears of it without its id there."""
    generation_id = uuid.UUID(job.args["generation_id"])
    mine = update(CmsSync).where(CmsSync.generation_id == generation_id, CmsSync.job_id == job.id)
    await session.execute(mine.values(error=error.message))
    await hasten(session, generation_id)


@task(
    "cms_sync",
    queue="outbound",
    max_attempts=4,
    timeout_seconds=_TIMEOUT_SECONDS,
    backoff_seconds=5,
    backoff_limit_seconds=900,
    on_end=_ended,
)
async def sync(run: Run) -> None:
    """Make or change the document of a task in the collection that its project names."""
    generation_id = uuid.UUID(run.args["generation_id"])
    async with transaction() as session:
        generation = await session.get(Generation, generation_id)
        target = await session.get(CmsTarget, generation.project_id) if generation else None
        media = (await media_of(session, [generation])).get(generation_id) if generation else None
    if generation is None or media is None:
        raise JobError("result_missing", "The result was deleted before it was sent to the CMS.")
    if target is None:
        raise JobError("cms_missing", "The project has no CMS any more.")
    await run.report("sending to the CMS", 10)
    try:
        async with _file_of(generation, media, target) as file:
            await run.report("sending to the CMS", 40)
            document_id = await cms.put(collection_of(target), fields_of(generation, media), file)
    except JobError as error:
        async with transaction() as session:
            await _note(session, generation_id, error=error.message)
        raise
    async with run.finishing() as session:
        await _note(session, generation_id, error=None, document_id=document_id, synced_at=func.now())
        await hasten(session, generation_id)
    log.info("cms.synced", generation_id=str(generation_id), mode=target.mode)


def collection_of(target: CmsTarget) -> cms.Collection:
    """What is spoken to. Raises cms.Refused: when the key cannot be read any more."""
    try:
        key = unseal(SEAL, target.api_key, about=target.project_id).decode()
    except Unreadable as error:
        words = "The CMS's key cannot be read, because SECRET_KEY was changed. Enter it again."
        raise cms.Refused(words) from error
    return cms.Collection(target.url, target.collection, key, target.key_collection)


def fields_of(generation: Generation, media: Media) -> dict[str, Any]:
    """A document. Payload passes over fields that a collection does not have; `task_id` it needs."""
    title = " ".join(generation.prompt.split())[:200] or f"{generation.kind} {generation.id}"
    return {
        "task_id": str(generation.id),
        "project_id": str(generation.project_id),
        "task_type": generation.task_type,
        "title": title,
        "alt": title,
        "prompt": generation.prompt,
        "media_kind": generation.kind,
        "media_url": media_url(generation.id, Kind(generation.kind)),
        "model_used": generation.model_used,
        "duration": media.duration,
        "resolution": media.resolution,
        "file_size": media.size_bytes,
        "metadata": generation.caller_metadata or {},
    }


@contextlib.asynccontextmanager
async def _file_of(generation: Generation, media: Media, target: CmsTarget) -> AsyncIterator[cms.File | None]:
    """What is sent along in upload mode."""
    if target.mode != CmsMode.UPLOAD:
        yield None
        return
    address = await storage.presign_get(media.key, expires_seconds=_FETCH_SECONDS, internal=True)
    async with temp_folder(media.size_bytes) as folder:
        path = folder / "asset"
        try:
            answer = await http.download(
                address, path, max_bytes=media.size_bytes, timeout_seconds=_FETCH_SECONDS, trusted=True
            )
        except (http.NoAnswer, http.TooLarge) as error:
            raise _storage_away() from error
        if answer.status != 200:
            raise _storage_away()
        name = f"{generation.id}.{ENDINGS[Kind(generation.kind)]}"
        yield cms.File(path, name, media.content_type)


def _storage_away() -> JobError:
    words = "The storage did not give the file."
    return JobError("storage_unavailable", words, retryable=True, spends_attempt=False)


async def _note(session: AsyncSession, generation_id: uuid.UUID, **values: Any) -> None:
    mine = update(CmsSync).where(CmsSync.generation_id == generation_id)
    await session.execute(mine.values(updated_at=func.now(), **values))
