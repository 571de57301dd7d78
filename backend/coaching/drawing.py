"""A skeleton drawn into a picture: smooth lines and dots by their distance from each pixel, no library."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.coaching.frames import Picture
from backend.coaching.skeleton import BONES_BY_SIDE, INDEX, side

#: Left, right and what joins them, in RGB, as in the player and the charts; told apart also by those who do not see red
#: and green.
COLOURS = {"left": (74, 168, 255), "right": (255, 159, 67), "both": (244, 244, 245)}
_LINES = [
    *((pair, "both") for pair in (side("shoulder"), side("hip"))),
    *((pair, one) for one, bones in BONES_BY_SIDE.items() for pair in bones),
]
_DOTS = [
    (INDEX[f"{one}_{joint}"], one)
    for one in BONES_BY_SIDE
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
] + [(INDEX["nose"], "both")]
#: Of the longer side of the picture.
_LINE_SHARE, _DOT_SHARE = 0.0025, 0.0045


def draw(picture: Picture, points: Sequence[Sequence[float] | None], scale: tuple[float, float]) -> Picture:
    """The picture with a body drawn into it; `points` times `scale` are pixels, None where nothing is to be drawn."""
    out = picture.copy()
    at = [None if point is None else np.array([point[0] * scale[0], point[1] * scale[1]]) for point in points]
    size = max(picture.shape)
    for (near, far), colour in _LINES:
        begin, end = at[near], at[far]
        if begin is not None and end is not None:
            _stroke(out, begin, end, max(1.2, size * _LINE_SHARE), COLOURS[colour])
    for index, colour in _DOTS:
        place = at[index]
        if place is not None:
            _stroke(out, place, place, max(2.0, size * _DOT_SHARE), COLOURS[colour])
    return out


def _stroke(out: Picture, begin: Any, end: Any, half: float, colour: tuple[int, int, int]) -> None:
    """Blend a line with round ends, `half` as wide as it is to be, over the pixels it touches."""
    height, width = out.shape[:2]
    low = np.maximum(np.floor(np.minimum(begin, end) - half - 1), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(begin, end) + half + 2), (width, height)).astype(int)
    if (high <= low).any():
        return
    x = np.arange(low[0], high[0], dtype=np.float32)[None, :] - np.float32(begin[0])
    y = np.arange(low[1], high[1], dtype=np.float32)[:, None] - np.float32(begin[1])
    along = (end - begin).astype(np.float32)
    length = float(along @ along)
    part = np.clip((x * along[0] + y * along[1]) / length, 0, 1) if length > 0 else np.zeros((1, 1), np.float32)
    apart = np.hypot(x - part * along[0], y - part * along[1])
    cover: NDArray[np.float32] = np.clip(half + 0.5 - apart, 0, 1)[..., None]
    patch = out[low[1] : high[1], low[0] : high[0]]
    patch[:] = (patch + cover * (np.array(colour, np.float32) - patch)).astype(np.uint8)
