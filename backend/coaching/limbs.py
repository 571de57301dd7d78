"""Two mistakes of the model that time betrays: limbs taken for each other, and points that leap away and back."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backend.coaching.skeleton import INDEX

Values = NDArray[np.float64]

_LEG = ("knee", "ankle", "heel", "foot_index")
_ARM = ("elbow", "wrist", "pinky", "index", "thumb")
_PAIRS = tuple(
    ([INDEX[f"left_{name}"] for name in limb], [INDEX[f"right_{name}"] for name in limb]) for limb in (_LEG, _ARM)
)

#: Swapped limbs are taken for that when putting them back shortens their way from picture to picture to this share.
SWAP_SHARE = 0.6
#: After a longer break nothing is known of where they were.
BREAK_SECONDS = 0.5
#: A leap: so many trunks from the middle of the places before and after, and so many times as far as these are apart.
LEAP_TRUNKS, LEAP_TIMES = 0.25, 1.5


def untangled(t: Values, points: Values, world: Values) -> tuple[Values, Values]:
    """Put back what was swapped between left and right, limb by limb; points (n, 33, 3), world (n, 33, 3).

    A limb goes on as it moved: what is nearer to where both of a pair were going is theirs. Which of both is the left
    one is what the model says in most pictures without a break.
    """
    points, world = points.copy(), world.copy()
    whole = np.concatenate([[0], np.flatnonzero(np.diff(t) > BREAK_SECONDS) + 1, [len(t)]])
    for left, right in _PAIRS:
        for begin, end in pairwise(whole.tolist()):
            swapped = _swapped(t[begin:end], points[begin:end, left, :2], points[begin:end, right, :2])
            frames = begin + np.flatnonzero(swapped)
            for values in (points, world):
                one, other = values[np.ix_(frames, left)], values[np.ix_(frames, right)]
                values[np.ix_(frames, left)], values[np.ix_(frames, right)] = other, one
    return points, world


def _swapped(t: Values, left: Values, right: Values) -> NDArray[np.bool_]:
    """In which pictures both are named the wrong way round."""
    swapped = np.zeros(len(t), bool)
    way = [(left[0], right[0])] if len(t) else []
    for now in range(1, len(t)):
        was, other = way[-1]
        if now > 1:
            share = (t[now] - t[now - 1]) / (t[now - 1] - t[now - 2])
            was, other = was + share * (was - way[-2][0]), other + share * (other - way[-2][1])
        a, b = left[now], right[now]
        kept = np.linalg.norm(a - was) + np.linalg.norm(b - other)
        crossed = np.linalg.norm(b - was) + np.linalg.norm(a - other)
        # Where both are about as near, the one is as good as the other: it stays as it was last.
        share = SWAP_SHARE if not swapped[now - 1] else 1 / SWAP_SHARE
        swapped[now] = crossed < share * kept
        way.append((b, a) if swapped[now] else (a, b))
    return ~swapped if swapped.mean() > 0.5 else swapped


def without_spikes(points: Values) -> NDArray[np.bool_]:
    """Take out, in place, points that are far away for one picture alone; tells which. Points (n, 33, 2)."""
    taken = np.zeros(points.shape[:2], bool)
    shoulders = (points[:, INDEX["left_shoulder"]] + points[:, INDEX["right_shoulder"]]) / 2
    hips = (points[:, INDEX["left_hip"]] + points[:, INDEX["right_hip"]]) / 2
    lengths = np.linalg.norm(shoulders - hips, axis=1)
    if len(points) < 3 or not np.isfinite(lengths).any():
        return taken
    before, after = points[:-2], points[2:]
    leap = np.linalg.norm(points[1:-1] - (before + after) / 2, axis=2)
    with np.errstate(invalid="ignore"):
        far = (leap > LEAP_TRUNKS * np.nanmedian(lengths)) & (
            leap > LEAP_TIMES * np.linalg.norm(after - before, axis=2)
        )
    taken[1:-1] = far
    points[taken] = np.nan
    return taken
