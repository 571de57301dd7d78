"""An analysis in a process of its own: the library holds memory, cannot be interrupted, and may crash.

`run_analysis` starts `python -m backend.coaching.child` with a bound on its memory and time; it dies with us, and is
killed, with the ffmpegs it runs, when the waiting task is cancelled. The request goes in by its standard input;
progress and failures come out as lines of JSON; the results are files in the folder.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from backend.coaching.options import AnalysisOptions, CoachError
from backend.config import settings
from backend.videos.media_info import MediaError
from backend.videos.sandbox import MEMORY_BYTES, ToolMissing, launcher

log = structlog.get_logger(__name__)

#: Told the stage and how much of the whole is done, from 0 to 100; what it raises ends the analysis.
Progress = Callable[[str, float], Awaitable[None]]

#: No file of an analysis comes near; each of its ffmpegs has its own bound, which may not be wider than ours.
_MOST_WRITTEN_BYTES = 1 << 40
_LINE_BYTES = 64 * 1024
_STDERR_BYTES = 4096
_TELL_SECONDS = 0.2
_ROOT = Path(__file__).resolve().parents[2]
#: What the child needs to know of our settings, and nothing secret.
_SETTINGS = ("sandbox", "stall_seconds", "max_duration_seconds", "pose_model_file")


async def run_analysis(
    source: str,
    folder: Path,
    options: AnalysisOptions,
    *,
    timeout_seconds: float,
    on_progress: Progress,
) -> dict[str, Any]:
    """Analyse the video at `source` (`file:` path or http(s) address) into `folder`; returns the summary.

    Where a GPU was tried and the child crashed, it is done again on the CPU: drivers crash. Raises MediaError (what is
    wrong with the file), ToolMissing, CoachError (coach_unavailable, analysis_failed, resource_limit, probe_timeout),
    and what `on_progress` raises.
    """
    delegate = settings.pose_delegate if _may_have_gpu() else "cpu"
    try:
        return await _run(source, folder, options, delegate, timeout_seconds, on_progress)
    except CoachError as error:
        if delegate != "auto" or error.code != "analysis_failed":
            raise
    return await _run(source, folder, options, "cpu", timeout_seconds, on_progress)


async def _run(
    source: str,
    folder: Path,
    options: AnalysisOptions,
    delegate: str,
    timeout_seconds: float,
    on_progress: Progress,
) -> dict[str, Any]:
    # A GPU's driver reserves more addresses than any limit allows.
    memory = MEMORY_BYTES if delegate == "cpu" else None
    cpu_seconds = (os.cpu_count() or 2) * int(timeout_seconds) + 5
    process = await asyncio.create_subprocess_exec(
        *launcher(memory, cpu_seconds, _MOST_WRITTEN_BYTES),
        *(sys.executable, "-m", "backend.coaching.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=_environment(delegate),
        limit=_LINE_BYTES,
    )
    request = {
        "source": source,
        "folder": str(folder),
        "options": options.to_json(),
        "timeout_seconds": timeout_seconds,
    }
    work = asyncio.ensure_future(_follow(process, json.dumps(request).encode(), on_progress))
    try:
        async with asyncio.timeout(timeout_seconds):
            answer, said = await work
    except TimeoutError:
        raise CoachError("probe_timeout", "The analysis took too long and was stopped.", retryable=True) from None
    finally:
        work.cancel()
        await _end(process)
        await asyncio.gather(work, return_exceptions=True)
    if answer is None:
        raise _died(process.returncode or 0, said)
    if "error" in answer:
        raise _failure(answer["error"])
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_bytes())
    return summary


def _may_have_gpu() -> bool:
    return any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/dri/renderD128"))


def _environment(delegate: str) -> dict[str, str]:
    ours = {name.upper(): str(getattr(settings, name)) for name in _SETTINGS} | {"POSE_DELEGATE": delegate}
    kept = {name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE", "LD_LIBRARY_PATH") if name in os.environ}
    quiet = {"GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2", "OPENBLAS_NUM_THREADS": "1"}
    place = {"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    return {**kept, **ours, **quiet, **place, "MALLOC_ARENA_MAX": "4"}


async def _follow(
    process: asyncio.subprocess.Process, request: bytes, on_progress: Progress
) -> tuple[dict[str, Any] | None, str]:
    """Its last word, `done` or `error`, None where it went without one; and the end of what it said besides."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said = asyncio.ensure_future(_tail(process.stderr))
    answer: dict[str, Any] | None = None
    try:
        process.stdin.write(request + b"\n")
        process.stdin.close()
        async for line in process.stdout:
            told = json.loads(line)
            if "stage" in told:
                await on_progress(told["stage"], told["percent"])
            else:
                answer = told
        await process.wait()
        return answer, await said
    finally:
        said.cancel()


async def _tail(stream: asyncio.StreamReader) -> str:
    kept = b""
    while part := await stream.read(_STDERR_BYTES):
        kept = (kept + part)[-_STDERR_BYTES:]
    return kept.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind, also when cancelled again: the kernel ends its ffmpegs with it."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    await asyncio.shield(asyncio.ensure_future(process.wait()))


def _died(returncode: int, said: str) -> CoachError:
    log.warning("coach.child_died", returncode=returncode, said=said[-500:])
    if returncode in (-signal.SIGKILL, -signal.SIGXCPU) or "MemoryError" in said or "bad_alloc" in said:
        words = "The analysis needed more memory or time than it may take."
        return CoachError("resource_limit", words, retryable=True, detail=said)
    return CoachError("analysis_failed", "The analysis broke off.", retryable=True, detail=said)


def _failure(error: dict[str, Any]) -> Exception:
    kind, message = error["kind"], error["message"]
    if kind == "tool":
        return ToolMissing(message)
    about = {"retryable": error["retryable"], "detail": error["detail"]}
    return (MediaError if kind == "media" else CoachError)(error["code"], message, **about)


# --- the other side --------------------------------------------------------------------------------------------------


def main() -> None:
    """Do what standard input asks for."""
    from backend.coaching.analysis import analyse  # only here: it is the child that needs it

    # What a library prints must not come between our lines.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    last = ("", 0.0)

    def tell(stage: str, percent: float) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or now - last[1] >= _TELL_SECONDS or percent >= 100:
            last = (stage, now)
            lines.write(json.dumps({"stage": stage, "percent": round(percent, 1)}) + "\n")

    asked = json.loads(sys.stdin.readline())
    options = AnalysisOptions.from_json(asked["options"])
    try:
        work = analyse(asked["source"], Path(asked["folder"]), options, tell, timeout_seconds=asked["timeout_seconds"])
        asyncio.run(work)
        answer: dict[str, Any] = {"done": True}
    except (MediaError, CoachError) as error:
        kind = "media" if isinstance(error, MediaError) else "coach"
        about = {"code": error.code, "message": error.message, "retryable": error.retryable}
        answer = {"error": {"kind": kind, **about, "detail": error.detail[:2000]}}
    except ToolMissing as error:
        answer = {"error": {"kind": "tool", "message": str(error)}}
    lines.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
