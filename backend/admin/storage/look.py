"""A stretch of the storage beside the ledger, as much as one waits for on a page."""

from dataclasses import dataclass

from backend.core.db import transaction
from backend.orgs import audit
from backend.orgs.access import Actor
from backend.videos.reconcile import Finding, Reconciliation, Totals

#: How long one look takes at most, and how much it lists.
SECONDS = 5.0
MOST_LISTED = 200


@dataclass(frozen=True)
class Look:
    """What was found that is old enough to tell; `totals.next_after` is where the next look goes on."""

    findings: list[Finding]
    totals: Totals


async def look(*, after: str = "") -> Look:
    """What is wrong from the key `after` on. Raises StorageUnavailable."""
    return await _collect(Reconciliation(after=after, seconds=SECONDS))


async def mend(*, actor: Actor, after: str = "") -> Look:
    """The same, and mend what is old enough. Raises StorageUnavailable."""
    seen = await _collect(Reconciliation(fix=True, after=after, seconds=SECONDS))
    mended = [{"key": each.key, "how": each.mended} for each in seen.findings if each.mended]
    async with transaction() as session:
        await audit.record(
            session, actor=actor, action="storage.mend", object_type="storage", object_id="", detail={"mended": mended}
        )
    return seen


async def _collect(run: Reconciliation) -> Look:
    findings: list[Finding] = []
    async for finding in run.findings():
        if finding.young:  # it is counted; most of them are on their way
            continue
        findings.append(finding)
        if len(findings) >= MOST_LISTED:
            run.totals.next_after = finding.key
            break
    return Look(findings, run.totals)
