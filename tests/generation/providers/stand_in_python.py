"""Runs a program with stand-ins for torch and diffusers, where the real ones (3 GB) are not installed.

A model is a folder with `stand_in.json`: {"kind": "video" | "image", "steps": 4, "oom": ["resident", …], …}. What
happens is noted in `log` beside it, a word a line; while there is a file `hold`, generations stay at their second step.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class OutOfMemoryError(RuntimeError):
    """As torch's."""


class Pixels:
    """A grey picture, as much of an array as is asked of it."""

    def __init__(self, width: int, height: int, shade: int) -> None:
        data = b"".join(bytes((shade, x * 255 // width, 128)) for x in range(width)) * height
        self.__array_interface__ = {
            "shape": (height, width, 3),
            "typestr": "|u1",
            "strides": (3 * width, 3, 1),
            "version": 3,
            "data": data,
        }

    def __mul__(self, factor: float) -> "Pixels":
        return self

    def round(self) -> "Pixels":
        return self

    def clip(self, low: int, high: int) -> "Pixels":
        return self

    def astype(self, kind: str) -> "Pixels":
        return self

    def tobytes(self) -> bytes:
        data = self.__array_interface__["data"]
        assert isinstance(data, bytes)
        return data


class Pipeline:
    """What diffusers' pipelines have in common."""

    vae_scale_factor = 8

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = json.loads((folder / "stand_in.json").read_text())
        self.held = ""
        self.num_timesteps = 0
        self.log(f"loaded {os.getpid()}")

    @staticmethod
    def from_pretrained(name: str, **how: Any) -> "Pipeline":
        if not (Path(name) / "stand_in.json").exists():
            raise OSError(f"Error no file named model_index.json found in directory {name}.")
        assert how["use_safetensors"] is True
        told = json.loads((Path(name) / "stand_in.json").read_text())
        return (VideoPipeline if told["kind"] == "video" else PicturePipeline)(Path(name))

    def set_progress_bar_config(self, *, disable: bool) -> None:
        print("libraries print to standard output")

    def to(self, device: str) -> None:
        self._hold("resident")

    def enable_model_cpu_offload(self) -> None:
        self._hold("offload")

    def enable_sequential_cpu_offload(self) -> None:
        self._hold("sequential")

    def log(self, words: str) -> None:
        with (self.folder / "log").open("a") as file:
            file.write(words + "\n")

    def _hold(self, how: str) -> None:
        self.held = how
        self.log(how)

    def _steps(self, number: int | None, tell: Any, width: int, height: int) -> None:
        self.num_timesteps = number or self.told.get("steps", 4)
        self.log(f"making {width}x{height}")
        if self.held in self.told.get("oom", []):
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        for index in range(self.num_timesteps):
            if index == 1 and self.told.get("killed"):
                os.kill(os.getpid(), 9)
            if index == 1 and self.told.get("raises"):
                raise ValueError(self.told["raises"])
            while index == 1 and (self.folder / "hold").exists():
                time.sleep(0.02)
            tell(self, index, 0, {})


class PicturePipeline(Pipeline):
    def __call__(
        self,
        prompt: str,
        height: int,
        width: int,
        generator: int,
        callback_on_step_end: Any,
        num_inference_steps: int | None = None,
        output_type: str = "pil",
    ) -> Any:
        assert width % 16 == 0
        assert height % 16 == 0
        self._steps(num_inference_steps, callback_on_step_end, width, height)
        return SimpleNamespace(images=[Pixels(width, height, generator % 255)])


class VideoPipeline(Pipeline):
    vae_scale_factor_spatial = 8
    vae_scale_factor_temporal = 4

    def __call__(
        self,
        prompt: str,
        height: int,
        width: int,
        num_frames: int,
        generator: int,
        callback_on_step_end: Any,
        negative_prompt: str | None = None,
        num_inference_steps: int | None = None,
        output_type: str = "np",
    ) -> Any:
        assert num_frames % 4 == 1
        self._steps(num_inference_steps, callback_on_step_end, width, height)
        made = num_frames if not self.told.get("few") else num_frames // 2
        return SimpleNamespace(frames=[[Pixels(width, height, (generator + at) % 255) for at in range(made)]])


def stand_in() -> None:
    torch: Any = ModuleType("torch")
    torch.float32, torch.float16, torch.bfloat16 = "float32", "float16", "bfloat16"
    torch.OutOfMemoryError = OutOfMemoryError
    torch.Generator = lambda device: SimpleNamespace(manual_seed=lambda seed: seed)
    torch.cuda = SimpleNamespace(
        is_available=lambda: True,
        is_bf16_supported=lambda: True,
        reset_peak_memory_stats=lambda: None,
        max_memory_allocated=lambda: 1_234_567,
        get_device_name=lambda: "a stand-in",
        empty_cache=lambda: None,
    )
    diffusers: Any = ModuleType("diffusers")
    diffusers.DiffusionPipeline = Pipeline
    sys.modules |= {"torch": torch, "diffusers": diffusers}


if __name__ == "__main__":
    stand_in()
    program = next(word for word in sys.argv[1:] if not word.startswith("-"))
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")
