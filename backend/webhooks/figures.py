"""How deliveries stand, over all projects: for those who run the platform."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# By the indexes of what waits, of what is under way, and of what ended: the many that arrived are not looked at.
_STAND = text(
    """
    SELECT (SELECT count(*) FROM webhook_deliveries WHERE state = 'pending') AS pending,
        (SELECT count(*) FROM webhook_deliveries WHERE state = 'delivering') AS delivering,
        (SELECT count(*) FROM webhook_deliveries
            WHERE state = 'dead' AND finished_at > now() - interval '1 day') AS dead,
        (SELECT greatest(0, extract(epoch FROM now() - min(next_try_at)))::float8 FROM webhook_deliveries
            WHERE state = 'pending') AS overdue_seconds,
        (SELECT count(*) FROM webhook_endpoints AS endpoint JOIN projects ON projects.id = endpoint.project_id
            WHERE enabled AND failing_since IS NOT NULL AND projects.deleted_at IS NULL) AS failing
    """
)


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Numbers of deliveries; `dead` were given up within a day, `overdue_seconds` is of the one due for longest."""

    pending: int
    delivering: int
    dead: int
    overdue_seconds: float
    failing: int  #: webhooks to which nothing has arrived since their last failure


async def deliveries(session: AsyncSession) -> Deliveries:
    row = (await session.execute(_STAND)).one()
    return Deliveries(row.pending, row.delivering, row.dead, row.overdue_seconds or 0.0, row.failing)
