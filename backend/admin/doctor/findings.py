"""What a check is and what it finds. All are run at once, each with a time of its own: what hangs fails alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import httpx
import structlog

from backend.admin.doctor.visit import NotTried, Visit

log = structlog.get_logger(__name__)

#: Wall time of a check that says nothing else, in seconds.
CHECK_SECONDS = 10.0
#: After this many seconds' difference a clock gets a warning; after the second figure signatures and tokens break.
CLOCK_WARNING_SECONDS = 10.0
CLOCK_FAILED_SECONDS = 120.0


class State(StrEnum):
    """How a check ended. Only `failed` makes the doctor answer with an error."""

    OK = "ok"
    #: Works, and somebody should look at it; the fix says what to do.
    WARNING = "warning"
    FAILED = "failed"
    #: Could not be tried, because something else failed that its words name.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `fix` says what exactly to do, naming the setting or the command; empty when all is well.

    `detail` is for who looks closer: an answer's status, a version, an exception.
    """

    state: State
    words: str
    fix: str = ""
    detail: str = ""
    name: str = ""
    group: str = ""
    title: str = ""
    #: Seconds it took.
    seconds: float = 0.0


def ok(words: str, detail: str = "") -> Finding:
    return Finding(State.OK, words, detail=detail)


def warning(words: str, fix: str, detail: str = "") -> Finding:
    return Finding(State.WARNING, words, fix, detail)


def failed(words: str, fix: str, detail: str = "") -> Finding:
    return Finding(State.FAILED, words, fix, detail)


def clock(seconds: float, of: str) -> Finding:
    """The verdict on a clock that is `seconds` ahead of ours (negative: behind)."""
    told = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    fix = f"Run a time service (chrony, systemd-timesyncd) on this machine and on that of {of}."
    if abs(seconds) >= CLOCK_FAILED_SECONDS:
        return failed(f"The clock of {of} is {told}: signed addresses and tokens are refused or live too long.", fix)
    if abs(seconds) >= CLOCK_WARNING_SECONDS:
        return warning(f"The clock of {of} is {told}.", fix)
    return ok(f"Less than {max(1, round(abs(seconds) + 0.5))} s apart.")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try. `name` is stable and for programs."""

    name: str
    group: str
    title: str
    run: Callable[[Visit], Awaitable[Finding]]
    seconds: float = CHECK_SECONDS


def check(
    group: str, title: str, *, seconds: float = CHECK_SECONDS
) -> Callable[[Callable[[Visit], Coroutine[Any, Any, Finding]]], Check]:
    """Make a check of a function; its name is the module's and the function's."""

    def make(function: Callable[[Visit], Coroutine[Any, Any, Finding]]) -> Check:
        module = function.__module__.rpartition(".")[2]
        return Check(f"{module}.{function.__name__}", group, title, function, seconds)

    return make


async def run_one(check: Check, visit: Visit) -> Finding:
    """What the check finds. Never raises: a check that breaks or hangs has failed."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(check.seconds):
            found = await check.run(visit)
    except NotTried as reason:
        found = Finding(State.SKIPPED, str(reason))
    except TimeoutError:
        found = failed(
            f"No answer within {check.seconds:.0f} s.",
            "Look whether that server hangs or a firewall drops the packets, then run the doctor again.",
        )
    except httpx.HTTPError as error:
        found = failed(
            "The connection broke while it was tried.",
            "Look at the log of that server, and of a proxy in front of it, at this moment.",
            type(error).__name__,
        )
    except Exception as error:  # whatever it is, it is this check's alone
        log.warning("doctor.check_broke", check=check.name, error=repr(error))
        found = failed(
            "The check itself broke.",
            "Look at the log of this process for doctor.check_broke, and report it with that line.",
            f"{type(error).__name__}: {error}"[:500],
        )
    seconds = round(time.monotonic() - began, 3)
    return replace(found, name=check.name, group=check.group, title=check.title, seconds=seconds)


async def run_all(checks: Sequence[Check], visit: Visit) -> list[Finding]:
    """All of them at once, in their order."""
    return list(await asyncio.gather(*(run_one(each, visit) for each in checks)))


def worst(findings: Sequence[Finding]) -> State:
    """The state of the whole: failed, warning or ok."""
    states = {finding.state for finding in findings}
    return next((state for state in (State.FAILED, State.WARNING) if state in states), State.OK)
