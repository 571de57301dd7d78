"""One generation from its job to its result: the provider's events, what has to survive a killed worker, the end.

What is committed, and when: that a request is about to be sent (`submitted_at`), under which id the provider has it
(`external_id`), where its result lies (`external_detail.pending`). So a worker that takes over sends nothing twice.
"""

import asyncio
import shlex
import time
import uuid
from contextlib import aclosing
from itertools import takewhile
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.storage import storage
from backend.generation import fetching, keeping, looks, preview, providers
from backend.generation.models import Generation, Kind, SourceImage
from backend.generation.providers.base import Asset, Failed, Progress, Provider, Queued, Remote, Submitting
from backend.generation.providers.endpoint import origin_of
from backend.generation.spec import spec_for, wish_of
from backend.jobs.running import JobError, Run
from backend.videos.media_info import MediaError
from backend.videos.sandbox import ToolMissing, on_command
from backend.videos.workspace import temp_folder

log = structlog.get_logger(__name__)

#: The provider's own progress lies between these two percents of the job's.
_FROM, _TO = 2.0, 90.0
#: A storage that is away is waited for so long with the result in our hands: some results cannot be had again.
_STORAGE_SECONDS = 900.0
_STORAGE_WAIT_SECONDS = 5.0
_PREVIEW_SECONDS = 1.0
_MEGABYTE = 1024 * 1024

_UNKNOWN = (
    "It was sent to the provider, and what came of it is unknown. Sending it again may cost again: look at the "
    "provider's side first, then send it again from here."
)


async def generate(run: Run) -> None:
    """Make what was asked for. Raises JobError."""
    on_command.set(lambda words: run.command(shlex.join(takewhile(lambda word: word != "--", words))))  # no prompts
    generation = await _taken(run)
    if generation is None:
        return
    provider = providers.find(generation.provider, Kind(generation.kind))
    if provider is None:
        raise JobError("provider_unavailable", f"The provider {generation.provider} is not switched on here.")
    await run.report("preparing", 1)
    try:
        async with temp_folder(_room(generation)) as folder:
            pending = (generation.external_detail or {}).get("pending")
            asset = _asset_of(pending) if pending else await _made(run, generation, provider, folder)
            path = await _fetched(run, generation, asset, folder)
            result = await _looked_at(run, Kind(generation.kind), path, folder)
            etag = await _kept(run, generation, result)
    except StorageUnavailable as error:
        raise JobError(error.code, error.message, retryable=True, spends_attempt=False) from error
    await keeping.finish(run, generation, asset=asset, result=result, etag=etag)
    await preview.forget(generation.id)


# --- before ----------------------------------------------------------------------------------------------------------


async def _taken(run: Run) -> Generation | None:
    """The generation as it stands; None: nobody wants it any more. Raises JobError needs_review."""
    async with transaction() as session:
        generation = await session.get(Generation, uuid.UUID(run.args["generation_id"]))
        if generation is None or generation.deleted_at is not None or generation.job_id != run.job_id:
            return None
        known = generation.external_id is not None or "pending" in (generation.external_detail or {})
        unknown = generation.needs_review or (generation.submitted_at is not None and not known)
        if unknown:
            await _mark(session, generation, needs_review=True)
    if unknown:
        raise JobError("needs_review", _UNKNOWN)
    return generation


def _room(generation: Generation) -> int:
    """Bytes on the disk for what is written on the way."""
    seconds = wish_of(generation).seconds if generation.kind == Kind.VIDEO else 0
    return int((96 + 12 * seconds) * _MEGABYTE)


async def _pictures(generation: Generation, folder: Path) -> list[Path]:
    """The pictures to work from, fetched, seen to decode and made upright. Raises JobError."""
    ready = []
    for number, ref in enumerate(wish_of(generation).images):
        raw, clean = folder / f"source-{number}", folder / f"source-{number}.png"
        if ref.image_id is not None:
            async with transaction() as session:
                mine = SourceImage.project_id == generation.project_id
                image = await session.scalar(select(SourceImage).where(SourceImage.id == ref.image_id, mine))
            found = await storage.head(image.s3_key) if image is not None else None
            if image is None or found is None or found.size_bytes != image.size_bytes:
                raise JobError("image_unavailable", f"Picture {number + 1} has not arrived. Send it again.")
            url = await storage.presign_get(image.s3_key, expires_seconds=600, internal=True)
            await fetching.asset(Remote(url, own_origin=origin_of(url)), raw)
        else:
            await fetching.picture(ref.url or "", raw)
        try:
            await looks.clean_picture(raw, clean)
        except MediaError as error:
            raise JobError(error.code, f"Picture {number + 1} cannot be used. {error.message}") from error
        raw.unlink()
        ready.append(clean)
    return ready


# --- the provider ----------------------------------------------------------------------------------------------------


async def _made(run: Run, generation: Generation, provider: Provider, folder: Path) -> Asset:
    """What the provider gives. Raises JobError for what it does not."""
    resume = generation.external_id
    images = [] if resume is not None else await _pictures(generation, folder)
    own = folder / "provider"
    own.mkdir()
    events = provider.run(spec_for(generation, images), folder=own, resume=resume)
    shown_at = 0.0
    async with aclosing(events) as stream:  # type: ignore[type-var]
        async for event in stream:
            match event:
                case Submitting():
                    await _note(run, generation, submitted_at=func.now())
                case Queued(external_id, position):
                    await _note(run, generation, external_id=external_id)
                    run.note(f"{provider.name}: queued as {external_id}")
                    place = f", {position} before it" if position else ""
                    await run.report(f"queued at {provider.name}{place}"[:40], _FROM)
                case Progress(percent, stage, picture):
                    await run.report(stage[:40], _FROM + (_TO - _FROM) * min(100.0, max(0.0, percent)) / 100)
                    if picture is not None and time.monotonic() - shown_at > _PREVIEW_SECONDS:
                        shown_at = time.monotonic()
                        await preview.put(generation.id, picture)
                case Asset():
                    return event
                case Failed():
                    raise await _failed(run, generation, event)
    raise JobError("provider_error", "The provider ended without a result.", retryable=True)


async def _failed(run: Run, generation: Generation, event: Failed) -> JobError:
    """What was sent is over, and a next try sends anew; unless nobody knows what came of it."""
    run.note(f"{event.code}: {event.message}")
    if event.unknown:
        await _note(run, generation, needs_review=True)
        return JobError("needs_review", _UNKNOWN)
    await _note(run, generation, submitted_at=None, external_id=None)
    waits = event.waits
    return JobError(event.code, event.message, retryable=event.retryable or waits, spends_attempt=not waits)


async def _note(run: Run, generation: Generation, **values: Any) -> None:
    """Commit what has to survive us, if the job is still ours. Raises LeaseLost."""
    async with transaction() as session:
        await keeping.hold(session, run)
        await _mark(session, generation, **values)


async def _mark(session: AsyncSession, generation: Generation, **values: Any) -> None:
    await session.execute(update(Generation).where(Generation.id == generation.id).values(**values))


# --- the result ------------------------------------------------------------------------------------------------------


async def _fetched(run: Run, generation: Generation, asset: Asset, folder: Path) -> Path:
    if isinstance(asset.content, Path):
        return asset.content
    if not asset.content.headers:  # an address that says all: whoever takes over need not ask the provider
        pending = {
            "url": asset.content.url,
            "own_origin": asset.content.own_origin,
            "content_type": asset.content_type,
            "model_used": asset.model_used,
            "seed": asset.seed,
            "detail": dict(asset.detail),
        }
        await _note(run, generation, external_detail={"pending": pending})
    await run.report("fetching", _TO)
    path = folder / "asset"
    try:
        await fetching.asset(asset.content, path)
    except JobError as error:
        if error.code == "provider_error" or not error.retryable:
            await _note(run, generation, external_detail=None)
        raise
    return path


def _asset_of(pending: dict[str, Any]) -> Asset:
    content = Remote(pending["url"], own_origin=pending["own_origin"])
    return Asset(content, pending["content_type"], pending["model_used"], pending["seed"], pending["detail"])


async def _looked_at(run: Run, kind: Kind, path: Path, folder: Path) -> looks.Result:
    await run.report("checking", 92)
    try:
        return await looks.take_in(kind, path, folder, tell=lambda share: run.report("converting", 92 + 3 * share))
    except ToolMissing as error:
        raise JobError("internal_error", f"This worker cannot look at results: {error}", retryable=True) from error
    except MediaError as error:
        run.note(f"{error.code}: {error.detail or error.message}")
        words = f"What the provider made cannot be used. {error.message}"
        raise JobError("provider_error", words, retryable=True) from error


async def _kept(run: Run, generation: Generation, result: looks.Result) -> str | None:
    """Put it under its key, and answer its ETag. The key is the same for every attempt: only the lease's holder may.

    Raises StorageUnavailable: when the storage was away for long.
    """
    await run.report("storing", 95)
    key = keeping.output_key(generation)
    async with transaction() as session:
        await keeping.hold(session, run)
        await keeping.record(session, generation)
    until = time.monotonic() + _STORAGE_SECONDS
    while True:
        try:
            if await storage.head(key) is not None:
                await storage.delete([key])  # an object in parts must not be overwritten
            await storage.put_file(key, result.path, content_type=result.content_type)
            stored = await storage.head(key)
            return stored.etag if stored is not None else None
        except StorageUnavailable:
            if time.monotonic() > until:
                raise
        await run.report("waiting for the storage", 95)
        await asyncio.sleep(_STORAGE_WAIT_SECONDS)
