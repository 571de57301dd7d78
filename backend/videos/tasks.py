"""The processing of a video: a family of jobs, each a step that can be done again by itself.

`process_video` looks at the file and starts the others. The poster is required, and so is a rendition where browsers
do not play the original; the preview and the ladder come when they come. docs/adr/0012 says why they are jobs of their
own.
"""

from dataclasses import asdict

import structlog
from sqlalchemy import update

from backend.config import settings
from backend.core.queue import task
from backend.core.storage import storage
from backend.jobs import service as jobs
from backend.jobs.running import Run
from backend.videos import media
from backend.videos.ledger import ObjectKind, bury
from backend.videos.models import Video
from backend.videos.preview import plan_sheet, preview
from backend.videos.processing import (
    all_done,
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
from backend.videos.workspace import temp_folder

log = structlog.get_logger(__name__)

_STEP_SECONDS = 900
#: What only adorns a video waits until nothing is needed more.
_NEEDED, _NICE = 2, 3
_PICTURE_BYTES = 64 * 1024 * 1024

#: What the file says of itself, by the same names in both.
FACTS = (
    "container",
    "duration",
    "width",
    "height",
    "coded_width",
    "coded_height",
    "rotation",
    "fps",
    "vfr",
    "bit_depth",
    "hdr",
    "video_codec",
    "audio_codec",
    "has_audio",
    "streams",
    "not_playable_reason",
    "missing_bytes",
)


@task(
    "process_video",
    queue="media",
    timeout_seconds=_STEP_SECONDS,
    on_end=step_ended,
    on_queued=step_queued,
    on_done=all_done,
)
async def process_video(run: Run) -> None:
    """Read what the file is, and start the steps that it needs."""
    video = await video_of(run)
    if video is None:
        return
    with in_job_words(run, video):
        source = await original_of(video, seconds=_STEP_SECONDS)
        await enter(run, "probe", 5)
        info = await media.probe(source, timeout_seconds=settings.probe_timeout_seconds, limits=limits())
        await check_original(video)
    async with run.finishing() as session:
        facts = {name: getattr(info, name) for name in FACTS}
        playable = info.playable or video.rendition_key is not None
        await session.execute(update(Video).where(Video.id == video.id).values(**facts, playable=playable))
        steps = [("make_poster", True)]
        steps += [("make_preview", False)] if info.playable else [("make_rendition", True)]
        steps += [("make_ladder", False)] if settings.ladder_heights else []
        for kind, required in steps:
            await jobs.start(
                session,
                kind=kind,
                project_id=run.project_id,
                owner_id=run.owner_id,
                video_id=run.video_id,
                args=handed_on(info),
                priority=_NEEDED if required else _NICE,
                parent_id=run.job_id,
                required=required,
            )


@task(
    "make_poster",
    queue="media",
    timeout_seconds=_STEP_SECONDS,
    on_end=step_ended,
    on_queued=step_queued,
)
async def make_poster(run: Run) -> None:
    """Make the still that stands for the video."""
    video = await video_of(run)
    if video is None:
        return
    with in_job_words(run, video):
        source = await original_of(video, seconds=_STEP_SECONDS)
        await enter(run, "poster", 10)
        [key] = await new_keys(video, ObjectKind.POSTER, ".jpg", kept=[video.poster_key])
        async with temp_folder(_PICTURE_BYTES) as folder:
            still = folder / "poster.jpg"
            seconds = settings.poster_timeout_seconds
            await media.poster(source, still, info_of(run), timeout_seconds=seconds, limits=limits())
            await run.report("poster", 80)
            await store(key, still, "image/jpeg")
        await check_original(video)
    async with run.finishing() as session:
        await session.execute(update(Video).where(Video.id == video.id).values(poster_key=key))
        await bury(session, [video.poster_key] if video.poster_key else [])


@task("make_preview", queue="media", timeout_seconds=_STEP_SECONDS, max_attempts=3, backoff_seconds=8, on_end=step_over)
async def make_preview(run: Run) -> None:
    """Make the small pictures for cards and the seek bar, of the file that plays.

    It is the first to read that file to its end: pieces that do not decode, where browsers stop, are found here.
    """
    video = await video_of(run)
    if video is None:
        return
    info = info_of(run)
    sheet = plan_sheet(info)
    if sheet is None:
        return
    with in_job_words(run, video):
        if run.args.get("of") is not None and video.rendition_key is not None:
            source = await storage.presign_get(video.rendition_key, expires_seconds=2 * _STEP_SECONDS, internal=True)
        else:
            source = await original_of(video, seconds=_STEP_SECONDS)
        await run.report("preview", 5)
        [key] = await new_keys(video, ObjectKind.PREVIEW, ".jpg", kept=[video.preview_key])
        async with temp_folder(_PICTURE_BYTES) as folder:
            picture = folder / "preview.jpg"
            seconds = settings.preview_timeout_seconds
            sound = await preview(source, picture, info, sheet, timeout_seconds=seconds, limits=limits())
            if not sound and run.args.get("of") != "new pictures":
                await _heal(run, video)
                return
            await run.report("preview", 90)
            await store(key, picture, "image/jpeg")
    async with run.finishing() as session:
        values = {"preview_key": key, "preview": asdict(sheet)}
        await session.execute(update(Video).where(Video.id == video.id).values(values))
        await bury(session, [video.preview_key] if video.preview_key else [])


async def _heal(run: Run, video: Video) -> None:
    """Pictures made anew skip what is damaged; the preview comes after them."""
    run.note("some pieces do not decode")
    words = "The file is damaged in places, where browsers would stop."
    async with run.finishing() as session:
        values = {"playable": False, "not_playable_reason": words}
        await session.execute(update(Video).where(Video.id == video.id).values(values))
        await jobs.start(
            session,
            kind="make_rendition",
            project_id=run.project_id,
            owner_id=run.owner_id,
            video_id=run.video_id,
            args={"info": run.args.get("original", run.args["info"]), "copy": False},
            priority=_NICE,
            parent_id=run.job_id,
        )
