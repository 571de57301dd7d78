"""What an analysis is asked for, and how it can fail."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

View = Literal["side", "front", "back", "other", "unknown"]
Discipline = Literal["general", "batting", "bowling", "golf", "tennis"]

MOST_FPS = 30.0
#: Slots of 1/`sample_fps` seconds that a video may have: 72 minutes at 10 a second. More would take hours, and memory.
MOST_SLOTS = 43_200
#: With a picture of each: 15 minutes at 10 a second, some gigabytes.
MOST_PICTURES = 9_000
MOST_PEOPLE = 6
#: Files: poses and numbers per sampled frame with everybody in it, a drawn frame, and the overlay per second at most.
_FRAME_BYTES = 12_000
_PICTURE_BYTES = 600_000
_OVERLAY_BYTES_A_SECOND = 600_000
_SPARE_BYTES = 32 * 1024 * 1024
# A video that does not tell its length is taken for one this long.
_UNKNOWN_SECONDS = 3600.0


class CoachError(Exception):
    """An analysis that gave no result. Codes: coach_unavailable, analysis_failed, resource_limit, probe_timeout."""

    def __init__(self, code: str, message: str, *, retryable: bool = False, detail: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.detail = detail


@dataclass(frozen=True)
class AnalysisOptions:
    """What is asked for. `athlete` is how to choose one of several, or a point (0 to 1) on the first frame.

    `view` is where the camera stands as seen from the athlete: `unknown` lets the analysis tell by itself.
    """

    sample_fps: float = 10.0
    include_frames: bool = False
    overlay: bool = True
    view: View = "unknown"
    discipline: Discipline = "general"
    athlete: Literal["largest", "moving"] | tuple[float, float] = "largest"
    max_people: int = 3

    def __post_init__(self) -> None:
        """Raises ValueError in words for a person."""
        if not 1 <= self.sample_fps <= MOST_FPS:
            raise ValueError(f"sample_fps is from 1 to {MOST_FPS:.0f}")
        if not 1 <= self.max_people <= MOST_PEOPLE:
            raise ValueError(f"max_people is from 1 to {MOST_PEOPLE}")
        if self.view not in get_args(View):
            raise ValueError(f"view is one of {', '.join(get_args(View))}")
        if self.discipline not in get_args(Discipline):
            raise ValueError(f"discipline is one of {', '.join(get_args(Discipline))}")
        if isinstance(self.athlete, str):
            if self.athlete not in ("largest", "moving"):
                raise ValueError("athlete is largest, moving, or a point")
        elif not all(0 <= value <= 1 for value in self.athlete):
            raise ValueError("the athlete's point is from 0 to 1 on both axes")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "AnalysisOptions":
        """Read what `to_json` wrote; what is missing has its default. Raises ValueError."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None}
        athlete = known.get("athlete")
        try:
            if isinstance(athlete, Mapping):
                known["athlete"] = (float(athlete["x"]), float(athlete["y"]))
            if "sample_fps" in known:
                known["sample_fps"] = float(known["sample_fps"])
            return cls(**known)
        except (TypeError, KeyError) as error:
            raise ValueError("these options cannot be read") from error

    def to_json(self) -> dict[str, Any]:
        """The same in plain values."""
        athlete = self.athlete if isinstance(self.athlete, str) else {"x": self.athlete[0], "y": self.athlete[1]}
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"athlete": athlete}

    @property
    def most_seconds(self) -> float:
        """How long a video may be that is analysed like this."""
        return (MOST_PICTURES if self.include_frames else MOST_SLOTS) / self.sample_fps

    def takes(self, seconds: float | None) -> bool:
        """Whether a video so long, if that is known, can be analysed like this; a frame more is no matter."""
        return seconds is None or seconds <= self.most_seconds + 1 / self.sample_fps

    def most_bytes(self, duration: float | None) -> int:
        """Room on the disk for all files of an analysis of `duration` seconds."""
        seconds = duration or _UNKNOWN_SECONDS
        frames = math.ceil(seconds * self.sample_fps) + 1
        total = frames * _FRAME_BYTES + _SPARE_BYTES
        total += frames * _PICTURE_BYTES if self.include_frames else 0
        return total + (math.ceil(seconds * _OVERLAY_BYTES_A_SECOND) if self.overlay else 0)
