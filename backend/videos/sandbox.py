"""Runs media tools on files nobody trusts: bounded in time, memory and output, and never outliving us."""

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.videos.confinement import sandbox_report, wall, written_folders

# Decoding 40 megapixels with sixteen reference frames stays under this; a decoder gone wild does not.
MEMORY_BYTES = 3 * 1024**3
STDERR_BYTES = 16 * 1024
READ_BYTES = 64 * 1024
# What a tool said of its progress is only read as it comes by; so much of the end is kept.
PROGRESS_TAIL_BYTES = 4096
# What a shell, and bubblewrap, adds to the number of the signal that ended a program.
SIGNALLED = 128

#: Told how many seconds of the output are made; what it raises ends the tool.
Progress = Callable[[float], Awaitable[None]]

#: Told of each command before it runs, addresses and all, by whoever wants to keep it.
on_command: ContextVar[Callable[[Sequence[str]], None] | None] = ContextVar("on_command", default=None)

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_CONTROL = re.compile(r"[^\n\x20-\x7e]")


class ToolError(Exception):
    """A tool gave no result of its own; no message of this family holds an address."""


class ToolMissing(ToolError):
    """The tool, or what starts it, is not installed: the operator's business, not the file's fault."""


class ToolTimeout(ToolError):
    """The tool ran past its wall time and was killed."""


class ToolStalled(ToolTimeout):
    """The tool stood still for too long and was killed."""


class ToolOutputTooLarge(ToolError):
    """The tool wrote more than it was allowed to and was killed."""


@dataclass(frozen=True)
class ToolOutput:
    """What a tool left: its exit status (negative: the signal that ended it), and what it said."""

    returncode: int
    stdout: bytes
    stderr: str

    @property
    def hit_a_limit(self) -> bool:
        """Whether the kernel stopped it, or it was refused memory."""
        by_kernel = self.returncode in (-signal.SIGKILL, -signal.SIGXCPU, -signal.SIGXFSZ)
        return by_kernel or "Cannot allocate memory" in self.stderr


async def run_tool(
    args: Sequence[str],
    *,
    timeout_seconds: float,
    max_output_bytes: int = 1024 * 1024,
    max_written_bytes: int = 64 * 1024 * 1024,
    memory_bytes: int | None = MEMORY_BYTES,
    stall_seconds: float | None = None,
    on_progress: Progress | None = None,
    hardware: bool = False,
) -> ToolOutput:
    """Run `args` in a session of its own and return what it said; addresses are cut out of its stderr.

    The tool dies with this process, with the task that waits for it, after `timeout_seconds` of wall time, and when for
    `stall_seconds` it neither said anything new, nor got further, nor touched a file in a folder it writes to.
    It sees the `file:` after `-i` and may write in the folders of other `file:` arguments, each file up to
    `max_written_bytes`; where bubblewrap works it sees nothing else (`confinement.py`).

    With `on_progress`, which ffmpeg alone understands, it is asked for its progress and stdout is not kept. `hardware`
    lets it use the devices of encoders, whose drivers reserve more addresses than any limit allows.

    Raises ToolMissing, ToolTimeout, ToolStalled, ToolOutputTooLarge (stdout past `max_output_bytes`).
    """
    if (tell := on_command.get()) is not None:
        tell(args)
    command = [_find(args[0]), *args[1:]]
    if on_progress is not None:
        command[1:1] = ["-progress", "pipe:1", "-nostats"]
    confined = await _wall(command, hardware)
    # The CPU limit is only the backstop for a tool that lost its parent; the wall limit is the one that counts.
    cpu_seconds = (os.cpu_count() or 2) * int(timeout_seconds) + 5
    process = await asyncio.create_subprocess_exec(
        *launcher(None if hardware else memory_bytes, cpu_seconds, max_written_bytes),
        *confined,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    pulse = _Pulse(written_folders(args))
    said = (
        _follow(process.stdout, pulse, on_progress)
        if on_progress is not None
        else _read(process.stdout, max_output_bytes, pulse, process)
    )
    work = asyncio.gather(said, _read(process.stderr, STDERR_BYTES), process.wait())
    try:
        async with asyncio.timeout(timeout_seconds):
            if stall_seconds is not None:
                await _watch(work, pulse, stall_seconds, args[0])
            (stdout, cut), (stderr, _), returncode = await work
    except TimeoutError:
        raise ToolTimeout(f"{args[0]} ran longer than {timeout_seconds:.0f} s") from None
    finally:
        work.cancel()
        await _end(process)
        await asyncio.gather(work, return_exceptions=True)
    if cut:
        raise ToolOutputTooLarge(f"{args[0]} wrote more than {max_output_bytes} bytes")
    if confined and SIGNALLED < returncode < SIGNALLED + signal.NSIG:
        returncode = SIGNALLED - returncode
    return ToolOutput(returncode, stdout, _without_addresses(stderr.decode(errors="replace"), args))


async def _wall(command: Sequence[str], hardware: bool) -> list[str]:
    report = await asyncio.to_thread(sandbox_report)
    if not report.wanted:
        raise ToolMissing(f"SANDBOX=bwrap, but {report.why}")
    return wall(_find("bwrap"), command, hardware=hardware) if report.kind == "bwrap" else []


def launcher(memory_bytes: int | None, cpu_seconds: int, max_written_bytes: int) -> list[str]:
    """The words that go before the command: limits, death with the parent, and no way to gain rights.

    Both programs replace themselves by the next one, so the process started is the tool. (A `preexec_fn` would run
    Python between fork and exec, which may deadlock in a process that has threads; this costs 3 ms instead.)
    """
    return [
        _find("prlimit"),
        f"--as={'unlimited' if memory_bytes is None else memory_bytes}",
        f"--cpu={cpu_seconds}",
        f"--fsize={max_written_bytes}",
        "--core=0",
        "--",
        _find("setpriv"),
        "--pdeathsig",
        "KILL",
        "--no-new-privs",
        "--",
    ]


def _find(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise ToolMissing(f"{tool} is not installed")
    return path


def _environment() -> dict[str, str]:
    """Nothing of ours reaches the tool: no settings, no proxies."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "AV_LOG_FORCE_NOCOLOR": "1",
        # Each thread's own arena would count against the address space limit.
        "MALLOC_ARENA_MAX": "2",
    }


class _Pulse:
    """When the tool last showed that it gets on, `at`, on the monotonic clock."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.at = time.monotonic()
        self._folders = folders
        self._last: object = None

    def beat(self) -> None:
        self.at = time.monotonic()

    def look(self) -> None:
        """Whether a written file grew or changed: an index moved to the front only changes."""
        seen = sorted(self._files())
        if seen != self._last:
            self._last = seen
            self.beat()

    def _files(self) -> Iterator[tuple[str, int, int]]:
        for folder in self._folders:
            for entry in _entries(folder):
                try:
                    state = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield entry.path, state.st_size, state.st_mtime_ns


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except FileNotFoundError:
        return []


async def _watch(work: asyncio.Future[Any], pulse: _Pulse, stall_seconds: float, tool: str) -> None:
    """Return when the work is done. Raises ToolStalled when the pulse is gone."""
    while not work.done():
        await asyncio.wait({work}, timeout=min(1.0, stall_seconds / 4))
        await asyncio.to_thread(pulse.look)
        if not work.done() and time.monotonic() - pulse.at > stall_seconds:
            raise ToolStalled(f"{tool} stood still for {stall_seconds:.0f} s")


async def _follow(stream: asyncio.StreamReader, pulse: _Pulse, tell: Progress) -> tuple[bytes, bool]:
    """Pass on how far ffmpeg says it is; returns the last of what it said."""
    tail = bytearray()
    line = b""
    before: dict[bytes, bytes] = {}
    now: dict[bytes, bytes] = {}
    told = -1.0
    while chunk := await stream.read(READ_BYTES):
        tail = (tail + chunk)[-PROGRESS_TAIL_BYTES:]
        *lines, line = (line + chunk).split(b"\n")
        line = line[-PROGRESS_TAIL_BYTES:]
        for name, _, value in (one.partition(b"=") for one in lines):
            now[name] = value.strip()
            if name != b"progress":
                continue
            # It also says so when it stands still: then nothing of it has changed.
            if any(now.get(each) != before.get(each) for each in _MOVING):
                pulse.beat()
            before, now = now, {}
            seconds = _microseconds(before.get(b"out_time_us", b""))
            if seconds is not None and seconds > told:
                told = seconds
                await tell(seconds)
                pulse.beat()  # the time this took was ours
    return bytes(tail), False


_MOVING = (b"frame", b"total_size", b"out_time_us")


def _microseconds(text: bytes) -> float | None:
    return int(text) / 1_000_000 if text.isdigit() else None


async def _read(
    stream: asyncio.StreamReader,
    limit: int,
    pulse: _Pulse | None = None,
    kill_past_limit: asyncio.subprocess.Process | None = None,
) -> tuple[bytes, bool]:
    """Everything the stream carries, up to `limit` bytes; the rest is drained, so that the tool never blocks on it."""
    kept = bytearray()
    cut = False
    while chunk := await stream.read(READ_BYTES):
        if pulse is not None:
            pulse.beat()
        cut = cut or len(kept) + len(chunk) > limit
        kept += chunk[: limit - len(kept)]
        if cut and kill_past_limit is not None:
            _kill(kill_past_limit)
    return bytes(kept), cut


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind, even if the waiting task is cancelled again meanwhile."""
    if process.returncode is not None:
        return
    _kill(process)
    waiting = asyncio.ensure_future(process.wait())
    cancelled: asyncio.CancelledError | None = None
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _without_addresses(text: str, args: Sequence[str]) -> str:
    for query in (arg.partition("?")[2] for arg in args if "://" in arg):
        if query:
            text = text.replace(query, "...")
    return _CONTROL.sub("?", _ADDRESS.sub("<address>", text))
