"""What a worker tells of its GPUs, by what `nvidia-smi` prints: the shapes are those of real machines."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from backend.jobs import workers

Tool = Path


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Where an `nvidia-smi` of this test may be, the only one on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path / "nvidia-smi"


def write(tool: Tool, script: str) -> None:
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def printing(tool: Tool, *lines: str) -> None:
    write(tool, "cat <<'END'\n" + "\n".join(lines) + "\nEND")


async def test_one_gpu(tool: Tool) -> None:
    printing(tool, "NVIDIA H100 80GB HBM3, 81559, 1, 0")
    assert await workers.read_gpus() == [
        {"name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559, "memory_used_mib": 1, "use_percent": 0}
    ]


async def test_several_gpus_keep_their_order(tool: Tool) -> None:
    printing(tool, "NVIDIA A10G, 23028, 1200, 37", "NVIDIA A10G, 23028, 22876, 100", "Tesla T4, 15360, 0, 0")
    found = await workers.read_gpus()
    assert [(gpu["name"], gpu["memory_used_mib"], gpu["use_percent"]) for gpu in found] == [
        ("NVIDIA A10G", 1200, 37),
        ("NVIDIA A10G", 22876, 100),
        ("Tesla T4", 0, 0),
    ]


@pytest.mark.parametrize("unknown", ["[N/A]", "[Not Supported]", "[Unknown Error]", ""])
async def test_what_a_gpu_does_not_tell_is_none(tool: Tool, unknown: str) -> None:
    printing(tool, f"NVIDIA GB10, {unknown}, {unknown}, 3")
    assert await workers.read_gpus() == [
        {"name": "NVIDIA GB10", "memory_mib": None, "memory_used_mib": None, "use_percent": 3}
    ]


async def test_it_is_asked_for_the_fields_that_are_read(tool: Tool, tmp_path: Path) -> None:
    write(tool, f'echo "$@" > {tmp_path}/asked; echo "NVIDIA A10G, 1, 1, 1"')
    await workers.read_gpus()
    assert (tmp_path / "asked").read_text().split() == [
        "--query-gpu=name,memory.total,memory.used,utilization.gpu",
        "--format=csv,noheader,nounits",
    ]


async def test_without_the_tool_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await workers.read_gpus() == []


@pytest.mark.parametrize(
    "script",
    [
        "echo 'NVIDIA-SMI has failed because it couldn'\"'\"'t communicate with the NVIDIA driver.'; exit 9",
        "echo 'No devices were found'; exit 6",
        "echo 'No devices were found'",
        "exit 0",
        r"printf '\377\376\000 nonsense, 1\n'",
    ],
)
async def test_a_tool_that_fails_or_babbles_tells_of_none(tool: Tool, script: str) -> None:
    write(tool, script)
    assert await workers.read_gpus() == []


async def test_a_tool_that_cannot_be_started_tells_of_none(tool: Tool) -> None:
    tool.write_bytes(b"\x7fELF but not really")
    tool.chmod(0o755)
    assert await workers.read_gpus() == []


async def test_a_tool_that_hangs_is_given_up_and_killed(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `nvidia-smi` does while a driver is stuck."""
    monkeypatch.setattr(workers, "BEAT_SECONDS", 0.3)
    write(tool, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    async with asyncio.timeout(60):
        assert await workers.read_gpus() == []
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    while runs(pid):
        assert time.monotonic() < deadline, "it is still there"
        await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
