"""Every benchmark runs from end to end at a tiny size; their figures are nobody's business here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import NAMES
from bench.place import ROOT
from bench.table import HEAD

SECONDS = 1200


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one run of all of them says. It leaves nothing behind."""
    folder = tmp_path_factory.mktemp("b")
    said = bench("--tiny", folder=folder)
    assert list(folder.glob("bench-*")) == []
    return said


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_answers_rows_with_a_figure(said: str, name: str) -> None:
    section = re.search(rf"^== {name}$(.*?)^\({name} took \d+ s\)$", said, re.MULTILINE | re.DOTALL)
    assert section is not None, said
    head, rows = table(section[1])
    assert head == HEAD
    assert rows
    for what, median, spread, *_ in rows:
        assert what
        assert re.match(r"-?\d", median), median
        assert spread.endswith("(1)"), f"{what}: a tiny run has one round"


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no benchmark is called nonsense"):
        bench("--tiny", "nonsense", folder=tmp_path)


@pytest.mark.parametrize("rounds", ["0", "-1", "x", "1.5"])
def test_rounds_that_are_no_number_of_rounds_are_refused(
    rounds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_ROUNDS", rounds)
    with pytest.raises(AssertionError, match="must be a whole number, 1 or more"):
        bench("--tiny", "signing", folder=tmp_path)


def bench(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def table(text: str) -> tuple[tuple[str, ...], list[list[str]]]:
    """The head and the rows of the one Markdown table in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return tuple(cells[0]), cells[2:]
