"""The athlete's movement: points over time without noise and short gaps, and the values over time made of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend.coaching import angles
from backend.coaching.filters import fill_gaps, smooth
from backend.coaching.limbs import untangled, without_spikes
from backend.coaching.options import View
from backend.coaching.recording import Recording
from backend.coaching.skeleton import COUNT, INDEX, SIDES

Values = NDArray[np.float64]
Facing = Literal["left", "right", "camera", "away"]

#: A point that the model is less sure to see was not seen.
VISIBLE = 0.5
#: The line of the shoulders as it is seen, in lengths of the trunk: wider is from the front or back, narrower from a
#: side. Shoulders are about 0.75 trunks wide.
FRONT_WIDTH, SIDE_WIDTH = 0.5, 0.33


@dataclass(frozen=True)
class Movement:
    """`points` (frames, 33, 2) in pixels and `world` (frames, 33, 3) in metres, NaN where not seen; `seen` is where the
    model found the athlete at all, `filled` where it did not and the gap was filled."""

    t: Values
    fps: float
    points: Values
    visibility: Values
    world: Values
    seen: NDArray[np.bool_]
    filled: NDArray[np.bool_]

    def at(self, name: str) -> Values:
        """Positions of one point, (frames, 2)."""
        return self.points[:, INDEX[name]]

    def middle(self, name: str) -> Values:
        """Between the left and the right one."""
        return (self.at(f"left_{name}") + self.at(f"right_{name}")) / 2

    @cached_property
    def trunk(self) -> float:
        """The athlete's trunk, from hips to shoulders, in pixels: what lengths are told in. NaN: never seen."""
        lengths = np.linalg.norm(self.middle("shoulder") - self.middle("hip"), axis=1)
        return float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else float("nan")

    @cached_property
    def head(self) -> Values:
        """The middle of the head: of both ears, or the one in sight; (frames, 2)."""
        left, right = self.at("left_ear"), self.at("right_ear")
        both = (left + right) / 2
        return np.where(np.isfinite(both), both, np.where(np.isfinite(left), left, right))

    @cached_property
    def seen_view(self) -> View:
        """From where the athlete is seen, by the width of the shoulders and which of them is on which side."""
        across = (self.at("left_shoulder") - self.at("right_shoulder"))[:, 0] / self.trunk
        if not np.isfinite(across).any():
            return "unknown"
        width = float(np.nanmedian(np.abs(across)))
        if width < SIDE_WIDTH:
            return "side"
        if width < FRONT_WIDTH:
            return "other"
        return "front" if float(np.nanmedian(across)) > 0 else "back"

    def facing(self, view: View) -> Facing | None:
        """Which way the athlete looks, by the feet and the nose."""
        if view in ("front", "back"):
            return "camera" if view == "front" else "away"
        signs = [np.sign(self.at(f"{side}_foot_index") - self.at(f"{side}_heel"))[:, 0] for side in SIDES]
        signs.append(np.sign(self.at("nose") - self.head)[:, 0])
        votes = np.concatenate(signs)
        votes = votes[np.isfinite(votes)]
        if not len(votes) or abs(float(votes.mean())) < 0.2:
            return None
        return "right" if votes.mean() > 0 else "left"


def movement(recording: Recording, step: int = 1) -> Movement:
    """The athlete of a recording, of each `step`-th picture. Where there is none, nothing is seen in any picture."""
    count = len(recording.t)
    points = np.full((count, COUNT, 2), np.nan)
    visibility = np.zeros((count, COUNT))
    world = np.full((count, COUNT, 3), np.nan)
    seen = np.zeros(count, bool)
    body = recording.body
    if body is not None:
        seen_points, seen_world = untangled(recording.t[body.frames], body.points, body.world)
        sure = seen_points[..., 2:] >= VISIBLE
        points[body.frames] = np.where(sure, seen_points[..., :2], np.nan)
        visibility[body.frames] = seen_points[..., 2]
        world[body.frames] = np.where(sure, seen_world, np.nan)
        seen[body.frames] = True
    points, visibility, world, seen = points[::step], visibility[::step], world[::step], seen[::step]
    t, fps = recording.t[::step], recording.fps / step
    filled = np.zeros(len(t), bool)
    spike = without_spikes(points)
    world[spike] = np.nan
    for values in (points, world):
        flat = values.reshape(len(t), -1)
        alike: dict[bytes, list[int]] = {}
        for column in range(flat.shape[1]):
            flat[:, column] = fill_gaps(t, flat[:, column])
            there = np.isfinite(flat[:, column])
            filled |= there & ~seen
            alike.setdefault(there.tobytes(), []).append(column)
        for columns in alike.values():  # those with the same gaps at once
            flat[:, columns] = smooth(t, flat[:, columns], fps)
        values[:] = flat.reshape(values.shape)
    return Movement(t, fps, points, visibility, world, seen, filled)


def drawn(move: Movement) -> list[dict[str, Any] | None]:
    """What is to be drawn of the athlete in each picture, in plain values; None where there is nothing."""
    out: list[dict[str, Any] | None] = []
    for index in range(len(move.t)):
        there = np.isfinite(move.points[index]).all(axis=1)
        if not there.any():
            out.append(None)
            continue
        places = move.points[index].round(2).tolist()
        certainty = move.visibility[index].round(3).tolist()
        points = [[*place, sure] if ok else None for place, sure, ok in zip(places, certainty, there, strict=True)]
        out.append({"points": points, "filled": bool(move.filled[index])})
    return out


def values_over_time(move: Movement, facing: Facing | None) -> dict[str, Values]:
    """Each series by its name, in the order in which they are written; NaN where it cannot be told."""
    made: dict[str, Values] = {}
    for side in SIDES:
        at = {name: move.at(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}
        heel, toe = move.at(f"{side}_heel"), move.at(f"{side}_foot_index")
        made[f"knee_{side}"] = angles.flexion(at["hip"], at["knee"], at["ankle"])
        made[f"hip_{side}"] = angles.flexion(at["shoulder"], at["hip"], at["knee"])
        made[f"elbow_{side}"] = angles.flexion(at["shoulder"], at["elbow"], at["wrist"])
        made[f"shoulder_{side}"] = angles.elevation(at["shoulder"], at["elbow"], at["hip"])
        made[f"ankle_{side}"] = angles.dorsiflexion(at["knee"], at["ankle"], heel, toe)
    hips, shoulders = move.middle("hip"), move.middle("shoulder")
    sign = {"right": 1.0, "left": -1.0}.get(facing or "", 0.0)
    made["trunk_lean"] = angles.lean(hips, shoulders, sign)
    turns = [
        angles.turn(move.world[:, INDEX[f"left_{name}"]], move.world[:, INDEX[f"right_{name}"]])
        for name in ("shoulder", "hip")
    ]
    made["separation"] = angles.wrapped(turns[0] - turns[1])
    for side in SIDES:
        # Against the hips, so that walking is not taken for a stroke.
        made[f"wrist_speed_{side}"] = angles.speed(move.t, (move.at(f"{side}_wrist") - hips) / move.trunk)
    made["balance"] = _balance(move)
    head = move.head / move.trunk
    start = _first(head)
    made["head_x"], made["head_y"] = head[:, 0] - start[0], head[:, 1] - start[1]
    feet = move.at("left_ankle") - move.at("right_ankle")
    made["feet_apart"] = np.abs(feet[:, 0]) / move.trunk
    ordered = [name for pair in zip(*(_named(made, side) for side in SIDES), strict=True) for name in pair]
    return {name: made[name] for name in [*ordered, *(name for name in made if name not in ordered)]}


def _named(made: dict[str, Values], side: str) -> list[str]:
    return [name for name in made if name.endswith(f"_{side}")]


def _first(values: Values) -> Values:
    """The typical one of the first few that are there, each column by itself."""
    there = values[np.isfinite(values).all(axis=1)][:5]
    return np.median(there, axis=0) if len(there) else np.full(values.shape[1], np.nan)


def _balance(move: Movement) -> Values:
    """Where the centre of mass is over the feet: 0 in the middle between the outermost points, 1 and -1 above them."""
    names = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    centre = angles.centre_of_mass({f"{side}_{name}": move.at(f"{side}_{name}") for side in SIDES for name in names})
    x = np.stack([move.at(f"{side}_{part}")[:, 0] for side in SIDES for part in ("heel", "foot_index", "ankle")])
    low, high = x.min(axis=0), x.max(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((centre[:, 0] - (low + high) / 2) / np.where(high > low, (high - low) / 2, np.nan))
