"""Lists of videos, and the dashboard's numbers, at the same speed however many there are.

What is shown of a page is read as plain rows, a third of the time of whole objects, and the statement for what is asked
most, some videos of one project, is made once. Several projects are read one by one, each in the order of its index,
for no index holds two of them in one order.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Row,
    Select,
    Subquery,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.paging import Order, Page
from backend.jobs.models import Job
from backend.orgs.access import Actor
from backend.videos.list_shape import SKIP, TAKE, WORDS, Shape, beyond, values
from backend.videos.models import Video, VideoCount, VideoStatus
from backend.videos.search import VideoQuery, order_of, words_of
from backend.videos.shapes import LISTED

#: Up to here whole rows are skipped: cheaper than to look each shown one up again.
_SHALLOW_ROWS = 500
#: What is found by words or by its source is counted no further.
MOST_COUNTED = 1_000
#: So many of the newest are looked at for words; where so many of them have these, an index of words would name too
#: many to be worth asking, and the rest are guessed.
_LOOKED_AT, _MANY = 2_000, 100
#: Processed videos whose time is averaged for the dashboard.
_MEAN_OF_JOBS = 20
_RECENT = timedelta(days=7)

#: Chooses of one project, by its id and what is searched for there.
Places = Callable[[ColumnElement[uuid.UUID], ColumnElement[Any]], Select[Any]]


@dataclass(frozen=True)
class VideoPage(Page[Row[Any]]):
    """`items` have what `shapes.LISTED` names. `total` is about right where it is not `exact`, as of common words."""

    exact: bool


@dataclass(frozen=True)
class Stats:
    """What the dashboard says of all videos one can see. Sizes in bytes, times in seconds."""

    size_bytes: int
    counts: dict[VideoStatus, int]
    mean_processing_seconds: float | None
    added_last_7_days: int  #: counted up to `MOST_COUNTED`

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def processing(self) -> int:
        return self.counts[VideoStatus.PROCESSING]

    @property
    def failed(self) -> int:
        return self.counts[VideoStatus.FAILED]


async def list_videos(session: AsyncSession, *, actor: Actor, query: VideoQuery) -> VideoPage:
    """The videos one can see that match, in the order asked for. Raises BadCursor."""
    page = None if query.cursor is not None else query.page or 1
    skip = 0 if page is None else (page - 1) * query.limit
    order = order_of(query)
    shape = Shape.of(actor, query)
    given = values(actor, query, order, skip=skip)
    exact = True
    if not query.only_status:
        total, exact, rare = await _looked_at(session, actor, query, shape, given)
        if rare:
            found, rows = await _found(session, shape, given)
            rare = exact = found < MOST_COUNTED
            total = found if exact else max(found, total)
        if not rare:
            rows = await _read(session, _walked(shape), given)
    elif not shape.several and skip < _SHALLOW_ROWS:
        rows = await _read(session, _made(shape), given)
        total = rows[0].total if rows else await _count(session, actor.project_ids, query)
    else:
        total = await _count(session, actor.project_ids, query)
        rows = await _nearest(session, query, shape, given, skip=skip, total=total)
    items = rows[: query.limit]
    more = len(rows) > query.limit
    next_cursor = order.cursor(items[-1].place, items[-1].id) if more else None
    return VideoPage(items, total, page, query.limit, next_cursor, exact)


async def _read(session: AsyncSession, statement: Select[Any], given: dict[str, Any]) -> Sequence[Row[Any]]:
    connection = await session.connection()
    rows: Sequence[Row[Any]] = (await connection.execute(statement, given)).all()
    return rows


# --- where nothing but a status narrows ------------------------------------------------------------------------------


@cache
def _made(shape: Shape) -> Select[Any]:
    """Of one project, a page that is not deep: its rows, and how many there are."""
    order = shape.order
    videos, counts = Video.__table__.c, VideoCount.__table__.c
    mine = bindparam("project_id", type_=Uuid())
    counted = select(cast(func.sum(counts.videos), BigInteger)).where(counts.project_id == mine)
    if shape.by_status:
        counted = counted.where(counts.status == bindparam("status"))
    where = [videos.project_id == mine, videos.deleted_at.is_(None), *shape.filters(videos)]
    if shape.goes_on:
        where.append(beyond(order))
    # The key travels with the row: what the database compares is what the next cursor must hold.
    rows = select(*LISTED, order.key.label("place"), counted.scalar_subquery().label("total")).where(*where)
    return rows.order_by(*order.terms).offset(SKIP).limit(TAKE)


async def _count(session: AsyncSession, project_ids: Sequence[uuid.UUID], query: VideoQuery) -> int:
    given = {"project_ids": project_ids, "status": query.status}
    rows = await _read(session, _counted(by_status=query.status is not None), given)
    videos: int | None = rows[0].videos
    return videos or 0


@cache
def _counted(*, by_status: bool) -> Select[Any]:
    counts = VideoCount.__table__.c
    kept = select(cast(func.sum(counts.videos), BigInteger).label("videos"))
    kept = kept.where(counts.project_id == any_(bindparam("project_ids", type_=ARRAY(Uuid()))))
    return kept.where(counts.status == bindparam("status")) if by_status else kept


async def _nearest(
    session: AsyncSession, query: VideoQuery, shape: Shape, given: dict[str, Any], *, skip: int, total: int
) -> Sequence[Row[Any]]:
    """A page of several projects, or a deep one; nothing where it is beyond the end."""
    take = min(query.limit + 1, total - skip) if query.cursor is None else query.limit + 1
    if take <= 0 or not total:
        return []
    # Only ids are skipped, in the index, and from the nearer end.
    from_end = skip > total // 2
    passed = total - skip - take if from_end else skip
    given = {**given, "skip": passed, "take": take, "most": passed + take}
    return await _read(session, _nearing(shape, from_end=from_end), given)


@cache
def _nearing(shape: Shape, *, from_end: bool) -> Select[Any]:
    order = shape.order
    direction = order.reversed() if from_end else order

    def nearest(project_id: ColumnElement[uuid.UUID], _: ColumnElement[Any]) -> Select[Any]:
        return _ids(shape, project_id).order_by(*direction.terms).limit(bindparam("most", type_=Integer()))

    return _rows_at(_merged(shape, nearest, direction), order)


def _ids(shape: Shape, project_id: ColumnElement[uuid.UUID], *, from_start: bool = False) -> Select[Any]:
    order, videos = shape.order, Video.__table__.c
    where = [videos.project_id == project_id, videos.deleted_at.is_(None), *shape.filters(videos)]
    if shape.goes_on and not from_start:
        where.append(beyond(order))
    return select(videos.id, order.key.label("place")).where(*where)


# --- by words, or by their source ------------------------------------------------------------------------------------


async def _looked_at(
    session: AsyncSession, actor: Actor, query: VideoQuery, shape: Shape, given: dict[str, Any]
) -> tuple[int, bool, bool]:
    """About how many match, whether that is exact, and whether they are rare, by a look at the newest."""
    if not shape.by_words or shape.by_source or not actor.project_ids:
        return 0, True, True
    each = _LOOKED_AT // len(actor.project_ids) + 1
    row = (await _read(session, _looking(shape), {**given, "each": each}))[0]
    looked_at, met, total = row.looked_at, row.met, row.total or 0
    if looked_at >= total:
        return met, True, False
    about = met * total / looked_at
    return int(round(about, 2 - len(str(int(about))))), False, met < _MANY


@cache
def _looking(shape: Shape) -> Select[Any]:
    order, videos = order_of(VideoQuery()), Video.__table__.c

    def newest(project_id: ColumnElement[uuid.UUID], words: ColumnElement[Any]) -> Select[Any]:
        where = [videos.project_id == project_id, videos.deleted_at.is_(None), *shape.filters(videos)]
        rows = select(videos.search.bool_op("@@")(words).label("met")).where(*where)
        return rows.order_by(*order.terms).limit(bindparam("each", type_=Integer()))

    seen = _in_each(shape, newest).subquery()
    total = _counted(by_status=shape.by_status).scalar_subquery().label("total")
    met = func.count().filter(seen.c.met).label("met")
    return select(func.count().label("looked_at"), met, total).select_from(seen)


async def _found(session: AsyncSession, shape: Shape, given: dict[str, Any]) -> tuple[int, Sequence[Row[Any]]]:
    """How many match, and the rows of the page; rows only when fewer than `MOST_COUNTED` do."""
    rows = await _read(session, _finding(shape), given)
    return rows[0].videos, [row for row in rows if row.id is not None]


@cache
def _finding(shape: Shape) -> Select[Any]:
    order, videos = shape.order, Video.__table__

    def matching(project_id: ColumnElement[uuid.UUID], words: ColumnElement[Any]) -> Select[Any]:
        if not shape.by_words:
            return _ids(shape, project_id, from_start=True).limit(MOST_COUNTED)
        columns = videos.c.id, order.key.label("place"), videos.c.project_id, videos.c.status, videos.c.source
        by_words = select(*columns).where(videos.c.deleted_at.is_(None), videos.c.search.bool_op("@@")(words))
        # The words are their project's alone, but for a chance of one in 2^32. An offset, even of none, keeps all rows
        # of the project from being looked up beside them.
        rows = by_words.offset(0).subquery().c
        mine = select(rows.id, rows.place).where(rows.project_id == project_id, *shape.filters(rows))
        return mine.limit(MOST_COUNTED)

    found = _in_each(shape, matching).limit(MOST_COUNTED).cte("found")
    place = _of(order, found)
    after = beyond(place) if shape.goes_on else true()
    counted = select(func.count().label("videos")).select_from(found).subquery()
    shown = select(found).where(after).order_by(*place.terms).offset(SKIP).limit(TAKE).subquery("shown")
    page: Select[Any] = select(*LISTED, shown.c.place, counted.c.videos).select_from(counted)
    page = page.outerjoin(shown, counted.c.videos < MOST_COUNTED).outerjoin(videos, videos.c.id == shown.c.id)
    return page.order_by(*_of(order, shown).terms)


@cache
def _walked(shape: Shape) -> Select[Any]:
    """Where so many match, those of a page are soon met when one goes along the order's own index."""
    order = shape.order

    def met(project_id: ColumnElement[uuid.UUID], words: ColumnElement[Any]) -> Select[Any]:
        ids = _ids(shape, project_id)
        if shape.by_words:
            # No index is on this expression: the words are not looked up first.
            search: ColumnElement[Any] = func.coalesce(Video.search.expression, literal_column("''::tsvector"))
            ids = ids.where(search.bool_op("@@")(words))
        return ids.order_by(*order.terms).limit(SKIP + TAKE)

    return _rows_at(_merged(shape, met, order), order)


# --- of several projects ---------------------------------------------------------------------------------------------


def _in_each(shape: Shape, places: Places) -> Select[Any]:
    """What `places` chooses of each project; in its order where there is one project only."""
    # What is searched for is made once, in a query of its own, and not anew for each row.
    if not shape.several:
        project_id = bindparam("project_id", type_=Uuid())
        return places(project_id, select(words_of(project_id, WORDS)).scalar_subquery())
    ids = _each_of(bindparam("project_ids", type_=ARRAY(Uuid())))
    projects = select(ids.c.id, words_of(ids.c.id, WORDS).label("words")).offset(0).subquery("searched")
    each = places(projects.c.id, projects.c.words).lateral("each")
    return select(each).select_from(projects).join(each, true())


def _each_of(project_ids: ColumnElement[Any]) -> Subquery:
    return select(func.unnest(project_ids, type_=Uuid()).label("id")).subquery("projects")


def _merged(shape: Shape, places: Places, order: Order) -> Subquery:
    """Of what `places` chooses in `order` of each project, those after the first `skip` of all."""
    merged = _in_each(shape, places).subquery()
    return select(merged).order_by(*_of(order, merged).terms).offset(SKIP).limit(TAKE).subquery("merged")


def _of(order: Order, places: Any) -> Order:
    return Order(order.name, places.c.place, places.c.id, order.kind, order.descending)


def _rows_at(places: Subquery, order: Order) -> Select[Any]:
    videos = Video.__table__
    rows = select(*LISTED, places.c.place).select_from(places.join(videos, places.c.id == videos.c.id))
    return rows.order_by(*_of(order, places).terms)


# --- numbers ---------------------------------------------------------------------------------------------------------


async def stats(session: AsyncSession, *, actor: Actor) -> Stats:
    """Counts kept by the database, and how long processing took lately; in one statement."""
    several = len(actor.project_ids) != 1
    given = {"project_ids": actor.project_ids} if several else {"project_id": actor.project_ids[0]}
    row: Any = (await _read(session, _numbers(several=several), given))[0]
    size_bytes, mean, recent, *counts = row
    return Stats(
        size_bytes=size_bytes or 0,
        counts={status: count or 0 for status, count in zip(VideoStatus, counts, strict=True)},
        mean_processing_seconds=mean.total_seconds() if mean is not None else None,
        added_last_7_days=recent,
    )


@cache
def _numbers(*, several: bool) -> Select[Any]:
    videos, counts, jobs = Video.__table__.c, VideoCount.__table__.c, Job.__table__.c
    # How many projects a parameter names is known only when it comes: the database then plans anew for each request,
    # which takes longer than the answer.
    project_ids: ColumnElement[Any] = bindparam("project_ids", type_=ARRAY(Uuid()))
    if not several:
        project_ids = array([bindparam("project_id", type_=Uuid())])
    projects = _each_of(project_ids)
    latest = (
        select(videos.created_at, videos.job_id, videos.completed_at)
        .where(videos.project_id == projects.c.id, videos.deleted_at.is_(None), videos.status == VideoStatus.COMPLETED)
        .order_by(videos.created_at.desc(), videos.id.desc())
        .limit(_MEAN_OF_JOBS)
        .lateral()
    )
    newest = select(latest).select_from(projects).join(latest, true()).order_by(latest.c.created_at.desc())
    some = newest.limit(_MEAN_OF_JOBS).subquery()
    mean = select(func.avg(some.c.completed_at - jobs.started_at)).join(some, some.c.job_id == jobs.id)
    lately = select(videos.id).where(
        videos.project_id == any_(project_ids), videos.deleted_at.is_(None), videos.created_at > func.now() - _RECENT
    )
    recent = select(func.count()).select_from(lately.limit(MOST_COUNTED).subquery())
    kept = [cast(func.sum(counts.videos).filter(counts.status == status), BigInteger) for status in VideoStatus]
    size_bytes = cast(func.sum(counts.size_bytes), BigInteger)
    return select(size_bytes, mean.scalar_subquery(), recent.scalar_subquery(), *kept).where(
        counts.project_id == any_(project_ids)
    )
