"""What came of a generation: under which key it lies, and the transaction in which it becomes what people see."""

import re
import unicodedata
import uuid

import structlog
from sqlalchemy import ColumnElement, Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.generation.looks import EXTENSIONS, Result
from backend.generation.models import Generation, Kind, SourceImage
from backend.generation.providers.base import Asset
from backend.generation.spec import wish_of
from backend.jobs import moves
from backend.jobs.models import Job
from backend.jobs.running import Run
from backend.videos import ledger
from backend.videos.announcements import tell_of_video
from backend.videos.models import ObjectKind, StoredObject, Video, VideoStatus
from backend.videos.schemas import MAX_DESCRIPTION_LENGTH
from backend.videos.service import start_processing
from backend.videos.tasks import FACTS
from backend.webhooks.models import EventType

log = structlog.get_logger(__name__)

_TITLE_LENGTH = 80
_NAME_LENGTH = 60


# --- keys ------------------------------------------------------------------------------------------------------------


def output_key(generation: Generation) -> str:
    """Where its result lies, for every attempt; documented for those who read the bucket."""
    ending = EXTENSIONS[Kind(generation.kind)]
    return f"projects/{generation.project_id}/{generation.kind}/{generation.id}/output.{ending}"


async def record(session: AsyncSession, generation: Generation) -> None:
    """Write the key down before it is written. A video that comes of it has the generation's id."""
    is_video = generation.kind == Kind.VIDEO
    await ledger.record(
        session,
        key=output_key(generation),
        kind=ObjectKind.ORIGINAL if is_video else ObjectKind.GENERATED,
        project_id=generation.project_id,
        video_id=generation.id if is_video else None,
    )


async def bury(session: AsyncSession, generation: Generation) -> None:
    """What was written for a generation that nobody wants any more, and that became no video, is removed.

    Not before: its key is the same for every attempt, and what is buried is removed once more later on.
    """
    key = generation.s3_key or output_key(generation)
    written = select(StoredObject.key).where(StoredObject.key == key, StoredObject.buried_at.is_(None))
    await ledger.bury(session, list(await session.scalars(written)))


def _kept(key: ColumnElement[str]) -> Select[uuid.UUID]:
    return select(Generation.project_id).where(Generation.s3_key == key)


def _kept_source(key: ColumnElement[str]) -> Select[uuid.UUID]:
    return select(SourceImage.project_id).where(SourceImage.s3_key == key)


# What compares the storage with the records leaves these alone.
ledger.keepers += [_kept, _kept_source]


# --- the end ---------------------------------------------------------------------------------------------------------


async def hold(session: AsyncSession, run: Run) -> None:
    """Lock the job, if it is still this attempt's. Raises LeaseLost."""
    await moves.held(session, run.job_id, run.token)


async def finish(run: Run, generation: Generation, *, asset: Asset, result: Result, etag: str | None) -> None:
    """The job's end, the result and, of a video, its row and its processing: in one transaction. Raises LeaseLost."""

    async def made(session: AsyncSession) -> None:
        # Before the job is completed: what is told of its end names the video.
        row = await session.get(Generation, generation.id, with_for_update=True, populate_existing=True)
        if row is None:
            return
        await _write(session, row, asset, result)
        if row.deleted_at is not None:
            await bury(session, row)
        elif result.info is not None:
            await _make_video(session, run, row, result, etag)

    async with run.finishing(first=made) as session:
        video = await session.get(Video, generation.id) if result.info is not None else None
        if video is not None:
            await start_processing(session, video)
            await tell_of_video(session, EventType.VIDEO_CREATED, project_id=video.project_id, video_id=video.id)
    log.info("generation.completed", generation_id=str(generation.id), type=result.content_type)


async def _write(session: AsyncSession, generation: Generation, asset: Asset, result: Result) -> None:
    generation.external_detail = dict(asset.detail) or None
    generation.needs_review = False
    generation.model_used = asset.model_used[:200]
    generation.seed_used = asset.seed
    generation.s3_key = output_key(generation)
    generation.content_type = result.content_type
    generation.size_bytes = result.size_bytes
    generation.width, generation.height, generation.duration = result.width, result.height, result.duration
    await session.flush()


async def _make_video(
    session: AsyncSession, run: Run, generation: Generation, result: Result, etag: str | None
) -> None:
    assert result.info is not None
    info = result.info
    title = title_of(generation.prompt)
    session.add(
        Video(
            id=generation.id,
            project_id=generation.project_id,
            owner_id=generation.owner_id,
            title=title,
            description=generation.prompt[:MAX_DESCRIPTION_LENGTH],
            status=VideoStatus.UPLOADED,
            source="generation",
            filename=filename_of(generation),
            content_type=result.content_type,
            size_bytes=result.size_bytes,
            s3_key=output_key(generation),
            etag=etag,
            playable=info.playable,
            prompt=generation.prompt,
            orientation=wish_of(generation).orientation,
            model_used=generation.model_used,
            **{name: getattr(info, name) for name in FACTS},
        )
    )
    await session.flush()
    await session.execute(update(Generation).where(Generation.id == generation.id).values(video_id=generation.id))
    await session.execute(
        update(Job).where(Job.id == run.job_id).values(video_id=generation.id, updated_at=Job.updated_at)
    )


# --- names -----------------------------------------------------------------------------------------------------------


def title_of(prompt: str) -> str:
    """The beginning of a prompt, cut at a word."""
    line = " ".join(prompt.split())
    if len(line) <= _TITLE_LENGTH:
        return line or "Untitled"
    return f"{line[:_TITLE_LENGTH].rpartition(' ')[0] or line[:_TITLE_LENGTH]}…"


def filename_of(generation: Generation) -> str:
    """Under what a result is saved: the words of its prompt."""
    plain = unicodedata.normalize("NFKC", " ".join(generation.prompt.split())).lower()
    name = re.sub(r"[^\w]+", "-", plain)[:_NAME_LENGTH].strip("-_")
    return f"{name or generation.kind}.{EXTENSIONS[Kind(generation.kind)]}"
