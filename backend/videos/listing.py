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
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.paging import Order
from backend.jobs.models import Job
from backend.orgs.access import Actor, visible
from backend.videos.models import Video, VideoCount, VideoStatus
from backend.videos.search import Sort, VideoQuery, filtered, order_of, words_of
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
class VideoPage:
    """One page. `page` is None when a cursor led here; `next_cursor` is None at the end.

    `total` is about right where it is not `exact`: of words that many have. `items` have what `shapes.LISTED` names.
    """

    items: Sequence[Row[Any]]
    total: int
    exact: bool
    page: int | None
    limit: int
    next_cursor: str | None

    @property
    def total_pages(self) -> int:
        return -(-self.total // self.limit)


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
    exact = True
    if not query.only_status:
        total, exact, rare = await _looked_at(session, actor, query)
        if rare:
            found, rows = await _found(session, actor, query, order, skip=skip)
            rare = exact = found < MOST_COUNTED
            total = found if exact else max(found, total)
        if not rare:
            rows = (await session.execute(_rows_at(_walked(actor, query, order, skip=skip), order))).all()
    elif len(actor.project_ids) == 1 and skip < _SHALLOW_ROWS:
        total, rows = await _of_one(session, actor.project_ids[0], query, order, skip=skip)
    else:
        total = await _count(session, actor.project_ids, query)
        places = _nearest(actor, query, order, skip=skip, total=total)
        rows = [] if places is None else (await session.execute(_rows_at(places, order))).all()
    items = rows[: query.limit]
    more = len(rows) > query.limit
    next_cursor = order.cursor(items[-1].place, items[-1].id) if more else None
    return VideoPage(items, total, exact, page, query.limit, next_cursor)


# --- where nothing but a status narrows ------------------------------------------------------------------------------


async def _of_one(
    session: AsyncSession, project_id: uuid.UUID, query: VideoQuery, order: Order, *, skip: int
) -> tuple[int, Sequence[Row[Any]]]:
    """How many there are, and the rows of a page that is not deep."""
    given: dict[str, Any] = {"project_id": project_id, "status": query.status, "skip": skip, "take": query.limit + 1}
    if query.cursor is not None:
        given["key"], given["row_id"] = order.read(query.cursor)
    statement = _made(query.sort, query.descending, by_status=query.status is not None, goes_on="key" in given)
    connection = await session.connection()
    rows = (await connection.execute(statement, given)).all()
    return rows[0].total if rows else await _count(session, (project_id,), query), rows


@cache
def _made(sort: Sort, descending: bool, *, by_status: bool, goes_on: bool) -> Select[Any]:
    order = order_of(VideoQuery(sort=sort, order="desc" if descending else "asc"))
    videos, counts = Video.__table__.c, VideoCount.__table__.c
    counted = select(cast(func.sum(counts.videos), BigInteger)).where(counts.project_id == bindparam("project_id"))
    where = [videos.project_id == bindparam("project_id"), videos.deleted_at.is_(None)]
    if by_status:
        counted = counted.where(counts.status == bindparam("status"))
        where.append(videos.status == bindparam("status"))
    if goes_on:
        where.append(order.beyond(bindparam("key", type_=order.key.type), bindparam("row_id", type_=Uuid())))
    # The key travels with the row: what the database compares is what the next cursor must hold.
    rows = select(*LISTED, order.key.label("place"), counted.scalar_subquery().label("total")).where(*where)
    skip, take = bindparam("skip", type_=Integer()), bindparam("take", type_=Integer())
    return rows.order_by(*order.terms).offset(skip).limit(take)


async def _count(session: AsyncSession, project_ids: Sequence[uuid.UUID], query: VideoQuery) -> int:
    kept = select(cast(func.sum(VideoCount.videos), BigInteger)).where(VideoCount.project_id.in_(project_ids))
    if query.status is not None:
        kept = kept.where(VideoCount.status == query.status)
    return await session.scalar(kept) or 0


def _nearest(actor: Actor, query: VideoQuery, order: Order, *, skip: int, total: int) -> Subquery | None:
    """The ids of a page of several projects, or of a deep one; None where it is beyond the end."""
    take = min(query.limit + 1, total - skip) if query.cursor is None else query.limit + 1
    if take <= 0 or not total:
        return None
    # Only ids are skipped, in the index, and from the nearer end.
    from_end = skip > total // 2
    direction = order.reversed() if from_end else order
    passed = total - skip - take if from_end else skip

    def nearest(project_id: ColumnElement[uuid.UUID], _: ColumnElement[Any]) -> Select[Any]:
        ids = _ids(actor, query, order, project_id)
        return ids.order_by(*direction.terms).limit(passed + take)

    return _merged(actor, query, nearest, direction, skip=passed, take=take)


def _ids(actor: Actor, query: VideoQuery, order: Order, project_id: ColumnElement[uuid.UUID]) -> Select[Any]:
    rows = filtered(visible(Video, actor).where(Video.project_id == project_id), query)
    if query.cursor is not None:
        rows = rows.where(order.after(query.cursor))
    return rows.with_only_columns(Video.id, order.key.label("place"))


# --- by words, or by their source ------------------------------------------------------------------------------------


async def _looked_at(session: AsyncSession, actor: Actor, query: VideoQuery) -> tuple[int, bool, bool]:
    """About how many match, whether that is exact, and whether they are rare, by a look at the newest."""
    if not query.q or query.source is not None or not actor.project_ids:
        return 0, True, True
    order = order_of(VideoQuery())

    def newest(project_id: ColumnElement[uuid.UUID], words: ColumnElement[Any]) -> Select[Any]:
        rows = filtered(visible(Video, actor).where(Video.project_id == project_id), query)
        met = Video.search.bool_op("@@")(words).label("met")
        return rows.with_only_columns(met).order_by(*order.terms).limit(_LOOKED_AT // len(actor.project_ids) + 1)

    seen = _in_each(actor, query, newest).subquery()
    total = await _count(session, actor.project_ids, query)
    numbers = select(func.count(), func.count().filter(seen.c.met)).select_from(seen)
    looked_at, met = (await session.execute(numbers)).one()
    if looked_at >= total:
        return met, True, False
    about = met * total / looked_at
    return int(round(about, 2 - len(str(int(about))))), False, met < _MANY


async def _found(
    session: AsyncSession, actor: Actor, query: VideoQuery, order: Order, *, skip: int
) -> tuple[int, Sequence[Row[Any]]]:
    """How many match, and the rows of the page; rows only when fewer than `MOST_COUNTED` do."""

    def matching(project_id: ColumnElement[uuid.UUID], words: ColumnElement[Any]) -> Select[Any]:
        if not query.q:
            return _ids(actor, query.model_copy(update={"cursor": None}), order, project_id).limit(MOST_COUNTED)
        videos = Video.__table__.c
        columns = videos.id, order.key.label("place"), videos.project_id, videos.status, videos.source
        by_words = select(*columns).where(videos.deleted_at.is_(None), videos.search.bool_op("@@")(words))
        # The words are their project's alone, but for a chance of one in 2^32. An offset, even of none, keeps all rows
        # of the project from being looked up beside them.
        rows = by_words.offset(0).subquery()
        mine = select(rows.c.id, rows.c.place).where(rows.c.project_id == project_id)
        for column, wanted in ((rows.c.status, query.status), (rows.c.source, query.source)):
            mine = mine.where(column == wanted) if wanted is not None else mine
        return mine.limit(MOST_COUNTED)

    found = _in_each(actor, query, matching).limit(MOST_COUNTED).cte("found")
    place = _of(order, found)
    after = place.after(query.cursor) if query.cursor is not None else true()
    counted = select(func.count().label("videos")).select_from(found).subquery()
    shown = select(found).where(after).order_by(*place.terms).offset(skip).limit(query.limit + 1).subquery("shown")
    page: Select[Any] = select(*LISTED, shown.c.place, counted.c.videos).select_from(counted)
    page = page.outerjoin(shown, counted.c.videos < MOST_COUNTED).outerjoin(Video, Video.id == shown.c.id)
    rows = (await session.execute(page.order_by(*_of(order, shown).terms))).all()
    return rows[0].videos, [row for row in rows if row.id is not None]


def _walked(actor: Actor, query: VideoQuery, order: Order, *, skip: int) -> Subquery:
    """Where so many match, those of a page are soon met when one goes along the order's own index."""
    take = query.limit + 1

    def met(project_id: ColumnElement[uuid.UUID], words: ColumnElement[Any]) -> Select[Any]:
        ids = _ids(actor, query, order, project_id)
        if query.q:
            # No index is on this expression: the words are not looked up first.
            search: ColumnElement[Any] = func.coalesce(Video.search.expression, literal_column("''::tsvector"))
            ids = ids.where(search.bool_op("@@")(words))
        return ids.order_by(*order.terms).limit(skip + take)

    return _merged(actor, query, met, order, skip=skip, take=take)


# --- of several projects ---------------------------------------------------------------------------------------------


def _in_each(actor: Actor, query: VideoQuery, places: Places) -> Select[Any]:
    """What `places` chooses of each project; in its order where there is one project only."""
    # What is searched for is made once, in a query of its own, and not anew for each row.
    if len(actor.project_ids) == 1:
        project_id = literal(actor.project_ids[0], Uuid)
        return places(project_id, select(words_of(project_id, query.q)).scalar_subquery())
    ids = _each_of(literal(actor.project_ids, ARRAY(Uuid())))
    projects = select(ids.c.id, words_of(ids.c.id, query.q).label("words")).offset(0).subquery("searched")
    each = places(projects.c.id, projects.c.words).lateral("each")
    return select(each).select_from(projects).join(each, true())


def _each_of(project_ids: ColumnElement[Any]) -> Subquery:
    return select(func.unnest(project_ids, type_=Uuid()).label("id")).subquery("projects")


def _merged(actor: Actor, query: VideoQuery, places: Places, order: Order, *, skip: int, take: int) -> Subquery:
    """Of what `places` chooses in `order` of each project, those after the first `skip` of all."""
    merged = _in_each(actor, query, places).subquery()
    return select(merged).order_by(*_of(order, merged).terms).offset(skip).limit(take).subquery("merged")


def _of(order: Order, places: Any) -> Order:
    return Order(order.name, places.c.place, places.c.id, order.kind, order.descending)


def _rows_at(places: Subquery, order: Order) -> Select[Any]:
    videos = Video.__table__
    rows = select(*LISTED, places.c.place).select_from(places.join(videos, places.c.id == videos.c.id))
    return rows.order_by(*_of(order, places).terms)


# --- numbers ---------------------------------------------------------------------------------------------------------


async def stats(session: AsyncSession, *, actor: Actor) -> Stats:
    """Counts kept by the database, and how long processing took lately; in one statement."""
    connection = await session.connection()
    row = (await connection.execute(_numbers(), {"project_ids": actor.project_ids})).one()
    size_bytes, mean, recent, *counts = row
    return Stats(
        size_bytes=size_bytes or 0,
        counts={status: count or 0 for status, count in zip(VideoStatus, counts, strict=True)},
        mean_processing_seconds=mean.total_seconds() if mean is not None else None,
        added_last_7_days=recent,
    )


@cache
def _numbers() -> Select[Any]:
    videos, counts, jobs = Video.__table__.c, VideoCount.__table__.c, Job.__table__.c
    project_ids = bindparam("project_ids", type_=ARRAY(Uuid()))
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
