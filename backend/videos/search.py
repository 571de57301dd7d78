"""What a list of videos can be asked: words, filters and orders."""

import unicodedata
import uuid
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from sqlalchemy import ColumnElement, String, Text, cast, func, literal, literal_column

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
    videos = Video.__table__.c
    match query.sort:
        case "created_at":
            return Order("created_at", videos.created_at, videos.id, datetime, query.descending)
        case "title":
            return Order("title", func.lower(videos.title), videos.id, str, query.descending)
        case "duration":
            # A literal, not a parameter: the index is on this very expression.
            duration = func.coalesce(videos.duration, literal_column("0"))
            return Order("duration", duration, videos.id, float, query.descending)
        case "size":
            return Order("size", videos.size_bytes, videos.id, int, query.descending)


def words_of(project_id: ColumnElement[uuid.UUID], q: ColumnElement[str]) -> ColumnElement[object]:
    """The tsquery for the words of `q` in videos of a project."""
    mark: ColumnElement[str] = literal_column("'p'", String).concat(func.left(cast(project_id, Text), 8))
    return _query(q, mark)


def words_query(q: str) -> ColumnElement[object]:
    """The tsquery for every word of `q` as a prefix; NULL, which matches nothing, when it holds no word."""
    return _query(literal(q, String))


def _query(q: ColumnElement[str], mark: ColumnElement[str] | None = None) -> ColumnElement[object]:
    """The same, each word after `mark`.

    Postgres itself splits the words, by the same expression as `models.SEARCH_EXPRESSION`, so that both sides agree.
    """
    spaced = func.regexp_replace(func.lower(q), "[^[:alnum:]]+", " ", "g")
    words: ColumnElement[str] = func.nullif(func.btrim(spaced), "")
    between: ColumnElement[str] = literal(":* & ", String)
    if mark is not None:
        words, between = mark.concat(words), between.concat(mark)
    prefixes = func.replace(words, " ", between).concat(":*")
    return func.to_tsquery(literal_column("'simple'::regconfig"), prefixes)
