"""The list of all checks, and a run of them: one at a time in this process, whoever asks."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import backend.kinds  # noqa: F401
from backend import __version__
from backend.admin.doctor import cors, database, generating, redis, storage, web, work
from backend.admin.doctor.findings import Check, Finding, State, run_all, worst
from backend.admin.doctor.visit import visiting

#: Every check, in the order in which they are shown.
CHECKS: tuple[Check, ...] = (
    *database.CHECKS,
    *redis.CHECKS,
    *storage.CHECKS,
    *cors.CHECKS,
    *web.CHECKS,
    *work.CHECKS,
    *generating.CHECKS,
)
#: A report this young is shown again to whoever only looks.
FRESH = timedelta(seconds=30)


@dataclass(frozen=True)
class Report:
    """What one run found."""

    findings: list[Finding]
    at: datetime
    version: str = __version__

    @property
    def state(self) -> State:
        return worst(self.findings)

    def count(self, state: State | str) -> int:
        return sum(finding.state == state for finding in self.findings)

    def groups(self) -> list[tuple[str, list[Finding]]]:
        """The findings by group, those that need a hand first."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.group, []).append(finding)
        order = [State.FAILED, State.WARNING, State.OK]
        return sorted(found.items(), key=lambda group: order.index(worst(group[1])))


async def examine() -> Report:
    """Run all checks. Takes as long as the slowest; leaves no object in the storage."""
    async with visiting() as visit:
        findings = await run_all(CHECKS, visit)
    return Report(findings, datetime.now(UTC))


class Surgery:
    """One run at a time, shared by all who ask meanwhile; it goes on when they leave."""

    def __init__(self) -> None:
        self._running: asyncio.Task[Report] | None = None
        self._last: Report | None = None

    async def look(self) -> Report:
        """A report that is not old."""
        if self._last is not None and datetime.now(UTC) - self._last.at < FRESH:
            return self._last
        return await self.examine()

    async def examine(self) -> Report:
        """A report of a run that began now, or is going on."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(examine())
        self._last = await asyncio.shield(self._running)
        return self._last

    def forget(self) -> None:
        self._last = None


surgery = Surgery()
