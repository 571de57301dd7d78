"""What is asked of a list of videos, taken apart: what gives a statement its shape, and the values that go into it.

To write a statement takes longer than to answer it. So there is one for each shape, and it is written once.
"""

from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ColumnElement, Integer, String, Uuid, bindparam

from backend.core.paging import Order
from backend.orgs.access import Actor
from backend.videos.search import Sort, VideoQuery, order_of


@dataclass(frozen=True)
class Shape:
    """What makes one statement differ from another: each is made once, and what is asked for are its parameters."""

    sort: Sort
    descending: bool
    by_words: bool
    by_status: bool
    by_source: bool
    goes_on: bool
    several: bool

    @classmethod
    def of(cls, actor: Actor, query: VideoQuery) -> Self:
        return cls(
            sort=query.sort,
            descending=query.descending,
            by_words=bool(query.q),
            by_status=query.status is not None,
            by_source=query.source is not None,
            goes_on=query.cursor is not None,
            several=len(actor.project_ids) != 1,
        )

    @property
    def order(self) -> Order:
        return order_of(VideoQuery(sort=self.sort, order="desc" if self.descending else "asc"))

    def filters(self, columns: Any) -> list[ColumnElement[bool]]:
        """Of rows with a status and a source."""
        wanted = (("status", self.by_status), ("source", self.by_source))
        return [columns[name] == bindparam(name) for name, given in wanted if given]


def values(actor: Actor, query: VideoQuery, order: Order, *, skip: int) -> dict[str, Any]:
    """What is asked for, by the names that statements know it by. Raises BadCursor."""
    given: dict[str, Any] = {
        "project_id": actor.project_ids[0] if actor.project_ids else None,
        "project_ids": actor.project_ids,
        "words": query.q,
        "status": query.status,
        "source": query.source,
        "skip": skip,
        "take": query.limit + 1,
    }
    if query.cursor is not None:
        given["key"], given["row_id"] = order.read(query.cursor)
    return given


WORDS = bindparam("words", type_=String())
SKIP, TAKE = bindparam("skip", type_=Integer()), bindparam("take", type_=Integer())


def beyond(order: Order) -> ColumnElement[bool]:
    """The rows after the one that a cursor names."""
    return order.beyond(bindparam("key", type_=order.key.type), bindparam("row_id", type_=Uuid()))
