"""Workers on this machine whose process is gone: their jobs need not wait for the lease to run out.

A worker's name says where its process lives (host, boot and process-id namespace) and which it is. Only a worker of the
same place can tell that the process is gone; all others wait for the lease. A wrong guess would do no harm: the lease
token fences whatever a worker writes.
"""

import functools
import hashlib
import os
import secrets
import socket
from pathlib import Path

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.jobs.models import Job, JobState

log = structlog.get_logger(__name__)


@functools.cache
def place() -> str:
    """The part of a worker's name that all workers share which see each other's processes."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespace = Path("/proc/self/ns/pid").readlink()
    seen = hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:8]
    return f"{socket.gethostname()[:80]}-{seen}-"


def worker_name() -> str:
    """A name for this process that no other worker has, or had."""
    return f"{place()}{os.getpid()}-{secrets.token_hex(3)}"


def is_gone(worker: str) -> bool:
    """Whether this worker is of our place and its process does not run any more."""
    if not worker.startswith(place()):
        return False
    pid = worker.removeprefix(place()).partition("-")[0]
    return pid.isdigit() and not _runs(pid)


def _runs(pid: str) -> bool:
    try:
        stat = Path("/proc", pid, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:  # no file descriptor left, or not ours to read: nobody can tell
        return True
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")  # ended, and its parent has not looked yet


async def disown(session: AsyncSession) -> int:
    """End the leases of workers that are gone, so that the next sweep rescues their jobs. Answers how many."""
    holders = await session.scalars(select(Job.worker).where(Job.state == JobState.RUNNING).distinct())
    gone = [worker for worker in holders if worker is not None and is_gone(worker)]
    if not gone:
        return 0
    ended = await session.scalars(
        update(Job)
        .where(Job.state == JobState.RUNNING, Job.worker.in_(gone), Job.lease_until > func.now())
        .values(lease_until=func.now())
        .returning(Job.id)
    )
    count = len(ended.all())
    if count:
        log.warning("worker.gone", workers=gone, jobs=count)
    return count
