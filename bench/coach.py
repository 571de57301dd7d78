"""An analysis beside bare MediaPipe, on two cores.

In turns, in the same run, on the same pictures: all of ours (decoding in the sandbox, poses, numbers, overlay), ours up
to the poses, and a program that only decodes with plain ffmpeg and hands each picture to MediaPipe, with the same
options. Told as theirs over ours, in time; beside it in CPU-seconds, which say more on a machine that has other work.

BENCH_FILM: a file; else the drawn figure at 1280x720, 12 s.
"""

import os

from backend.coaching.readiness import coach_report
from bench.place import Place
from bench.table import Row

CORES = 2


async def measure(place: Place) -> list[Row]:
    """No rows where the pose analysis is not installed."""
    if not (report := coach_report()).ready:
        place.say(report.why)
        return []
    from bench.poses import compared  # needs numpy, which comes with the pose analysis

    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:CORES]))
    try:
        return await compared(place, float(place.size(10, 2)))
    finally:
        os.sched_setaffinity(0, allowed)
