"""The long steps of processing: a rendition that plays, and the ladder of sizes. They run on a queue of their own."""

import structlog
from sqlalchemy import select, update

from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import task
from backend.jobs import service as jobs
from backend.jobs.running import Run
from backend.videos import ladder, renditions
from backend.videos.ledger import ObjectKind, bury
from backend.videos.media_info import MediaError, MediaInfo
from backend.videos.models import Video
from backend.videos.processing import (
    MOST_SECONDS,
    check_original,
    enter,
    handed_on,
    in_job_words,
    info_of,
    limits,
    new_keys,
    original_of,
    step_ended,
    step_over,
    step_queued,
    store,
    video_of,
)
from backend.videos.renditions import Plan, plan_rendition
from backend.videos.workspace import temp_folder

log = structlog.get_logger(__name__)

#: How far a step is when all is encoded, and only storing is left, in percent.
_MADE = 90.0


@task(
    "make_rendition",
    queue="media_long",
    timeout_seconds=MOST_SECONDS,
    on_end=step_ended,
    on_queued=step_queued,
)
async def make_rendition(run: Run) -> None:
    """Make what browsers play instead of the original."""
    video = await video_of(run)
    if video is None:
        return
    info = info_of(run)
    plan = plan_rendition(info, max_height=settings.rendition_max_height, copy=run.args.get("copy", True))
    with in_job_words(run, video):
        try:
            key, made, size_bytes = await _make(run, video, info, plan)
        except MediaError as error:
            if not plan.copy_video or error.code != "corrupt_media":
                raise
            # What cannot be taken as it is may still decode.
            run.note(f"remux: {error.detail or error.message}")
            plan = plan_rendition(info, max_height=settings.rendition_max_height, copy=False)
            key, made, size_bytes = await _make(run, video, info, plan)
        await check_original(video)
    async with run.finishing() as session:
        values = {
            "rendition_key": key,
            "rendition_kind": plan.kind,
            "rendition_size_bytes": size_bytes,
            "playable": True,
            "duration": made.duration if info.missing_bytes else info.duration or made.duration,
        }
        await session.execute(update(Video).where(Video.id == video.id).values(values))
        await bury(session, [video.rendition_key] if video.rendition_key else [])
        await jobs.start(
            session,
            kind="make_preview",
            project_id=run.project_id,
            owner_id=run.owner_id,
            video_id=run.video_id,
            args={
                **handed_on(made),
                "original": run.args["info"],
                "of": "same pictures" if plan.copy_video else "new pictures",
            },
            priority=3,
            parent_id=run.job_id,
        )


async def _make(run: Run, video: Video, info: MediaInfo, plan: Plan) -> tuple[str, MediaInfo, int]:
    """Make and store it; answers its key, what it is, and its bytes."""
    source = await original_of(video, seconds=settings.transcode_timeout_seconds)
    await enter(run, plan.kind, 1)

    async def tell(share: float) -> None:
        await run.report(plan.kind, 1 + share * (_MADE - 1))

    [key] = await new_keys(video, ObjectKind.RENDITION, f".{plan.container}", kept=[video.rendition_key])
    async with temp_folder(renditions.most_bytes(info, plan)) as folder:
        file = folder / f"rendition.{plan.container}"
        made = await renditions.render(
            source,
            file,
            info,
            plan,
            tell=tell,
            timeout_seconds=settings.transcode_timeout_seconds,
            stall_seconds=settings.stall_seconds,
            encoder=settings.video_encoder,
            limits=limits(),
        )
        await run.report("store", _MADE)
        await store(key, file, plan.content_type)
        return key, made, file.stat().st_size


@task(
    "make_ladder", queue="media_long", timeout_seconds=MOST_SECONDS, max_attempts=3, backoff_seconds=8, on_end=step_over
)
async def make_ladder(run: Run) -> None:
    """Make the sizes among which players choose as they go."""
    video = await video_of(run)
    if video is None:
        return
    info = info_of(run)
    sizes = ladder.plan_ladder(info, settings.ladder_heights)
    if not sizes:
        return
    with in_job_words(run, video):
        source = await original_of(video, seconds=settings.transcode_timeout_seconds)
        await run.report("ladder", 1)
        before = await _rungs_of(run)
        keys = await new_keys(video, ObjectKind.LADDER, *(f"-{name}.mp4" for name, _, _ in sizes), kept=before)

        async def tell(share: float) -> None:
            await run.report("ladder", 1 + share * (_MADE - 1))

        async with temp_folder(ladder.most_bytes(info, sizes)) as folder:
            rungs = await ladder.make_ladder(
                source,
                folder,
                info,
                sizes,
                tell=tell,
                timeout_seconds=settings.transcode_timeout_seconds,
                stall_seconds=settings.stall_seconds,
                encoder=settings.video_encoder,
                limits=limits(),
            )
            await run.report("store", _MADE)
            for key, rung in zip(keys, rungs, strict=True):
                await store(key, folder / f"{rung.name}.mp4", ladder.CONTENT_TYPE)
        await check_original(video)
    async with run.finishing() as session:
        kept = [ladder.describe(rung, key=key) for key, rung in zip(keys, rungs, strict=True)]
        await session.execute(update(Video).where(Video.id == video.id).values(ladder=kept, has_ladder=True))
        await bury(session, before)


async def _rungs_of(run: Run) -> list[str]:
    """The keys of the ladder that is shown now."""
    async with transaction() as session:
        rungs = await session.scalar(select(Video.ladder).where(Video.id == run.video_id))
    return [rung["key"] for rung in rungs or []]
