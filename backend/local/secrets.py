"""Passwords and keys of this installation: made on the first start, kept in the data folder, for its owner only."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, repr=False)
class Secrets:
    """Everything random that must stay the same between two starts."""

    secret_key: str
    postgres_superuser: str
    postgres_password: str
    valkey_password: str
    s3_secret: str
    swift_hash_prefix: str  # these two place the data: lose them and the objects are lost
    swift_hash_suffix: str

    @classmethod
    def load(cls, data_dir: Path) -> Secrets:
        """Read them, or make those that lack; the file is replaced whole, so an interrupted start loses nothing."""
        path = data_dir / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        wanted = {field.name: known.get(field.name) or secrets.token_hex(32) for field in fields(cls)}
        made = cls(**wanted)
        if asdict(made) != known:
            half = path.with_suffix(".new")
            half.unlink(missing_ok=True)
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(made), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            half.rename(path)
        return made
