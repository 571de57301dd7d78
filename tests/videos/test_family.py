"""What is told of the jobs that process a video, as if they were one."""

import uuid
from datetime import UTC, datetime
from typing import Any

from backend.jobs.models import JobState
from backend.jobs.progress import State, Version
from backend.jobs.schemas import JobOut
from backend.videos.family import whole

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(kind: str, status: JobState, progress: float = 0, **values: Any) -> State:
    facts = {"queue": "media", "attempt": 1, "max_attempts": 3, "video_id": None, "project_id": uuid.uuid4()}
    facts |= {"created_at": NOW, "started_at": None, "finished_at": None, **values}
    return State(Version(0, 0), JobOut(id=uuid.uuid4(), kind=kind, status=status, progress=progress, **facts))


def told(*states: State) -> tuple[str, str | None, float]:
    shown = whole(states[0], states[1:])
    assert shown is not None
    assert shown.job.id == states[0].job.id
    return shown.job.status, shown.job.stage, shown.job.progress


LOOKING = job("process_video", JobState.RUNNING, 50, stage="probe")
LOOKED = job("process_video", JobState.COMPLETED, 100)
POSTER = job("make_poster", JobState.COMPLETED, 100)


def test_looking_at_the_file_is_the_first_tenth() -> None:
    assert told(LOOKING) == ("running", "probe", 5)


def test_what_runs_is_told_before_what_waits() -> None:
    waiting = job("make_rendition", JobState.QUEUED, queue_position=3)
    making = job("make_poster", JobState.RUNNING, 10, stage="poster")
    assert told(LOOKED, making, waiting)[:2] == ("running", "poster")
    shown = whole(LOOKED, [POSTER, waiting])
    assert shown is not None
    assert (shown.job.status, shown.job.queue_position) == ("queued", 3)


def test_a_conversion_is_nearly_all_of_the_work_and_progress_never_falls() -> None:
    shares = [told(LOOKING)[2]]
    for percent in (0, 50, 99):
        converting = job("make_rendition", JobState.RUNNING, percent, stage="transcode")
        shares.append(told(LOOKED, POSTER, converting)[2])
    assert shares == sorted(shares)
    assert 50 < shares[2] < 60
    assert 95 < shares[3] < 100


def test_where_nothing_lives_there_is_nothing_to_tell() -> None:
    assert whole(LOOKED, [POSTER, job("make_rendition", JobState.FAILED)]) is None
