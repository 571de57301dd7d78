"""Postgres, Valkey and S3 together: started in parallel, each proven by using it, stopped in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from backend.local import postgres, swift, valkey
from backend.local.parts import Part, start_together
from backend.local.ports import Ports
from backend.local.postgres import Postgres
from backend.local.processes import Guard, LocalError
from backend.local.secrets import Secrets
from backend.local.swift import Swift
from backend.local.valkey import Valkey


class Stack:
    """The three servers below one data folder.

    `ports=None` takes free ones; `durable=False` spares the disk (tests). Start it from the main thread: the kernel
    ties a child's life to the thread that started it. Children also die when this process is killed.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        ports: Ports | None = None,
        cors_origins: Sequence[str] = ("*",),
        s3_host: str = "127.0.0.1",
        s3_public_url: str | None = None,
        durable: bool = True,
        guard: Guard | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.logs = self.data_dir / "logs"
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        self.ports = ports or Ports.free()
        self.secrets = Secrets.load(self.data_dir)
        self._guard = guard
        self._owned_guard: Guard | None = None
        self._s3_public_url = s3_public_url
        self._durable = durable
        self._cors_origins = cors_origins
        self._s3_host = s3_host
        self.parts: list[Part] = []

    def start(
        self,
        *,
        interrupted: Callable[[], bool] = lambda: False,
        ready: Callable[[str, float], None] = lambda name, seconds: None,
    ) -> dict[str, float]:
        """Start all three; answers the seconds each took until it really worked.

        Raises LocalError with one line, or Interrupted when `interrupted` says so; nothing then stays behind.
        """
        self.parts = self._make_parts()
        try:
            return start_together(self.parts, interrupted=interrupted, ready=ready)
        except BaseException:  # also Ctrl-C: nothing that was started may stay
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what runs, the database last. Twice does no harm."""
        for part in reversed(self.parts):
            part.stop()
        self.parts = []
        if self._owned_guard is not None:
            self._owned_guard.close()
            self._owned_guard = None

    def env(self) -> dict[str, str]:
        """The settings of the application for this stack."""
        s3_url = f"http://127.0.0.1:{self.ports.s3}"
        return {
            "DATABASE_URL": postgres.url(self.ports.postgres, self.secrets.postgres_password),
            "REDIS_URL": valkey.url(self.ports.valkey, self.secrets.valkey_password),
            "S3_ENDPOINT_URL": s3_url,
            "S3_PUBLIC_URL": self._s3_public_url or s3_url,
            "S3_REGION": swift.REGION,
            "S3_ACCESS_KEY_ID": swift.ACCESS_KEY,
            "S3_SECRET_ACCESS_KEY": self.secrets.s3_secret,
            "S3_BUCKET": swift.BUCKET,
            "SECRET_KEY": self.secrets.secret_key,
        }

    @property
    def superuser_url(self) -> str:
        """The database as the cluster's superuser (for asyncpg), for tests that clone databases or kill sessions."""
        return postgres.superuser_url(self.ports.postgres, self.secrets.postgres_superuser)

    def _make_parts(self) -> list[Part]:
        guard = self._guard
        if guard is None:
            guard = self._owned_guard = Guard()
        return [
            Postgres(
                self.data_dir / "postgres",
                port=self.ports.postgres,
                guard=guard,
                log=self.logs / "postgres.log",
                superuser_password=self.secrets.postgres_superuser,
                password=self.secrets.postgres_password,
                durable=self._durable,
            ),
            Valkey(
                self.data_dir / "valkey",
                port=self.ports.valkey,
                guard=guard,
                log=self.logs / "valkey.log",
                password=self.secrets.valkey_password,
            ),
            Swift(
                self.data_dir / "s3",
                port=self.ports.s3,
                guard=guard,
                log=self.logs / "s3.log",
                secret=self.secrets.s3_secret,
                hash_prefix=self.secrets.swift_hash_prefix,
                hash_suffix=self.secrets.swift_hash_suffix,
                cors_origins=self._cors_origins,
                host=self._s3_host,
            ),
        ]


def environment_of(data_dir: Path) -> dict[str, str]:
    """The settings of the stack that runs, or last ran, on a data folder. Raises LocalError when none ever did."""
    if not (data_dir / "ports.json").exists() or not (data_dir / "secrets.json").exists():
        raise LocalError(f"nothing ever ran on {data_dir}: start `make run` first, or set DATABASE_URL and the others")
    return Stack(data_dir, ports=Ports.last(data_dir)).env()
