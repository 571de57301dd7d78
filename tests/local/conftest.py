"""Parts that do nothing, for tests of what watches them."""

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.local.parts import Service
from backend.local.processes import Guard, child_environment


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard of this test's own: it ends whatever the test leaves running."""
    one = Guard()
    yield one
    one.close()


@pytest.fixture
def make_part(guard: Guard, tmp_path: Path) -> Callable[..., Service]:
    """A service that runs a shell script; `run=python code` runs Python instead."""

    def make(name: str, script: str = "sleep 60", *, run: str | None = None, stop_seconds: float = 5.0) -> Service:
        code = f"{shlex.quote(sys.executable)} -c {shlex.quote(run)}" if run else script
        return Service(
            name,
            ["/bin/sh", "-c", code],
            guard=guard,
            log=tmp_path / f"{name}.log",
            env=child_environment(),
            stop_seconds=stop_seconds,
            settled_seconds=0.5,
        )

    return make
