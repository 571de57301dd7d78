"""The checks of workers, with rows as real ones leave them; of media tools, with fakes on the PATH; of the disk."""

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, update

from backend import __version__
from backend.admin.doctor import work as checks
from backend.admin.doctor.findings import State
from backend.config import settings
from backend.core.db import transaction
from backend.core.queue import registry
from backend.jobs import queues
from backend.jobs.models import WorkerRow
from backend.jobs.running import Runner
from backend.jobs.workers import Registration
from backend.videos.confinement import SandboxReport
from tests.admin.doctor.conftest import Examine
from tests.webhooks.conftest import Hooks, Receiver, answer

GIGABYTE = 1024**3


@pytest.fixture
async def at_work(examine: Examine) -> Registration:
    """A worker of this version that serves everything."""
    every = sorted({registry.get(kind).queue for kind in registry.kinds()})
    runner = Runner(worker="tester", queues=every, slots=2)
    registration = Registration(runner)
    await registration.beat()
    return registration


async def change(registration: Registration, **values: Any) -> None:
    async with transaction() as session:
        await session.execute(update(WorkerRow).where(WorkerRow.id == registration.id).values(**values))


async def test_a_worker_that_serves_everything_is_well(examine: Examine, at_work: Registration) -> None:
    for check in (checks.alive, checks.versions, checks.queues, checks.kinds):
        found = await examine(check)
        assert (found.state, found.fix) == (State.OK, ""), found


async def test_no_worker_was_ever_started(examine: Examine) -> None:
    found = await examine(checks.alive)
    assert (found.state, "dailies worker" in found.fix) == (State.FAILED, True)
    for check in (checks.versions, checks.queues, checks.kinds):
        assert (await examine(check)).state is State.SKIPPED


async def test_the_only_worker_was_stopped_or_died(examine: Examine, at_work: Registration) -> None:
    await change(at_work, last_seen_at=func.now() - timedelta(minutes=1))
    found = await examine(checks.alive)
    assert (found.state, found.detail) == (State.FAILED, "last seen: tester, lost")
    await at_work.beat()
    await at_work.stop()
    found = await examine(checks.alive)
    assert (found.state, found.detail) == (State.FAILED, "last seen: tester, stopped")
    assert "docker compose up -d worker" in found.fix


async def test_a_worker_of_an_older_version(examine: Examine, at_work: Registration) -> None:
    await change(at_work, version="0.0.1")
    found = await examine(checks.versions)
    assert (found.state, "tester (0.0.1)" in found.words) == (State.FAILED, True)
    assert f"runs {__version__}" in found.fix


async def test_webhooks_that_nobody_sends(examine: Examine, hooks: Hooks, receiver: Receiver) -> None:
    await hooks.make(receiver.url())
    await hooks.emit()
    found = await examine(checks.webhooks)
    assert (found.state, found.words.startswith("1 wait, 0 are under way")) == (State.OK, True)
    await hooks.change(next_try_at=func.now() - timedelta(minutes=7))
    found = await examine(checks.webhooks)
    assert (found.state, "7 minutes" in found.words, "WEBHOOK_SLOTS" in found.fix) == (State.FAILED, True, True)
    receiver.says(answer(500))
    await hooks.deliver()
    found = await examine(checks.webhooks)
    assert (found.state, "1 webhooks fail" in found.words) == (State.OK, True)


async def test_a_worker_that_does_not_know_a_kind(examine: Examine, at_work: Registration) -> None:
    await change(at_work, kinds=["process_video"])
    found = await examine(checks.kinds)
    assert (found.state, "purge_video" in found.words, "restart" in found.fix) == (State.FAILED, True, True)


async def test_a_queue_without_a_worker(examine: Examine, at_work: Registration) -> None:
    await change(at_work, queues=["default"])
    found = await examine(checks.queues)
    assert (found.state, "media" in found.words) == (State.FAILED, True)
    wanted = sorted({*settings.worker_queues, *(registry.get(kind).queue for kind in registry.kinds())} - {"gpu"})
    assert f"WORKER_QUEUES={','.join(wanted)}" in found.fix


async def test_the_gpu_needs_a_worker_only_where_something_is_made_on_it(
    examine: Examine, at_work: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = {registry.get(kind).queue for kind in registry.kinds()}  # those of other tests, too
    await change(at_work, queues=sorted({*settings.worker_queues, *declared} - {"gpu"}))
    assert (await examine(checks.queues)).state is State.OK
    monkeypatch.setattr(settings, "diffusers_video_model", "/models/wan")
    found = await examine(checks.queues)
    assert (found.state, "gpu" in found.words) == (State.FAILED, True)


async def test_a_paused_queue_is_a_warning(examine: Examine, at_work: Registration) -> None:
    async with transaction() as session:
        await queues.pause(session, "media", by="ada")
    found = await examine(checks.queues)
    assert (found.state, "Resume" in found.fix) == (State.WARNING, True)


# --- media tools -----------------------------------------------------------------------------------------------------


async def test_the_tools_of_this_machine_are_well(examine: Examine) -> None:
    for check in (checks.tools, checks.codecs):
        found = await examine(check)
        assert (found.state, found.fix) == (State.OK, ""), found


def fake(folder: Path, tool: str, script: str) -> None:
    path = folder / tool
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is looked through before all others."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


async def test_no_ffmpeg_is_installed(examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = await examine(checks.tools)
    assert (found.state, "Debian's package ffmpeg" in found.fix) == (State.FAILED, True)
    assert (await examine(checks.codecs)).state is State.SKIPPED


async def test_an_ffmpeg_of_long_ago(examine: Examine, path: Path) -> None:
    for tool in ("ffmpeg", "ffprobe"):
        fake(path, tool, f"echo '{tool} version 3.4.11-0ubuntu0.1 Copyright'")
    found = await examine(checks.tools)
    assert (found.state, "4.4 or later" in found.fix) == (State.FAILED, True)


@pytest.mark.parametrize("version", ["n7.1", "N-118000-gabcdef", "8.0-full_build", "6.1.1-tessus"])
def test_versions_as_builds_print_them(version: str) -> None:
    line = f"ffmpeg version {version} Copyright (c) 2000-2026 the FFmpeg developers"
    found = checks.judge_version({"ffmpeg": line, "ffprobe": line})
    assert (found.state, version in found.words) == (State.OK, True)


@pytest.mark.parametrize(
    ("lacking", "state"),
    [("libx264", State.FAILED), ("hevc", State.WARNING), ("libdav1d|libaom-av1|av1", State.WARNING)],
)
async def test_an_ffmpeg_that_lacks_a_codec(lacking: str, state: State, examine: Examine, path: Path) -> None:
    real = shutil.which("ffmpeg")
    fake(path, "ffmpeg", f'{real} "$@" | grep -vwE "{lacking}"')
    found = await examine(checks.codecs)
    assert (found.state, "full build" in found.fix) == (state, True), found
    assert lacking.split("|")[-1] in found.words


async def test_an_ffmpeg_without_tone_mapping(examine: Examine, path: Path) -> None:
    real = shutil.which("ffmpeg")
    fake(path, "ffmpeg", f'{real} "$@" | grep -vw zscale')
    found = await examine(checks.codecs)
    assert (found.state, "zscale (filter)" in found.words) == (State.WARNING, True)


async def test_the_encoder_of_the_settings_is_tried_on_some_frames(
    examine: Examine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await examine(checks.encoder)
    assert (found.state, found.words) == (State.OK, "libx264 encodes, in software.")
    devices = {"h264_nvenc": "/dev/nvidiactl", "h264_vaapi": "/dev/dri", "h264_qsv": "/dev/dri"}
    for name in (name for name, device in devices.items() if not Path(device).exists()):
        monkeypatch.setattr(settings, "video_encoder", name)
        found = await examine(checks.encoder)
        assert (found.state, "leave VIDEO_ENCODER out" in found.fix) == (State.WARNING, True), found
        assert f"VIDEO_ENCODER={name} does not work" in found.words
        assert found.detail
    monkeypatch.setattr(settings, "video_encoder", "libx264")
    fake(path, "ffmpeg", "echo 'Unknown encoder' >&2; exit 1")
    monkeypatch.setattr(settings, "sandbox", "none")
    found = await examine(checks.encoder)
    assert (found.state, found.detail) == (State.FAILED, "Unknown encoder")


def test_the_wall_around_media_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    none = SandboxReport("none", "bubblewrap is not installed (Debian's package: bubblewrap).")
    found = checks.judge_sandbox(SandboxReport("bwrap", ""))
    assert (found.state, "shares this machine's network" in found.words) == (State.OK, True)
    monkeypatch.setattr(settings, "sandbox", "auto")
    found = checks.judge_sandbox(none)
    assert (found.state, "user.max_user_namespaces" in found.fix) == (State.WARNING, True)
    monkeypatch.setattr(settings, "sandbox", "bwrap")
    found = checks.judge_sandbox(none)
    assert (found.state, "SANDBOX=auto" in found.fix) == (State.FAILED, True)
    monkeypatch.setattr(settings, "sandbox", "none")
    found = checks.judge_sandbox(replace(none, why="Switched off by SANDBOX=none."))
    assert (found.state, found.fix) == (State.WARNING, "Set SANDBOX=auto.")


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "state"),
    [(100 * GIGABYTE, State.OK), (GIGABYTE, State.WARNING), (1024, State.FAILED), (None, State.FAILED)],
)
async def test_a_disk_that_is_full(
    free: int | None, state: State, examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "work_dir", str(tmp_path))
    monkeypatch.setattr(checks, "free_bytes", lambda folder: free)
    found = await examine(checks.work_disk)
    assert found.state is state
    assert (state is State.OK) != ("WORK_DIR" in found.fix)
    assert str(tmp_path) in found.words


async def test_a_folder_that_is_not_there(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "work_dir", "/nowhere/at/all")
    found = await examine(checks.work_disk)
    assert (found.state, "set WORK_DIR" in found.fix) == (State.FAILED, True)


async def test_the_data_folder_is_looked_at_where_the_embedded_servers_are(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert "not used" in (await examine(checks.data_disk)).words
    (tmp_path / "ports.json").write_text("{}")
    monkeypatch.setattr(checks, "free_bytes", lambda folder: 0)
    found = await examine(checks.data_disk)
    assert (found.state, "DATA_DIR" in found.fix) == (State.FAILED, True)
