"""The process that generates on a GPU: kept warm, killed for sure, and given less room step by step.

With stand-ins for the libraries; `make test-diffusers` has the real ones (test_diffusers_real.py).
"""

import asyncio
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.config import settings
from backend.core import gpus
from backend.generation.models import Kind
from backend.generation.providers import diffusers, diffusers_process, safetensors
from backend.generation.providers.base import Asset, Event, Failed, Progress, Spec
from backend.videos.media import probe
from backend.videos.media_info import Limits
from tests.generation.providers.conftest import Models
from tests.generation.providers.wire import until

VIDEO = Spec(id=uuid.uuid4(), kind=Kind.VIDEO, prompt="A fox.", width=90, height=160, seconds=0.5, seed=7)
IMAGE = replace(VIDEO, kind=Kind.IMAGE, width=100, height=100)
LEFT_OVER = ("resident", "offload", "sequential")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "attempt"
    made.mkdir()
    return made


async def run(spec: Spec, folder: Path) -> list[Event]:
    provider = diffusers.from_settings()
    assert provider is not None
    async with asyncio.timeout(120):
        return [event async for event in provider.run(spec, folder=folder)]


def pids(models: Models, model: Path) -> list[int]:
    return [int(line.split()[1]) for line in models.log(model) if line.startswith("loaded")]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_model_is_loaded_once_for_several_generations(models: Models, folder: Path) -> None:
    for spec in (VIDEO, replace(VIDEO, seed=8), VIDEO):
        assert isinstance((await run(spec, folder))[-1], Asset)
    assert len(pids(models, models.video)) == 1
    events = await run(VIDEO, folder)
    assert not any(isinstance(event, Progress) and event.stage == "loading the model" for event in events)


async def test_another_model_takes_the_place_of_the_first(models: Models, folder: Path) -> None:
    await run(VIDEO, folder)
    (first,) = pids(models, models.video)
    await run(IMAGE, folder)
    assert not runs(first), "one process per GPU"
    assert runs(pids(models, models.image)[0])


async def test_two_at_once_take_turns(models: Models, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for each in folders:
        each.mkdir()
    ends = await asyncio.gather(*(run(VIDEO, each) for each in folders))
    assert all(isinstance(events[-1], Asset) for events in ends)
    assert len(pids(models, models.video)) == 1


async def test_a_process_that_nobody_needs_gives_its_memory_back(
    models: Models, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusers, "WARM_SECONDS", 0.1)
    await run(IMAGE, folder)
    (pid,) = pids(models, models.image)
    await until(lambda: not runs(pid), "it stays for ever")
    assert isinstance((await run(IMAGE, folder))[-1], Asset)


# --- the ladder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [0, 1, 2])
async def test_what_does_not_fit_is_held_in_smaller_parts_and_comes_out_whole(
    fit: int, models: Models, folder: Path
) -> None:
    models.tell(models.video, oom=LEFT_OVER[:fit])
    events = await run(VIDEO, folder)
    asset = events[-1]
    assert isinstance(asset, Asset), asset
    assert asset.detail["held"] == LEFT_OVER[fit]
    assert asset.detail["peak_bytes"] == 1_234_567
    assert [line for line in models.log(models.video) if line in LEFT_OVER] == list(LEFT_OVER[: fit + 1])
    assert {line for line in models.log(models.video) if line.startswith("making")} == {"making 96x160"}
    assert len(set(pids(models, models.video))) == fit + 1, "only the end of a process frees a GPU for sure"
    assert isinstance(asset.content, Path)
    info = await probe(f"file:{asset.content}", timeout_seconds=30, limits=Limits(max_duration_seconds=60))
    assert (info.width, info.height) == (90, 160)
    assert info.duration == pytest.approx(0.5, abs=0.05)


async def test_the_next_generation_begins_where_the_last_one_fitted(models: Models, folder: Path) -> None:
    models.tell(models.video, oom=["resident"])
    await run(VIDEO, folder)
    await run(VIDEO, folder)
    assert [line for line in models.log(models.video) if line in LEFT_OVER] == ["resident", "offload"]


async def test_what_fits_in_no_way_is_out_of_memory_and_may_be_tried_again(models: Models, folder: Path) -> None:
    models.tell(models.video, oom=LEFT_OVER)
    failed = (await run(VIDEO, folder))[-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable) == ("gpu_oom", True)
    assert diffusers._gpu.child is None
    models.tell(models.video, oom=[])
    asset = (await run(VIDEO, folder))[-1]
    assert isinstance(asset, Asset)
    assert asset.detail["held"] == "resident", "others may have left more room by now"


async def test_fewer_frames_than_asked_for_are_no_result(models: Models, folder: Path) -> None:
    models.tell(models.video, few=True)
    failed = (await run(VIDEO, folder))[-1]
    assert isinstance(failed, Failed)
    assert failed.message == "This model made 6 frames instead of 12."


# --- what may go wrong -----------------------------------------------------------------------------------------------


async def test_a_process_that_the_system_kills_is_told(models: Models, folder: Path) -> None:
    models.tell(models.video, killed=True)
    failed = (await run(VIDEO, folder))[-1]
    assert isinstance(failed, Failed)
    assert failed.retryable
    assert "for want of memory" in failed.message


async def test_a_model_that_breaks_is_told_and_its_process_ended(models: Models, folder: Path) -> None:
    models.tell(models.video, raises=f"no such layer in {models.video}/unet")
    failed = (await run(VIDEO, folder))[-1]
    assert failed == Failed("provider_error", "The model could not make it: ValueError: no such layer in video/unet.")
    assert diffusers._gpu.child is None


async def test_a_model_that_is_not_there_is_told(models: Models, folder: Path) -> None:
    (models.video / "stand_in.json").unlink()
    failed = (await run(VIDEO, folder))[-1]
    words = "The model video could not be loaded; the log of the worker says why."
    assert failed == Failed("provider_unavailable", words)


async def test_an_interpreter_that_is_not_there_is_told(
    models: Models, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "diffusers_python", "/no/such/python")
    failed = (await run(VIDEO, folder))[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "provider_unavailable"


async def test_an_interpreter_without_the_libraries_is_told(
    models: Models, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "diffusers_python", "")
    failed = (await run(VIDEO, folder))[-1]
    assert isinstance(failed, Failed)
    assert "No module named 'torch'" in failed.message


async def test_cancelling_ends_the_process(models: Models, folder: Path) -> None:
    (models.video / "hold").touch()
    following = asyncio.create_task(run(VIDEO, folder))
    await until(lambda: bool(models.log(models.video)[-1:]) and "making" in models.log(models.video)[-1], "no start")
    (pid,) = pids(models, models.video)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert not runs(pid)
    (models.video / "hold").unlink()
    assert isinstance((await run(VIDEO, folder))[-1], Asset)


def test_none_of_our_settings_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    monkeypatch.setenv("S3_SECRET_ACCESS_KEY", "very secret")
    monkeypatch.setenv("HF_HOME", "/models")
    environment = diffusers_process._environment()
    assert "very secret" not in environment.values()
    assert environment["HF_HOME"] == "/models"


# --- the rate of a model ---------------------------------------------------------------------------------------------


async def test_a_model_made_for_another_rate_is_shown_at_ours(
    models: Models, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "diffusers_fps", 8)
    asset = (await run(VIDEO, folder))[-1]
    assert isinstance(asset, Asset)
    assert asset.detail["notes"] == ["Made at 8 pictures per second and shown at 24."]
    assert isinstance(asset.content, Path)
    info = await probe(f"file:{asset.content}", timeout_seconds=30, limits=Limits(max_duration_seconds=60))
    assert info.fps == 24
    assert info.duration == pytest.approx(0.5, abs=0.05)


# --- room ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def idle_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(diffusers, "_gpu", diffusers.Gpu())
    diffusers._largest_part.cache_clear()
    yield
    diffusers._largest_part.cache_clear()


def gpu(monkeypatch: pytest.MonkeyPatch, total: int | None, used: int | None) -> None:
    found = [{"name": "GPU", "uuid": "", "memory_mib": total, "memory_used_mib": used, "use_percent": 0}]
    monkeypatch.setattr(gpus, "_latest", found)


@pytest.mark.parametrize(
    ("total", "used", "needed", "room"),
    [
        (80_000, 1_000, 20_000, True),
        (80_000, 70_000, 20_000, False),
        (16_000, 500, 20_000, True),  # what is larger than the GPU is tried all the same, once it is nearly empty
        (16_000, 9_000, 20_000, False),
        (None, None, 20_000, True),
    ],
)
def test_a_job_is_taken_only_when_the_memory_it_needs_is_free(
    total: int | None, used: int | None, needed: int, room: bool, idle_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "diffusers_free_vram_mb", needed)
    gpu(monkeypatch, total, used)
    assert diffusers.has_room() == room


def test_without_a_gpu_trying_says_it(idle_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_latest", [])
    assert diffusers.has_room()


async def test_a_warm_process_has_its_room_already(
    models: Models, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "diffusers_free_vram_mb", 1000)
    gpu(monkeypatch, 1000, 990)
    assert not diffusers.has_room()
    await run(IMAGE, folder)
    assert diffusers.has_room()


def test_what_a_model_needs_is_read_from_its_files(
    idle_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part, shapes in {"transformer": [[1024, 1024, 4], [5]], "vae": [[7]]}.items():
        (tmp_path / part).mkdir()
        for number, shape in enumerate(shapes):
            header = json.dumps({"__metadata__": {}, "w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}})
            data = len(header).to_bytes(8, "little") + header.encode()
            (tmp_path / part / f"model-{number}.safetensors").write_bytes(data)
    (tmp_path / "vae" / "broken.safetensors").write_bytes(os.urandom(64))
    assert safetensors.largest_part(tmp_path) == 1024 * 1024 * 4 + 5
    monkeypatch.setattr(settings, "diffusers_video_model", str(tmp_path))
    for used, room in ((990, True), (993, False)):
        gpu(monkeypatch, 1000, used)
        assert diffusers.has_room() == room
