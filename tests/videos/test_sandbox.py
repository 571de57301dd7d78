"""Tools are bounded, and none outlives the task or the process that started it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.videos.sandbox import ToolMissing, ToolOutputTooLarge, ToolTimeout, run_tool


def alive(mark: str) -> list[int]:
    """The processes whose command line holds `mark`, zombies not counted."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked
    return found


async def until(done: Callable[[], bool]) -> None:
    """Wait for another process to come or go; nothing but looking tells."""
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.02)


def named(mark: str, name: str) -> bool:
    """Whether a process marked so has become the program `name`."""
    return any(Path(f"/proc/{pid}/comm").read_text().strip() == name for pid in alive(mark))


async def test_output_and_status_come_back() -> None:
    output = await run_tool(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_seconds=5)
    assert (output.returncode, output.stdout, output.stderr) == (3, b"out\n", "err\n")


async def test_a_tool_past_its_time_dies_with_its_children(unique: str) -> None:
    with pytest.raises(ToolTimeout):
        await run_tool(["sh", "-c", f"sleep 60.{unique} & sleep 60.{unique}"], timeout_seconds=0.5)
    await until(lambda: not alive(f"60.{unique}"))


async def test_cancelling_the_task_kills_the_tool_before_it_returns(unique: str) -> None:
    task = asyncio.create_task(run_tool(["sleep", f"60.{unique}"], timeout_seconds=60))
    await until(lambda: bool(alive(f"60.{unique}")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(f"60.{unique}")


async def test_a_tool_dies_with_the_process_that_started_it(unique: str) -> None:
    code = (
        "import asyncio; from backend.videos.sandbox import run_tool;"
        f"asyncio.run(run_tool(['sleep', '60.{unique}'], timeout_seconds=60))"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    await until(lambda: named(f"60.{unique}", "sleep"))
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(f"60.{unique}"))


async def test_endless_output_is_cut_off_and_endless_complaints_are_drained() -> None:
    with pytest.raises(ToolOutputTooLarge):
        await run_tool(["yes"], timeout_seconds=30, max_output_bytes=10_000)
    output = await run_tool(["sh", "-c", "yes complaint | head -c 5000000 >&2; echo done"], timeout_seconds=30)
    assert output.stdout == b"done\n"
    assert len(output.stderr) <= 16 * 1024


async def test_memory_files_and_cores_are_limited(tmp_path: Path) -> None:
    script = f"ulimit -v; ulimit -c; head -c 2000000 /dev/zero > {tmp_path}/big"
    output = await run_tool(
        ["sh", "-c", script], timeout_seconds=5, memory_bytes=512 * 1024**2, max_written_bytes=1_000_000
    )
    assert output.stdout.split() == [b"524288", b"0"]
    assert (tmp_path / "big").stat().st_size <= 1_000_000
    assert output.returncode != 0


async def test_a_tool_the_kernel_stopped_is_told_from_one_that_failed() -> None:
    assert (await run_tool(["sh", "-c", "kill -KILL $$"], timeout_seconds=5)).hit_a_limit
    assert not (await run_tool(["false"], timeout_seconds=5)).hit_a_limit
    assert -signal.SIGKILL == -9


async def test_addresses_and_control_characters_are_cut_out_of_complaints() -> None:
    address = "http://127.0.0.1:9/videos/a.mp4?X-Amz-Signature=0123456789abcdef"
    script = 'printf "bad \\033[31m %s and %s\\n" "$0" "${0#*\\?}" >&2'
    output = await run_tool(["sh", "-c", script, address], timeout_seconds=5)
    assert output.stderr == "bad ?[31m <address> and ...\n"


async def test_settings_do_not_reach_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "do-not-tell")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    output = await run_tool(["env"], timeout_seconds=5)
    assert b"do-not-tell" not in output.stdout
    assert b"proxy" not in output.stdout


async def test_a_missing_tool_is_said() -> None:
    with pytest.raises(ToolMissing, match="no-such-tool is not installed"):
        await run_tool(["no-such-tool"], timeout_seconds=5)


@pytest.fixture
def unique() -> str:
    """Digits that make a sleep recognizable among all processes."""
    return str(int.from_bytes(os.urandom(5), "big"))
