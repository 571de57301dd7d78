"""What an analysis found: where its files are, and what follows when a person says when its phases begin."""

import asyncio
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.coaching import access, analyses
from backend.coaching.models import Analysis
from backend.coaching.schemas import FilesOut
from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import AppError, InvalidState, ValidationFailed
from backend.core.storage import storage
from backend.orgs.access import Actor, Permission
from backend.videos import ledger
from backend.videos.ledger import ObjectKind

POSES, ANGLES, SUMMARY = "poses.jsonl.gz", "angles.csv", "summary.json"
CONTENT_TYPES = {
    ".json": "application/json",
    ".gz": "application/gzip",
    ".csv": "text/csv; charset=utf-8",
    ".mp4": "video/mp4",
    ".jpg": "image/jpeg",
}
_MOST_POSES_BYTES = 256 * 1024 * 1024
#: What is worked out anew takes a second for ten minutes of video, and memory: one after the other in a process.
_one_at_a_time = asyncio.Semaphore(1)


async def files_of(analysis: Analysis) -> FilesOut:
    """Signed addresses of all its files. Raises InvalidState: before it is completed."""
    if analysis.files is None:
        raise InvalidState("This analysis has not found anything yet.")
    seconds = settings.playback_url_expiration
    named = {
        name: await storage.presign_get(key, expires_seconds=seconds, filename=name.rpartition("/")[2])
        for name, key in analysis.files.items()
    }
    return FilesOut(files=named, expires_in=seconds)


async def change_phases(*, actor: Actor, analysis_id: uuid.UUID, moments: dict[str, float]) -> None:
    """Work the summary and the angles out anew, with these moments (seconds) given.

    Raises NotFound, Forbidden, InvalidState (nothing was found yet, or it was analysed again meanwhile),
    ValidationFailed (out of order, or outside the video), StorageUnavailable.
    """
    async with transaction() as session:
        analysis = await access.analysis_of(session, actor, analysis_id, permission=Permission.EDIT)
        summary = await analyses.summary_of(session, analysis)
    if analysis.files is None or summary is None:
        raise InvalidState("This analysis has not found anything yet.")
    try:
        async with _one_at_a_time:
            poses = await storage.read(analysis.files[POSES], most_bytes=_MOST_POSES_BYTES)
            changed, contents = await asyncio.to_thread(_recompute, poses, summary, moments)
    except ValueError as error:
        raise ValidationFailed(str(error)) from error
    folder = analysis.files[ANGLES].rpartition("/")[0]
    written = {name: f"{folder}/{uuid.uuid4().hex}-{name}" for name in contents}
    try:
        await _write(analysis, {written[name]: data for name, data in contents.items()})
        async with transaction() as session:
            now = await access.analysis_of(session, actor, analysis_id, permission=Permission.EDIT, for_update=True)
            if now.files != analysis.files:
                raise InvalidState("This analysis was changed meanwhile. Look again.")
            buried = [analysis.files[name] for name in written]
            await analyses.rewrite(session, now, summary=changed, files={**analysis.files, **written}, buried=buried)
    except AppError:
        async with transaction() as session:
            await ledger.bury(session, list(written.values()))
        raise


def _recompute(
    poses: bytes, summary: Mapping[str, Any], moments: Mapping[str, float]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The summary anew, and the files that change with it, by their names."""
    # It takes NumPy, which nothing else in a web process needs.
    from backend.coaching.recompute import recompute, summary_bytes

    changed, angles = recompute(poses, summary, moments)
    return changed, {ANGLES: angles, SUMMARY: summary_bytes(changed)}


async def _write(analysis: Analysis, contents: dict[str, bytes]) -> None:
    """Put these contents under their keys."""
    async with transaction() as session:
        for key in contents:
            await ledger.record(
                session, key=key, kind=ObjectKind.ANALYSIS, project_id=analysis.project_id, video_id=analysis.video_id
            )
    for key, data in contents.items():
        with tempfile.NamedTemporaryFile() as file:
            await asyncio.to_thread(Path(file.name).write_bytes, data)
            await storage.put_file(key, Path(file.name), content_type=CONTENT_TYPES[Path(key).suffix])
