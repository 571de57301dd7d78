"""Room to work in is reserved, bounded and given back, also when its holder is killed."""

import asyncio
import shutil
import signal
import sys
from pathlib import Path

import pytest

from backend.config import ConfigurationError, settings
from backend.jobs.running import JobError
from backend.videos import workspace
from backend.videos.workspace import remove_leftovers, temp_folder

MEGABYTE = 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import asyncio
from pathlib import Path
from backend.videos.workspace import temp_folder

async def hold():
    async with temp_folder(1024) as folder:
        Path(folder, "half").write_bytes(b"x")
        print(folder, flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "work_dir", str(tmp_path / "work"))
    monkeypatch.setenv("WORK_DIR", str(tmp_path / "work"))
    return tmp_path / "work"


def a_disk(monkeypatch: pytest.MonkeyPatch, *, total: int, free: int) -> None:
    """The disk is made up; filling a real one would be felt by others."""
    usage = shutil.disk_usage("/")._replace(total=total, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


async def refused(needed_bytes: int) -> JobError:
    with pytest.raises(JobError) as caught:
        async with temp_folder(needed_bytes):
            pass
    assert caught.value.code == "disk_full"
    return caught.value


async def test_a_folder_is_empty_private_and_gone_afterwards(work_dir: Path) -> None:
    async with temp_folder(MEGABYTE) as folder:
        assert list(folder.iterdir()) == []
        assert folder.parent.stat().st_mode & 0o077 == 0
        (folder / "a").write_bytes(b"x")
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError):
        async with temp_folder(MEGABYTE) as folder:
            print(1 / 0)
    assert not folder.exists()
    assert list(work_dir.glob("*/work-*")) == []


async def test_who_is_cancelled_while_reserving_leaves_nothing(work_dir: Path) -> None:
    async def use() -> None:
        async with temp_folder(MEGABYTE):
            await asyncio.sleep(60)

    for delay in (0, 0, 0.0005, 0.001, 0.002, 0.01):
        using = asyncio.create_task(use())
        await asyncio.sleep(delay)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
    assert list(work_dir.glob("*/work-*")) == []


async def test_a_full_disk_makes_the_job_wait_and_what_never_fits_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    a_disk(monkeypatch, total=1000 * MEGABYTE, free=300 * MEGABYTE)
    async with temp_folder(10 * MEGABYTE):
        pass
    waits = await refused(50 * MEGABYTE)
    assert (waits.retryable, waits.spends_attempt) == (True, False)
    never = await refused(800 * MEGABYTE)
    assert (never.retryable, never.spends_attempt) == (False, True)


async def test_what_neighbours_were_promised_is_not_promised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    a_disk(monkeypatch, total=1000 * MEGABYTE, free=356 * MEGABYTE)
    async with temp_folder(60 * MEGABYTE):
        assert (await refused(60 * MEGABYTE)).spends_attempt is False
        async with temp_folder(30 * MEGABYTE):
            pass
    async with temp_folder(60 * MEGABYTE):
        pass


async def test_the_whole_is_bounded_by_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "work_dir_max_mb", 10)
    async with temp_folder(6 * MEGABYTE) as folder:
        (folder / "more").write_bytes(b"x" * 7 * MEGABYTE)  # more than it said
        assert (await refused(4 * MEGABYTE)).spends_attempt is False
        async with temp_folder(2 * MEGABYTE):
            pass
    assert (await refused(11 * MEGABYTE)).spends_attempt is True


async def test_leftovers_of_the_killed_are_removed_and_live_folders_are_not(work_dir: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    holders = [await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, cwd=ROOT, stdout=pipe) for _ in "ab"]
    try:
        folders = []
        for holder in holders:
            assert holder.stdout is not None
            folders.append(Path((await holder.stdout.readline()).decode().strip()))
        async with temp_folder(1024) as own:
            holders[0].send_signal(signal.SIGKILL)
            await holders[0].wait()
            assert folders[0].exists()
            assert remove_leftovers() == 1
            assert [own.exists(), *(folder.exists() for folder in folders)] == [True, False, True]
    finally:
        for holder in holders:
            if holder.returncode is None:
                holder.kill()
            await holder.wait()
    assert remove_leftovers() == 1
    assert [path.name for path in work_dir.glob("*/*")] == ["lock"]


def test_a_folder_that_others_prepared_is_not_used(work_dir: Path, tmp_path: Path) -> None:
    work_dir.mkdir()
    mine = tmp_path / "elsewhere"
    mine.mkdir()
    base = workspace._base()
    base.rmdir()
    base.symlink_to(mine)
    with pytest.raises(ConfigurationError, match="not a folder of our own"):
        remove_leftovers()
    base.unlink()
    base.mkdir()
    base.chmod(0o777)
    with pytest.raises(ConfigurationError, match="not a folder of our own"):
        remove_leftovers()


def test_a_place_that_cannot_be_used_is_named(work_dir: Path) -> None:
    work_dir.write_text("a file")
    with pytest.raises(ConfigurationError, match=r"WORK_DIR: .* cannot be used"):
        remove_leftovers()
