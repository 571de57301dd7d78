"""Makes pictures and videos with diffusers: a process of its own, in an environment of its own, that can be killed.

It imports nothing of ours. Each line of its input is a request, in JSON; each line of its output tells of the last one:

    {"event": "loading"}   {"event": "step", "done": 3, "of": 20}   {"event": "decoding"}
    {"event": "saved", "file", "width", "height", "frames", "seed", "device", "peak_bytes", "notes"}
    {"event": "failed", "code": "gpu_oom" | "not_loaded" | "provider_error" | "error", "message"}

A model stays loaded for the next request. What it makes has exactly the size and the number of frames asked for: models
want multiples of their own, so it makes a little more and cuts that off.
"""

import gc
import inspect
import json
import math
import os
import random
import sys
from pathlib import Path
from typing import Any

#: How a model is held: whole on the GPU; one part of it at a time; one layer at a time, slowly.
RESIDENT, OFFLOAD, SEQUENTIAL = "resident", "offload", "sequential"

_PASSED_ON = ("negative_prompt", "guidance_scale", "num_inference_steps")


class Refused(Exception):
    """This model cannot do what was asked; the message is for people."""


class NotLoaded(Exception):
    """The model is not there, or is none."""


class Model:
    """One pipeline, loaded in one way. Raises what the libraries raise."""

    def __init__(self, name: str, rung: str) -> None:
        import torch
        from diffusers import DiffusionPipeline

        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.float32
        if self.device == "cuda":
            dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        # Weights that are programs (pickles) are not loaded.
        try:
            self.pipeline = DiffusionPipeline.from_pretrained(name, torch_dtype=dtype, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise NotLoaded(f"{type(error).__name__}: {error}") from error
        self.pipeline.set_progress_bar_config(disable=True)
        if self.device == "cpu":
            return
        if rung == RESIDENT:
            self.pipeline.to("cuda")
        elif rung == OFFLOAD:
            self.pipeline.enable_model_cpu_offload()
        else:
            self.pipeline.enable_sequential_cpu_offload()
        in_tiles = getattr(getattr(self.pipeline, "vae", None), "enable_tiling", None)
        if rung != RESIDENT and in_tiles is not None:
            in_tiles()

    def make(self, request: dict[str, Any], out: Path) -> dict[str, Any]:
        """Write one picture, or the frames of a video one after the other, as JPEG; answers what was made."""
        takes = inspect.signature(self.pipeline.__call__).parameters
        notes: list[str] = []
        arguments = self._arguments(request, takes, notes)
        frames = request["frames"]
        if frames > 1 and "num_frames" not in takes:
            raise Refused("This model makes pictures, and no videos.")
        if frames == 1 and "num_frames" in takes:
            raise Refused("This model makes videos, and no pictures.")
        if self.device == "cuda":
            self.torch.cuda.reset_peak_memory_stats()
        made = self.pipeline(**arguments)
        pictures = made.frames[0] if frames > 1 else made.images[:1]
        if len(pictures) < frames:
            raise Refused(f"This model made {len(pictures)} frames instead of {frames}.")
        file = out / ("frames.mjpeg" if frames > 1 else "picture.jpg")
        with file.open("wb") as sink:
            for picture in pictures[:frames]:
                self._cut(picture, request["width"], request["height"]).save(sink, "JPEG", quality=97, subsampling=0)
        peak = self.torch.cuda.max_memory_allocated() if self.device == "cuda" else 0
        return {
            "file": file.name,
            "width": request["width"],
            "height": request["height"],
            "frames": frames,
            "seed": request["seed"],
            "device": self.torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "peak_bytes": peak,
            "notes": notes,
        }

    def _arguments(self, request: dict[str, Any], takes: Any, notes: list[str]) -> dict[str, Any]:
        step = self._multiple()
        arguments: dict[str, Any] = {
            "prompt": request["prompt"],
            "width": _up(request["width"], step),
            "height": _up(request["height"], step),
            "generator": self.torch.Generator("cpu").manual_seed(request["seed"]),
            "output_type": "np",
        }
        if request["frames"] > 1:
            pace = self._told("vae_scale_factor_temporal", "vae_temporal_compression_ratio") or 1
            arguments["num_frames"] = 1 + _up(request["frames"] - 1, pace)
        arguments |= {name: request[name] for name in _PASSED_ON if request.get(name) is not None}
        picture = takes.get("image")
        if request.get("images") and picture is not None:
            from PIL import Image

            size = (arguments["width"], arguments["height"])
            arguments["image"] = Image.open(request["images"][0]).convert("RGB").resize(size, Image.Resampling.LANCZOS)
        elif request.get("images"):
            notes.append("This model works from words alone: the pictures were not used.")
        elif picture is not None and picture.default is inspect.Parameter.empty:
            raise Refused("This model works from a picture: send one along.")
        if "callback_on_step_end" in takes:
            arguments["callback_on_step_end"] = self._stepped
        left_out = sorted(name for name in arguments if name not in takes)
        if {"width", "height"} & set(left_out):
            raise Refused("This model makes one size only.")
        return {name: value for name, value in arguments.items() if name in takes}

    def _stepped(self, pipeline: Any, index: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        of = int(getattr(pipeline, "num_timesteps", 0) or 0)
        tell(event="step", done=index + 1, of=max(of, index + 1))
        if index + 1 >= of:
            tell(event="decoding")
        return given

    def _multiple(self) -> int:
        """Sides are multiples of this: what the autoencoder makes of a pixel, and two of those to a patch."""
        scale = self._told("vae_scale_factor_spatial", "vae_spatial_compression_ratio", "vae_scale_factor") or 8
        return scale if scale >= 32 else 2 * scale

    def _told(self, *names: str) -> int:
        return next((int(value) for name in names if (value := getattr(self.pipeline, name, None))), 0)

    def _cut(self, picture: Any, width: int, height: int) -> Any:
        """The middle of it. Raises Refused where the model made less than was asked for."""
        from PIL import Image

        image = Image.fromarray((picture * 255).round().clip(0, 255).astype("uint8"))
        if image.width < width or image.height < height:
            raise Refused(f"This model made {image.width}x{image.height} instead of {width}x{height}.")
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))


def answer(model: Model | None, request: dict[str, Any]) -> Model:
    """Do one request with the model that is loaded, or with the one it names."""
    if model is None:
        tell(event="loading")
        model = Model(request["model"], request["rung"])
    if request["seed"] is None:
        request["seed"] = random.SystemRandom().randrange(2**31)
    tell(event="step", done=0, of=1)
    tell(event="saved", **model.make(request, Path(request["folder"])))
    gc.collect()
    if model.device == "cuda":
        model.torch.cuda.empty_cache()
    return model


def failure_of(error: BaseException) -> dict[str, str]:
    """What an exception means for who waits."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, Refused):
        return {"code": "provider_error", "message": str(error)}
    if isinstance(error, NotLoaded):
        return {"code": "not_loaded", "message": str(error)}
    memory = isinstance(error, MemoryError) or "out of memory" in text.lower() or "ALLOC_FAILED" in text
    return {"code": "gpu_oom" if memory else "error", "message": text[:2000]}


def tell(**said: Any) -> None:
    """Write one line to who started us; when nobody reads any more there is nothing left to do."""
    try:
        _OUT.write(json.dumps(said) + "\n")
        _OUT.flush()
    except BrokenPipeError:
        os._exit(0)


def _up(number: int, step: int) -> int:
    return math.ceil(number / step) * step


def main() -> None:
    model: Model | None = None
    for line in sys.stdin:
        try:
            model = answer(model, json.loads(line))
        except Exception as error:
            failure = failure_of(error)
            tell(event="failed", **failure)
            if not isinstance(error, Refused):
                # What a failed run still holds of the GPU only the end of the process frees for sure.
                sys.stderr.write(failure["message"] + "\n")
                os._exit(1)


if __name__ == "__main__":
    # The libraries print: that goes elsewhere.
    _OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main()
