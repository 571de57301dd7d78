"""What a list of videos can be asked: words, filters and orders."""

import unicodedata
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from sqlalchemy import ColumnElement, Select, String, func, literal, literal_column

from backend.core.paging import DEFAULT_LIMIT, MAX_LIMIT, MAX_PAGE, Order
from backend.core.web import Paragraph
from backend.videos.models import Video, VideoStatus

Sort = Literal["created_at", "title", "duration", "size"]
Source = Literal["upload", "generation", "session"]

#: Longer texts are not searched for; words are cut by the limit of the whole.
MAX_QUERY_LENGTH = 200

# Words for the same orders that documented clients send.
_SORT_ALIASES = {"date": "created_at", "name": "title", "size_bytes": "size"}


def _composed(value: str) -> str:
    return unicodedata.normalize("NFC", value)


def _known_sort(value: object) -> object:
    return _SORT_ALIASES.get(value, value) if isinstance(value, str) else value


class VideoQuery(BaseModel):
    """What to list. `page` counts from 1; `cursor` continues a page instead. Without either: the first page."""

    q: Annotated[Paragraph, AfterValidator(_composed)] = Field(
        "", max_length=MAX_QUERY_LENGTH, description="Words, or beginnings of words, that must all occur"
    )
    status: VideoStatus | None = None
    source: Source | None = None
    sort: Annotated[Sort, BeforeValidator(_known_sort)] = "created_at"
    order: Literal["asc", "desc"] | None = Field(
        None, description="By default newest, longest and largest first, titles from A"
    )
    page: int | None = Field(None, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="`next_cursor` of the page before, with the same sort and order")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: object) -> object:
        # A form that filters by GET sends its empty fields too.
        return {k: v for k, v in values.items() if v != ""} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _one_way_to_page(self) -> Self:
        if self.page is not None and self.cursor is not None:
            raise ValueError("give page or cursor, not both")
        return self

    @property
    def descending(self) -> bool:
        return self.sort != "title" if self.order is None else self.order == "desc"

    @property
    def only_status(self) -> bool:
        """Whether nothing but the status narrows the list, so that its total is kept ready."""
        return not self.q and self.source is None


def order_of(query: VideoQuery) -> Order:
    """The order asked for; each has its index."""
    match query.sort:
        case "created_at":
            return Order("created_at", Video.created_at.expression, Video.id.expression, datetime, query.descending)
        case "title":
            return Order("title", func.lower(Video.title), Video.id.expression, str, query.descending)
        case "duration":
            # A literal, not a parameter: the index is on this very expression.
            duration = func.coalesce(Video.duration, literal_column("0"))
            return Order("duration", duration, Video.id.expression, float, query.descending)
        case "size":
            return Order("size", Video.size_bytes.expression, Video.id.expression, int, query.descending)


def narrowed(rows: Select[Video], query: VideoQuery) -> Select[Video]:
    """`rows` of videos that match the words and filters of `query`."""
    if query.q:
        rows = rows.where(Video.search.bool_op("@@")(words_query(query.q)))
    if query.status is not None:
        rows = rows.where(Video.status == query.status)
    if query.source is not None:
        rows = rows.where(Video.source == query.source)
    return rows


def words_query(q: str) -> ColumnElement[object]:
    """The tsquery for every word of `q` as a prefix; NULL, which matches nothing, when it holds no word.

    Postgres itself splits the words, by the same expression as `models.SEARCH_EXPRESSION`, so that both sides agree.
    """
    spaced = func.regexp_replace(func.lower(literal(q, String)), "[^[:alnum:]]+", " ", "g")
    words = func.nullif(func.btrim(spaced), "")
    prefixes = func.regexp_replace(words, " ", ":* & ", "g").concat(":*")
    return func.to_tsquery(literal_column("'simple'::regconfig"), prefixes)
