"""Tries the program of the diffusers provider on a real GPU, by hand: `python gpu_trial.py FOLDER [layers]`.

Needs torch and diffusers, and nothing of ours; the weights are random, so nothing is downloaded. It makes a Wan model
of about 1.4 thousand million weights (with 30 layers), holds it in each of the three ways, kills the program in the
middle, and fills the GPU until the first way no longer fits. It prints seconds and GiB, and ends with 0 if all is well.
"""

# mypy: ignore-errors
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from tiny_models import tokenizer
from transformers import UMT5Config, UMT5EncoderModel

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "backend" / "generation" / "providers" / "diffusers_child.py"
GIB = 1024**3
REQUEST = {
    "prompt": "a fox runs",
    "width": 480,
    "height": 832,
    "frames": 33,
    "seed": 7,
    "num_inference_steps": 4,
    "images": [],
}


def random_model(folder: Path, layers: int) -> Path:
    """The shape of Wan 2.1 1.3B, with a smaller text encoder."""
    config = UMT5Config(vocab_size=32, d_model=4096, d_kv=64, d_ff=2048, num_layers=4, num_heads=8)
    pipeline = WanPipeline(
        tokenizer=tokenizer(512),
        text_encoder=UMT5EncoderModel(config).to(torch.bfloat16),
        vae=AutoencoderKLWan().to(torch.bfloat16),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        transformer=WanTransformer3DModel(
            num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=layers
        ).to(torch.bfloat16),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


class Child:
    """One run of the program."""

    def __init__(self, model: Path, rung: str, folder: Path) -> None:
        self.request = {**REQUEST, "model": str(model), "rung": rung, "folder": str(folder)}
        command = [sys.executable, "-u", "-P", str(PROGRAM)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *, until: str = "") -> dict:
        """What it ends with; with `until`, the first event of that name."""
        self.process.stdin.write(json.dumps(self.request) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            said = json.loads(line)
            if said["event"] in ("saved", "failed") or (until == said["event"] and said.get("done")):
                return said
        return {"event": "ended", "status": self.process.wait()}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free() -> float:
    return torch.cuda.mem_get_info()[0] / GIB


def timed(name: str, child: Child) -> dict:
    began = time.monotonic()
    said = child.ask()
    peak = said.get("peak_bytes", 0) / GIB
    words = said.get("message", "")[:100]
    print(f"{name:36} {time.monotonic() - began:6.1f} s  peak {peak:5.2f} GiB  {said['event']} {words}", flush=True)
    return said


def main(folder: Path, layers: int) -> int:
    there = torch.cuda.is_available()
    print(torch.__version__, torch.cuda.get_device_name() if there else "no GPU: every way is the same", flush=True)
    model = random_model(folder / "model", layers)
    peaks, good = {}, True
    for rung in ("resident", "offload", "sequential"):
        child = Child(model, rung, folder)
        for name in (f"{rung}, with loading", f"{rung}, warm"):
            said = timed(name, child)
            good &= said["event"] == "saved" and all(said[one] == REQUEST[one] for one in ("width", "height", "frames"))
            peaks[rung] = said.get("peak_bytes", 0)
        child.kill()
    if not there:
        return not good
    before = free()
    child = Child(model, "resident", folder)
    child.ask(until="step")
    held = before - free()
    child.kill()
    began = time.monotonic()
    while free() < before - 0.1 and time.monotonic() - began < 30:
        time.sleep(0.01)
    print(f"killed in the middle: {held:.2f} GiB were free again after {time.monotonic() - began:.2f} s", flush=True)
    good &= free() >= before - 0.1
    # Between what the second way needs and what the first does; a program itself takes about half a GiB of a GPU.
    left = (peaks["resident"] + peaks["offload"]) / 2 / GIB + 0.6
    filling = torch.empty(int((free() - left) * GIB), dtype=torch.uint8, device="cuda")
    print(f"filled: {free():.2f} GiB are free", flush=True)
    for rung in ("resident", "offload", "sequential"):
        child = Child(model, rung, folder)
        said = timed(f"{rung}, on the full GPU", child)
        child.kill()
        if said["event"] == "saved":
            print(f"made whole, held as {rung}")
            break
        good &= said.get("code") == "gpu_oom"
    del filling
    return not (good and said["event"] == "saved" and rung != "resident")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30))
