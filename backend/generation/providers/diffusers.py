"""Pictures and videos by diffusers on a GPU of this machine: one process for it, warm between generations.

The work is done by `diffusers_child.py`, which is killed when its generation is cancelled, runs out of time, or out of
memory. What does not fit is held in smaller parts, more slowly, and never made smaller: whole on the GPU, then part by
part, then layer by layer, and then it is `gpu_oom`.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

import ffmpeg
import structlog

from backend.config import settings
from backend.core import gpus
from backend.generation.providers import safetensors
from backend.generation.providers.base import Asset, Event, Failed, Kind, Progress, Spec
from backend.generation.providers.diffusers_process import Child, Died
from backend.generation.providers.endpoint import after, shown
from backend.videos.media_info import MediaError
from backend.videos.media_tools import command, run_media_tool

log = structlog.get_logger(__name__)

NAME = "diffusers"

RUNGS = ("resident", "offload", "sequential")
#: A process that nobody needed for so long gives its memory back.
WARM_SECONDS = 600.0
_MIB = 1024 * 1024


class Gpu:
    """The one process that works on it, and which way of holding a model went well."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.child: Child | None = None
        self._rungs: dict[str, int] = {}
        self._resting: asyncio.TimerHandle | None = None

    def first_rung(self, model: str) -> int:
        return self._rungs.get(model, 0)

    def forget(self, model: str) -> None:
        self._rungs.pop(model, None)

    async def ready(self, model: str, rung: int) -> Child:
        """A process that has this model, or is about to load it."""
        self.wake()
        self._rungs[model] = rung
        if self.child is not None and (self.child.model, self.child.rung) != (model, RUNGS[rung]):
            await self.end()
        if self.child is None or not self.child.alive:
            self.child = await Child.start(_python(), model, RUNGS[rung])
        return self.child

    def wake(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def rest(self) -> None:
        """It may stay a while, for whoever is next."""
        self._resting = asyncio.get_running_loop().call_later(WARM_SECONDS, self._tired)

    def _tired(self) -> None:
        if self.child is not None and not self.lock.locked():
            self.child.kill()
            self.child = None
            self._rungs.clear()

    async def end(self) -> None:
        if self.child is not None:
            child, self.child = self.child, None
            await child.end()


_gpu = Gpu()


class Diffusers:
    """Pipelines of this machine; `models` by kind: a folder, or a name on the hub."""

    name = NAME
    resumable = False
    queue = "gpu"

    def __init__(self, models: dict[Kind, str]) -> None:
        self.kinds = frozenset(models)
        self._models = models

    async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
        async with _gpu.lock:
            model = self._models[spec.kind]
            request = self._request(spec, folder)
            for rung in range(_gpu.first_rung(model), len(RUNGS)):
                async with aclosing(self._attempt(spec, request, rung, folder)) as events:
                    async for event in events:
                        if isinstance(event, Failed) and event.code == "gpu_oom":
                            if rung + 1 < len(RUNGS):
                                yield Progress(0, "making room on the GPU")
                                break
                            _gpu.forget(model)  # next time others may have left more
                        yield event
                    else:
                        return

    async def cancel(self, external_id: str) -> None:
        """There is nothing elsewhere to cancel."""

    async def _attempt(
        self, spec: Spec, request: dict[str, Any], rung: int, folder: Path
    ) -> AsyncGenerator[Event, None]:
        """With the model held in one way. Whatever ends this before its end ends the process."""
        model = request["model"]
        whole = False
        try:
            child = await _gpu.ready(model, rung)
            async for said in child.ask({**request, "rung": RUNGS[rung]}):
                match said["event"]:
                    case "loading":
                        yield Progress(1, "loading the model")
                    case "step":
                        yield Progress(5 + 80 * said["done"] / said["of"], "generating")
                    case "decoding":
                        yield Progress(86, "decoding")
                    case "saved":
                        whole = True
                        yield await self._asset(spec, said, rung, folder)
                        return
                    case _:
                        # Refusals leave it as it was; after anything else it has ended by itself.
                        whole = said["code"] == "provider_error"
                        log.warning("diffusers.failed", model=model, code=said["code"], message=said["message"])
                        yield _failed(said, model)
                        return
        except Died as died:
            yield Failed("provider_error", str(died), retryable=True)
        except OSError as error:
            words = f"The interpreter for diffusers cannot be started: {error.strerror}."
            yield Failed("provider_unavailable", words)
        finally:
            if whole:
                _gpu.rest()
            else:
                await _gpu.end()

    def _request(self, spec: Spec, folder: Path) -> dict[str, Any]:
        steps = spec.options.get("num_inference_steps") or settings.diffusers_steps or None
        return {
            "model": self._models[spec.kind],
            "prompt": spec.prompt,
            "negative_prompt": spec.options.get("negative_prompt"),
            "guidance_scale": spec.options.get("guidance_scale"),
            "num_inference_steps": steps,
            "width": spec.width,
            "height": spec.height,
            "frames": max(2, math.ceil(spec.seconds * _rate(spec))) if spec.kind == Kind.VIDEO else 1,
            "seed": spec.seed,
            "images": [str(path) for path in spec.images],
            "folder": str(folder),
        }

    async def _asset(self, spec: Spec, said: dict[str, Any], rung: int, folder: Path) -> Event:
        made = folder / Path(said["file"]).name
        notes = list(said["notes"])
        detail = {"device": said["device"], "held": RUNGS[rung], "peak_bytes": said["peak_bytes"], "notes": notes}
        model = _name(self._models[spec.kind])
        if spec.kind == Kind.IMAGE:
            return Asset(made, "image/jpeg", model, said["seed"], detail)
        if _rate(spec) != spec.fps:
            notes.append(f"Made at {_rate(spec)} pictures per second and shown at {spec.fps}.")
        video = folder / "generated.mp4"
        frames = round(spec.seconds * spec.fps)
        source = ffmpeg.input(f"file:{made}", f="mjpeg", framerate=_rate(spec), protocol_whitelist="file")
        options = {"vf": f"fps={spec.fps},format=yuv420p", "frames:v": frames, "c:v": "libx264", "crf": 17}
        words = command(ffmpeg.output(source, f"file:{video}", **options, preset="veryfast", movflags="+faststart"))
        try:
            done = await run_media_tool(words, 1800, max_written_bytes=settings.generation_max_mb * _MIB)
        except MediaError as error:
            return Failed("provider_error", f"The frames could not be made a video. {error.message}", retryable=True)
        if done.returncode != 0:
            return Failed("provider_error", "The frames could not be made a video.", retryable=True)
        return Asset(video, "video/mp4", model, said["seed"], detail)


def from_settings() -> Diffusers | None:
    named = {Kind.VIDEO: settings.diffusers_video_model, Kind.IMAGE: settings.diffusers_image_model}
    models = {kind: model for kind, model in named.items() if model}
    return Diffusers(models) if models else None


def has_room() -> bool:
    """Whether a job for the GPU of this worker could be carried now: asked before one is taken.

    By what was last read of it, some seconds ago at most. A warm process of ours has its room already.
    """
    if _gpu.child is not None and _gpu.child.alive:
        return True
    gpu = gpus.chosen(gpus.latest())
    if gpu is None or gpu["memory_mib"] is None:
        return True  # no GPU, or one that tells nothing: then trying says it
    return bool(gpu["memory_mib"] - gpu["memory_used_mib"] >= min(_needed_mib(), 0.9 * gpu["memory_mib"]))


def _needed_mib() -> float:
    if settings.diffusers_free_vram_mb:
        return settings.diffusers_free_vram_mb
    models = (settings.diffusers_video_model, settings.diffusers_image_model)
    return max(_largest_part(model) for model in models) / _MIB


@cache
def _largest_part(model: str) -> int:
    """Bytes, at two for each weight, as they are loaded on a GPU; 0 where the model is no folder."""
    return safetensors.largest_part(Path(model)) * 2 if model and Path(model).is_dir() else 0


def _rate(spec: Spec) -> int:
    return settings.diffusers_fps or spec.fps


def _python() -> str:
    return settings.diffusers_python


def _name(model: str) -> str:
    """What people are told: where it lies on the worker is not for them."""
    return Path(model).name if Path(model).is_dir() else model


def _failed(said: dict[str, Any], model: str) -> Failed:
    if said["code"] == "gpu_oom":
        return Failed("gpu_oom", "The GPU has too little memory for this, also in the smallest parts.", retryable=True)
    if said["code"] == "provider_error":
        return Failed("provider_error", said["message"])
    if said["code"] == "not_loaded":
        words = f"The model {_name(model)} could not be loaded; the log of the worker says why."
        return Failed("provider_unavailable", words)
    words = shown(said["message"].replace(model, _name(model)))
    return Failed("provider_error", f"The model could not make it{after(words)}")
