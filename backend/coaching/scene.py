"""A movement ready to be measured: values over time, phases, view."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.coaching.movement import Facing, Movement
from backend.coaching.options import View
from backend.coaching.phases import Stroke

Values = NDArray[np.float64]

#: About impact, where the head counts: a fixed time, because where a load begins is not told to the picture.
APPROACH_SECONDS, AFTER_SECONDS = 1.0, 0.25


@dataclass(frozen=True)
class Scene:
    """All that numbers are made of. `t` and `values` are the time series; `half` the same from half the pictures."""

    move: Movement
    values: dict[str, Values]
    stroke: Stroke | None
    stroke_reason: str | None
    view: View
    facing: Facing | None
    half: "Scene | None" = None

    @property
    def t(self) -> Values:
        return self.move.t

    def window(self, name: str) -> NDArray[np.bool_]:
        """Which pictures belong to a phase, or to `whole`: all from the athlete's first to the last."""
        if name == "whole":
            there = np.flatnonzero(self.move.seen)
            inside = np.zeros(len(self.t), bool)
            if len(there):
                inside[there[0] : there[-1] + 1] = True
            return inside
        assert self.stroke is not None
        begin, end = self._limits(name)
        return (self.t >= begin - 1e-6) & (self.t <= end + 1e-6)

    def _limits(self, name: str) -> tuple[float, float]:
        assert self.stroke is not None
        moments = self.stroke.moments
        if name == "stroke":
            return moments["load"], moments["end"]
        if name == "approach":
            return moments["impact"] - APPROACH_SECONDS, moments["impact"] + AFTER_SECONDS
        if name == "swing":
            return moments["load"], moments["follow_through"]
        if name == "impact":
            # What is told of one moment needs the pictures around it.
            return moments["impact"] - 1.5 / self.move.fps, moments["impact"] + 1.5 / self.move.fps
        return self.stroke.window(name)
