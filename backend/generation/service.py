"""Generations: start one, through whichever door; look, cancel, try again, once more with changes, delete."""

import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.errors import InvalidState, NotFound, ValidationFailed
from backend.core.http import check_url
from backend.generation import providers, quota
from backend.generation.models import Door, Generation, Kind, SourceImage
from backend.generation.providers.base import Provider
from backend.generation.schemas import AgainIn, GenerationIn, WishIn
from backend.generation.spec import DEFAULT_SECONDS, ImageRef, Wish, size_of
from backend.jobs import service as jobs
from backend.jobs import timeline
from backend.jobs.models import Job, JobState
from backend.orgs.access import Actor, Permission, get_visible, visible
from backend.videos import quota as bytes_quota
from backend.videos import service as videos
from backend.videos.models import Video
from backend.videos.uploads import project_for

log = structlog.get_logger(__name__)


# --- starting --------------------------------------------------------------------------------------------------------


async def begin(
    session: AsyncSession,
    *,
    project_id: uuid.UUID,
    owner_id: uuid.UUID | None,
    door: Door,
    kind: Kind,
    prompt: str,
    wish: Wish,
    provider: str | None = None,
    priority: int = 2,
    **more: Any,
) -> tuple[Generation, Job]:
    """Write a generation down and queue its job: the one way in, behind both doors. `more` are further columns.

    The caller has seen to permission, quota, and that the pictures' addresses may be asked. Raises ValidationFailed:
    for a provider that is not switched on or makes no such things; QuotaExceeded: when the project's owner has no room.
    """
    chosen = providers.find(provider, kind) if provider is not None else providers.default_for(kind)
    if chosen is None:
        raise ValidationFailed(fields={"provider": f"There is no provider of this name that makes {kind}s here"})
    await bytes_quota.reserve(session, project_id=project_id, size_bytes=1)
    generation_id = uuid.uuid4()
    job = await jobs.start(
        session,
        kind=job_kind(chosen),
        project_id=project_id,
        owner_id=owner_id,
        args={"generation_id": str(generation_id)},
        priority=priority,
    )
    generation = Generation(
        id=generation_id,
        job_id=job.id,
        project_id=project_id,
        owner_id=owner_id,
        door=door,
        kind=kind,
        prompt=prompt,
        spec=wish.to_row(),
        provider=chosen.name,
        **more,
    )
    session.add(generation)
    await session.flush()
    log.info("generation.started", generation_id=str(generation.id), job_id=str(job.id), kind=kind, door=door)
    return generation, job


def job_kind(provider: Provider) -> str:
    """The kind of job that has a provider make something."""
    return "generate_gpu" if provider.queue == "gpu" else "generate"


async def start(session: AsyncSession, *, actor: Actor, body: GenerationIn) -> tuple[Generation, Job]:
    """Through the studio's door, under the quota of the person.

    Raises ValidationFailed, Forbidden, GenerationsExceeded, QuotaExceeded. Addresses of pictures are looked at before
    (`check_images`), outside of the transaction.
    """
    project_id = project_for(actor, body.project_id)
    wish = wish_from(body, body.kind)
    await _own_images(session, actor, project_id, wish.images)
    await quota.take(session, user_id=actor.user_id)
    return await begin(
        session,
        project_id=project_id,
        owner_id=actor.user_id,
        door=Door.STUDIO,
        kind=body.kind,
        prompt=body.prompt,
        wish=wish,
        provider=body.provider,
    )


async def start_again(
    session: AsyncSession, *, actor: Actor, generation_id: uuid.UUID, changes: AgainIn
) -> tuple[Generation, Job]:
    """The same once more as a new generation, with what is to be different; a seed that nobody chose is chosen anew.

    Raises NotFound, Forbidden, ValidationFailed, GenerationsExceeded.
    """
    before = await get_generation(session, actor=actor, generation_id=generation_id, permission=Permission.EDIT)
    kind = Kind(before.kind)
    asked = changes.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    prompt = asked.pop("prompt", before.prompt)
    same = {name: value for name, value in before.spec.items() if name in WishIn.model_fields}
    if "provider" in asked:
        same.pop("model", None)
    elif providers.find(before.provider, kind) is not None:
        same["provider"] = before.provider
    body = WishIn.model_validate(same | asked)
    wish = wish_from(body, kind, options=before.spec.get("options", {}))
    await _own_images(session, actor, before.project_id, wish.images)
    await quota.take(session, user_id=actor.user_id)
    return await begin(
        session,
        project_id=before.project_id,
        owner_id=actor.user_id,
        door=Door.STUDIO,
        kind=kind,
        prompt=prompt,
        wish=wish,
        provider=body.provider,
    )


def wish_from(body: WishIn, kind: Kind, *, options: dict[str, Any] | None = None) -> Wish:
    """What was asked for with what is usual for the kind filled in."""
    orientation = body.orientation or ("square" if kind == Kind.IMAGE else "portrait")
    width, height = size_of(kind, orientation)
    return Wish(
        orientation=orientation,
        width=width,
        height=height,
        seconds=body.seconds or DEFAULT_SECONDS,
        seed=body.seed,
        model=body.model,
        voice=body.voice,
        pace=body.pace,
        emotion=body.emotion,
        background_noise=body.background_noise,
        images=body.images or [],
        options=options or {},
    )


async def check_images(images: Sequence[ImageRef] | None) -> None:
    """Look whether the pictures' addresses may be asked; outside of any transaction. Raises UrlNotAllowed."""
    for url in dict.fromkeys(each.url for each in images or [] if each.url is not None):
        await check_url(url)


async def _own_images(session: AsyncSession, actor: Actor, project_id: uuid.UUID, images: Sequence[ImageRef]) -> None:
    """Raises ValidationFailed: for a picture that was not sent for this project."""
    for image_id in {each.image_id for each in images if each.image_id is not None}:
        found = visible(SourceImage, actor).where(SourceImage.id == image_id, SourceImage.project_id == project_id)
        if await session.scalar(found) is None:
            raise ValidationFailed(fields={"images": "There is no such picture in this project"})


# --- one generation --------------------------------------------------------------------------------------------------


async def get_generation(
    session: AsyncSession,
    *,
    actor: Actor,
    generation_id: uuid.UUID,
    permission: Permission = Permission.VIEW,
    for_update: bool = False,
) -> Generation:
    """Raises NotFound: for one that is not there, not visible to `actor`, or deleted; Forbidden."""
    return await get_visible(session, Generation, actor, generation_id, permission=permission, for_update=for_update)


async def cancel(session: AsyncSession, *, actor: Actor, generation: Generation) -> Job:
    """Stop it: at once while it waits, else within seconds, when its worker has stopped. Raises InvalidState."""
    job = await _job_of(session, generation)
    moved = await jobs.cancel_job(session, actor=actor, job=job)
    await timeline.note_cancel(session, actor=actor, job=moved)
    return moved


async def retry(session: AsyncSession, *, actor: Actor, generation: Generation) -> Job:
    """Try one again that has failed or was cancelled; a cancelled one of the studio counts once more.

    Raises InvalidState; also for one that needs review, which is for `resubmit`. GenerationsExceeded.
    """
    job = await _job_of(session, generation)
    if job.state == JobState.CANCELLED:
        await _count_again(session, generation)
    again = jobs.start_again if job.state == JobState.CANCELLED else jobs.retry_job
    moved = await again(session, actor=actor, job=job)
    await timeline.note_retry(session, actor=actor, job=moved)
    await session.refresh(generation)
    return moved


async def _count_again(session: AsyncSession, generation: Generation) -> None:
    if generation.door != Door.STUDIO or generation.owner_id is None:
        return
    await quota.take(session, user_id=generation.owner_id)
    counted = func.array_append(Generation.starts, func.now())
    await session.execute(update(Generation).where(Generation.id == generation.id).values(starts=counted))


async def resubmit(session: AsyncSession, *, actor: Actor, generation: Generation) -> Job:
    """Send one whose answer is unknown once more, which may cost again: a person has looked. Raises InvalidState."""
    await session.execute(select(Job.id).where(Job.id == generation.job_id).with_for_update())  # jobs are locked first
    taken = await session.scalar(
        update(Generation)
        .where(Generation.id == generation.id, Generation.needs_review)
        .values(needs_review=False, submitted_at=None, external_id=None)
        .returning(Generation.id)
    )
    if taken is None:
        raise InvalidState("This was not left with an unknown answer.")
    log.info("generation.resubmitted", generation_id=str(generation.id), by=str(actor.user_id))
    return await retry(session, actor=actor, generation=generation)


async def delete(session: AsyncSession, *, actor: Actor, generation: Generation, grace_seconds: int = 0) -> None:
    """Hide it and what came of it at once; it is stopped and removed when the grace is over. Until then: `restore`.

    Raises NotFound: when somebody else deleted it meanwhile.
    """
    if generation.job_id is not None:  # jobs are locked first: one that is just ending may bring a video
        await session.execute(select(Job.id).where(Job.id == generation.job_id).with_for_update())
    hidden = await session.scalar(
        update(Generation)
        .where(Generation.id == generation.id, Generation.deleted_at.is_(None))
        .values(deleted_at=func.now())
        .returning(Generation),
        execution_options={"populate_existing": True},
    )
    if hidden is None:
        raise NotFound
    video = await session.get(Video, hidden.video_id) if hidden.video_id is not None else None
    if video is not None and video.deleted_at is None:
        await videos.delete_video(session, actor=actor, video=video, grace_seconds=grace_seconds)
    await jobs.start(
        session,
        kind="purge_generation",
        project_id=hidden.project_id,
        owner_id=actor.user_id,
        args={"generation_id": str(hidden.id)},
        delay_seconds=grace_seconds,
        dedupe_key=_purge_key(hidden.id),
    )
    log.info("generation.deleted", generation_id=str(generation.id), grace_seconds=grace_seconds)


async def restore(session: AsyncSession, *, actor: Actor, generation_id: uuid.UUID) -> Generation:
    """Undo a deletion within its grace. Raises NotFound once the removal has begun; Forbidden."""
    await jobs.call_off(session, actor=actor, dedupe_key=_purge_key(generation_id))
    await session.execute(update(Generation).where(Generation.id == generation_id).values(deleted_at=None))
    generation = await get_generation(session, actor=actor, generation_id=generation_id)
    video = await session.get(Video, generation.video_id) if generation.video_id is not None else None
    if video is not None and video.deleted_at is not None:
        await videos.restore_video(session, actor=actor, video_id=video.id)
    log.info("generation.restored", generation_id=str(generation_id))
    return generation


def _purge_key(generation_id: uuid.UUID) -> str:
    return f"purge_generation:{generation_id}"


async def _job_of(session: AsyncSession, generation: Generation) -> Job:
    job = await session.get(Job, generation.job_id) if generation.job_id is not None else None
    if job is None:
        raise InvalidState("The work of this is no longer on record.")
    return job
