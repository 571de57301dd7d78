"""Tools are bounded, and none outlives the task or the process that started it."""

import ast
import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.config import settings
from backend.videos import confinement
from backend.videos.sandbox import ToolMissing, ToolOutputTooLarge, ToolStalled, ToolTimeout, run_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["bwrap", "none"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything here holds behind bubblewrap's wall, where it works, and without it."""
    monkeypatch.setattr(settings, "sandbox", "auto")
    report = confinement.sandbox_report()
    if request.param == "bwrap" and report.kind != "bwrap":
        pytest.skip(report.why)
    monkeypatch.setattr(settings, "sandbox", request.param)
    return str(request.param)


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
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.02)


def named(mark: str, name: str) -> bool:
    """Whether a process marked so has become the program `name`."""
    return any(Path(f"/proc/{pid}/comm").read_text().strip() == name for pid in alive(mark))


async def test_output_and_status_come_back() -> None:
    output = await run_tool(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_seconds=30)
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
    script = 'ulimit -v; ulimit -c; head -c 2000000 /dev/zero > "${0#file:}"'
    output = await run_tool(
        ["sh", "-c", script, f"file:{tmp_path}/big"],
        timeout_seconds=30,
        memory_bytes=512 * 1024**2,
        max_written_bytes=1_000_000,
    )
    assert output.stdout.split() == [b"524288", b"0"]
    assert (tmp_path / "big").stat().st_size <= 1_000_000
    assert output.returncode != 0


async def test_a_tool_the_kernel_stopped_is_told_from_one_that_failed() -> None:
    assert (await run_tool(["sh", "-c", "kill -KILL $$"], timeout_seconds=30)).hit_a_limit
    assert not (await run_tool(["false"], timeout_seconds=30)).hit_a_limit
    assert -signal.SIGKILL == -9


async def test_addresses_and_control_characters_are_cut_out_of_complaints() -> None:
    address = "http://127.0.0.1:9/videos/a.mp4?X-Amz-Signature=0123456789abcdef"
    script = 'printf "bad \\033[31m %s and %s\\n" "$0" "${0#*\\?}" >&2'
    output = await run_tool(["sh", "-c", script, address], timeout_seconds=30)
    assert output.stderr == "bad ?[31m <address> and ...\n"


async def test_settings_do_not_reach_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "do-not-tell")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    output = await run_tool(["env"], timeout_seconds=30)
    assert b"do-not-tell" not in output.stdout
    assert b"proxy" not in output.stdout


async def test_a_missing_tool_is_said() -> None:
    with pytest.raises(ToolMissing, match="no-such-tool is not installed"):
        await run_tool(["no-such-tool"], timeout_seconds=30)


# --- Standing still -----------------------------------------------------------------------------------------------


async def test_a_tool_that_stands_still_is_killed_with_its_children(unique: str) -> None:
    with pytest.raises(ToolStalled, match="sh stood still for 1 s"):
        await run_tool(
            ["sh", "-c", f"echo on; sleep 60.{unique} & sleep 60.{unique}"], timeout_seconds=60, stall_seconds=1
        )
    await until(lambda: not alive(f"60.{unique}"))


@pytest.mark.parametrize("words", ["echo on", 'echo on >> "${0#file:}"', 'touch "${0#file:}"'])
async def test_saying_writing_and_changing_something_are_signs_of_life(words: str, tmp_path: Path) -> None:
    script = f"for each in 1 2 3 4 5 6 7 8; do {words}; sleep 0.4; done"
    output = await run_tool(["sh", "-c", script, f"file:{tmp_path}/out"], timeout_seconds=60, stall_seconds=2.5)
    assert output.returncode == 0


async def test_progress_is_told_in_seconds_of_output_and_never_falls(tmp_path: Path) -> None:
    told: list[float] = []

    async def tell(seconds: float) -> None:
        told.append(seconds)

    picture = ["-f", "lavfi", "-i", "testsrc=duration=20:size=640x360:rate=25"]
    words = [
        "ffmpeg",
        "-v",
        "error",
        *picture,
        "-stats_period",
        "0.05",
        "-c:v",
        "mpeg4",
        "-y",
        f"file:{tmp_path}/a.mp4",
    ]
    output = await run_tool(words, timeout_seconds=60, stall_seconds=30, on_progress=tell)
    assert output.returncode == 0, output.stderr
    assert b"progress=end" in output.stdout
    assert told == sorted(set(told))
    assert told[-1] == pytest.approx(20, abs=0.2)
    assert len(told) > 2


async def test_an_ffmpeg_that_repeats_itself_is_seen_to_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    block = "frame=7\\ntotal_size=99\\nout_time_us=280000\\nprogress=continue\\n"
    program.write_text(f"#!/bin/sh\nwhile :; do printf '{block}'; sleep 0.1; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told: list[float] = []

    async def tell(seconds: float) -> None:
        told.append(seconds)

    with pytest.raises(ToolStalled):
        await run_tool(["ffmpeg"], timeout_seconds=60, stall_seconds=1, on_progress=tell)
    assert told == [0.28]


async def test_who_hears_the_progress_may_end_the_tool(tmp_path: Path, unique: str) -> None:
    async def enough(seconds: float) -> None:
        raise ValueError("enough")

    source = f"testsrc=duration=3600.{unique}:size=320x180:rate=25"
    with pytest.raises(ValueError, match="enough"):
        await run_tool(
            ["ffmpeg", "-f", "lavfi", "-i", source, "-f", "null", "-"], timeout_seconds=60, on_progress=enough
        )
    await until(lambda: not alive(unique))


# --- What it may see ----------------------------------------------------------------------------------------------


async def test_behind_the_wall_only_its_source_and_its_output_are_in_sight(kind: str, tmp_path: Path) -> None:
    if kind != "bwrap":
        pytest.skip("there is no wall")
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source, neighbour, target = tmp_path / "in" / "source", tmp_path / "in" / "neighbour", tmp_path / "out" / "made"
    source.write_text("seen\n")
    neighbour.write_text("secret")
    script = f"""cat {source} {neighbour}; echo x > {source}; echo made > {target}; echo x > /usr/x; cat /etc/passwd
        ls /proc /root /home; id -u"""
    output = await run_tool(["sh", "-c", script, "-i", f"file:{source}", f"file:{target}"], timeout_seconds=10)
    said = output.stdout.decode()
    assert said == "seen\n65534\n"
    assert source.read_text() == "seen\n"
    assert target.read_text() == "made\n"
    assert target.stat().st_uid == os.getuid()


async def test_behind_the_wall_a_local_file_has_no_network_and_a_remote_one_has(kind: str, tmp_path: Path) -> None:
    if kind != "bwrap":
        pytest.skip("there is no wall")
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = tmp_path / "a"
    source.write_text("a")
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected"
    async with server:
        alone = await run_tool(["bash", "-c", script, "-i", f"file:{source}"], timeout_seconds=10)
        remote = await run_tool(["bash", "-c", script, "-i", "http://127.0.0.1:9/a"], timeout_seconds=10)
    assert (alone.stdout, remote.stdout) == (b"", b"connected\n")


async def test_an_encoder_in_hardware_sees_devices_and_has_no_limit_of_addresses() -> None:
    script = "ls -d /dev/null /dev/tty /sys/class; ulimit -v"
    output = await run_tool(["sh", "-c", script], timeout_seconds=10, hardware=True)
    assert output.stdout.split() == [b"/dev/null", b"/dev/tty", b"/sys/class", b"unlimited"]


async def test_where_the_wall_is_demanded_and_absent_nothing_runs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "sandbox", "bwrap")
    monkeypatch.setattr(confinement, "_why_not", lambda: "no bubblewrap here.")
    with pytest.raises(ToolMissing, match="SANDBOX=bwrap, but no bubblewrap here"):
        await run_tool(["true"], timeout_seconds=30)


def test_why_there_is_no_wall_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "sandbox", "none")
    assert confinement.sandbox_report() == confinement.SandboxReport("none", "Switched off by SANDBOX=none.")
    monkeypatch.setattr(settings, "sandbox", "auto")
    for script, words in ((None, "is not installed"), ("echo no permission >&2; exit 1", "no permission")):
        if script:
            (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        confinement._why_not.cache_clear()
        try:
            assert words in confinement.sandbox_report().why
        finally:
            confinement._why_not.cache_clear()


def test_media_tools_are_started_in_one_place() -> None:
    """`ffmpeg-python` may word a command, not run it; who else starts programs starts no media tool."""
    starters = {"subprocess", "create_subprocess_exec", "create_subprocess_shell", "execv", "posix_spawn", "popen"}
    found = set()
    for path in (ROOT / "backend").rglob("*.py"):
        text, tree = path.read_text(), ast.parse(path.read_text())
        words = {getattr(node, "attr", None) or getattr(node, "id", None) for node in ast.walk(tree)}
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        if (words | imported) & starters and re.search(r"ffmpeg|ffprobe", text):
            found.add(str(path.relative_to(ROOT / "backend")))
        assert "ffmpeg" not in imported or not re.search(r"\bffmpeg\.(probe|run|run_async)\(|\.run(_async)?\(", text), (
            path
        )
    assert found <= {"videos/sandbox.py", "videos/confinement.py", "local/up.py", "coaching/child.py"}
    assert "videos/sandbox.py" in found


@pytest.fixture
def unique() -> str:
    """Digits that make a sleep recognizable among all processes."""
    return str(int.from_bytes(os.urandom(5), "big"))
