"""The gallery as its address says it: search, filters, page; and what pages need of a generation beside its shape."""

import math
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.paging import MAX_PAGE
from backend.core.web import Paragraph
from backend.generation import listing, preview, shapes
from backend.generation.models import Generation, Kind
from backend.generation.pages_words import KINDS
from backend.generation.schemas import GenerationOut
from backend.jobs.models import LIVE_STATES, Job, JobState
from backend.jobs.progress import freshen, state_of
from backend.jobs.queries import find_jobs, public_many
from backend.jobs.schemas import JobOut
from backend.orgs.access import Actor, visible
from backend.videos.search import MAX_QUERY_LENGTH, words_query

PAGE_SIZE = 36
#: What back ends make to try a connection; nobody wants it on a wall.
_TRIALS = "test_prompt"

Look = Literal["working", "ready", "failed", "cancelled"]
StateFilter = Literal["", "working", "ready", "failed"]
KindFilter = Literal["", "video", "image", "audio"]

_LOOKS: dict[str, Look] = {
    "pending": "working",
    "processing": "working",
    "completed": "ready",
    "failed": "failed",
    "cancelled": "cancelled",
}
_BLANKS = {"working": "Nothing is being made", "ready": "Nothing is made yet", "failed": "Nothing has failed"}
#: What was cancelled stands with what failed: there is nothing to see, and the same buttons help.
_standing = case(
    (Job.state.in_(LIVE_STATES), "working"),
    (or_(Job.state == JobState.COMPLETED, Job.state.is_(None) & Generation.s3_key.is_not(None)), "ready"),
    else_="failed",
)


class Shown(GenerationOut):
    """A generation as pages show it; its job while it is being made."""

    look: Look
    shape: Literal["portrait", "landscape", "square", "sound"]
    job: JobOut | None
    preview_url: str | None


@dataclass(frozen=True)
class Chip:
    """One filter, with how many things it would show when nothing is searched for."""

    key: str
    label: str
    url: str
    count: int
    chosen: bool


class Counts:
    """How many there are, by kind and state."""

    def __init__(self, rows: Sequence[tuple[str, str, int]]) -> None:
        self._by = Counter({(kind, state): count for kind, state, count in rows})

    def of(self, kind: str = "", state: str = "") -> int:
        return sum(n for (k, s), n in self._by.items() if kind in ("", k) and state in ("", s))

    @property
    def total(self) -> int:
        return self.of()


class WallQuery(BaseModel):
    """What the gallery's address may say. Anything else in it is ignored."""

    model_config = ConfigDict(frozen=True)

    q: Paragraph = Field("", max_length=MAX_QUERY_LENGTH)
    project: uuid.UUID | None = None
    kind: KindFilter = ""
    state: StateFilter = ""
    page: int = Field(1, ge=1, le=MAX_PAGE)

    @property
    def filtered(self) -> bool:
        return bool(self.q or self.kind or self.state)

    @property
    def first(self) -> int:
        """The number of the page's first tile, from 1."""
        return (self.page - 1) * PAGE_SIZE + 1

    @property
    def blank_title(self) -> str:
        return _BLANKS.get(self.state, "Nothing of this kind is here") if self.filtered else "Nothing is on this page"

    def kind_chips(self, counts: Counts) -> list[Chip]:
        words = [("", "All"), *((str(kind), word) for kind, word in KINDS.items())]
        return [
            Chip(k or "all", w, self.url(kind=k, page=1), counts.of(k, self.state), k == self.kind) for k, w in words
        ]

    def state_chips(self, counts: Counts) -> list[Chip]:
        """A chip that is chosen leads back to all states."""
        words = (("working", "Being made"), ("ready", "Ready"), ("failed", "Failed"))
        return [
            Chip(s, w, self.url(state="" if s == self.state else s, page=1), counts.of(self.kind, s), s == self.state)
            for s, w in words
        ]

    def url(self, **changes: str | int | uuid.UUID | None) -> str:
        """This gallery's address with some parts changed; what is usual is left out."""
        now: dict[str, str | int | uuid.UUID | None] = {**self.model_dump(), **changes}
        defaults = {"q": "", "project": None, "kind": "", "state": "", "page": 1}
        words = {name: value for name, value in now.items() if value != defaults[name] and value is not None}
        return "/gallery" + (f"?{urlencode(words)}" if words else "")


@dataclass(frozen=True)
class Found:
    """One page of the wall."""

    items: list[Shown]
    total: int

    @property
    def total_pages(self) -> int:
        return max(1, math.ceil(self.total / PAGE_SIZE))


def _hung(actor: Actor) -> Select[Generation]:
    return listing.shown(actor).where(func.coalesce(Generation.task_type, "") != _TRIALS)


async def count(session: AsyncSession, *, actor: Actor) -> Counts:
    """How many there are of each kind in each state."""
    rows = _hung(actor).with_only_columns(Generation.kind, _standing, func.count()).group_by(Generation.kind, _standing)
    return Counts([(kind, state, number) for kind, state, number in await session.execute(rows)])


async def find(session: AsyncSession, *, actor: Actor, query: WallQuery) -> Found:
    """What the address asks for, newest first."""
    chosen = _hung(actor)
    if query.q:
        chosen = chosen.where(Generation.search.bool_op("@@")(words_query(query.q)))
    if query.kind:
        chosen = chosen.where(Generation.kind == query.kind)
    if query.state:
        chosen = chosen.where(_standing == query.state)
    total = await session.scalar(select(func.count()).select_from(chosen.with_only_columns(Generation.id).subquery()))
    newest = chosen.order_by(Generation.created_at.desc(), Generation.id.desc())
    rows = await session.scalars(newest.offset((query.page - 1) * PAGE_SIZE).limit(PAGE_SIZE))
    return Found(await show_many(session, list(rows)), total or 0)


async def newest_of(session: AsyncSession, *, actor: Actor, most: int) -> list[Shown]:
    """What the actor asked for last, by this door."""
    mine = _hung(actor).where(Generation.owner_id == actor.user_id, Generation.door == "studio")
    rows = await session.scalars(mine.order_by(Generation.created_at.desc(), Generation.id.desc()).limit(most))
    return await show_many(session, list(rows))


async def in_work(session: AsyncSession, *, actor: Actor) -> dict[uuid.UUID, JobOut]:
    """The jobs of what is being made, by the generations' ids."""
    rows = visible(Generation, actor).with_only_columns(Generation.id, Generation.job_id)
    pairs = (await session.execute(rows.join(Job, Job.id == Generation.job_id).where(Job.state.in_(LIVE_STATES)))).all()
    jobs = await _jobs(session, [row.job_id for row in pairs])
    return {row.id: jobs[row.job_id] for row in pairs if row.job_id in jobs}


async def show(session: AsyncSession, generation: Generation) -> Shown:
    return (await show_many(session, [generation]))[0]


async def show_many(session: AsyncSession, generations: Sequence[Generation]) -> list[Shown]:
    """As pages show them."""
    outs = await shapes.public_many(session, generations)
    live = {out.id: out.job_id for out in outs if out.job_id is not None and _LOOKS[out.status] == "working"}
    jobs = await _jobs(session, list(live.values()))
    previews = await previews_of(list(live))
    return [_shown(out, jobs.get(out.job_id) if out.job_id else None, previews.get(out.id)) for out in outs]


async def previews_of(generation_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Where the newest look of each is that has one; another look has another address."""
    if not generation_ids:
        return {}
    sizes = await preview.sizes(generation_ids)
    return {key: f"/gallery/{key}/preview?at={size}" for key, size in sizes.items()}


def _shown(out: GenerationOut, job: JobOut | None, preview_url: str | None) -> Shown:
    if job is not None and out.estimated_seconds is not None:  # that of the job is of all kinds of things
        job = job.model_copy(update={"estimated_seconds": out.estimated_seconds})
    picture = out.url if out.kind == Kind.IMAGE else out.poster_url
    return Shown.model_construct(
        **{**dict(out), "poster_url": picture},
        look=_LOOKS[out.status],
        shape="sound" if out.kind == Kind.AUDIO else out.orientation or "square",
        job=job,
        preview_url=preview_url,
    )


async def _jobs(session: AsyncSession, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, JobOut]:
    if not job_ids:
        return {}
    rows = await find_jobs(session, job_ids)
    outs = await public_many(session, rows)
    states = await freshen([state_of(row, out) for row, out in zip(rows, outs, strict=True)])
    return {state.job.id: state.job for state in states}
