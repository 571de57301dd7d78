"""The supervisor with parts that are shell scripts: restarts, pauses, order, and what is said of them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.local.parts import Interrupted, Service, start_together
from backend.local.processes import ROOT, LocalError, child_environment
from backend.local.supervisor import LONGEST_PAUSE_SECONDS, Supervisor, Watched

MakePart = Callable[..., Service]


def tick_until(supervisor: Supervisor, seen: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let it look at its parts until something is so."""
    until = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < until, "the supervisor did not do it in time"
        supervisor.tick()
        time.sleep(0.02)


def test_a_crashed_part_is_started_again_and_both_are_said(make_part: MakePart) -> None:
    part = make_part("worker")
    start_together([part])
    said: list[str] = []
    supervisor = Supervisor([part], say=said.append)
    assert part.child is not None
    first = part.child.pid
    os.kill(first, signal.SIGKILL)

    tick_until(supervisor, lambda: any("is back" in line for line in said))

    assert said[0] == "worker ended (signal 9); starting it again in 0.5 s"
    assert re.fullmatch(r"worker is back \(\d\.\d s\)", said[1])
    assert part.child.pid != first
    supervisor.stop()


def test_the_pause_doubles_while_a_part_keeps_ending_and_has_a_limit(make_part: MakePart) -> None:
    part = make_part("worker", "exit 3")
    part.launch()
    said: list[str] = []
    supervisor = Supervisor([part], say=said.append)

    tick_until(supervisor, lambda: len(said) >= 3)

    assert [line.rpartition(" in ")[2] for line in said[:3]] == ["0.5 s", "1 s", "2 s"]
    assert said[0].startswith("worker ended (exit code 3)")
    watched = Watched(part, pause=LONGEST_PAUSE_SECONDS)
    supervisor._plan(watched, "ended", 0.0)
    assert watched.pause == LONGEST_PAUSE_SECONDS
    supervisor.stop()


def test_a_part_that_cannot_be_started_again_does_not_stop_the_others(make_part: MakePart, tmp_path: Path) -> None:
    broken, good = make_part("broken"), make_part("good")
    start_together([broken, good])
    said: list[str] = []
    supervisor = Supervisor([broken, good], say=said.append)
    (tmp_path / "broken.log").unlink()
    (tmp_path / "broken.log").mkdir()  # its log cannot be opened any more
    assert broken.child is not None
    broken.child.kill()

    tick_until(supervisor, lambda: any("did not start" in line for line in said))

    assert good.child is not None
    assert good.child.poll() is None
    supervisor.stop()


def test_parts_stop_in_the_reverse_order_of_their_start(make_part: MakePart, tmp_path: Path) -> None:
    order = tmp_path / "order"
    parts = [
        make_part(name, f"trap 'echo {name} >> {order}; exit 0' TERM; while :; do sleep 0.05; done")
        for name in ("postgres", "worker", "web")
    ]
    start_together(parts)
    time.sleep(0.2)  # the shells have set their traps

    Supervisor(parts, say=lambda line: None).stop()

    assert order.read_text().split() == ["web", "worker", "postgres"]


def test_stopping_twice_does_no_harm(make_part: MakePart) -> None:
    part = make_part("web")
    start_together([part])
    supervisor = Supervisor([part], say=lambda line: None)
    supervisor.stop()
    supervisor.stop()
    assert part.child is None


def test_a_part_that_ignores_the_signal_is_killed_with_its_children(make_part: MakePart) -> None:
    part = make_part("stubborn", "trap '' TERM; sleep 987654 & while :; do sleep 0.1; done", stop_seconds=0.3)
    start_together([part])
    assert part.child is not None
    group = part.child.pid
    part.stop()
    wait_until_gone(group)


def test_children_of_a_part_that_ended_do_not_stay(make_part: MakePart) -> None:
    part = make_part("parent", "sleep 987654 & sleep 0.2; exit 0")
    part.launch()
    assert part.child is not None
    group = part.child.pid
    assert part.child.wait(60)
    wait_until_gone(group)


def test_a_part_that_ends_during_the_start_is_one_clear_line(make_part: MakePart) -> None:
    part = make_part("web", "echo 'no module named backend' >&2; exit 1")
    with pytest.raises(LocalError, match=r"web ended at once .*no module named backend"):
        start_together([make_part("worker"), part])


def test_the_start_can_be_interrupted(make_part: MakePart) -> None:
    with pytest.raises(Interrupted):
        start_together([make_part("worker")], interrupted=lambda: True)


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    """Also what cleared its parent-death signal, and what hides in the group of a part: the guard ends those."""
    script = f"""
import time, sys
from pathlib import Path
from backend.local.parts import Service, start_together
from backend.local.processes import Guard, child_environment
guard = Guard()
unleashed = "import ctypes, time; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0); time.sleep(987)"
parts = [
    Service("one", ["/bin/sh", "-c", "sleep 987 & wait"], guard=guard, log=Path({str(tmp_path)!r}) / "one.log",
            env=child_environment()),
    Service("two", [sys.executable, "-c", unleashed], guard=guard, log=Path({str(tmp_path)!r}) / "two.log",
            env=child_environment()),
]
start_together(parts)
print(*(part.child.pid for part in parts), guard._process.pid, flush=True)
time.sleep(987)
"""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=child_environment(PYTHONPATH=str(ROOT)),
    )
    assert supervisor.stdout is not None
    groups = [int(word) for word in supervisor.stdout.readline().split()]
    assert len(groups) == 3
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()

    for group in groups:
        wait_until_gone(group)


def wait_until_gone(group: int) -> None:
    """A signal is delivered a moment after it was sent."""
    until = time.monotonic() + 60
    while has_members(group):
        assert time.monotonic() < until, f"a process of group {group} is still there"
        time.sleep(0.02)


def has_members(group: int) -> bool:
    """Whether a process group has a member that is not a zombie."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue  # it ended while we looked
            if int(its_group) == group and state != "Z":
                return True
    return False
