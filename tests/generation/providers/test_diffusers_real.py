"""The diffusers provider with the real libraries, on tiny random pipelines: `make test-diffusers`.

They run where there is a GPU on the GPU, else on the CPU. Left out where the libraries are not installed.
"""

import asyncio
import os
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.config import settings
from backend.generation.models import Kind
from backend.generation.providers import diffusers, safetensors
from backend.generation.providers.base import Asset, Event, Failed, Progress, Spec
from backend.videos.media import probe
from backend.videos.media_info import Limits

PYTHON = os.environ.get("DIFFUSERS_PYTHON", "")

if not PYTHON:
    pytest.skip("make test-diffusers installs the libraries and runs these", allow_module_level=True)

SPEC = Spec(id=uuid.uuid4(), kind=Kind.VIDEO, prompt="a fox runs", width=120, height=200, seconds=0.5, seed=5)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([PYTHON, str(Path(__file__).with_name("tiny_models.py")), str(folder)], check=True)
    return folder


@pytest.fixture
async def provider(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[diffusers.Diffusers]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(settings, "diffusers_python", PYTHON)
    monkeypatch.setattr(settings, "diffusers_video_model", str(tiny / "video"))
    monkeypatch.setattr(settings, "diffusers_image_model", str(tiny / "image"))
    monkeypatch.setattr(settings, "diffusers_steps", 3)
    monkeypatch.setattr(diffusers, "_gpu", diffusers.Gpu())
    made = diffusers.from_settings()
    assert made is not None
    yield made
    await diffusers._gpu.end()


async def run(provider: diffusers.Diffusers, spec: Spec, folder: Path) -> list[Event]:
    began = time.monotonic()
    async with asyncio.timeout(300):
        events = [event async for event in provider.run(spec, folder=folder)]
    print(f"{spec.kind} {spec.width}x{spec.height}: {time.monotonic() - began:.1f} s, {events[-1]}")
    return events


async def test_a_video_has_exactly_the_size_and_length_that_was_asked_for(
    provider: diffusers.Diffusers, tmp_path: Path
) -> None:
    events = await run(provider, SPEC, tmp_path)
    asset = events[-1]
    assert isinstance(asset, Asset), asset
    assert isinstance(asset.content, Path)
    info = await probe(f"file:{asset.content}", timeout_seconds=30, limits=Limits(max_duration_seconds=60))
    assert (info.width, info.height, info.fps) == (120, 200, 24)
    assert info.duration == pytest.approx(0.5, abs=0.05)
    assert asset.seed == 5
    percents = [event.percent for event in events if isinstance(event, Progress)]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 4


async def test_a_second_video_needs_no_loading(provider: diffusers.Diffusers, tmp_path: Path) -> None:
    await run(provider, SPEC, tmp_path)
    first = diffusers._gpu.child
    events = await run(provider, replace(SPEC, width=200, height=120), tmp_path)
    assert isinstance(events[-1], Asset)
    assert diffusers._gpu.child is first
    assert not any(isinstance(event, Progress) and event.stage == "loading the model" for event in events)


async def test_the_same_seed_makes_the_same_picture(provider: diffusers.Diffusers, tmp_path: Path) -> None:
    spec = replace(SPEC, kind=Kind.IMAGE, width=128, height=120)
    made = []
    for number, seed in enumerate((5, 5, 6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        asset = (await run(provider, replace(spec, seed=seed), folder))[-1]
        assert isinstance(asset, Asset), asset
        assert isinstance(asset.content, Path)
        made.append(asset.content.read_bytes())
    assert made[0] == made[1] != made[2]


async def test_a_model_of_the_other_kind_refuses_and_stays(
    provider: diffusers.Diffusers, tiny: Path, tmp_path: Path
) -> None:
    wrong = diffusers.Diffusers({Kind.VIDEO: str(tiny / "image")})
    events = await run(wrong, SPEC, tmp_path)
    assert events[-1] == Failed("provider_error", "This model makes pictures, and no videos.")
    assert diffusers._gpu.child is not None
    assert diffusers._gpu.child.alive


async def test_a_model_that_is_not_there_is_told(provider: diffusers.Diffusers, tmp_path: Path) -> None:
    events = await run(diffusers.Diffusers({Kind.VIDEO: str(tmp_path / "nothing")}), SPEC, tmp_path)
    words = f"The model {tmp_path / 'nothing'} could not be loaded; the log of the worker says why."
    assert events[-1] == Failed("provider_unavailable", words)


async def test_who_cancels_frees_the_gpu(provider: diffusers.Diffusers, tmp_path: Path) -> None:
    spec = replace(SPEC, seconds=4.0, width=480, height=832, options={"num_inference_steps": 50})
    stepping = asyncio.Event()

    async def follow() -> None:
        async for event in provider.run(spec, folder=tmp_path):
            if isinstance(event, Progress) and event.stage == "generating":
                stepping.set()

    following = asyncio.create_task(follow())
    async with asyncio.timeout(300):
        await stepping.wait()
        child = diffusers._gpu.child
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert child is not None
    assert not child.alive
    assert diffusers._gpu.child is None


def test_the_size_of_a_model_is_read_from_its_files(tiny: Path) -> None:
    files = list((tiny / "video" / "transformer").glob("*.safetensors"))
    assert files
    assert 0 < safetensors.largest_part(tiny / "video") < sum(file.stat().st_size for file in files) * 10
