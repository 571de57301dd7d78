"""The metrics themselves: names, words, and how each is computed from the values over time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from backend.coaching.options import View
from backend.coaching.scene import Scene
from backend.coaching.skeleton import SIDES

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Less of a turn, in degrees, or of a movement, in trunks a second, is noise.
LEAST_SEPARATION, LEAST_SPEED = 10.0, 1.0

ALL: tuple[View, ...] = ("side", "front", "back", "other")
SIDEWAYS: tuple[View, ...] = ("side", "other")
FACING: tuple[View, ...] = ("front", "back")

_PLANE = "Angle in the plane of the picture from points smoothed by a Butterworth filter of order 4."
_POINTS = {
    "knee": ("hip", "knee", "ankle"),
    "hip": ("shoulder", "hip", "knee"),
    "elbow": ("shoulder", "elbow", "wrist"),
    "shoulder": ("hip", "shoulder", "elbow"),
    "ankle": ("knee", "ankle", "heel", "foot_index"),
}
_WHAT = {
    "knee": "Knee flexion: between thigh and shank, 0° straight.",
    "hip": "Hip flexion: between trunk and thigh, 0° straight.",
    "elbow": "Elbow flexion: between upper arm and forearm, 0° straight.",
    "shoulder": "Shoulder elevation: between trunk and upper arm, 0° hanging down.",
    "ankle": "Ankle dorsiflexion: foot against shank, 0° at a right angle, positive with the toes up.",
}


@dataclass(frozen=True)
class Found:
    """A number and the time, in seconds, of the moment that shows it; None where it belongs to no moment."""

    value: float
    moment: float | None = None


Compute = Callable[[Scene, Mask], Found | None]


@dataclass(frozen=True)
class Definition:
    """`series` must be there in `window`; `points` are those whose visibility is the confidence, times `trust`."""

    name: str
    label: str
    group: str
    unit: str
    definition: str
    method: str
    window: str
    series: tuple[str, ...]
    points: tuple[str, ...]
    compute: Compute
    side: str | None = None
    views: tuple[View, ...] = ALL
    trust: float = 1.0
    not_seen: str = ""
    absent: str = ""


def _part(scene: Scene, name: str, inside: Mask) -> tuple[Values, Values]:
    there = inside & np.isfinite(scene.values[name])
    return scene.t[there], scene.values[name][there]


def _range(name: str, scene: Scene, inside: Mask) -> Found | None:
    t, values = _part(scene, name, inside)
    return Found(float(values.max() - values.min()), float(t[values.argmax()])) if len(values) else None


def _peak(name: str, scene: Scene, inside: Mask) -> Found | None:
    t, values = _part(scene, name, inside)
    top = int(np.abs(values).argmax()) if len(values) else -1
    return Found(float(values[top]), float(t[top])) if len(values) else None


def _middle(name: str, scene: Scene, inside: Mask) -> Found | None:
    t, values = _part(scene, name, inside)
    if not len(values):
        return None
    middle = float(np.median(values))
    return Found(middle, float(t[np.abs(values - middle).argmin()]))


def _at_impact(name: str, scene: Scene, inside: Mask) -> Found | None:
    t, values = _part(scene, name, inside)
    assert scene.stroke is not None
    moment = scene.stroke.moments["impact"]
    return Found(float(np.interp(moment, t, values)), moment) if len(values) else None


def _sway(scene: Scene, inside: Mask) -> Found | None:
    there = inside & np.isfinite(scene.values["head_x"])
    x, y = scene.values["head_x"][there], scene.values["head_y"][there]
    if len(x) < 2:
        return None
    # A line is taken out: who walks moves the head, and does not sway.
    t = scene.t[there] - scene.t[there].mean()
    rest = [part - np.polyval(np.polyfit(t, part, 1), t) for part in (x, y)]
    apart = np.hypot(*rest)
    return Found(float(np.sqrt((apart**2).mean())), float(scene.t[there][apart.argmax()]))


def _drop(scene: Scene, inside: Mask) -> Found | None:
    t, y = _part(scene, "head_y", inside)
    return Found(float(y.max() - y.min()), float(t[y.argmax()])) if len(y) else None


def _fastest(name: str, scene: Scene, inside: Mask) -> Found | None:
    peak = _peak(name, scene, inside)
    return peak if peak is not None and peak.value >= LEAST_SPEED else None


def _symmetry(joint: str, scene: Scene, inside: Mask) -> Found | None:
    left, right = (_range(f"{joint}_{side}", scene, inside) for side in SIDES)
    if left is None or right is None or left.value + right.value < 10:
        return None
    more = left if left.value >= right.value else right
    return Found(100 * (left.value - right.value) / more.value, more.moment)


def _separation_lead(scene: Scene, inside: Mask) -> Found | None:
    peak = _peak("separation", scene, inside)
    assert scene.stroke is not None
    if peak is None or peak.moment is None or abs(peak.value) < LEAST_SEPARATION:
        return None
    return Found(scene.stroke.moments["impact"] - peak.moment, peak.moment)


def _seconds(phase: str, scene: Scene, _inside: Mask) -> Found | None:
    assert scene.stroke is not None
    begin, end = scene.stroke.window(phase)
    return Found(end - begin, begin)


def _tempo(scene: Scene, _inside: Mask) -> Found | None:
    assert scene.stroke is not None
    moments = scene.stroke.moments
    back, forward = moments["strike"] - moments["load"], moments["impact"] - moments["strike"]
    return Found(back / forward, moments["strike"]) if back > 0 and forward > 0 else None


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for side in SIDES for name in names)


def _joint(joint: str, side: str) -> list[Definition]:
    series = f"{joint}_{side}"
    label = f"{joint.capitalize()}, {side}"
    views = ALL if joint in ("elbow", "shoulder") else SIDEWAYS
    common = {
        "group": "angles",
        "unit": "deg",
        "method": _PLANE,
        "series": (series,),
        "points": tuple(f"{side}_{name}" for name in _POINTS[joint]),
        "side": side,
        "views": views,
        "not_seen": "Bending of the legs is not seen from the front or back.",
    }
    return [
        Definition(
            name=f"{series}_range",
            label=f"{label}: range",
            definition=f"{_WHAT[joint]} Largest less smallest value.",
            window="whole",
            compute=partial(_range, series),
            **common,  # type: ignore[arg-type]
        ),
        Definition(
            name=f"{series}_at_impact",
            label=f"{label}: at impact",
            definition=f"{_WHAT[joint]} At impact.",
            window="impact",
            compute=partial(_at_impact, series),
            **common,  # type: ignore[arg-type]
        ),
    ]


_LEAN = (
    "Line from hips to shoulders against the vertical; positive forwards, from the front to the right of the picture."
)
_TRUNK = "Lengths are told in the athlete's own trunk (hips to shoulders, median)."
_BASE = "Centre of mass by Winter's segment table over the feet: 0 in the middle, ±1 above the outermost points."
_DEPTH = "From the depths that the model guesses, which one camera cannot see: for comparing with oneself."
_SHOULDERS_HIPS = _both("shoulder", "hip")


def _speed(side: str) -> Definition:
    return Definition(
        f"wrist_speed_{side}_peak", f"Wrist speed, {side}: peak", "speed", "trunk/s",
        "Largest speed of the wrist against the hips, in trunk lengths a second.", f"Central differences. {_TRUNK}",
        "whole", (f"wrist_speed_{side}",), (f"{side}_wrist",), partial(_fastest, f"wrist_speed_{side}"), side=side,
        absent="This wrist hardly moves.",
    )  # fmt: skip


METRICS: tuple[Definition, ...] = (
    *(one for joint in _POINTS for side in SIDES for one in _joint(joint, side)),
    Definition("trunk_lean_set_up", "Trunk lean: set-up", "trunk", "deg", f"{_LEAN} Median of the set-up.", _PLANE,
               "set_up", ("trunk_lean",), _SHOULDERS_HIPS, partial(_middle, "trunk_lean")),
    Definition("trunk_lean_at_impact", "Trunk lean: at impact", "trunk", "deg", f"{_LEAN} At impact.", _PLANE,
               "impact", ("trunk_lean",), _SHOULDERS_HIPS, partial(_at_impact, "trunk_lean")),
    Definition("trunk_lean_range", "Trunk lean: range", "trunk", "deg", f"{_LEAN} Largest less smallest value.", _PLANE,
               "whole", ("trunk_lean",), _SHOULDERS_HIPS, partial(_range, "trunk_lean")),
    Definition("head_sway", "Head: sway", "head", "trunk",
               "How far the head strays from its own straight path, as standard deviation, a second up to impact.",
               f"Middle of the ears, in both directions of the picture. {_TRUNK}",
               "approach", ("head_x",), _both("ear"), _sway),
    Definition("head_drop", "Head: up and down", "head", "trunk",
               "Lowest less highest place of the head in the second before impact.",
               f"Middle of the ears. {_TRUNK}", "approach", ("head_y",), _both("ear"), _drop),
    Definition("stance_width", "Stance width", "feet", "trunk",
               "Ankles apart, from side to side, median of the set-up.",
               _TRUNK, "set_up", ("feet_apart",), _both("ankle"), partial(_middle, "feet_apart"), views=FACING,
               not_seen="The width of the stance is seen from the front or back only."),
    Definition("stride_length", "Stride: longest", "feet", "trunk", "Ankles apart, fore and aft, at the most.",
               _TRUNK, "whole", ("feet_apart",), _both("ankle"), partial(_peak, "feet_apart"), views=("side",),
               not_seen="The length of the stride is seen from the side only."),
    Definition("balance_set_up", "Balance: set-up", "balance", "base", f"{_BASE} Median of the set-up.",
               "Positive is to the right of the picture.", "set_up", ("balance",), _both("hip", "ankle"),
               partial(_middle, "balance"), trust=0.9),
    Definition("balance_at_impact", "Balance: at impact", "balance", "base", f"{_BASE} At impact.",
               "Positive is to the right of the picture.", "impact", ("balance",), _both("hip", "ankle"),
               partial(_at_impact, "balance"), trust=0.9),
    Definition("separation_peak", "Hip-shoulder separation: peak", "trunk", "deg",
               "Shoulders turned against the hips, seen from above, where it is most between load and follow-through.",
               _DEPTH, "swing", ("separation",), _SHOULDERS_HIPS, partial(_peak, "separation"), views=FACING, trust=0.6,
               not_seen="Turning about the spine is not to be told from the side."),
    Definition("separation_lead", "Hip-shoulder separation: before impact", "trunk", "s",
               "How long before impact the separation is largest.", _DEPTH, "swing", ("separation",), _SHOULDERS_HIPS,
               _separation_lead, views=FACING, trust=0.6,
               absent="Hips and shoulders hardly turn against each other.",
               not_seen="Turning about the spine is not to be told from the side."),
    *(_speed(side) for side in SIDES),
    *(
        Definition(f"symmetry_{joint}", f"Symmetry: {joint}", "symmetry", "%",
                   "Range of the left joint less that of the right, in % of the larger: 0 is even, −50 half as far on "
                   "the left.", _PLANE, "whole",
                   (f"{joint}_left", f"{joint}_right"), _both(*_POINTS[joint]), partial(_symmetry, joint), views=FACING
                   if joint in ("elbow", "shoulder") else SIDEWAYS, absent="Neither side moves enough to compare.",
                   not_seen="Seen from this side, one arm covers the other."
                   if joint in ("elbow", "shoulder") else "Bending of the legs is not seen from the front or back.")
        for joint in ("knee", "hip", "elbow", "shoulder")
    ),
    Definition("load_seconds", "Load: duration", "timing", "s", "From the beginning of the load to its turn.",
               "Phases by the speed of the leading wrist.", "load", (), _both("wrist"), partial(_seconds, "load")),
    Definition("strike_seconds", "Strike: duration", "timing", "s", "From the turn to the follow-through.",
               "Phases by the speed of the leading wrist.", "strike", (), _both("wrist"), partial(_seconds, "strike")),
    Definition("tempo", "Tempo: back to forward", "timing", "", "Time of the load over time from the turn to impact.",
               "Phases by the speed of the leading wrist.", "swing", (), _both("wrist"), _tempo,
               absent="There is no load before the strike."),
)  # fmt: skip
