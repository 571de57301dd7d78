"""How long something will take: what such work took of late."""

import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.generation.models import Kind

KEPT_SECONDS = 30.0
#: Before there is any history: what the provider that is always there takes on a small machine, for a second of film,
#: one picture, one text.
GUESSES = {Kind.VIDEO: 4.0, Kind.IMAGE: 5.0, Kind.AUDIO: 5.0}

# Films take longer the longer they are; of everything else one is like another. A thousand ends are looked at, so that
# what is asked for rarely costs no more than what is asked for often.
_MEDIAN = text(
    """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM (
        SELECT extract(epoch FROM ended.finished_at - ended.started_at)::float8
            / CASE WHEN made.kind = 'video' THEN greatest((made.spec ->> 'seconds')::float8, 1) ELSE 1 END AS seconds
        FROM (
            SELECT id, project_id, started_at, finished_at FROM jobs
            WHERE kind = :job AND state = 'completed' ORDER BY finished_at DESC LIMIT 1000
        ) AS ended
        JOIN generations AS made ON made.project_id = ended.project_id AND made.job_id = ended.id
        WHERE made.kind = :kind AND made.provider = :provider
        ORDER BY ended.finished_at DESC LIMIT 50
    ) AS recent
    """
)
_known: dict[tuple[str, str, str], tuple[float, float | None]] = {}


async def estimated_seconds(
    session: AsyncSession, *, job_kind: str, kind: Kind, provider: str, seconds: float = 1.0
) -> float:
    """How long one will run, `seconds` being the length of a film; a guess while there is no history."""
    per_unit = await _median(session, job_kind, kind, provider)
    units = max(seconds, 1.0) if kind == Kind.VIDEO else 1.0
    return round((GUESSES[kind] if per_unit is None else per_unit) * units, 1)


async def _median(session: AsyncSession, job_kind: str, kind: Kind, provider: str) -> float | None:
    until, known = _known.get((job_kind, kind, provider), (0.0, None))
    if time.monotonic() < until:
        return known
    found: float | None = await session.scalar(_MEDIAN, {"job": job_kind, "kind": kind, "provider": provider})
    _known[job_kind, kind, provider] = (time.monotonic() + KEPT_SECONDS, found)
    return found
