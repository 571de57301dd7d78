"""Lists in pages: a total order over rows, and cursors that continue it where a page ended.

A cursor names its order and the last row's place in it. Rows are found again by row comparison,
`(key, id) < (…, …)`, which an index on `(key, id)` answers at any depth in the same time.
"""

import base64
import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, literal, tuple_

from backend.core.errors import BadCursor

#: Rows on a page when nobody says, and at most.
DEFAULT_LIMIT = 20
MAX_LIMIT = 100
#: A page number beyond this is a mistake; cursors have no such end.
MAX_PAGE = 100_000

_MAX_CURSOR_LENGTH = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Key = datetime | str | int | float


T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list. `page` is None when a cursor led here; `next_cursor` is None at the end."""

    items: Sequence[T]
    total: int
    page: int | None
    limit: int
    next_cursor: str | None

    @property
    def total_pages(self) -> int:
        return -(-self.total // self.limit)


@dataclass(frozen=True, slots=True)
class Order:
    """A total order: by `key` (never null), ties by `id`, both in the same direction. `name` goes into cursors."""

    name: str
    key: ColumnElement[Any]
    id: ColumnElement[uuid.UUID]
    kind: type[datetime] | type[str] | type[int] | type[float]
    descending: bool

    @property
    def terms(self) -> tuple[ColumnElement[Any], ...]:
        """What goes into ORDER BY."""
        return (self.key.desc(), self.id.desc()) if self.descending else (self.key.asc(), self.id.asc())

    def reversed(self) -> "Order":
        """The same rows from the other end."""
        return replace(self, descending=not self.descending)

    def after(self, cursor: str) -> ColumnElement[bool]:
        """The rows that follow the one `cursor` was made of. Raises BadCursor."""
        key, row_id = self.read(cursor)
        return self.beyond(literal(key, self.key.type), literal(row_id, self.id.type))

    def beyond(self, key: ColumnElement[Any], row_id: ColumnElement[uuid.UUID]) -> ColumnElement[bool]:
        """The rows that follow the one with this key and id."""
        mine, other = tuple_(self.key, self.id), tuple_(key, row_id)
        return mine < other if self.descending else mine > other

    def cursor(self, key: Key, row_id: uuid.UUID) -> str:
        """An opaque text that marks the row with this key and id; good for this order only."""
        place = (key - _EPOCH) // _MICROSECOND if isinstance(key, datetime) else key
        text = json.dumps([self.name, self.descending, place, row_id.hex], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    def read(self, cursor: str) -> tuple[Key, uuid.UUID]:
        """The key and the id of the row that `cursor` was made of. Raises BadCursor."""
        if len(cursor) > _MAX_CURSOR_LENGTH:
            raise BadCursor
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            name, descending, place, row_id = json.loads(raw)
            if name != self.name or descending is not self.descending or not isinstance(row_id, str):
                raise BadCursor
            return self._key(place), uuid.UUID(hex=row_id)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise BadCursor from error

    def _key(self, place: object) -> Key:
        if self.kind is str:
            if not isinstance(place, str) or "\0" in place:
                raise BadCursor
            place.encode()  # a lone surrogate is a ValueError here, not in the database
            return place
        if isinstance(place, bool) or not isinstance(place, int | float) or not math.isfinite(place):
            raise BadCursor
        if self.kind is float:
            return float(place)
        if not isinstance(place, int) or abs(place) >= 2**63:
            raise BadCursor
        return _EPOCH + place * _MICROSECOND if self.kind is datetime else place
