"""Children that never outlive us: each in a session of its own, tied to this process by leash.py and guard.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


class LocalError(Exception):
    """Something the person at the terminal has to know; its text is one clear line."""


class Guard:
    """The process that cleans up after us should we be killed (see guard.py)."""

    def __init__(self, *, holding: Sequence[int] = ()) -> None:
        """`holding`: open files that stay open until the cleaning is done, such as the lock of the data folder."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HERE / "guard.py")],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=holding,
        )

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # killed or closed; the parent-death signal still holds

    def watch(self, group: int, number: int) -> None:
        """Kill this process group with this signal if we die."""
        self._say(f"+{group} {number}")

    def forget(self, group: int) -> None:
        """The group is gone; its number may be somebody else's soon."""
        self._say(f"-{group}")

    def close(self) -> None:
        """Let it kill what is still listed, and wait for it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()


def leashed(command: Sequence[str], *, number: int, not_root: Path | None = None) -> list[str]:
    """The command run through leash.py: signal `number` when we die (0: none); never as root if a folder is given."""
    leash = [
        sys.executable,
        "-I",
        "-S",
        str(HERE / "leash.py"),
        "--parent",
        str(os.getpid()),
    ]
    leash += ["--signal", str(int(number))]
    return [*leash, *(["--not-root", str(not_root)] if not_root else []), "--", *command]


class Child:
    """One running program. Its output goes to a log file; `stop` and `kill` reach its whole process group."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        guard: Guard,
        log: Path,
        env: Mapping[str, str],
        cwd: Path = ROOT,
        death_signal: int = signal.SIGKILL,
        not_root: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._guard = guard
        self._swept = False
        # The kernel sends the parent-death signal when the *thread* that started the child ends: main thread only.
        tied = threading.current_thread() is threading.main_thread()
        output: IO[bytes]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                leashed(
                    command,
                    number=death_signal if tied else 0,
                    not_root=not_root,
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        guard.watch(self._process.pid, death_signal)

    @property
    def pid(self) -> int:
        """Process id, which is also the number of its process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._sweep()
        return code

    def wait(self, seconds: float) -> bool:
        """Wait for the end; False when it still runs after that many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._sweep()
        return True

    def send(self, number: int) -> None:
        """Send a signal to the process alone (not its group)."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 10.0) -> None:
        """Ask it to end, and kill the group when it has not after that many seconds."""
        self.send(number)
        if not self.wait(seconds):
            self.kill()

    def kill(self) -> None:
        """End the whole group now."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._sweep()

    def last_words(self, lines: int = 3) -> str:
        """The end of its log, on one line."""
        try:
            text = self.log.read_text(errors="replace")[-4000:]
        except OSError:
            return ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())

    def _sweep(self) -> None:
        """Its own children may live on in the group: end them, and tell the guard. Once: numbers are reused."""
        if self._swept:
            return
        self._swept = True
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self._guard.forget(self.pid)


def child_environment(**extra: str) -> dict[str, str]:
    """What a child inherits: a path, a home, a place for temporary files; no PG*, AWS_* or S3_* of the shell."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8"} | extra
