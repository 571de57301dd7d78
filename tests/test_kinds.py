"""All kinds of jobs are known to whoever imports one module, and web, worker and command line do."""

import asyncio
import json
import subprocess
import sys

from backend.jobs.running import Runner
from backend.jobs.workers import Registration
from backend.local.stack import Stack
from tests.conftest import ROOT, environment

IMPORTED = "import sys, backend.kinds; print(*(getattr(each, '__file__', '') for each in sys.modules.values()))"


def test_one_import_makes_every_kind_known() -> None:
    declared = {str(path) for path in (ROOT / "backend").rglob("*.py") if "\n@task(" in path.read_text()}
    assert len(declared) > 2
    command = [sys.executable, "-c", IMPORTED]
    known = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert declared <= set(known.split())


def test_nobody_makes_a_part_of_them_known() -> None:
    for name in ("backend/app.py", "worker.py", "backend/admin/doctor/examination.py"):
        text = (ROOT / name).read_text()
        assert ("import backend.kinds" in text, "import backend.videos." in text) == (True, False), name


async def test_the_command_line_misses_a_worker_for_each_queue_that_has_none(stack: Stack, clean: None) -> None:
    program = "import backend.kinds; from backend.core.queue import registry; print(len(registry.kinds()))"
    known = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    await Registration(Runner(worker="tester", queues=["default", "media"], slots=2)).beat()
    command = [sys.executable, "-m", "backend.cli", "doctor", "--json"]
    doctor = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment(stack), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await doctor.communicate()
    found = {finding["name"]: finding for finding in json.loads(told)["findings"]}
    assert found["work.kinds"]["words"] == f"{known.stdout.strip()} kinds."
    assert (found["work.queues"]["state"], "media_long" in found["work.queues"]["words"]) == ("failed", True)
