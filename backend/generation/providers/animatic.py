"""The provider that is always there: no key, no GPU, and honest about what it makes (`model_used: animatic`).

A video is what the film trade calls an animatic: the storyboard's pictures, or drawn cards with the prompt's words,
with slow zoom, cross-fades and a voice. A picture is one such card, a sound is the prompt spoken.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from backend.generation.models import Kind
from backend.generation.providers.base import Event, Failed, Spec
from backend.videos.media_info import MediaError
from backend.videos.sandbox import ToolMissing

NAME = "animatic"


class Animatic:
    """Cards with slow zoom and cross-fades, captions, and narration by espeak-ng where it is installed."""

    name = NAME
    kinds = frozenset(Kind)
    resumable = False
    queue = "generation"

    async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
        """It is computed here, and made anew by whoever takes over."""
        from backend.generation.providers import animatic_making as making  # it takes Pillow, which few processes need

        told: asyncio.Queue[Event] = asyncio.Queue()
        make = {Kind.VIDEO: making.film, Kind.IMAGE: making.picture, Kind.AUDIO: making.speech}[spec.kind]
        work = asyncio.ensure_future(make(spec, folder, told))
        try:
            while not (work.done() and told.empty()):
                next_event = asyncio.ensure_future(told.get())
                await asyncio.wait({work, next_event}, return_when=asyncio.FIRST_COMPLETED)
                if next_event.done():
                    yield next_event.result()
                else:
                    next_event.cancel()
            yield _end(work)
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work

    async def cancel(self, external_id: str) -> None:
        """There is nothing elsewhere to cancel."""


def from_settings() -> Animatic:
    """It needs none."""
    return _ANIMATIC


_ANIMATIC = Animatic()


def _end(work: "asyncio.Future[Event]") -> Event:
    try:
        return work.result()
    except ToolMissing as error:
        return Failed("provider_unavailable", f"This worker cannot make films: {error}.", retryable=True)
    except MediaError as error:
        return Failed("provider_error", f"It could not be made. {error.message}", retryable=True)
