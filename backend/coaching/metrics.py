"""What a movement comes to, in single numbers: each with its definition, how far it is to be trusted, and its moment.

A number that the view, the coverage or the sampling does not carry is None, with the reason in words.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.coaching.metric_table import METRICS, Definition, Found
from backend.coaching.scene import Scene
from backend.coaching.skeleton import INDEX

#: Less of the window seen than this, and a number would be a guess.
LEAST_COVERAGE = 0.6
LEAST_FRAMES = 4
#: What half as many pictures may change a number by: a share of it, or so much in its unit. More, and the movement is
#: too fast for the pictures there are.
HALF_SHARE = 0.3
#: Speeds are what smoothing takes the most from.
HALF_SPEED_SHARE = 0.1
#: A number of one moment may change by a tenth, or so many degrees, in this share of the time between two pictures.
IMPACT_SHARE, IMPACT_STEP = 0.1, 0.3
#: Durations are told by whole pictures: shorter than so many, and one more or less is too much.
LEAST_PICTURES = 10
HALF_UNITS = {"deg": 8.0, "trunk": 0.02, "trunk/s": 0.05, "s": 0.0, "%": 10.0, "base": 0.2, "": 0.3}


@dataclass(frozen=True)
class Metric:
    """One number. `moment` is in seconds, `frame` the index of the picture; `confidence` and `coverage` 0 to 1."""

    definition: Definition
    value: float | None
    reason: str | None
    coverage: float
    confidence: float
    moment: float | None
    frame: int | None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.definition.name,
            "label": self.definition.label,
            "group": self.definition.group,
            "unit": self.definition.unit,
            "definition": self.definition.definition,
            "method": self.definition.method,
            "side": self.definition.side,
            "value": None if self.value is None else round(self.value, 4),
            "reason": self.reason,
            "coverage": round(self.coverage, 4),
            "confidence": round(self.confidence, 4),
            "moment": None if self.moment is None else round(self.moment, 4),
            "frame": self.frame,
        }


def measure(scene: Scene) -> list[Metric]:
    """Every metric, in the order of the table."""
    return [_measure(scene, one) for one in METRICS]


def _measure(scene: Scene, one: Definition) -> Metric:
    def nothing(reason: str, coverage: float = 0.0) -> Metric:
        return Metric(one, None, reason, coverage, 0.0, None, None)

    if not scene.move.seen.any():
        return nothing("No athlete was found in this video.")
    if scene.view not in one.views:
        return nothing(one.not_seen or f"Not to be told from this camera view ({scene.view}).")
    if one.window != "whole" and scene.stroke is None:
        return nothing(scene.stroke_reason or "The phases are not known.")
    inside = scene.window(one.window)
    there = np.all([np.isfinite(scene.values[name]) for name in one.series], axis=0) if one.series else scene.move.seen
    coverage = float(there[inside].mean()) if inside.any() else 0.0
    least = 1 if one.window == "impact" or not one.series else LEAST_FRAMES
    if coverage < LEAST_COVERAGE or int(there[inside].sum()) < least:
        words = f"Seen in {100 * coverage:.0f} % of the pictures that matter; {100 * LEAST_COVERAGE:.0f} % are needed."
        if coverage >= LEAST_COVERAGE:
            words = "There are too few pictures of this part of the movement. A higher sample rate shows more."
        return nothing(words, coverage)
    found = one.compute(scene, inside)
    if found is None:
        return nothing(one.absent or "This could not be told from what was seen.", coverage)
    if not _resolved(scene, one, found):
        rate = scene.move.fps
        words = f"Too fast for {rate:.0f} pictures a second: half as many would tell something else. Sample more often."
        return nothing(words, coverage)
    frame = None if found.moment is None else int(np.abs(scene.t - found.moment).argmin())
    return Metric(one, found.value, None, coverage, _confidence(scene, one, inside & there), found.moment, frame)


def _resolved(scene: Scene, one: Definition, found: Found) -> bool:
    """Whether half of the pictures say about the same, and a moment or a duration is told finely enough."""
    step = 1 / scene.move.fps
    if one.window == "impact":
        t, values = scene.t, scene.values[one.series[0]]
        there, at = np.isfinite(values), (found.moment or 0.0) + np.array([-1, 1]) * IMPACT_STEP * step
        change = np.abs(np.interp(at, t[there], values[there]) - found.value).max()
        if change > max(IMPACT_SHARE * abs(found.value), HALF_UNITS[one.unit] / 2):
            return False
    if one.name == "tempo" and scene.stroke:
        moments = scene.stroke.moments
        return moments["impact"] - moments["strike"] >= LEAST_PICTURES / 2 * step
    if one.group == "timing" and found.value < LEAST_PICTURES * step - 1e-6:
        return False
    if scene.half is None or one.unit == "s":
        return True
    inside = scene.half.window(one.window)
    other = one.compute(scene.half, inside) if inside.any() else None
    if other is None:
        return one.window == "impact"
    share = HALF_SPEED_SHARE if one.unit == "trunk/s" else HALF_SHARE
    return abs(other.value - found.value) <= max(share * abs(found.value), HALF_UNITS[one.unit])


def _confidence(scene: Scene, one: Definition, frames: NDArray[np.bool_]) -> float:
    """How sure the model was to see the points it takes, and less where the method itself is unsure."""
    columns = [INDEX[name] for name in one.points] or list(range(11, 29))
    seen = frames if frames.any() else scene.move.seen
    sure = float(scene.move.visibility[seen][:, columns].mean())
    return min(1.0, sure) * one.trust * (0.8 if scene.view == "other" else 1.0)
