"""Servers that make videos behind `/v1/chat/completions`, and tell how far they are in words meant for people.

There is no id to ask after: what broke off is never sent again by itself. The dialects are in `chat_words.py`.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from backend.config import settings
from backend.generation.providers.base import Asset, Event, Failed, Kind, Progress, Spec, Submitting
from backend.generation.providers.chat_words import DONE, Said, Stream, link_in
from backend.generation.providers.endpoint import Ended, Endpoint, after, cut_off, of_failure, parse
from backend.generation.providers.pictures import data_address

NAME = "chat"

#: Of all that it says; a video itself never comes in here.
MAX_SAID_BYTES = 4 * 1024 * 1024


class Chat:
    """One such server. Its model's name may hold {orientation} and {seconds}: many have one for each."""

    name = NAME
    kinds = frozenset({Kind.VIDEO})
    resumable = False
    queue = "generation"

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model

    async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
        yield Submitting()
        said = Said()
        try:
            async with (
                self._endpoint.client() as client,
                self._endpoint.submit(client, "/chat/completions", json=await self._request(spec)) as answer,
            ):
                yield Progress(1, "waiting for the provider")
                async for percent in self._listen(answer, said):
                    yield Progress(percent, "generating")
            yield self._outcome(spec, said)
        except Ended as end:
            yield end.failed

    async def cancel(self, external_id: str) -> None:
        """Nothing to tell it by: closing the connection is all there is."""

    async def _request(self, spec: Spec) -> dict[str, Any]:
        # It reads words: what has no field of its own is said.
        text = f"{spec.prompt}\n\n({spec.orientation}, {spec.width}x{spec.height}, {spec.seconds:g} seconds)"
        content: str | list[dict[str, Any]] = text
        if spec.images:
            pictures = [{"type": "image_url", "image_url": {"url": await data_address(each)}} for each in spec.images]
            content = [{"type": "text", "text": text}, *pictures]
        return {"model": self._name(spec), "stream": True, "messages": [{"role": "user", "content": content}]}

    def _name(self, spec: Spec) -> str:
        model = spec.model or self._model
        return model.replace("{orientation}", spec.orientation).replace("{seconds}", f"{round(spec.seconds)}")

    async def _listen(self, answer: httpx.Response, said: Said) -> AsyncIterator[float]:
        """Take in what it says, and answer how far it says it is. A line that breaks is the end. Raises Ended."""
        streams = not answer.headers.get("content-type", "").startswith("application/json")
        stream, size, whole = Stream(), 0, b""
        try:
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                if size > MAX_SAID_BYTES:
                    raise Ended(Failed("provider_error", "The provider talks on and on, and makes no video."))
                if not streams:
                    whole += chunk
                    continue
                for event in stream.feed(chunk):
                    if event == DONE:
                        said.closed = True
                        return
                    if (percent := self._take(event, said)) is not None:
                        yield percent
            # Without a length and without chunks nobody knows whether that was all.
            said.closed = not answer.headers.keys().isdisjoint({"content-length", "transfer-encoding"})
        except httpx.HTTPError:
            pass
        for event in stream.feed(b"", last=True) if streams else [whole.decode(errors="replace")]:
            self._take(event, said)

    def _take(self, event: str, said: Said) -> float | None:
        whole = parse(event.encode()) or {}
        if whole.get("error"):
            raise Ended(of_failure(self._endpoint, whole))
        return said.take(whole)

    def _outcome(self, spec: Spec, said: Said) -> Event:
        link = link_in(said.content, cut=not said.ended) or link_in(said.reasoning, cut=True)
        if link is not None:
            model = said.model or self._name(spec)
            notes = {"notes": ["The provider does not tell which seed it used."]} if spec.seed is not None else {}
            return Asset(self._endpoint.remote(link), "video/mp4", model, None, notes)
        if not said.ended:
            return cut_off()
        words = self._endpoint.clean(said.content)
        if said.reason == "content_filter":
            return Failed("provider_error", f"The provider refused this description{after(words)}")
        return Failed("provider_error", f"The provider answered without a video{after(words)}")


def from_settings() -> Chat | None:
    if not settings.chat_api_url:
        return None
    return Chat(Endpoint(settings.chat_api_url, settings.chat_api_key.get_secret_value()), settings.chat_model)
