"""Where a stroke begins, turns, hits and ends: from the speed of the faster wrist, or from times that a person gave.

Four phases, each up to the next: set-up, load (back), strike (forward), follow-through. `impact` lies in the strike:
the fastest moment of the leading wrist, at which two clips are laid side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backend.coaching.filters import runs

Values = NDArray[np.float64]

PHASES = ("set_up", "load", "strike", "follow_through")
#: In the order of time.
MOMENTS = ("set_up", "load", "strike", "impact", "follow_through", "end")

#: In trunk lengths a second: slower is no stroke.
LEAST_SPEED = 1.5
#: A second peak that far from the first, and nearly as fast: no single stroke stands out.
APART_SECONDS = 1.0
RIVAL = 0.8
#: Shares of the peak: under the first the wrist turns, under the second it rests; under the third the strike is over.
TURN, REST, OVER = 0.35, 0.08, 0.5
REST_SECONDS = 0.15
#: Of what is taken for rest: a rise has its foot there.
FOOT = 0.25
#: The way back may take so long at most.
LOAD_SECONDS = 3.0
BY_HAND = "The phases can be set by hand."
#: Pictures at both ends of a stretch that are no measure of speed.
EDGE = 2


@dataclass(frozen=True)
class Stroke:
    """`moments` in seconds, by their names; `given` are those a person set; `side` is that of the leading wrist."""

    moments: dict[str, float]
    side: str | None
    given: frozenset[str] = frozenset()

    def window(self, phase: str) -> tuple[float, float]:
        """Beginning and end of a phase."""
        after = {"set_up": "load", "load": "strike", "strike": "follow_through", "follow_through": "end"}
        return self.moments[phase], self.moments[after[phase]]

    def phase_at(self, t: float) -> str | None:
        """In which phase a time lies; the last one includes its end."""
        if not self.moments["set_up"] <= t <= self.moments["end"]:
            return None
        return [name for name in PHASES if self.moments[name] <= t][-1]


def find_stroke(t: Values, speeds: Mapping[str, Values]) -> tuple[Stroke | None, str | None]:
    """The stroke in a movement, from the speed of each wrist in trunk lengths a second; or why there is none."""
    seen = {side: np.isfinite(speed) for side, speed in speeds.items()}
    speeds = {side: _inner(speed) for side, speed in speeds.items()}
    peaks = {side: float(np.nanmax(speed)) for side, speed in speeds.items() if np.isfinite(speed).any()}
    if not peaks:
        return None, "The wrists were not seen."
    side = max(sorted(peaks), key=lambda name: peaks[name])
    if peaks[side] < LEAST_SPEED:
        return None, "No stroke was found: the wrists never move fast."
    known, speed = np.flatnonzero(np.isfinite(speeds[side])), np.nan_to_num(speeds[side], nan=0.0)
    top = int(speed.argmax())
    far = np.abs(t - t[top]) > APART_SECONDS
    if far.any() and speed[far].max() > RIVAL * speed[top]:
        return None, "No single stroke stands out: several movements are about as fast. " + BY_HAND
    if top in (known[0], known[-1]):
        return None, "The fastest moment is the first or the last that was seen: no stroke is whole. " + BY_HAND
    there = np.flatnonzero(np.any(list(seen.values()), axis=0))
    first, last = int(there[0]), int(there[-1])
    strike = _turn(t, speed, first, top)
    rest = REST * speed[top]
    over = next((index for index in range(top, last + 1) if speed[index] < OVER * speed[top]), last)
    end = _rest_after(t, speed, max(over, top), last, rest)
    moments = {
        "set_up": float(t[first]),
        "load": float(t[_rest_before(t, speed, first, strike, rest)]),
        "strike": float(t[strike]),
        "impact": _summit(t, speed, top),
        "follow_through": float(t[max(over, min(top + 1, last))]),
        # Nobody saw it rest: it goes on for as long as there is something to see.
        "end": float(t[last if end > known[-1] else end]),
    }
    return Stroke(moments, side), None


def _inner(speed: Values) -> Values:
    """Without both ends of each stretch, where a speed is taken from one side only and is mostly noise."""
    out = speed.copy()
    for begin, end in runs(np.isfinite(speed)):
        out[begin : begin + EDGE] = np.nan
        out[max(begin, end - EDGE) : end] = np.nan
    return out


def _summit(t: Values, speed: Values, top: int) -> float:
    """Where between the pictures the speed is highest: the summit of a parabola through three of them."""
    if not 0 < top < len(t) - 1 or not speed[top - 1] or not speed[top + 1]:
        return float(t[top])
    (a, b, c), (x, y, z) = t[top - 1 : top + 2] - t[top], speed[top - 1 : top + 2]
    curve = (x / ((a - b) * (a - c))) + (y / ((b - a) * (b - c))) + (z / ((c - a) * (c - b)))
    slope = -(x * (b + c) / ((a - b) * (a - c)) + y * (a + c) / ((b - a) * (b - c)) + z * (a + b) / ((c - a) * (c - b)))
    return float(t[top] + np.clip(-slope / (2 * curve), a / 2, c / 2)) if curve < 0 else float(t[top])


def _turn(t: Values, speed: Values, first: int, top: int) -> int:
    """Back from the peak to where the wrist is slowest before it speeds up: the turn from back to forward."""
    index = top
    while index > first and speed[index] > TURN * speed[top]:
        index -= 1
    while index > first and speed[index - 1] < speed[index]:
        index -= 1
    return index


def _rest_before(t: Values, speed: Values, first: int, strike: int, rest: float) -> int:
    """Where the way back begins: the end of the last rest before the turn. No way back: the turn itself."""
    index = strike
    # At the turn itself the wrist may stand for a moment.
    while index > first and speed[index] <= rest and t[strike] - t[index] < REST_SECONDS:
        index -= 1
    begin = index
    while index > first and t[strike] - t[index] <= LOAD_SECONDS:
        if speed[index] > rest:
            begin = index
        elif t[begin] - t[index] >= REST_SECONDS:
            break
        index -= 1
    if speed[begin] <= rest:
        return strike
    # It began before it was told from rest: at the foot of the rise.
    while begin > first and speed[begin] > FOOT * rest and speed[begin - 1] < speed[begin]:
        begin -= 1
    return begin


def _rest_after(t: Values, speed: Values, index: int, last: int, rest: float) -> int:
    """Where the wrist comes to rest."""
    begin = index
    while index < last:
        if speed[index] > rest:
            begin = index + 1
        elif t[index] - t[begin] >= REST_SECONDS:
            return begin
        index += 1
    return min(begin, last) if speed[last] <= rest else last


def given_stroke(before: Stroke | None, moments: Mapping[str, float], *, first: float, last: float) -> Stroke:
    """The stroke with some moments set by a person. Raises ValueError in words.

    Where none was known all but `impact` are needed; impact is then the middle of the strike.
    """
    unknown = sorted(set(moments) - set(MOMENTS))
    if unknown:
        raise ValueError(f"there is no moment called {unknown[0]}: they are {', '.join(MOMENTS)}")
    whole = dict(before.moments) if before else {"set_up": first, "end": last}
    whole |= {name: float(value) for name, value in moments.items()}
    missing = [name for name in MOMENTS if name not in whole and name != "impact"]
    if missing:
        raise ValueError(f"{missing[0]} is missing: this video has no phases yet, so each of them needs its time")
    if "impact" not in moments and not whole["strike"] <= whole.get("impact", -1.0) <= whole["follow_through"]:
        whole["impact"] = (whole["strike"] + whole["follow_through"]) / 2
    for name in MOMENTS:
        if not np.isfinite(whole[name]) or not first - 1e-3 <= whole[name] <= last + 1e-3:
            raise ValueError(f"{name} lies outside the part of the video that was analysed")
    for name, after in pairwise(MOMENTS):
        if whole[name] > whole[after]:
            raise ValueError(f"{after} cannot come before {name}")
    side = before.side if before else None
    given = (before.given if before else frozenset()) | set(moments)
    return Stroke({name: whole[name] for name in MOMENTS}, side, frozenset(given))
