"""Checks of what does the work: workers and their queues; on this machine media tools, their wall, and the disk."""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from backend import __version__
from backend.admin.doctor.bucket import DOCS
from backend.admin.doctor.database import reached
from backend.admin.doctor.findings import Finding, check, failed, ok, warning
from backend.admin.doctor.visit import NotTried, Visit
from backend.admin.overview import Queue, all_queues, all_workers
from backend.admin.schemas import WorkerOut
from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import registry
from backend.core.web import ROOT
from backend.generation.providers import diffusers
from backend.videos import encoders
from backend.videos.confinement import SandboxReport, sandbox_report
from backend.videos.sandbox import ToolMissing, ToolOutput, ToolTimeout, run_tool
from backend.videos.workspace import SPARE_BYTES
from backend.webhooks.figures import Deliveries, deliveries

WORKERS = "Workers"
MACHINE = "Media tools on this machine"
TOOL_SECONDS = 8.0
TRIAL_SECONDS = 15.0
OLDEST_FFMPEG = (4, 4)
START = "Start one with `dailies worker` (compose: docker compose up -d worker)"
#: What the pipeline calls on, by the tool's own word for it. Without those of the second line some films fail.
ENCODERS = ("libx264", "aac", "mjpeg")
DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "prores", "aac", "mp3", "opus")
FILTERS = ("scale", "thumbnail", "signalstats", "tile", "zscale", "tonemap")
_ESSENTIAL = {"libx264", "aac", "mjpeg", "h264", "scale", "thumbnail", "signalstats"}
#: Other names under which a build has the same.
_ALSO = {"av1": ("libdav1d", "libaom-av1"), "opus": ("libopus",), "mp3": ("mp3float",)}
_INSTALL = "Install Debian's package ffmpeg, or a full build of it (not a “minimal” or “free” one)"


# --- workers ---------------------------------------------------------------------------------------------------------


async def _at_work(visit: Visit) -> tuple[list[WorkerOut], list[Queue]]:
    async def read() -> tuple[list[WorkerOut], list[Queue]] | None:
        try:
            async with transaction() as session:
                workers = await all_workers(session)
                return workers, await all_queues(session, workers)
        except Exception:  # whatever keeps the tables from being read, other checks say it: these were not tried
            return None

    await reached(visit)
    found = await visit.shared("workers", read)
    if found is None:
        raise NotTried("Not tried: the tables of workers and jobs cannot be read (see “The schema is the newest”).")
    return found


@check(WORKERS, "A worker is alive")
async def alive(visit: Visit) -> Finding:
    workers, _ = await _at_work(visit)
    return judge_alive(workers)


def judge_alive(workers: Sequence[WorkerOut]) -> Finding:
    living = [worker for worker in workers if worker.state == "alive"]
    lost = [worker.name for worker in workers if worker.state == "lost"]
    if not living:
        seen = f"last seen: {workers[0].name}, {workers[0].state}" if workers else "none was ever seen"
        return failed("No worker is alive: uploads stay in processing.", f"{START}, and look at its log.", seen)
    slots = sum(worker.slots for worker in living)
    return ok(f"{len(living)} alive, {slots} slots.", f"lost within a day: {', '.join(lost)}" if lost else "")


def _living(workers: Sequence[WorkerOut]) -> list[WorkerOut]:
    living = [worker for worker in workers if worker.state == "alive"]
    if not living:
        raise NotTried("Not tried: no worker is alive.")
    return living


@check(WORKERS, "Workers have this version")
async def versions(visit: Visit) -> Finding:
    workers, _ = await _at_work(visit)
    return judge_versions(workers)


def judge_versions(workers: Sequence[WorkerOut]) -> Finding:
    living = _living(workers)
    others = [f"{worker.name} ({worker.version})" for worker in living if worker.version != __version__]
    if others:
        fix = f"Upgrade and restart it, so that it runs {__version__} (compose: docker compose up -d --build worker)."
        return failed(f"This is {__version__}, and other versions work beside it: {', '.join(others)}.", fix)
    return ok(f"All run {__version__}.")


@check(WORKERS, "Every queue has a worker")
async def queues(visit: Visit) -> Finding:
    workers, found = await _at_work(visit)
    return judge_queues(workers, found)


def judge_queues(workers: Sequence[WorkerOut], found: Sequence[Queue]) -> Finding:
    needed = {task.queue for kind in registry.kinds() if (task := registry.find(kind)) is not None}
    if diffusers.from_settings() is None:
        needed.discard(diffusers.Diffusers.queue)
    needed |= {queue.name for queue in found if queue.needs_worker}
    living = _living(workers)
    served = {name for worker in living for name in worker.queues}
    paused = sorted(queue.name for queue in found if queue.paused_at is not None)
    if missing := sorted(needed - served):
        every = ",".join(sorted({*needed, *settings.worker_queues}))
        fix = f"{START} and with WORKER_QUEUES={every}, or leave that setting out."
        return failed(f"Nobody works on {', '.join(missing)}: its jobs wait for ever.", fix)
    if paused:
        fix = "Resume it on the queue page when the reason is gone."
        return warning(f"Paused, so that its jobs wait: {', '.join(paused)}.", fix)
    return ok(f"{', '.join(sorted(needed))}.")


@check(WORKERS, "Workers know every kind of job")
async def kinds(visit: Visit) -> Finding:
    workers, _ = await _at_work(visit)
    return judge_kinds(workers)


def judge_kinds(workers: Sequence[WorkerOut]) -> Finding:
    living = _living(workers)
    known = {kind for worker in living for kind in worker.kinds}
    if missing := sorted(set(registry.kinds()) - known):
        fix = "Upgrade and restart the workers (compose: docker compose up -d --build worker)."
        return failed(f"No living worker knows {', '.join(missing)}: such jobs wait for ever.", fix)
    return ok(f"{len(registry.kinds())} kinds.")


#: A delivery that is due for so long, while none is under way, is one that nobody sends.
OVERDUE_SECONDS = 300


@check(WORKERS, "Webhooks are sent")
async def webhooks(visit: Visit) -> Finding:
    await reached(visit)
    try:
        async with transaction() as session:
            found = await deliveries(session)
    except Exception:  # as above
        raise NotTried("Not tried: the tables of webhooks cannot be read.") from None
    return judge_webhooks(found)


def judge_webhooks(found: Deliveries) -> Finding:
    """Receivers that fail are no fault of the platform: they are told of, and their projects see it, too."""
    numbers = f"{found.pending} wait, {found.delivering} are under way, {found.dead} were given up within a day"
    if found.overdue_seconds > OVERDUE_SECONDS and not found.delivering:
        minutes = round(found.overdue_seconds / 60)
        fix = f"{START}, and see that WEBHOOK_SLOTS is not 0 there."
        return failed(f"A delivery is due since {minutes} minutes, and nobody sends it.", fix, numbers)
    failing = f"; {found.failing} webhooks fail" if found.failing else ""
    return ok(f"{numbers}{failing}.")


# --- this machine ----------------------------------------------------------------------------------------------------


async def ask_tool(tool: str, *arguments: str) -> str:
    """What a tool prints. Raises OSError when it cannot be started, TimeoutError when it does not end."""
    try:
        output = await run_tool([tool, *arguments], timeout_seconds=TOOL_SECONDS)
    except ToolMissing as error:
        raise FileNotFoundError(str(error)) from None
    except ToolTimeout as error:
        raise TimeoutError(str(error)) from None
    return output.stdout.decode(errors="replace")


@check(MACHINE, "ffmpeg and ffprobe are there")
async def tools(visit: Visit) -> Finding:
    told = {}
    for tool in ("ffmpeg", "ffprobe"):
        try:
            told[tool] = (await ask_tool(tool, "-version")).partition("\n")[0]
        except OSError as error:
            words = f"{tool} cannot be run on this machine: no upload can be read here."
            return failed(words, f"{_INSTALL}, and see that {tool} is on the PATH of web and workers.", str(error))
    return judge_version(told)


def judge_version(told: dict[str, str]) -> Finding:
    """`told` is the first line that each tool prints; builds from a repository have no number there."""
    for tool, line in told.items():
        found = re.search(r"version n?(\d+)\.(\d+)", line)
        if found and (int(found[1]), int(found[2])) < OLDEST_FFMPEG:
            return failed(f"{tool} {found[1]}.{found[2]} is too old.", f"{_INSTALL}, version 4.4 or later.", line)
    version = re.search(r"version (\S+)", told["ffmpeg"])
    return ok(f"ffmpeg {version[1] if version else 'of unknown version'}.", told["ffprobe"][:200])


@check(MACHINE, "Codecs and filters are there", seconds=30)
async def codecs(visit: Visit) -> Finding:
    if shutil.which("ffmpeg") is None:
        raise NotTried("Not tried: there is no ffmpeg.")
    lists = [await ask_tool("ffmpeg", "-hide_banner", word) for word in ("-encoders", "-decoders", "-filters")]
    return judge_codecs(*lists)


def judge_codecs(encoders: str, decoders: str, filters: str) -> Finding:
    """The three lists as ffmpeg prints them: flags, a name, words."""
    missing = [
        f"{name} ({of})"
        for of, wanted, printed in (
            ("encoder", ENCODERS, encoders),
            ("decoder", DECODERS, decoders),
            ("filter", FILTERS, filters),
        )
        for names in [_names(printed)]
        for name in wanted
        if not names & {name, *_ALSO.get(name, ())}
    ]
    if not missing:
        return ok("H.264 and AAC are made; HEVC, VP9, AV1 and the rest are read; HDR is tone-mapped.")
    words = f"This ffmpeg lacks {', '.join(missing)}"
    if any(each.partition(" ")[0] in _ESSENTIAL for each in missing):
        return failed(f"{words}: posters and renditions cannot be made.", f"{_INSTALL}.")
    return warning(f"{words}: films that need it fail, or look flat.", f"{_INSTALL}.")


def _names(printed: str) -> set[str]:
    return {words[1] for line in printed.splitlines() if len(words := line.split()) > 1}


@check(MACHINE, "The encoder works", seconds=20)
async def encoder(visit: Visit) -> Finding:
    """Encodes a few frames that ffmpeg draws, as conversions do it."""
    if shutil.which("ffmpeg") is None:
        raise NotTried("Not tried: there is no ffmpeg.")
    name = settings.video_encoder
    try:
        words = encoders.trial(name)
        tried = await run_tool(words, timeout_seconds=TRIAL_SECONDS, hardware=name != encoders.SOFTWARE)
    except ToolMissing as error:  # the wall that SANDBOX asks for
        raise NotTried(f"Not tried: {error}") from None
    except ToolTimeout as error:
        tried = ToolOutput(-1, b"", str(error))
    return judge_encoder(name, tried)


def judge_encoder(name: str, tried: ToolOutput) -> Finding:
    if tried.returncode == 0:
        return ok(f"{name} encodes{', in software' if name == encoders.SOFTWARE else ''}.")
    seen = next((line for line in tried.stderr.splitlines() if line.strip()), "it said nothing")[:300]
    if name == encoders.SOFTWARE:
        return failed(f"{name} does not encode: no conversion can be made here.", f"{_INSTALL}.", seen)
    return warning(
        f"VIDEO_ENCODER={name} does not work on this machine: each conversion is tried with it, and then made in"
        " software.",
        "Install the device's driver, let the user that runs the worker (in a container: the container) open it"
        " (/dev/nvidia*, /dev/dri/renderD128), and use an ffmpeg built with it; or leave VIDEO_ENCODER out.",
        seen,
    )


@check(MACHINE, "Media tools are walled in")
async def sandbox(visit: Visit) -> Finding:
    return judge_sandbox(await asyncio.to_thread(sandbox_report))


def judge_sandbox(report: SandboxReport) -> Finding:
    if report.kind == "bwrap":
        return ok(
            "bubblewrap: a hostile file sees none of ours, and has no network where the film lies on the disk. A call"
            " that reads the storage shares this machine's network; only ffmpeg's own lists of protocols and formats"
            f" keep it there ({DOCS}, Media tools)."
        )
    fix = (
        "Install bubblewrap (Debian's package bubblewrap) and allow user namespaces to the user that runs the worker"
        " (sysctl user.max_user_namespaces above 0; on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)."
    )
    if not report.wanted:
        return failed(f"SANDBOX asks for a wall that cannot be built: {report.why}", f"{fix} Or set SANDBOX=auto.")
    if settings.sandbox == "none":
        return warning(f"{report.why} Limits of time, memory and formats still hold.", "Set SANDBOX=auto.")
    return warning(f"{report.why} Limits of time, memory and formats still hold.", fix)


@check(MACHINE, "Disk for working files")
async def work_disk(visit: Visit) -> Finding:
    folder = Path(settings.work_dir or tempfile.gettempdir())
    return judge_disk(folder, free_bytes(folder), name="WORK_DIR", wanted=settings.max_upload_bytes)


@check(MACHINE, "Disk of the data folder")
async def data_disk(visit: Visit) -> Finding:
    folder = data_folder()
    if folder is None:
        return ok("The embedded servers of `make run` are not used.")
    return judge_disk(folder, free_bytes(folder), name="DATA_DIR", wanted=settings.max_upload_bytes)


def data_folder() -> Path | None:
    """The folder of the embedded servers, when we use them."""
    host = urlsplit(settings.s3_endpoint_url or "").hostname
    folder = Path(os.environ.get("DATA_DIR") or ROOT / ".data")
    return folder if host == "127.0.0.1" and (folder / "ports.json").exists() else None


def free_bytes(folder: Path) -> int | None:
    """Free bytes of its disk, or None when it cannot be read."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def judge_disk(folder: Path, free: int | None, *, name: str, wanted: int) -> Finding:
    """Below what is left to others nothing works; below `wanted` bytes a large film may not."""
    if free is None:
        return failed(f"{folder} cannot be used.", f"Make the folder, or set {name} to one that is there.")
    left = f"{free / 1024**3:.1f} GB free in {folder}"
    fix = f"Free some room, or set {name} to a folder on a larger disk."
    if free < SPARE_BYTES:
        return failed(f"The disk is full: {left}.", fix)
    if free < wanted + SPARE_BYTES:
        return warning(
            f"{left}: a film of the largest size allowed may not fit.", f"{fix} Or lower MAX_UPLOAD_SIZE_MB."
        )
    return ok(f"{left}.")


CHECKS = (alive, versions, queues, kinds, webhooks, tools, codecs, encoder, sandbox, work_disk, data_disk)
