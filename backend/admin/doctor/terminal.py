"""`dailies doctor`: a run without a web process, as lines for people or as JSON."""

from pathlib import Path

from sqlalchemy.exc import ArgumentError

from backend.admin.doctor.examination import Report, examine
from backend.admin.doctor.findings import State
from backend.admin.doctor.web import same_settings
from backend.core import logging
from backend.core.db import database
from backend.core.redis import redis

WORDS = {State.OK: "ok", State.WARNING: "warning", State.FAILED: "failed", State.SKIPPED: "not tried"}


async def run() -> Report:
    """All checks, by the settings of now. Raises ValueError for an address in them that cannot be one."""
    logging.configure(level="ERROR")  # what a check finds is in its words
    try:
        database.open()
    except ArgumentError as error:
        raise ValueError(str(error)) from None
    redis.open()
    try:
        return await examine()
    finally:
        await redis.close()
        await database.close()


def lines(report: Report, *, folder: Path | None = None) -> list[str]:
    """Whose settings were tried; one line for each check, and below it what to do when it is not well.

    `folder` is that of the embedded servers, when they were found by it.
    """
    whose = f", with the embedded servers in {folder}" if folder is not None else ""
    told = [f"Tried with the settings of this command{whose}, on this machine."]
    told += [f"But: {each.words}" for each in report.findings if each.name == same_settings.name and each.fix]
    for finding in report.findings:
        told.append(f"{WORDS[finding.state]:<10}{finding.group}: {finding.title}. {finding.words}")
        if finding.fix:
            told.append(f"{'':<10}  fix: {finding.fix}")
        if finding.detail and finding.state in (State.FAILED, State.WARNING):
            told.append(f"{'':<10}  seen: {finding.detail}")
    failed, warned = report.count(State.FAILED), report.count(State.WARNING)
    return [*told, f"{len(report.findings)} checks: {failed} failed, {warned} with a warning"]
