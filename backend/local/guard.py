"""Run as a script beside the supervisor: kills what the supervisor leaves when it dies without a goodbye.

Its standard input is a pipe that only the supervisor holds open. Lines on it say which process groups live
(`+PGID SIGNAL`) and which are gone (`-PGID`). At the end of the pipe every group still listed gets its signal, and two
seconds later SIGKILL. The parent-death signal (leash.py) usually did the work by then; this one does not depend
on which thread started a child, nor on credentials. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GRACE_SECONDS = 2.0


def send(group: int, number: int) -> bool:
    """Signal a process group; False when it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def runs(group: int) -> bool:
    """Whether anyone in the group still runs; a leader that nobody has collected yet (a zombie) does not count."""
    try:
        with open(f"/proc/{group}/stat") as file:
            zombie = file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        zombie = False
    return send(group, signal.SIGKILL if zombie else 0) and not zombie


def main() -> None:
    """Follow the pipe until it closes, then clean up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    for line in sys.stdin:
        words = line.split()
        if words[0].startswith("+"):
            groups[int(words[0])] = int(words[1])
        else:
            groups.pop(-int(words[0]), None)
    left = [group for group, number in groups.items() if send(group, number)]
    until = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = [group for group in left if runs(group)]
    for group in left:
        send(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
