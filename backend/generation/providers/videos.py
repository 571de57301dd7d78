"""Servers that speak `/v1/videos`, with their pictures and speech: vLLM-Omni, SGLang, LiteLLM, OpenRouter.

A video is a job over there, with an id that is asked after until it ends; a worker that takes over asks on. Pictures
and speech are one request each, without an id: one that broke off is not sent again by itself.
"""

import asyncio
import base64
import binascii
import math
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx

from backend.config import settings
from backend.generation.providers.base import Asset, Event, Failed, Kind, Progress, Queued, Spec, Submitting
from backend.generation.providers.endpoint import Away, Ended, Endpoint, cut_off, of_failure, parse, read
from backend.generation.providers.paces import factor_of
from backend.generation.providers.pictures import data_address, type_of

NAME = "videos"

Dialect = Literal["form", "json", "openrouter"]

#: Between two questions after a video: at first, and at most.
FIRST_POLL_SECONDS = 0.5
LAST_POLL_SECONDS = 10.0
#: While it does not answer.
AWAY_SECONDS = 30.0
#: A server that answers so often in a row that it knows no such id has lost it.
LOST_AFTER = 4
MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_SOUND_BYTES = 256 * 1024 * 1024

_WAITING = frozenset({"queued", "pending", "submitted", "created", "not_started", ""})
_WORKING = frozenset({"in_progress", "processing", "running", "generating", "started"})
_DONE = frozenset({"completed", "succeeded", "success", "done"})
#: What is passed on as it is when a caller gives it.
_EXTRAS = ("negative_prompt", "num_inference_steps", "guidance_scale", "flow_shift")
_KINDS_OF_FILES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "image/webp"))


class Videos:
    """One such server."""

    name = NAME
    resumable = True
    queue = "generation"

    def __init__(self, endpoint: Endpoint, *, dialect: Dialect, models: dict[Kind, str], voice: str = "") -> None:
        self.kinds = frozenset(models)
        self._endpoint = endpoint
        self._dialect = dialect
        self._models = models
        self._voice = voice

    async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
        make = {Kind.IMAGE: self._picture, Kind.AUDIO: self._speech}.get(spec.kind)
        try:
            async with self._endpoint.client() as client:
                if make is not None:
                    yield Submitting()
                    yield Progress(5, "waiting for the provider")
                    yield await make(client, spec, folder)
                    return
                if resume is None:
                    yield Submitting()
                    resume = await self._submit(client, spec)
                    yield Queued(resume)
                async for event in self._follow(client, spec, resume):
                    yield event
        except Ended as end:
            yield end.failed

    async def cancel(self, external_id: str) -> None:
        async with self._endpoint.client() as client:
            answer = await client.delete(self._endpoint.url(_path(external_id)), timeout=30.0)
        if answer.status_code == 429 or answer.status_code >= 500:
            answer.raise_for_status()
        # Others know no such id, have ended it already, or cannot cancel at all: nothing more can be done.

    # --- videos ------------------------------------------------------------------------------------------------------

    async def _submit(self, client: httpx.AsyncClient, spec: Spec) -> str:
        async with self._endpoint.submit(client, "/videos", **await self._request(spec)) as answer:
            body, _ = await read(answer, 1024 * 1024)
        said = parse(body) or {}
        external_id = said.get("id")
        if not isinstance(external_id, str) or not external_id.strip():
            words = "The provider took the request and told no id under which to ask for it."
            raise Ended(Failed("provider_error", words, unknown=True))
        return external_id

    async def _request(self, spec: Spec) -> dict[str, Any]:
        """What is posted, as httpx takes it."""
        picture = spec.images[0] if spec.images else None
        if self._dialect == "openrouter":
            return {"json": await self._variant(spec, picture)}
        fields: dict[str, Any] = {
            "prompt": spec.prompt,
            "seconds": str(math.ceil(spec.seconds)),
            "size": f"{spec.width}x{spec.height}",
            "fps": spec.fps,
            "num_frames": round(spec.seconds * spec.fps),
            **self._extras(spec),
        }
        if picture is not None or self._dialect == "form":  # SGLang, too, takes a picture only so
            form = {name: (None, str(value)) for name, value in fields.items()}
            file = (
                {}
                if picture is None
                else {"input_reference": (picture.name, await asyncio.to_thread(picture.read_bytes), type_of(picture))}
            )
            return {"files": {**form, **file}}
        return {"json": {**fields, "seconds": int(fields["seconds"])}}

    async def _variant(self, spec: Spec, picture: Path | None) -> dict[str, Any]:
        lines = min(spec.width, spec.height)
        body: dict[str, Any] = {
            "prompt": spec.prompt,
            "duration": math.ceil(spec.seconds),
            "aspect_ratio": {"portrait": "9:16", "landscape": "16:9", "square": "1:1"}[spec.orientation],
            "resolution": "1080p" if lines >= 1080 else "720p" if lines >= 720 else "480p",
            **self._extras(spec),
        }
        if picture is not None:
            address = {"url": await data_address(picture)}
            frame = {"type": "image_url", "image_url": address, "frame_type": "first_frame"}
            body["frame_images"] = [frame]
        return body

    def _extras(self, spec: Spec) -> dict[str, Any]:
        given = {name: spec.options[name] for name in _EXTRAS if spec.options.get(name) is not None}
        if spec.seed is not None:
            given["seed"] = spec.seed
        if model := self._model(spec):
            given["model"] = model
        return given

    def _model(self, spec: Spec) -> str:
        return spec.model or self._models[spec.kind]

    async def _follow(self, client: httpx.AsyncClient, spec: Spec, external_id: str) -> AsyncIterator[Event]:
        """Ask until it ends. A server that is away is asked on, up to the job's own time-out: it may have it ready."""
        percent, wait, unknown = 0.0, FIRST_POLL_SECONDS, 0
        while True:
            try:
                status, said = await self._endpoint.ask(client, _path(external_id))
            except Away as away:
                yield Progress(percent, away.message.rstrip(".").lower())
                wait = min(max(wait * 2, away.retry_after or 0), AWAY_SECONDS)
                await _pause(wait)
                continue
            if status == 404:
                unknown += 1
                if unknown >= LOST_AFTER:
                    yield Failed("provider_error", "The provider no longer knows this video.")
                    return
            elif status >= 400:  # our key, say: the operator mends that, and the video is still there
                yield Progress(percent, "the provider does not let us ask for it")
                wait = AWAY_SECONDS
            else:
                unknown = 0
                state = str(said.get("status") or "").lower()
                if state in _DONE:
                    yield self._asset(spec, external_id, said)
                    return
                if state not in _WAITING | _WORKING:
                    yield of_failure(self._endpoint, said)
                    return
                percent = max(percent, _percent(said.get("progress")))
                yield Progress(percent, "waiting at the provider" if state in _WAITING else "generating")
            await _pause(wait)
            wait = min(wait * 1.3, LAST_POLL_SECONDS)

    def _asset(self, spec: Spec, external_id: str, said: dict[str, Any]) -> Asset:
        links = said.get("unsigned_urls")
        link = links[0] if isinstance(links, list) and links and isinstance(links[0], str) else None
        told = said.get("model")
        model = self._model(spec) or (told if isinstance(told, str) else "") or NAME
        kept = {name: said[name] for name in ("usage", "inference_time_s", "generation_id", "size") if said.get(name)}
        content = self._endpoint.remote(link or self._endpoint.url(_path(external_id) + "/content"))
        return Asset(content, "video/mp4", model, spec.seed, {"external_id": external_id, **kept})

    # --- pictures and speech -----------------------------------------------------------------------------------------

    async def _picture(self, client: httpx.AsyncClient, spec: Spec, folder: Path) -> Asset:
        body = {
            "prompt": spec.prompt,
            "n": 1,
            "size": f"{spec.width}x{spec.height}",
            "response_format": "b64_json",
            **self._extras(spec),
        }
        async with self._endpoint.submit(client, "/images/generations", json=body) as answer:
            data, whole = await read(answer, MAX_PICTURE_BYTES)
        if not whole:
            raise Ended(Failed("provider_error", "The provider's picture is larger than it may be."))
        made = (parse(data) or {}).get("data")
        first = made[0] if isinstance(made, list) and made and isinstance(made[0], dict) else {}
        model = self._model(spec) or NAME
        if isinstance(text := first.get("b64_json"), str):
            path = folder / "picture"
            await asyncio.to_thread(_decode, text, path)
            return Asset(path, _sniffed(path), model, spec.seed)
        if isinstance(url := first.get("url"), str):
            return Asset(self._endpoint.remote(url), "image/png", model, spec.seed)
        raise Ended(Failed("provider_error", "The provider answered without a picture."))

    async def _speech(self, client: httpx.AsyncClient, spec: Spec, folder: Path) -> Asset:
        notes: list[str] = []
        speed = factor_of(spec.pace, notes)
        body: dict[str, Any] = {"input": spec.prompt, "response_format": "mp3", "speed": speed}
        if model := self._model(spec):
            body["model"] = model
        if voice := spec.voice or self._voice:
            body["voice"] = voice
        if spec.emotion:
            body["instructions"] = f"Speak in a {spec.emotion} voice."
        path = folder / "speech"
        async with self._endpoint.submit(client, "/audio/speech", json=body) as answer:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "application/json":
                failed = of_failure(self._endpoint, parse((await read(answer, 1024 * 1024))[0]) or {})
                raise Ended(failed)
            await _save(answer, path, MAX_SOUND_BYTES)
        if (spec.background_noise or "none") != "none":
            notes.append("This provider adds no background noise.")
        known = kind if kind.startswith("audio/") else "audio/mpeg"
        return Asset(path, known, model or NAME, None, {"notes": notes} if notes else {})


def from_settings() -> Videos | None:
    """A kind is there when its model is named; with none named, videos by the server's own."""
    if not settings.videos_api_url:
        return None
    named = {
        Kind.VIDEO: settings.videos_model,
        Kind.IMAGE: settings.images_model,
        Kind.AUDIO: settings.speech_model,
    }
    return Videos(
        Endpoint(settings.videos_api_url, settings.videos_api_key.get_secret_value()),
        dialect=settings.videos_api_dialect,
        models={kind: model for kind, model in named.items() if model} or {Kind.VIDEO: ""},
        voice=settings.speech_voice,
    )


def _path(external_id: str) -> str:
    return f"/videos/{quote(external_id, safe='')}"


def _percent(told: object) -> float:
    """0 to 99, whether it counts to 1 or to 100."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told):
        return 0.0
    return min(99.0, max(0.0, told * 100 if isinstance(told, float) and told <= 1 else float(told)))


async def _pause(seconds: float) -> None:
    # Many that wait for one server do not all ask at once.
    await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311


def _decode(text: str, path: Path) -> None:
    try:
        path.write_bytes(base64.b64decode(re.sub(r"^data:[^,]*,", "", text), validate=True))
    except binascii.Error:
        raise Ended(Failed("provider_error", "The provider answered with a picture that cannot be read.")) from None


def _sniffed(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    return next((kind for magic, kind in _KINDS_OF_FILES if head.startswith(magic)), "image/png")


async def _save(answer: httpx.Response, path: Path, limit: int) -> None:
    size = 0
    with path.open("wb") as file:
        async for chunk in answer.aiter_bytes():
            size += len(chunk)
            if size > limit:
                raise Ended(Failed("provider_error", "The provider's sound is larger than it may be."))
            await asyncio.to_thread(file.write, chunk)
    if size == 0:
        raise Ended(cut_off())
