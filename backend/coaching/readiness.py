"""Whether this machine can analyse videos: for the doctor and for pages that offer it."""

from dataclasses import dataclass

from backend.coaching import model, pose


@dataclass(frozen=True)
class CoachReport:
    """`why` says in a sentence what is missing, and is empty where nothing is."""

    ready: bool
    why: str
    model: str
    versions: dict[str, str]


def coach_report() -> CoachReport:
    """Look without loading anything."""
    path = model.model_file()
    why = ""
    if not pose.installed():
        why = "The packages of the pose analysis are not installed (requirements-coach.lock)."
    elif not path.is_file():
        why = f"The pose model {path} is missing; `make run` makes it, POSE_MODEL_FILE names another."
    return CoachReport(not why, why, str(path), {"mediapipe": pose.version()})
