"""What is asked for, in one form whichever door it came through, and what a provider is told of it."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.generation.models import Generation, Kind
from backend.generation.providers.base import Orientation, Spec

#: Width and height in pixels. Pictures have about a million of them in every shape.
VIDEO_SIZES: dict[Orientation, tuple[int, int]] = {
    "portrait": (720, 1280),
    "landscape": (1280, 720),
    "square": (720, 720),
}
IMAGE_SIZES: dict[Orientation, tuple[int, int]] = {
    "portrait": (832, 1216),
    "landscape": (1216, 832),
    "square": (1024, 1024),
}
MIN_SECONDS, MAX_SECONDS, DEFAULT_SECONDS = 1.0, 60.0, 7.0
FPS = 24
MAX_PROMPT_LENGTH = 1000
MAX_TEXT_LENGTH = 5000  #: of what is to be spoken
MAX_IMAGES = 24
MAX_SEED = 2**31 - 1


class ImageRef(BaseModel):
    """A picture to work from: one that was sent to us, or an address."""

    model_config = ConfigDict(extra="forbid")

    image_id: uuid.UUID | None = None
    url: str | None = Field(None, max_length=2000)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.image_id is None) == (self.url is None):
            raise ValueError("give image_id or url")
        return self


class Wish(BaseModel):
    """What of a generation goes to the provider, beside its prompt. Times in seconds, sizes in pixels."""

    orientation: Orientation = "portrait"
    width: int = 720
    height: int = 1280
    seconds: float = DEFAULT_SECONDS
    fps: int = FPS
    seed: int | None = None
    model: str | None = None
    voice: str | None = None
    pace: str | None = None
    emotion: str | None = None
    background_noise: str | None = None
    images: list[ImageRef] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """As the column `generations.spec`."""
        return self.model_dump(mode="json", exclude_none=True)


def wish_of(generation: Generation) -> Wish:
    return Wish.model_validate(generation.spec)


def size_of(kind: Kind, orientation: Orientation) -> tuple[int, int]:
    """Width and height of what is made in this shape; a sound has none (0, 0)."""
    if kind == Kind.AUDIO:
        return 0, 0
    return (VIDEO_SIZES if kind == Kind.VIDEO else IMAGE_SIZES)[orientation]


def spec_for(generation: Generation, images: Sequence[Path]) -> Spec:
    """What the provider is told; `images` are those of the wish, fetched and looked at."""
    wish = wish_of(generation)
    return Spec(
        id=generation.id,
        kind=Kind(generation.kind),
        prompt=generation.prompt,
        images=tuple(images),
        **{name: getattr(wish, name) for name in Wish.model_fields if name != "images"},
    )
