"""The coach bench runs from end to end; its figures are nobody's business here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backend.coaching.readiness import coach_report

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not coach_report().ready, reason="the pose analysis is not installed")
def test_it_measures_ours_beside_the_bare_library(tmp_path: Path) -> None:
    env = {**os.environ, "BENCH_ROUNDS": "1", "BENCH_SECONDS": "4", "BENCH_FPS": "2", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "bench.coach"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[8] pictures" in done.stdout
    assert len(re.findall(r"\d+\.\d\dx real time +\d+\.\d\d of bare", done.stdout)) == 4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("bench-")] == []
