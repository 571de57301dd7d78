"""Runs media tools on files nobody trusts: bounded in time, memory and output, and never outliving us."""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

# Decoding 40 megapixels with sixteen reference frames stays under this; a decoder gone wild does not.
MEMORY_BYTES = 3 * 1024**3
STDERR_BYTES = 16 * 1024
READ_BYTES = 64 * 1024

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
    memory_bytes: int = MEMORY_BYTES,
) -> ToolOutput:
    """Run `args` in a session of its own and return what it said; addresses are cut out of its stderr.

    The tool dies with this process, with the task that waits for it, and after `timeout_seconds` of wall time.

    Raises ToolMissing, ToolTimeout, ToolOutputTooLarge (stdout past `max_output_bytes`).
    """
    if (tell := on_command.get()) is not None:
        tell(args)
    # The CPU limit is only the backstop for a tool that lost its parent; the wall limit is the one that counts.
    cpu_seconds = 2 * int(timeout_seconds) + 5
    process = await asyncio.create_subprocess_exec(
        *_launcher(memory_bytes, cpu_seconds, max_written_bytes),
        _find(args[0]),
        *args[1:],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_seconds):
            (stdout, cut), (stderr, _), returncode = await asyncio.gather(
                _read(process.stdout, max_output_bytes, process),
                _read(process.stderr, STDERR_BYTES),
                process.wait(),
            )
    except TimeoutError:
        raise ToolTimeout(f"{args[0]} ran longer than {timeout_seconds:.0f} s") from None
    finally:
        await _end(process)
    if cut:
        raise ToolOutputTooLarge(f"{args[0]} wrote more than {max_output_bytes} bytes")
    return ToolOutput(returncode, stdout, _without_addresses(stderr.decode(errors="replace"), args))


def _launcher(memory_bytes: int, cpu_seconds: int, max_written_bytes: int) -> list[str]:
    """The words that go before the command: limits, death with the parent, and no way to gain rights.

    Both programs replace themselves by the next one, so the process started is the tool. (A `preexec_fn` would run
    Python between fork and exec, which may deadlock in a process that has threads; this costs 3 ms instead.)
    """
    return [
        _find("prlimit"),
        f"--as={memory_bytes}",
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


async def _read(
    stream: asyncio.StreamReader, limit: int, kill_past_limit: asyncio.subprocess.Process | None = None
) -> tuple[bytes, bool]:
    """Everything the stream carries, up to `limit` bytes; the rest is drained, so that the tool never blocks on it."""
    kept = bytearray()
    cut = False
    while chunk := await stream.read(READ_BYTES):
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
