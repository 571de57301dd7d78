"""`dailies up`: the whole platform on one machine, from an empty folder to its address, and down again in order."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from backend.local.leash import PR_SET_PDEATHSIG
from backend.local.parts import Interrupted, Part, Service, start_together
from backend.local.ports import Ports, is_free
from backend.local.processes import ROOT, Child, Guard, LocalError
from backend.local.stack import Stack
from backend.local.supervisor import Supervisor

NEEDED_BYTES = 500 * 1024 * 1024
NEEDED_TOOLS = ("ffmpeg", "ffprobe")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 — what an operator may ask for by HOST
LAST_RUN_SECONDS = 8.0  # how long what a killed run left may take to disappear


class Up:
    """One run: reads HOST, PORT, DATA_DIR, PUBLIC_URL and S3_PUBLIC_URL from the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._host = environ.get("HOST") or "127.0.0.1"
        self._port = read_port(environ.get("PORT") or "8000")
        self._data_dir = Path(environ.get("DATA_DIR") or ROOT / ".data").resolve()
        self._stopping = False
        self._began = self._step = time.monotonic()

    def run(self) -> int:
        """Start, watch, stop. Answers the exit code; what goes wrong is one line on standard error."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        follow_make()
        try:
            self._check_machine()
            with self._lock() as lock:
                return self._run(lock)
        except Interrupted:
            say("stopped before everything was up")
            return 130
        except LocalError as error:
            print(f"dailies: {error}", file=sys.stderr, flush=True)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            print(f"dailies: the disk of {self._data_dir} is full", file=sys.stderr, flush=True)
        return 1

    def _run(self, lock: int) -> int:
        guard = Guard(holding=[lock])
        ports, moved = Ports.kept(self._data_dir)
        for name in moved:
            say(f"port of {name} was taken by another program: moved to {getattr(ports, name)}")
        stack = self._make_stack(guard, ports)
        keep_last_logs(stack.logs)
        services: list[Part] = []
        try:
            stack.start(interrupted=self._is_stopping, ready=self._tell)
            self._migrate(guard, stack)
            worker, web = services = self._make_services(guard, stack)
            start_together([worker, web], interrupted=self._is_stopping, ready=self._tell)
            supervisor = Supervisor([*stack.parts, *services], say=say, logs=stack.logs)
            self._welcome()
            supervisor.run(self._is_stopping)
            say("stopping …")
            supervisor.stop()
        finally:
            for service in reversed(services):
                service.stop()
            stack.stop()
            guard.close()
        say("stopped")
        return 0

    def _make_stack(self, guard: Guard, ports: Ports) -> Stack:
        public_s3 = self._environ.get("S3_PUBLIC_URL")
        if self._host in LOOPBACK:
            origins = [self._public_url, f"http://127.0.0.1:{self._port}", f"http://localhost:{self._port}"]
            return Stack(
                self._data_dir,
                ports=ports,
                guard=guard,
                cors_origins=unique(origins),
                s3_public_url=public_s3,
            )
        # Reachable from elsewhere under names we cannot know: any origin may ask, the signature still decides.
        return Stack(
            self._data_dir,
            ports=ports,
            guard=guard,
            cors_origins=["*"],
            s3_host="::" if ":" in self._host else "0.0.0.0",  # noqa: S104 — as above; 127.0.0.1 must reach it too
            s3_public_url=public_s3 or f"http://{in_url(self._reachable_host)}:{ports.s3}",
        )

    def _make_services(self, guard: Guard, stack: Stack) -> list[Part]:
        env = self._child_environment(stack)
        return [
            Service(
                "worker",
                [sys.executable, "-m", "backend.cli", "worker"],
                guard=guard,
                log=stack.logs / "worker.log",
                env=env,
                stop_seconds=30,
            ),
            Service(
                "web",
                [sys.executable, "-m", "backend.cli", "web"],
                guard=guard,
                log=stack.logs / "web.log",
                env=env,
                health=(self._reachable_host, self._port, "/ready"),
                stop_seconds=10,
            ),
        ]

    def _migrate(self, guard: Guard, stack: Stack) -> None:
        log = stack.logs / "migrate.log"
        command = [sys.executable, "-m", "backend.cli", "migrate"]
        child = Child("migrations", command, guard=guard, log=log, env=self._child_environment(stack))
        try:
            while child.poll() is None:
                if self._stopping:
                    raise Interrupted
                time.sleep(0.02)
        finally:
            child.stop()
        if child.poll() != 0:
            raise LocalError(f"migrations failed (see {log}): {child.last_words(1)}")
        self._tell("migrations", time.monotonic() - self._step)

    def _child_environment(self, stack: Stack) -> dict[str, str]:
        ours = {"PUBLIC_URL": self._public_url, "HOST": self._host, "PORT": str(self._port), "ENVIRONMENT": "local"}
        # Somebody who pressed Ctrl-C waits in front of the terminal; a job that is given back loses nothing.
        return {"WORKER_GRACE_SECONDS": "5"} | dict(self._environ) | stack.env() | ours

    @property
    def _reachable_host(self) -> str:
        """Where this machine reaches what listens on HOST."""
        return WILDCARDS.get(self._host, self._host)

    @property
    def _public_url(self) -> str:
        return self._environ.get("PUBLIC_URL") or f"http://{in_url(self._reachable_host)}:{self._port}"

    def _check_machine(self) -> None:
        """Everything that can be known before the first child starts. Raises LocalError."""
        missing = [tool for tool in NEEDED_TOOLS if shutil.which(tool, path=self._environ.get("PATH")) is None]
        if missing:
            raise LocalError(f"{' and '.join(missing)} not found: install Debian's package ffmpeg, or your system's")
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LocalError(f"the data folder {self._data_dir} cannot be made: {error.strerror}") from None
        free = shutil.disk_usage(self._data_dir).free
        if free < NEEDED_BYTES:
            raise LocalError(
                f"the disk of {self._data_dir} has {free // 2**20} MB left, {NEEDED_BYTES // 2**20} MB are needed"
            )

    @contextmanager
    def _lock(self) -> Iterator[int]:
        """The data folder for ourselves. The guard holds the lock too, so that it outlasts a killed supervisor
        for as long as something of it still runs: then we wait a moment."""
        path = self._data_dir / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LocalError(f"{path} cannot be opened: {error.strerror}") from None
        until = time.monotonic() + LAST_RUN_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                if is_alive(owner) or time.monotonic() > until:
                    raise LocalError(
                        f"already running on {self._data_dir} (process {owner or 'unknown'}): stop it, or set DATA_DIR"
                    ) from None
                time.sleep(0.1)
        try:
            if not is_free(self._host, self._port):
                raise LocalError(
                    f"port {self._port} on {self._host} is in use by another program: stop it, or set PORT"
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _is_stopping(self) -> bool:
        return self._stopping

    def _tell(self, name: str, seconds: float) -> None:
        self._step = time.monotonic()
        say(f"{name:<11} ready  {seconds:5.1f} s")

    def _welcome(self) -> None:
        say(f"{'all':<11} ready  {time.monotonic() - self._began:5.1f} s")
        if self._host in WILDCARDS and not self._environ.get("PUBLIC_URL"):
            say("others reach it when PUBLIC_URL and S3_PUBLIC_URL name this machine")
        say(f"Dailies is ready at {self._public_url}")


def say(line: str) -> None:
    """One line for the person at the terminal."""
    print(f"  {line}" if not line.startswith("Dailies") else line, flush=True)


def read_port(text: str) -> int:
    """PORT as a number; raises LocalError."""
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise LocalError(f"PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def in_url(host: str) -> str:
    """A host as a URL writes it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def unique(items: list[str]) -> list[str]:
    """Without doubles, in order."""
    return list(dict.fromkeys(items))


def is_alive(pid: str) -> bool:
    """Whether a process of that number runs."""
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def keep_last_logs(folder: Path) -> None:
    """Start with empty logs; those of the last run stay beside them as `.1`."""
    for log in folder.glob("*.log"):
        log.replace(log.with_name(log.name + ".1"))


def follow_make() -> None:
    """Stop when `make` is killed: it cannot tell us, and nobody would know that we still run."""
    try:
        parent = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    except OSError:
        return
    if parent in ("make", "gmake"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def run_up(environ: Mapping[str, str]) -> int:
    """`dailies up`; answers the exit code."""
    try:
        return Up(environ).run()
    except LocalError as error:
        print(f"dailies: {error}", file=sys.stderr, flush=True)
        return 1
