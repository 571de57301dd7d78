"""From a recording to all that is told about a movement: series, phases, metrics, findings. Pure and repeatable."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.coaching.filters import runs
from backend.coaching.findings import find
from backend.coaching.metrics import Metric, measure
from backend.coaching.movement import Movement, drawn, movement, values_over_time
from backend.coaching.options import AnalysisOptions
from backend.coaching.phases import MOMENTS, PHASES, Stroke, find_stroke, given_stroke
from backend.coaching.recording import Recording
from backend.coaching.scene import Scene
from backend.coaching.skeleton import SIDES

Values = NDArray[np.float64]
#: Raised with every change that changes a number.
ANALYSIS = "2"

_JOINTS = ("knee", "hip", "elbow", "shoulder", "ankle")
_UNITS = {"wrist_speed": "trunk/s", "balance": "base", "head_x": "trunk", "head_y": "trunk", "feet_apart": "trunk"}
_LABELS = {
    "trunk_lean": "Trunk lean",
    "separation": "Hip-shoulder separation",
    "wrist_speed": "Wrist speed",
    "balance": "Balance",
    "head_x": "Head, sideways",
    "head_y": "Head, up and down",
    "feet_apart": "Feet apart",
}
_MOMENT_LABELS = {
    "set_up": "Set-up",
    "load": "Load",
    "strike": "Turn",
    "impact": "Impact",
    "follow_through": "Follow-through",
    "end": "End",
}
# Values are written with so many places; the rest is noise of the model.
_PLACES = 3


@dataclass(frozen=True)
class Motion:
    """A recording, understood."""

    recording: Recording
    scene: Scene
    metrics: list[Metric]
    findings: list[dict[str, Any]]

    def drawn(self) -> list[dict[str, Any] | None]:
        """What is to be drawn of the athlete, picture by picture."""
        return drawn(self.scene.move)


def understand(
    recording: Recording,
    options: AnalysisOptions,
    moments: Mapping[str, float] | None = None,
    before: Stroke | None = None,
) -> Motion:
    """Everything about the athlete's movement. `moments` are times that a person gives, `before` what was known.

    Raises ValueError where given moments are impossible.
    """
    whole = _scene(recording, options, movement(recording), None, None)
    stroke, reason = before, None
    if stroke is None:
        speeds = {side: whole.values[f"wrist_speed_{side}"] for side in SIDES}
        stroke, reason = find_stroke(whole.t, speeds) if whole.move.seen.any() else (None, "No athlete was found.")
    if moments:
        first, last = float(recording.t[0]), float(recording.t[-1])
        if stroke is None:
            there = whole.t[whole.move.seen]
            begin, end = (float(there[0]), float(there[-1])) if len(there) else (first, last)
            moments = {"set_up": min(begin, *moments.values()), "end": max(end, *moments.values()), **moments}
        stroke, reason = given_stroke(stroke, moments, first=first, last=last), None
    half = _scene(recording, options, movement(recording, step=2), stroke, reason, like=whole)
    scene = Scene(whole.move, whole.values, stroke, reason, whole.view, whole.facing, half)
    metrics = measure(scene)
    return Motion(recording, scene, metrics, find(scene, metrics, options.discipline))


def _scene(
    recording: Recording,
    options: AnalysisOptions,
    move: Movement,
    stroke: Stroke | None,
    reason: str | None,
    like: Scene | None = None,
) -> Scene:
    view = options.view if options.view != "unknown" else move.seen_view if like is None else like.view
    if view == "unknown":
        view = "other"
    facing = move.facing(view) if like is None else like.facing
    return Scene(move, values_over_time(move, facing), stroke, reason, view, facing)


def describe(motion: Motion) -> dict[str, Any]:
    """The part of the summary that follows from the recording, in plain values."""
    recording, scene = motion.recording, motion.scene
    stroke = scene.stroke
    return {
        "frames": {
            "count": len(recording.t),
            "sample_fps": recording.sample_fps,
            "effective_fps": round(recording.fps, 3),
            "first_t": float(recording.t[0]) if len(recording.t) else None,
            "last_t": float(recording.t[-1]) if len(recording.t) else None,
        },
        "coverage": _coverage(recording),
        "view": scene.view,
        "facing": scene.facing if scene.move.seen.any() else None,
        "phases": _phases(stroke),
        "phases_reason": None if stroke else scene.stroke_reason,
        "moments": {name: round(stroke.moments[name], 4) for name in MOMENTS} if stroke else None,
        "given": sorted(stroke.given, key=MOMENTS.index) if stroke else [],
        "strike_side": stroke.side if stroke else None,
        "series": [_series(name, values, scene) for name, values in scene.values.items()],
        "metrics": [one.to_json() for one in motion.metrics],
        "findings": motion.findings,
        "key_frames": _key_frames(stroke, recording.t),
    }


def _coverage(recording: Recording) -> dict[str, Any]:
    """In how many pictures anybody is, and where nobody is."""
    there = recording.somebody()
    gaps = [{"from": float(recording.t[a]), "to": float(recording.t[b - 1])} for a, b in runs(~there)]
    share = float(there.mean()) if len(there) else 0.0
    return {"frames": len(there), "with_pose": int(there.sum()), "share": round(share, 4), "gaps": gaps}


def _phases(stroke: Stroke | None) -> list[dict[str, Any]] | None:
    if stroke is None:
        return None
    return [
        {
            "name": name,
            "start": round(stroke.window(name)[0], 4),
            "end": round(stroke.window(name)[1], 4),
            "source": "given" if name in stroke.given else "found",
        }
        for name in PHASES
    ]


def _key_frames(stroke: Stroke | None, t: Values) -> list[dict[str, Any]]:
    if stroke is None:
        return []
    return [
        {
            "event": name,
            "label": _MOMENT_LABELS[name],
            "t": round(stroke.moments[name], 4),
            "frame": int(np.abs(t - stroke.moments[name]).argmin()),
            "file": None,
        }
        for name in MOMENTS
    ]


def _series(name: str, values: Values, scene: Scene) -> dict[str, Any]:
    base, _, end = name.rpartition("_")
    side = end if end in SIDES else None
    stem = base if side else name
    label = _LABELS.get(stem, stem.capitalize())
    there = np.isfinite(values)
    inside = scene.window("whole")
    seen = values[there]
    return {
        "name": name,
        "label": f"{label}, {side}" if side else label,
        "unit": _UNITS.get(stem, "deg"),
        "pair": stem if side else None,
        "side": side,
        "group": "angles" if stem in _JOINTS or stem in ("trunk_lean", "separation") else
        "speed" if stem == "wrist_speed" else "position",
        "coverage": round(float(there[inside].mean()), 4) if inside.any() else 0.0,
        "min": round(float(seen.min()), _PLACES) if len(seen) else None,
        "max": round(float(seen.max()), _PLACES) if len(seen) else None,
        "mean": round(float(seen.mean()), _PLACES) if len(seen) else None,
    }  # fmt: skip


def angles_csv(motion: Motion) -> bytes:
    """All series as a table, a row for each picture; what is not known is empty."""
    scene = motion.scene
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["t", "frame", "phase", *scene.values])
    for index, t in enumerate(scene.t.tolist()):
        phase = scene.stroke.phase_at(t) if scene.stroke else None
        row = [float(values[index]) for values in scene.values.values()]
        table.writerow([t, index, phase or "", *("" if value != value else round(value, _PLACES) for value in row)])
    return out.getvalue().encode()
