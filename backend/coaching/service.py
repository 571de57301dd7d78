"""Sessions: make, list, change, delete."""

import uuid
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.coaching import access
from backend.coaching.analyses import remove_analyses
from backend.coaching.models import Analysis, CoachSession
from backend.coaching.schemas import MetricPoint, PlayerOut, SessionIn, SessionOut, SessionQuery
from backend.orgs import audit
from backend.orgs.access import Actor, Permission, visible
from backend.videos.models import Video
from backend.videos.schemas import Pagination

log = structlog.get_logger(__name__)

_MOST_PLAYERS = 1000
_MOST_POINTS = 1000


async def create_session(session: AsyncSession, *, actor: Actor, wanted: SessionIn) -> CoachSession:
    """Raises Forbidden and ValidationFailed, as `access.project_for` does."""
    project = await access.project_for(session, actor, wanted.project_id)
    made = CoachSession(
        project_id=project.id,
        owner_id=actor.user_id,
        title=wanted.title,
        notes=wanted.notes or "",
        player_ids=wanted.player_ids,
        view=wanted.view,
        discipline=wanted.discipline,
    )
    session.add(made)
    await session.flush()
    await session.refresh(made)
    return made


async def list_sessions(
    session: AsyncSession, *, actor: Actor, query: SessionQuery
) -> tuple[list[SessionOut], Pagination]:
    """One page, newest first. Raises Forbidden."""
    access.require_role(actor)
    rows = access.sessions_of(actor)
    if query.q.strip():
        rows = rows.where(CoachSession.title.icontains(query.q.strip(), autoescape=True))
    if query.player_id:
        rows = rows.where(CoachSession.player_ids.contains([query.player_id]))
    if query.discipline is not None:
        rows = rows.where(CoachSession.discipline == query.discipline)
    total = await session.scalar(select(func.count()).select_from(rows.subquery())) or 0
    page = rows.order_by(CoachSession.created_at.desc(), CoachSession.id.desc())
    found = (await session.scalars(page.offset((query.page - 1) * query.limit).limit(query.limit))).all()
    counts = await _counts(session, actor, [each.id for each in found])
    pages = -(-total // query.limit)
    shown = [session_out(each, counts.get(each.id, 0)) for each in found]
    return shown, Pagination(page=query.page, limit=query.limit, total=total, total_pages=pages, next_cursor=None)


async def change_session(
    session: AsyncSession, *, actor: Actor, session_id: uuid.UUID, changes: dict[str, Any]
) -> CoachSession:
    """Raises NotFound, Forbidden."""
    found = await access.session_of(session, actor, session_id, permission=Permission.EDIT, for_update=True)
    for name, value in changes.items():
        if value is not None:
            setattr(found, name, value)
    await session.flush()
    await session.refresh(found)
    return found


async def delete_session(session: AsyncSession, *, actor: Actor, session_id: uuid.UUID) -> None:
    """With its analyses and what they wrote; its videos stay in the library. Raises NotFound, Forbidden, InvalidState.

    InvalidState: while one of its analyses is running.
    """
    found = await access.session_of(session, actor, session_id, permission=Permission.EDIT, for_update=True)
    mine = visible(Analysis, actor).where(Analysis.session_id == session_id)
    await remove_analyses(session, actor=actor, analyses=(await session.scalars(mine.with_for_update())).all())
    await audit.record(
        session,
        actor=actor,
        action="session.delete",
        object_type="session",
        object_id=session_id,
        project_id=found.project_id,
        detail={"title": found.title},
    )
    await session.delete(found)
    log.info("session.deleted", session_id=str(session_id))


async def public(session: AsyncSession, *, actor: Actor, found: CoachSession) -> SessionOut:
    """A session as the API shows it."""
    return session_out(found, (await _counts(session, actor, [found.id])).get(found.id, 0))


async def _counts(session: AsyncSession, actor: Actor, ids: list[uuid.UUID]) -> dict[uuid.UUID, int]:
    counted = (
        visible(Analysis, actor)
        .with_only_columns(Analysis.session_id, func.count())
        .where(Analysis.session_id.in_(ids))
        .group_by(Analysis.session_id)
    )
    return {row[0]: row[1] for row in await session.execute(counted)}


def session_out(found: CoachSession, analyses: int) -> SessionOut:
    return SessionOut(
        id=found.id,
        session_id=found.id,
        project_id=found.project_id,
        title=found.title,
        player_ids=found.player_ids,
        notes=found.notes,
        view=found.view,
        discipline=found.discipline,
        analyses=analyses,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


# --- players ---------------------------------------------------------------------------------------------------------


async def list_players(session: AsyncSession, *, actor: Actor) -> list[PlayerOut]:
    """Everybody named in a session, the latest first. Raises Forbidden."""
    access.require_role(actor)
    mine = access.sessions_of(actor).subquery()
    named = select(func.unnest(mine.c.player_ids).label("player_id"), mine.c.created_at).subquery()
    last = func.max(named.c.created_at)
    rows = await session.execute(
        select(named.c.player_id, func.count(), last)
        .group_by(named.c.player_id)
        .order_by(last.desc(), named.c.player_id)
        .limit(_MOST_PLAYERS)
    )
    return [PlayerOut(player_id=row[0], sessions=row[1], last_session_at=row[2]) for row in rows]


async def player_metrics(
    session: AsyncSession, *, actor: Actor, player_id: str, metric: str | None
) -> tuple[list[str], list[MetricPoint]]:
    """The metrics that have a value in some session of the player, and the values of one, oldest first.

    Of a session with several players nobody knows whose a value is: only sessions of one player count.
    Raises Forbidden.
    """
    access.require_role(actor)
    theirs = access.sessions_of(actor).where(CoachSession.player_ids == [player_id]).subquery()
    rows = (
        await session.execute(
            visible(Analysis, actor)
            .join(theirs, theirs.c.id == Analysis.session_id)
            .outerjoin(Video, Video.id == Analysis.video_id)
            .where(Analysis.metrics.is_not(None))
            .with_only_columns(
                Analysis.id, Analysis.session_id, theirs.c.title, Video.title, theirs.c.created_at, Analysis.metrics
            )
            .order_by(theirs.c.created_at.desc(), Analysis.created_at.desc())
            .limit(_MOST_POINTS)
        )
    ).all()
    # It brings numpy, 9 MB that a web process holds only where somebody looks at this.
    from backend.coaching.metric_table import METRICS

    there = {name for row in rows for name in row[5]}
    known = [one.name for one in METRICS if one.name in there]
    available = [*known, *sorted(there.difference(known))]
    points = [
        MetricPoint(
            analysis_id=row[0],
            session_id=row[1],
            session_title=row[2],
            video_title=row[3],
            at=row[4],
            value=row[5][metric],
        )
        for row in reversed(rows)
        if metric in row[5]
    ]
    return available, points
