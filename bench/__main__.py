"""Every benchmark on a stack of its own, and one table: `make bench`, or `make bench NAME=signing,search`.

BENCH_ROUNDS (5). `--tiny` only shows that they run; its figures mean nothing and are not kept. A run of all of them,
of at least five rounds, is kept in `bench/results/latest.md`.
"""

import argparse
import asyncio
import importlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from backend.local.stack import Stack
from bench.place import ROOT, Place
from bench.table import Row, markdown

#: In the order they run. Each module has `async def measure(place: Place) -> list[Row]`, and says in its first lines
#: what it holds beside what.
NAMES: tuple[str, ...] = (
    "signing",
    "jobs",  # before the thousands of uploads that `reserve` leaves for workers to look after
    "reserve",
    "listing",
    "search",
    "dashboard",
    "live",
    "memory",
    "media",
    "remux",
    "upload",
    "animatic",
    "studio",
    "coach",
)
RESULTS = ROOT / "bench" / "results" / "latest.md"
#: A table of fewer rounds is shown, and not kept.
KEPT_ROUNDS = 5


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measures Dailies beside its limits and its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--tiny", action="store_true", help="only see that they run")
    given = parser.parse_args()
    names = [name for each in given.names for name in each.split(",") if name] or list(NAMES)
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    wanted = os.environ.get("BENCH_ROUNDS") or str(KEPT_ROUNDS)
    if not wanted.isdecimal() or int(wanted) < 1:
        parser.error(f"BENCH_ROUNDS is {wanted!r}, and must be a whole number, 1 or more")
    rounds = 1 if given.tiny else int(wanted)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = run(Path(folder), names, rounds=rounds, tiny=given.tiny)
    if len(names) > 1:
        say("\n" + markdown(rows))
    if names == list(NAMES) and rounds >= KEPT_ROUNDS:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(f"# What `make bench` found\n\n{machine()}\n\n{markdown(rows)}")
    missed = [row.what for row in rows if row.met is False]
    if missed and not given.tiny:
        say(f"{len(missed)} aims are missed: {'; '.join(missed)}")


def run(folder: Path, names: list[str], *, rounds: int, tiny: bool) -> list[Row]:
    """Everything below one folder; the servers end with it."""
    stack = Stack(folder / "stack", durable=not tiny)
    stack.start()
    try:
        os.environ.update(stack.env() | {"ENVIRONMENT": "local", "LOG_LEVEL": "WARNING"})
        place = Place(stack, folder, rounds=rounds, tiny=tiny, say=say)
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=place.env, check=True)
        rows: list[Row] = []
        for name in names:
            began = time.perf_counter()
            say(f"== {name}")
            found = asyncio.run(importlib.import_module(f"bench.{name}").measure(place))
            say(f"{markdown(found)}({name} took {time.perf_counter() - began:.0f} s)")
            rows += found
        return rows
    finally:
        stack.stop()


def machine() -> str:
    """What the figures were taken on, in one line."""
    words = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in words if line.startswith("model name")), "unknown")
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {model}, {pages * size / 2**30:.0f} GiB, Linux"
        f" {platform.release()}, Python {platform.python_version()}, data on {filesystem(tempfile.gettempdir())}."
        " Everything, clients and peers included, ran on this one machine: read the ratios."
    )


def filesystem(folder: str) -> str:
    """The kind that a folder lies on: on tmpfs, which is memory, no write waits for a disk."""
    path = Path(folder).resolve()
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    _, kind = max((len(at), kind) for at, kind in mounts if path.is_relative_to(at))
    return kind


if __name__ == "__main__":
    main()
