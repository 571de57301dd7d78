"""What a worker tells of its GPUs. NVIDIA's library is stood in for, with the shapes of its answers."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pynvml
import pytest

from backend.core import gpus

MIB = 1024 * 1024


@dataclass
class Gpu:
    name: str
    uuid: str
    total: int | None
    used: int | None
    percent: int | None


def answering(monkeypatch: pytest.MonkeyPatch, *machine: Gpu) -> None:
    """The library of a machine with these GPUs; what is None there is not supported."""

    def tell(read: Callable[[Gpu], Any]) -> Callable[[int], Any]:
        def ask(handle: int) -> Any:
            found = read(machine[handle])
            if found is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return found

        return ask

    def memory(gpu: Gpu) -> Any:
        return gpu.total and type("Memory", (), {"total": gpu.total * MIB, "used": (gpu.used or 0) * MIB})

    def use(gpu: Gpu) -> Any:
        return None if gpu.percent is None else type("Use", (), {"gpu": gpu.percent})

    stand_in: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(machine),
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetName": tell(lambda gpu: gpu.name),
        "nvmlDeviceGetUUID": tell(lambda gpu: gpu.uuid),
        "nvmlDeviceGetMemoryInfo": tell(memory),
        "nvmlDeviceGetUtilizationRates": tell(use),
    }
    for name, function in stand_in.items():
        monkeypatch.setattr(pynvml, name, function)


H100 = Gpu("NVIDIA H100 80GB HBM3", "GPU-aaaa", 81_559, 1, 0)
A10 = Gpu("NVIDIA A10G", "GPU-bbbb", 23_028, 1_200, 37)


async def test_several_gpus_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, H100, A10)
    found = await gpus.read()
    assert [(gpu["name"], gpu["memory_mib"], gpu["memory_used_mib"], gpu["use_percent"]) for gpu in found] == [
        ("NVIDIA H100 80GB HBM3", 81_559, 1, 0),
        ("NVIDIA A10G", 23_028, 1_200, 37),
    ]
    assert gpus.latest() == found


async def test_what_a_gpu_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, Gpu("NVIDIA GB10", "GPU-cccc", None, None, None))
    (found,) = await gpus.read()
    assert (found["memory_mib"], found["memory_used_mib"], found["use_percent"]) == (None, None, None)


async def test_a_machine_without_the_library_has_none() -> None:
    assert await gpus.read() == []


async def test_a_driver_that_is_stuck_is_given_up_and_takes_one_thread(
    monkeypatch: pytest.MonkeyPatch, let_go: Callable[[], None]
) -> None:
    monkeypatch.setattr(gpus, "READ_SECONDS", 0.05)
    before = threading.active_count()
    async with asyncio.timeout(60):
        for _ in range(5):
            assert await gpus.read() == []
    assert threading.active_count() <= before + 1
    monkeypatch.setattr(gpus, "READ_SECONDS", 60)
    let_go()
    assert await gpus.read() == []


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """The driver hangs until this is called."""
    gone = threading.Event()

    def hang() -> None:
        gone.wait(60)
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    monkeypatch.setattr(pynvml, "nvmlInit", hang)
    yield gone.set
    gone.set()


@pytest.mark.parametrize(
    ("visible", "name"),
    [(None, H100.name), ("", H100.name), ("1", A10.name), ("1,0", A10.name), ("GPU-bbbb", A10.name), ("7", None)],
)
async def test_the_gpu_that_a_program_takes_is_the_first_that_it_may_see(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, name: str | None
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    answering(monkeypatch, H100, A10)
    taken = gpus.chosen(await gpus.read())
    assert (taken and taken["name"]) == name
