"""`dailies up` where it cannot work: one clear line, exit code 1, nothing left running."""

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.local.ports import Ports
from backend.local.processes import ROOT, Guard
from backend.local.stack import Stack
from backend.local.up import Up, run_up


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`dailies up` on a data folder, in an environment of its own."""
    env = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder), "PORT": str(free_port()), **environment}
    command = [sys.executable, "-m", "backend.cli", "up"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def free_port() -> int:
    """A port nobody listens on now."""
    return Ports.free().s3


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        done = run(tmp_path, PORT=str(port))
    assert done.returncode == 1
    assert done.stderr == f"dailies: port {port} on 127.0.0.1 is in use by another program: stop it, or set PORT\n"
    assert done.stdout == ""


def test_a_missing_tool_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("dailies: ffmpeg and ffprobe not found: install")
    assert done.stderr.count("\n") == 1


def test_a_second_run_on_the_same_data_is_one_line(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"{os.getpid()}\n")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"dailies: already running on {tmp_path} (process {os.getpid()}): stop it, or set DATA_DIR\n"
    )


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1"])
def test_a_port_that_is_none_is_one_line(tmp_path: Path, port: str) -> None:
    done = run(tmp_path, PORT=port)
    assert done.returncode == 1
    assert done.stderr == f"dailies: PORT must be a number from 1 to 65535, not '{port}'\n"


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "data")
    assert done.returncode == 1
    assert done.stderr.startswith(f"dailies: the data folder {tmp_path}/file/data cannot be made: ")
    assert done.stderr.count("\n") == 1


def test_a_nearly_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keep_signals: None
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 2**20, 2**20))
    assert run_up({"DATA_DIR": str(tmp_path), "PATH": os.environ["PATH"]}) == 1
    assert capsys.readouterr().err == f"dailies: the disk of {tmp_path} has 1 MB left, 500 MB are needed\n"


def test_a_disk_that_fills_up_during_the_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keep_signals: None
) -> None:
    def fail(self: Stack, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Stack, "start", fail)
    environment = {"DATA_DIR": str(tmp_path), "PATH": os.environ["PATH"], "PORT": str(free_port())}
    assert run_up(environment) == 1
    assert capsys.readouterr().err == f"dailies: the disk of {tmp_path} is full\n"


@pytest.fixture
def keep_signals() -> Iterator[None]:
    """`run_up` takes over the signals of this process; give them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("environ", "public", "storage", "origins"),
    [
        ({}, "http://127.0.0.1:8000", None, ["http://127.0.0.1:8000", "http://localhost:8000"]),
        ({"HOST": "0.0.0.0", "PORT": "80"}, "http://127.0.0.1:80", None, ["*"]),  # noqa: S104 — an example
        ({"HOST": "::"}, "http://[::1]:8000", "http://[::1]:{s3}", ["*"]),
        ({"HOST": "192.0.2.7"}, "http://192.0.2.7:8000", "http://192.0.2.7:{s3}", ["*"]),
        (
            {"PUBLIC_URL": "https://video.example", "S3_PUBLIC_URL": "https://s3.video.example"},
            "https://video.example",
            "https://s3.video.example",
            ["https://video.example", "http://127.0.0.1:8000", "http://localhost:8000"],
        ),
    ],
)
def test_addresses_follow_from_host_and_port(
    tmp_path: Path, environ: dict[str, str], public: str, storage: str | None, origins: list[str]
) -> None:
    one = Up({"DATA_DIR": str(tmp_path), **environ})
    ports = Ports.free()
    guard = Guard()
    try:
        stack = one._make_stack(guard, ports)
    finally:
        guard.close()
    env = one._child_environment(stack)
    own = f"http://127.0.0.1:{ports.s3}"
    assert env["PUBLIC_URL"] == public
    assert env["S3_ENDPOINT_URL"] == own
    assert env["S3_PUBLIC_URL"] == (storage or own).format(s3=ports.s3)
    assert list(stack._cors_origins) == origins
