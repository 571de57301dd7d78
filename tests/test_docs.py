"""The examples of docs/api.md run as they stand, against a live server."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Live

RUNNERS = {
    "bash": ("example.sh", ["bash"]),
    "python": ("example.py", [sys.executable]),
    "javascript": ("example.mjs", [shutil.which("node") or str(ROOT / ".venv/bin/node")]),
}


EXAMPLES = [
    pytest.param(*example, id=f"{example[0]}-{number}")
    for number, example in enumerate(
        re.findall(rf"```({'|'.join(RUNNERS)})\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.S)
    )
]


def test_there_is_an_example_in_every_language() -> None:
    assert {example.values[0] for example in EXAMPLES} == set(RUNNERS)


@pytest.mark.parametrize(("language", "code"), EXAMPLES)
async def test_the_example_runs_to_a_finished_video(
    language: str, code: str, live: Live, clean: None, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=duration=1:size=320x180:rate=10", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", *source, str(clip)], check=True)
    name, command = RUNNERS[language]
    script = tmp_path / name
    script.write_text(code)
    package = str(ROOT / "clients" / "python")
    env = {**os.environ, "DAILIES": live.url, "VIDEO": str(clip), "PYTHONPATH": package}
    run = [*command, str(script)]
    done = await asyncio.to_thread(subprocess.run, run, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed" in done.stdout
