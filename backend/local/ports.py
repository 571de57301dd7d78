"""Which loopback ports the parts listen on, chosen once and kept beside the data."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Ports:
    """One port for each server."""

    postgres: int
    valkey: int
    s3: int

    @classmethod
    def free(cls) -> Ports:
        """Ports nobody listens on at this moment."""
        with ExitStack() as open_until_all_are_known:
            numbers = []
            for _ in fields(cls):
                listener = open_until_all_are_known.enter_context(socket.socket())
                listener.bind(("127.0.0.1", 0))
                numbers.append(listener.getsockname()[1])
        return cls(*numbers)

    @classmethod
    def last(cls, data_dir: Path) -> Ports:
        """Those of the last start; earlier versions kept more."""
        old = json.loads((data_dir / "ports.json").read_text())
        return cls(**{each.name: old[each.name] for each in fields(cls)})

    @classmethod
    def kept(cls, data_dir: Path) -> tuple[Ports, list[str]]:
        """The ports of the last start, and the names of those that had to change because others took them."""
        path = data_dir / "ports.json"
        free = asdict(cls.free())
        try:
            old = {name: int(port) for name, port in json.loads(path.read_text()).items() if name in free}
        except (OSError, ValueError, TypeError, AttributeError):
            old = {}  # first start, or a file nobody can read: choose anew
        taken = [name for name, port in old.items() if not is_free("127.0.0.1", port)]
        ports = free | {name: port for name, port in old.items() if name not in taken}
        path.write_text(json.dumps(ports, indent=1) + "\n")
        return cls(**ports), taken


def is_free(host: str, port: int) -> bool:
    """Whether one could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True
