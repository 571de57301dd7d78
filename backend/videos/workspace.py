"""Room on the disk for what media tools write: reserved before it is used, bounded, and always given back.

Each reservation is a folder below `WORK_DIR`, with a lock beside what the tools see. The lock's file tells how much was
reserved; the kernel opens it when its process dies, and what nobody holds any more is a leftover.
"""

import asyncio
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog

from backend.config import ConfigurationError, settings
from backend.jobs.running import JobError

log = structlog.get_logger(__name__)

#: So much of the disk is left to others.
SPARE_BYTES = 256 * 1024 * 1024

_MEGABYTE = 1024 * 1024
_PREFIX = "work-"
_RESERVED = "reserved"
_FILES = "files"


@asynccontextmanager
async def temp_folder(needed_bytes: int) -> AsyncIterator[Path]:
    """An empty folder with room for `needed_bytes`, gone afterwards with all that is in it.

    Raises JobError `disk_full`: while others use the room, one that makes the job wait without spending an attempt;
    when it could never fit, one that ends it. ConfigurationError: where WORK_DIR cannot be used.
    """
    room = _Room(needed_bytes)
    try:
        await _to_the_end(room.take)
        assert room.folder is not None
        yield room.folder / _FILES
    finally:
        await _to_the_end(room.give_back)


def remove_leftovers() -> int:
    """Remove what killed processes left, and nothing that a live one holds; returns how many folders. Blocks.

    Raises ConfigurationError: where WORK_DIR cannot be used.
    """
    base = _base()
    with _alone(base):
        left = [folder for folder in base.glob(f"{_PREFIX}*") if not _is_held(folder)]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
    return len(left)


class _Room:
    """One reservation; `give_back` after any `take`, whether that came to its end or not."""

    def __init__(self, needed_bytes: int) -> None:
        self.folder: Path | None = None
        self._needed = needed_bytes
        self._lock: int | None = None

    def take(self) -> None:
        base = _base()
        if self._needed > _capacity(base):
            words = "This file needs more room to work on than there is on the server's disk."
            raise JobError("disk_full", words, retryable=False)
        with _alone(base):
            free = _free(base)
            if self._needed > free:
                log.warning("work.disk_full", needed_mb=self._needed // _MEGABYTE, free_mb=free // _MEGABYTE)
                words = "The server's disk has no room for this at the moment. It goes on when there is."
                raise JobError("disk_full", words, retryable=True, spends_attempt=False)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            self._lock = os.open(self.folder / _RESERVED, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            os.write(self._lock, str(self._needed).encode())
            (self.folder / _FILES).mkdir()

    def give_back(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


async def _to_the_end(function: Callable[[], None]) -> None:
    """Run it in a thread; who is cancelled meanwhile waits for it, because a thread cannot be stopped."""
    work = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


def _base() -> Path:
    """Our folder below WORK_DIR: nobody else may be able to prepare it for us, which matters in a common /tmp."""
    root = Path(settings.work_dir or tempfile.gettempdir())
    base = root / f"dailies-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, parents=bool(settings.work_dir), exist_ok=True)
        state = base.lstat()
    except OSError as error:
        raise ConfigurationError(f"WORK_DIR: {root} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise ConfigurationError(f"WORK_DIR: {base} is not a folder of our own; remove it, or name another WORK_DIR")
    return base


@contextmanager
def _alone(base: Path) -> Iterator[None]:
    """One process at a time counts, makes and removes."""
    lock = os.open(base / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_held(folder: Path) -> bool:
    try:
        lock = os.open(folder / _RESERVED, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _capacity(base: Path) -> int:
    """What could be had if nobody used any."""
    disk = shutil.disk_usage(base).total - SPARE_BYTES
    return min(disk, settings.work_dir_max_mb * _MEGABYTE) if settings.work_dir_max_mb else disk


def _free(base: Path) -> int:
    """What may still be reserved: of the disk, less what neighbours were promised and have not written yet."""
    promised, taken = 0, 0
    for folder in base.glob(f"{_PREFIX}*"):
        written = _written(folder)
        reserved = max(_promise(folder), written)
        promised += reserved - written
        taken += reserved
    free = shutil.disk_usage(base).free - SPARE_BYTES - promised
    return min(free, settings.work_dir_max_mb * _MEGABYTE - taken) if settings.work_dir_max_mb else free


def _promise(folder: Path) -> int:
    try:
        return int((folder / _RESERVED).read_text() or 0)
    except (OSError, ValueError):
        return 0


def _written(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue  # it went away while we looked
    return total
