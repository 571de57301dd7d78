"""What holds for every check: it ends in its time, alone, and what fails says what to do."""

import asyncio
import time

import httpx
import pytest

from backend.admin.doctor.examination import CHECKS
from backend.admin.doctor.findings import Check, Finding, State, clock, failed, ok, run_all, worst
from backend.admin.doctor.visit import NotTried, Visit, visiting
from tests.admin.doctor.conftest import Examine


def test_every_check_has_a_name_of_its_own_and_says_what_it_tries() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS) > 35
    assert len({(check.group, check.title) for check in CHECKS}) == len(CHECKS)


async def hang(visit: Visit) -> Finding:
    await asyncio.sleep(600)
    raise AssertionError


async def broken(visit: Visit) -> Finding:
    raise ZeroDivisionError


async def torn(visit: Visit) -> Finding:
    raise httpx.ReadError("")


async def useless(visit: Visit) -> Finding:
    raise NotTried("Not tried: something else failed.")


async def well(visit: Visit) -> Finding:
    return ok("Fine.")


async def test_a_check_that_hangs_or_breaks_fails_alone(examine: Examine) -> None:
    checks = [Check(each.__name__, "Group", "Title", each, 0.5) for each in (hang, broken, torn, useless, well)]
    began = time.monotonic()
    async with visiting() as visit:
        found = await run_all(checks, visit)
    assert time.monotonic() - began < 60
    states = [State.FAILED, State.FAILED, State.FAILED, State.SKIPPED, State.OK]
    assert [finding.state for finding in found] == states
    assert [finding.name for finding in found] == ["hang", "broken", "torn", "useless", "well"]
    assert all(finding.fix for finding in found[:3])
    assert "ZeroDivisionError" in found[1].detail
    assert worst(found) is State.FAILED
    assert worst(found[3:]) is State.OK


async def test_what_is_shared_is_asked_once_also_by_those_who_give_up(examine: Examine) -> None:
    asked, go = 0, asyncio.Event()

    async def slowly() -> int:
        nonlocal asked
        asked += 1
        await go.wait()
        return asked

    async with visiting() as visit:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(visit.shared("slow", slowly), 0.05)
        go.set()
        assert tuple(await asyncio.gather(visit.shared("slow", slowly), visit.shared("slow", slowly))) == (1, 1)


@pytest.mark.parametrize(
    ("seconds", "state"),
    [(0.2, State.OK), (-9, State.OK), (11, State.WARNING), (-119, State.WARNING), (-121, State.FAILED)],
)
def test_clocks_may_differ_a_little(seconds: float, state: State) -> None:
    found = clock(seconds, "the storage")
    assert found.state is state
    assert (state is State.OK) != ("chrony" in found.fix)


def test_what_failed_always_says_how_to_mend_it() -> None:
    assert failed("It is broken.", "Do this.").fix == "Do this."
