"""Files that nobody means well with: each gets its answer, and none gets anything else.

No tool crashes on them or hangs, none calls anybody or opens a file of the server's, and no byte of one comes out.
"""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from backend.config import settings
from backend.videos import confinement
from backend.videos.media import probe
from backend.videos.media_info import MediaError, MediaInfo
from backend.videos.poster import poster
from backend.videos.preview import plan_sheet, preview
from backend.videos.renditions import plan_rendition, render
from tests.videos.hostile import containers, damage, headers, pictures, references
from tests.videos.hostile.conftest import Table
from tests.videos.hostile.kit import TAKEN, Hostile, Kit, Listener, Watch
from tests.videos.test_media_http import Storage, serving

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

FILES = [*references.FILES, *damage.FILES, *headers.FILES, *pictures.FILES, *containers.FILES]
#: No single file may hold up the queue for longer.
HANG_SECONDS = 20
#: One of each kind that the wall is there for: they point elsewhere, or are made to take a tool over.
KEY_CASES = {
    "hls-http.mp4",
    "concat-file.mov",
    "dref-file.mov",
    "linked-segments.mkv",
    "compressed-bomb.mov",
    "cenc.mp4",
}
#: What hostile tags hold; nothing of it may come out of a description.
LOUD = ("evil-9b2c", "<script", "\x1b", "\x00", "canary")


@dataclass
class Outcome:
    """What became of one file, over http and, where it points elsewhere, from the disk as well."""

    codes: list[str] = field(default_factory=list)
    described: list[MediaInfo] = field(default_factory=list)
    words: str = ""
    seconds: float = 0
    leaks: list[str] = field(default_factory=list)


async def meet(bad: Hostile, kit: Kit, making: asyncio.Lock) -> Outcome:
    """Do with the file what is done with uploads, and look at what came out."""
    outcome = Outcome()
    place = Path(mkdtemp(dir=kit.folder))
    path, outputs = place / bad.name, place / "outputs"
    async with making:  # clips are shared
        path.write_bytes(await asyncio.to_thread(bad.make, kit))
    outputs.mkdir()
    async with serving(Storage(path)) as storage:
        for source in [storage.address, *([f"file:{path}"] if bad.kind in ("playlist", "reference") else [])]:
            began = time.monotonic()
            await process(source, outputs, outcome)
            outcome.seconds = max(outcome.seconds, time.monotonic() - began)
            outcome.leaks += leaks(outputs, kit)
    shutil.rmtree(place)
    return outcome


async def process(source: str, outputs: Path, outcome: Outcome) -> None:
    """Probe and poster decide; preview and rendition may fail with words of their own."""
    still, sheet_file = outputs / "poster.jpg", outputs / "preview.jpg"
    try:
        info = await probe(source)
        await poster(source, still, info)
    except MediaError as error:
        assert not still.exists()
        outcome.codes.append(error.code)
        outcome.words += f"{error} {error.detail}"
        return
    outcome.codes.append(TAKEN)
    outcome.described.append(info)
    if (sheet := plan_sheet(info)) is not None:
        try:
            await preview(source, sheet_file, info, sheet, timeout_seconds=HANG_SECONDS)
        except MediaError as error:
            outcome.words += f"{error} {error.detail}"
    if not info.playable:
        plan, long = plan_rendition(info, max_height=180), HANG_SECONDS
        dest = outputs / f"rendition.{plan.container}"
        try:
            await render(source, dest, info, plan, tell=nobody, timeout_seconds=long, stall_seconds=long)
        except MediaError as error:
            outcome.words += f"{error} {error.detail}"


async def nobody(share: float) -> None: ...


def leaks(outputs: Path, kit: Kit) -> list[str]:
    """Which outputs hold what they must not; all are removed."""
    found = []
    for made in outputs.iterdir():
        if any(each in made.read_bytes() for each in (kit.token.encode(), b"evil-9b2c")):
            found.append(made.name)
        made.unlink()
    return found


@pytest.fixture(scope="module")
async def outcomes(
    request: pytest.FixtureRequest, kit: Kit, watch: Watch, crashes: list[str], table: Table
) -> AsyncIterator[dict[str, asyncio.Task[Outcome]]]:
    """What becomes of each file that a test asks for; two at a time, because a tool uses one core."""
    turns, making = asyncio.Semaphore(2), asyncio.Lock()

    async def in_turn(bad: Hostile) -> Outcome:
        async with turns:
            return await meet(bad, kit, making)

    name = "test_it_gets_its_answer_and_nothing_else"
    functions = [item for item in request.session.items if isinstance(item, pytest.Function)]
    asked: list[Hostile] = [item.callspec.params["bad"] for item in functions if item.originalname == name]  # type: ignore[misc]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "sandbox", "none")  # the flags alone must hold
        patch.setattr("backend.videos.poster.PATIENCE_SECONDS", 3)
        tasks = {bad.name: asyncio.create_task(in_turn(bad)) for bad in asked}
        yield tasks
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    table.crashes = len(crashes)


def check_facts(info: MediaInfo, expected: Hostile) -> None:
    for name, value in expected.facts.items():
        told: Any = getattr(info, name)
        assert told == (pytest.approx(value, abs=0.15) if isinstance(value, float) else value), name
    assert 1 <= info.width <= 81_920
    assert 1 <= info.height <= 81_920
    assert info.rotation in (0, 90, 180, 270)
    assert 0.1 <= info.sar <= 10
    assert info.duration is None or 0 < info.duration <= settings.max_duration_seconds
    assert len(info.streams) <= 32
    assert not [each for each in LOUD if each in repr(info) + repr(info.streams)]


@pytest.mark.parametrize("bad", FILES, ids=lambda bad: bad.name)
async def test_it_gets_its_answer_and_nothing_else(
    bad: Hostile, outcomes: dict[str, asyncio.Task[Outcome]], listener: Listener, crashes: list[str], table: Table
) -> None:
    outcome = await outcomes[bad.name]
    table.answers[bad.kind][outcome.codes[0]] += 1
    table.seconds[bad.kind].append(outcome.seconds)
    table.calls = listener.calls
    assert set(outcome.codes) <= bad.codes, outcome.words
    for info in outcome.described:
        check_facts(info, bad)
    assert outcome.leaks == []
    assert not [each for each in LOUD if each in outcome.words]
    assert outcome.seconds < HANG_SECONDS
    assert crashes == []


async def test_a_machine_without_bubblewrap_gives_the_same_answers(
    kit: Kit, crashes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("ffmpeg", "ffprobe", "prlimit", "setpriv"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(settings, "sandbox", "auto")
    confinement._why_not.cache_clear()
    try:
        assert "not installed" in confinement.sandbox_report().why
        for bad in (bad for bad in FILES if bad.name in KEY_CASES):
            outcome = await meet(bad, kit, asyncio.Lock())
            assert set(outcome.codes) <= bad.codes, (bad.name, outcome.words)
            assert outcome.leaks == []
    finally:
        confinement._why_not.cache_clear()
    assert crashes == []


def test_nobody_was_called_and_the_canary_was_left_alone(listener: Listener, watch: Watch, table: Table) -> None:
    """After all of them, because two are at work at any time."""
    table.opened, table.calls = watch.opened(), listener.calls
    assert (table.opened, table.calls) == (0, 0)


async def test_the_traps_would_notice(kit: Kit, listener: Listener, watch: Watch, tmp_path: Path) -> None:
    """A tool without our flags is led astray by these files; else the test above would prove nothing."""
    before, opened = listener.calls, watch.opened()
    path = tmp_path / "a.mp4"
    wanted = {"hls-http.mp4", "concat-file.mov"}
    for bad in (bad for bad in FILES if bad.name in wanted):
        path.write_bytes(bad.make(kit))
        words = ["ffprobe", "-v", "quiet", "-protocol_whitelist", "file,http,tcp", "-safe", "0", "-i", str(path)]
        if "concat" not in bad.name:
            del words[5:7]
        await asyncio.to_thread(subprocess.run, words, check=False, timeout=20)
    assert watch.opened() > opened == 0
    assert listener.calls > before
    listener.calls = before


def test_there_are_enough_of_them_and_no_two_alike() -> None:
    names = {bad.name for bad in FILES}
    assert len(names) == len(FILES) >= 60
    assert names >= KEY_CASES
