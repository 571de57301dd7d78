"""What each worker does beside its jobs for uploads and objects: completes what came, removes what belongs to nothing.

Any number of workers may do all of it at once: an upload is looked at by one of them, a buried key taken by one.
"""

import asyncio
from collections.abc import Callable

import structlog
from sqlalchemy import func, select, text, update

from backend.core.db import autocommit, transaction
from backend.core.errors import AppError, StorageUnavailable
from backend.videos import ledger, verification
from backend.videos.models import Upload

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
#: A storage that is away is asked again after this.
_AWAY_SECONDS = 10.0
_AT_ONCE = 20
# An idle worker asks no more than this.
_GLANCE = text(
    """
    SELECT EXISTS (SELECT FROM uploads WHERE check_at <= now())
        OR EXISTS (SELECT FROM stored_objects WHERE buried_at IS NOT NULL AND due_at <= now())
    """
)


async def keep_tidy(closed: Callable[[], bool]) -> None:
    """Sweep about once a second until `closed`. What is away is waited for."""
    failing = False
    while not closed():
        seconds = SWEEP_SECONDS
        try:
            await sweep()
            failing = False
        except Exception as error:  # a sweep that dies would leave uploads waiting for ever: say it once, go on
            if not failing:
                log.warning("uploads.sweep_failed", error=repr(error))
            failing, seconds = True, _AWAY_SECONDS
        await asyncio.sleep(seconds)


async def sweep() -> None:
    """Settle the uploads that are due, and remove the buried objects that are. Raises StorageUnavailable."""
    async with autocommit() as session:
        if not await session.scalar(_GLANCE):
            return
    await settle_uploads()
    while await ledger.remove_buried():
        pass


async def settle_uploads() -> int:
    """Look at the uploads that are due; answers how many became videos. Raises StorageUnavailable."""
    async with transaction() as session:
        due = select(Upload.id).where(Upload.check_at <= func.now()).order_by(Upload.check_at).limit(_AT_ONCE)
        ids = (await session.scalars(due)).all()
    completed = 0
    for upload_id in ids:
        try:
            await verification.verify(upload_id)
            completed += 1
        except StorageUnavailable:
            raise
        except AppError as error:
            log.debug("upload.looked_at", upload_id=str(upload_id), found=error.code)
    return completed


async def arrived(keys: list[str]) -> None:
    """The storage tells that it has these objects: a hint, which makes the next sweep look."""
    async with transaction() as session:
        waiting = update(Upload).where(Upload.s3_key.in_(keys), Upload.check_at > func.now())
        await session.execute(waiting.values(check_at=func.now()))
