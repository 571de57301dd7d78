"""The media bench runs from end to end; its figures are nobody's business here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")
def test_it_measures_each_container_and_the_remux(tmp_path: Path) -> None:
    env = {**os.environ, "BENCH_MB": "2", "BENCH_ROUNDS": "1", "BENCH_PARTS": "read,remux", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "bench.media"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("end", "front", "fragmented", "MKV", "AVI", "MPEG-TS"):
        row = next(line for line in done.stdout.splitlines() if name in line)
        assert len(re.findall(r"\d+\.\d\d s +\d+\.\d MB +\d+ requests", row)) == 3, row
    assert re.search(r"dailies, ffmpeg alone +\d+\.\d\d s", done.stdout)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("bench-")] == []
