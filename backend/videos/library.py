"""The library page as its address says it: search, filter, order and page, and the links that change one of them."""

import uuid
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from backend.core.paging import MAX_PAGE
from backend.core.web import Paragraph
from backend.videos.models import VideoStatus
from backend.videos.search import MAX_QUERY_LENGTH

#: Fills whole rows of the grid at two, three and four columns.
PAGE_SIZE = 24

Sort = Literal["created_at", "title", "duration", "size"]
Order = Literal["asc", "desc"]
Filter = Literal["", "processing", "completed", "failed"]

_COLUMNS: tuple[tuple[str, str, Sort | None], ...] = (
    ("title", "Title", "title"),
    ("status", "Status", None),
    ("duration", "Duration", "duration"),
    ("size", "Size", "size"),
    ("added", "Added", "created_at"),
)
_SORTS: tuple[tuple[Sort, Order, str], ...] = (
    ("created_at", "desc", "Newest first"),
    ("created_at", "asc", "Oldest first"),
    ("title", "asc", "Name, A to Z"),
    ("title", "desc", "Name, Z to A"),
    ("duration", "desc", "Longest first"),
    ("duration", "asc", "Shortest first"),
    ("size", "desc", "Largest first"),
    ("size", "asc", "Smallest first"),
)
_BLANKS = {
    "processing": "Nothing is being processed",
    "completed": "No video is ready yet",
    "failed": "No video has failed",
}


@dataclass(frozen=True)
class Column:
    """A column's heading; `url` sorts by it, and turns the order round where it is the chosen one."""

    key: str
    label: str
    url: str | None
    direction: Literal["ascending", "descending"] | None


@dataclass(frozen=True)
class Choice:
    """One order in the sort menu."""

    label: str
    url: str
    chosen: bool


@dataclass(frozen=True)
class Chip:
    """One filter, with how many videos it would show when nothing is searched for."""

    key: str
    status: Filter
    label: str
    count: int
    chosen: bool


class LibraryQuery(BaseModel):
    """What the library's address may say. Anything else in it is ignored."""

    model_config = ConfigDict(frozen=True)

    q: Paragraph = Field("", max_length=MAX_QUERY_LENGTH)
    project: uuid.UUID | None = None
    status: Filter = ""
    sort: Sort = "created_at"
    order: Order | None = None
    page: int = Field(1, ge=1, le=MAX_PAGE)

    @property
    def direction(self) -> Order:
        """Newest, longest and largest come first, names from A to Z, unless the address says otherwise."""
        return self.order or ("asc" if self.sort == "title" else "desc")

    @property
    def newest(self) -> bool:
        """Whether it begins with the newest of all."""
        return not self.filtered and self.page == 1 and (self.sort, self.direction) == ("created_at", "desc")

    @property
    def filtered(self) -> bool:
        return bool(self.q or self.status)

    @property
    def first(self) -> int:
        """The number of the page's first video, from 1."""
        return (self.page - 1) * PAGE_SIZE + 1

    @property
    def blank_title(self) -> str:
        return _BLANKS.get(self.status, "There is nothing on this page")

    @property
    def columns(self) -> list[Column]:
        return [self._column(*column) for column in _COLUMNS]

    @property
    def sort_choices(self) -> list[Choice]:
        return [
            Choice(label, self.url(sort=sort, order=order, page=1), (sort, order) == (self.sort, self.direction))
            for sort, order, label in _SORTS
        ]

    @property
    def sort_label(self) -> str:
        return next(label for sort, order, label in _SORTS if (sort, order) == (self.sort, self.direction))

    def chips(self, counts: dict[VideoStatus, int]) -> list[Chip]:
        """The filters, with counts by status."""

        def chip(status: Filter, label: str) -> Chip:
            count = counts.get(VideoStatus(status), 0) if status else sum(counts.values())
            return Chip(status or "all", status, label, count, status == self.status)

        return [chip("", "All"), chip("processing", "Processing"), chip("completed", "Ready"), chip("failed", "Failed")]

    def url(self, **changes: str | int | uuid.UUID | None) -> str:
        """This library's address with some parts changed; what is usual is left out."""
        now: dict[str, str | int | uuid.UUID | None] = {**dict(self), **changes}
        usual = "asc" if now["sort"] == "title" else "desc"
        if now["order"] == usual:
            now["order"] = None
        defaults = {"q": "", "project": None, "status": "", "sort": "created_at", "order": None, "page": 1}
        words = {name: value for name, value in now.items() if value != defaults[name] and value is not None}
        return "/dashboard" + (f"?{urlencode(words)}" if words else "")

    def _column(self, key: str, label: str, sort: Sort | None) -> Column:
        if sort is None:
            return Column(key, label, None, None)
        if sort != self.sort:
            return Column(key, label, self.url(sort=sort, order=None, page=1), None)
        turned = "asc" if self.direction == "desc" else "desc"
        direction: Literal["ascending", "descending"] = "ascending" if self.direction == "asc" else "descending"
        return Column(key, label, self.url(order=turned, page=1), direction)
