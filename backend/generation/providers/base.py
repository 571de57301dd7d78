"""What a provider is: something that makes a video, a picture or a sound from a description, and tells how far it is.

A provider knows no database, no storage and no job. It yields events, in this order:

    [Submitting]  before the request that costs something is sent: the engine commits that it was, then goes on
    [Queued]      with the provider's own id, which the engine commits before it asks for more
    Progress …    any number; the engine sees to it that it never falls
    Asset         the result, last; or
    Failed        why there is none, last

Whoever computes here and now (`animatic`, `diffusers`) yields neither Submitting nor Queued: it may be run again from
the start. With an id a worker that takes over calls `run(…, resume=id)`, which sends nothing a second time. After a
Submitting without an id that was told, nothing is ever sent again by itself: a person decides (`needs_review`).
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from backend.generation.models import Kind

__all__ = [
    "Asset",
    "Event",
    "Failed",
    "Kind",
    "Orientation",
    "Progress",
    "Provider",
    "Queued",
    "Remote",
    "Spec",
    "Submitting",
]

Orientation = Literal["portrait", "landscape", "square"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is to be made. Sizes in pixels, times in seconds; `images` are local files, already looked at (PNG).

    `id` is the generation's: what a provider that knows idempotency keys is given as one.
    """

    id: uuid.UUID
    kind: Kind
    prompt: str
    orientation: Orientation = "portrait"
    width: int = 720
    height: int = 1280
    seconds: float = 7.0
    fps: int = 24
    seed: int | None = None
    model: str | None = None  #: None: the provider's own choice
    voice: str | None = None
    pace: str | None = None
    emotion: str | None = None
    background_noise: str | None = None
    images: tuple[Path, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Submitting:
    """A request that costs something is about to be sent. Yield it before, never after."""


@dataclass(frozen=True)
class Queued:
    """The provider has taken it, under this id; `position` in its own queue, where it tells one."""

    external_id: str
    position: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far it is, 0 to 100; `stage` in a word or two; `preview` is a small JPEG in the attempt's folder."""

    percent: float
    stage: str
    preview: Path | None = None


@dataclass(frozen=True)
class Remote:
    """Bytes to be fetched. `own_origin`: scheme, host and port that the operator's settings name for this provider,
    which may be on a private network; `headers` are sent there alone."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    own_origin: str | None = None


@dataclass(frozen=True)
class Asset:
    """The result: a file in the attempt's folder, or where to fetch it. The engine looks at what it is by itself.

    `detail` is kept and shown to whoever asks for the generation; `detail["notes"]`, a list of sentences for people,
    tells what is not as it was asked for.
    """

    content: Path | Remote
    content_type: str
    model_used: str
    seed: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """There is no result. `code` is one of the contract's; what was sent is over, so that a next try sends anew.

    `waits`: no fault of what was asked (the provider is away or full): it is tried again without spending attempts.
    `unknown`: the line was cut after something was sent, and nobody knows what came of it: a person decides.
    """

    code: str
    message: str
    retryable: bool = False
    waits: bool = False
    unknown: bool = False


Event = Submitting | Queued | Progress | Asset | Failed


class Provider(Protocol):
    """One way to make things. `resumable`: it tells an id under which work is found again."""

    name: str
    kinds: frozenset[Kind]
    resumable: bool
    queue: str  #: "generation", or "gpu" for work that only workers with one take

    def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
        """Make it; `folder` is this attempt's alone, and goes away. Cancelled, it leaves nothing running here."""
        ...

    async def cancel(self, external_id: str) -> None:
        """Tell the provider that nobody wants it any more; one that it does not know is fine. Raises OSError,
        httpx.HTTPError: then it is tried again."""
        ...
