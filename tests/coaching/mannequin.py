"""A figure drawn by numbers, which moves as it is told: what an analysis finds can be held against what is known.

It faces the camera. One stroke of the right arm in the plane of the picture: it rests, goes back and up, turns, comes
down fast and to rest again, while the knees bend outwards and straighten. No footage of anybody.
"""

import math
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Canvas = NDArray[np.float32]
Colour = tuple[int, int, int]

#: Seconds at which the wrist begins to go back, turns, and comes to rest; before and after it is still.
LOAD, TURN, REST, END = 1.0, 2.0, 2.9, 4.0

# Lengths in trunks (hips to shoulders), about those of people; half the widths of shoulders and hips.
_UPPER_ARM, _FOREARM, _HAND, _THIGH, _SHANK, _NECK = 0.62, 0.52, 0.28, 0.85, 0.83, 0.45
_SHOULDER, _HIP = 0.36, 0.2
_SKIN, _SHIRT, _TROUSERS, _SHOE, _HAIR = (224, 172, 140), (178, 40, 48), (40, 60, 120), (225, 225, 222), (58, 40, 30)
_DARK, _LIPS = (30, 30, 30), (160, 80, 80)
_ENCODE = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-pix_fmt", "yuv420p")


@dataclass(frozen=True)
class Pose:
    """Angles in degrees: `arm` and `thigh` from hanging down outwards, `elbow` bends upwards, `knee` inwards."""

    arm: float
    elbow: float
    other_arm: float
    other_elbow: float
    thigh: float
    knee: float


def _ease(t: float, begin: float, end: float) -> float:
    """From 0 to 1 with rest at both ends (minimum jerk)."""
    u = min(1.0, max(0.0, (t - begin) / (end - begin)))
    return u**3 * (10 - 15 * u + 6 * u * u)


def pose_at(t: float) -> Pose:
    """How it stands at `t` seconds."""
    back, forward = _ease(t, LOAD, TURN), _ease(t, TURN, REST)
    bend = _ease(t, 0.6, TURN) - 0.7 * _ease(t, TURN, REST + 0.3)
    return Pose(
        arm=40 + 65 * back - 85 * forward,
        elbow=35 + 50 * back - 60 * forward,
        other_arm=50 + 10 * bend,
        other_elbow=25 + 15 * bend,
        thigh=18 + 20 * bend,
        knee=14 + 36 * bend,
    )


def _towards(degrees: float, length: float, outwards: int) -> Values:
    return length * np.array([outwards * math.sin(math.radians(degrees)), math.cos(math.radians(degrees))])


def joints_at(t: float) -> dict[str, Values]:
    """Where every joint is, in trunks from the middle of the hips, y down. Its right is on the left of the picture."""
    pose = pose_at(t)
    at: dict[str, Values] = {"hips": np.zeros(2), "shoulders": np.array([0.0, -1.0])}
    at["head"] = np.array([0.0, -1.0 - _NECK])
    arms = {"right": (pose.arm, pose.elbow), "left": (pose.other_arm, pose.other_elbow)}
    for side, outwards in (("right", -1), ("left", 1)):
        arm, elbow = arms[side]
        at[f"{side}_shoulder"] = at["shoulders"] + np.array([outwards * _SHOULDER, 0])
        at[f"{side}_elbow"] = at[f"{side}_shoulder"] + _towards(arm, _UPPER_ARM, outwards)
        at[f"{side}_wrist"] = at[f"{side}_elbow"] + _towards(arm + elbow, _FOREARM, outwards)
        at[f"{side}_hip"] = np.array([outwards * _HIP, 0])
        at[f"{side}_knee"] = at[f"{side}_hip"] + _towards(pose.thigh, _THIGH, outwards)
        at[f"{side}_ankle"] = at[f"{side}_knee"] + _towards(pose.thigh - pose.knee, _SHANK, outwards)
        at[f"{side}_toe"] = at[f"{side}_ankle"] + np.array([outwards * 0.12, 0.17])
    # The feet stay on the floor.
    down = 1.62 - max(at["right_ankle"][1], at["left_ankle"][1])
    return {name: place + np.array([0.0, down]) for name, place in at.items()}


def angle(t: float, joint: str, side: str) -> float:
    """Flexion of a knee or an elbow as it is drawn, in degrees."""
    chain = ("hip", "knee", "ankle") if joint == "knee" else ("shoulder", "elbow", "wrist")
    at = joints_at(t)
    near, middle, far = (at[f"{side}_{name}"] for name in chain)
    one, other = middle - near, far - middle
    return math.degrees(math.acos(float(one @ other) / float(np.linalg.norm(one) * np.linalg.norm(other))))


@dataclass(frozen=True)
class Stage:
    """The picture: `trunk` and `hips` (where the hips are when it stands straight) in pixels."""

    width: int
    height: int
    trunk: float
    hips: tuple[float, float]


PORTRAIT = Stage(360, 640, 118, (180, 320))
LANDSCAPE = Stage(832, 468, 90, (430, 227))


def draw(stage: Stage, t: float) -> NDArray[np.uint8]:
    """One picture of it, in RGB."""
    trunk = stage.trunk
    at = {name: place * trunk + np.array(stage.hips) for name, place in joints_at(t).items()}
    y = np.linspace(0, 1, stage.height, dtype=np.float32)[:, None, None]
    x = np.linspace(0, 1, stage.width, dtype=np.float32)[None, :, None]
    canvas: Canvas = (205 - 30 * y + 10 * x) * np.array([1.0, 1.0, 0.97], np.float32)
    canvas[int(at["left_ankle"][1] - 0.1 * trunk) :] *= np.array([0.62, 0.5, 0.4], np.float32)

    line = partial(_line, canvas, trunk)
    for side in ("left", "right"):
        line(at[f"{side}_ankle"], at[f"{side}_toe"], 0.08, 0.075, _SHOE)
        line(at[f"{side}_knee"], at[f"{side}_ankle"], 0.115, 0.07, _TROUSERS)
        line(at[f"{side}_hip"], at[f"{side}_knee"], 0.17, 0.12, _TROUSERS, 1.06)
    line(at["left_hip"], at["right_hip"], 0.17, 0.17, _TROUSERS)
    hem, chest = at["hips"] - np.array([0, 0.1 * trunk]), at["shoulders"] + np.array([0, 0.16 * trunk])
    line(hem, chest, 0.3, 0.36, _SHIRT)
    inner = (
        at["right_shoulder"] + np.array([0.08 * trunk, 0.06 * trunk]),
        at["left_shoulder"] + np.array([-0.08 * trunk, 0.06 * trunk]),
    )
    line(*inner, 0.15, 0.15, _SHIRT)
    for side in ("left", "right"):
        shoulder, elbow, wrist = (at[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        line(shoulder, elbow, 0.1, 0.085, _SKIN)
        line(elbow, wrist, 0.085, 0.05, _SKIN)
        hand = (wrist - elbow) / _FOREARM * _HAND
        line(wrist + 0.3 * hand, wrist + 0.85 * hand, 0.075, 0.05, _SKIN, 1.02)
        line(shoulder, shoulder + 0.5 * (elbow - shoulder), 0.125, 0.11, _SHIRT, 1.05)
    _draw_head(line, at, trunk)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _line(
    canvas: Canvas,
    trunk: float,
    begin: Values,
    end: Values,
    first: float,
    last: float,
    colour: Colour,
    shade: float = 1.0,
) -> None:
    _capsule(canvas, begin, end, first * trunk, last * trunk, np.array(colour) * shade)


def _draw_head(line: Callable[..., None], at: dict[str, Values], trunk: float) -> None:
    head = at["head"]

    def spot(x: float, y: float, size: float, colour: Colour, shade: float = 1.0, wide: float = 0.0) -> None:
        place = head + np.array([x, y]) * trunk
        line(place - np.array([wide * trunk, 0]), place + np.array([wide * trunk, 0]), size, size, colour, shade)

    line(at["shoulders"] + np.array([0, 0.05 * trunk]), head + np.array([0, 0.15 * trunk]), 0.1, 0.1, _SKIN, 0.9)
    spot(0, -0.1, 0.2, _HAIR)
    spot(-0.19, 0.0, 0.04, _SKIN, 0.9)
    spot(0.19, 0.0, 0.04, _SKIN, 0.9)
    line(head + np.array([0, -0.06 * trunk]), head + np.array([0, 0.1 * trunk]), 0.175, 0.13, _SKIN)
    for x in (-0.07, 0.07):
        spot(x, -0.08, 0.012, _HAIR, wide=0.03)
        spot(x, -0.035, 0.022, (245, 245, 245), wide=0.012)
        spot(x, -0.035, 0.016, _DARK)
    line(head + np.array([0, -0.02 * trunk]), head + np.array([0, 0.045 * trunk]), 0.018, 0.028, _SKIN, 0.86)
    spot(0, 0.12, 0.012, _LIPS, wide=0.045)


def _capsule(canvas: Canvas, begin: Values, end: Values, first: float, last: float, colour: Values) -> None:
    """A limb with round ends whose radius goes from `first` to `last`, a little darker towards its rim."""
    height, width = canvas.shape[:2]
    reach = max(first, last) + 2
    low = np.maximum(np.floor(np.minimum(begin, end) - reach), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(begin, end) + reach), (width, height)).astype(int)
    if (high <= low).any():
        return
    x = np.arange(low[0], high[0], dtype=np.float32)[None, :] - np.float32(begin[0])
    y = np.arange(low[1], high[1], dtype=np.float32)[:, None] - np.float32(begin[1])
    along = (end - begin).astype(np.float32)
    part = np.clip((x * along[0] + y * along[1]) / max(float(along @ along), 1e-9), 0, 1)
    radius = first + (last - first) * part
    apart = np.hypot(x - part * along[0], y - part * along[1])
    cover = np.clip(radius + 0.5 - apart, 0, 1)[..., None]
    light = 1 - 0.28 * np.clip(apart / np.maximum(radius, 1e-9), 0, 1)[..., None] ** 2
    patch = canvas[low[1] : high[1], low[0] : high[0]]
    patch[:] = patch + cover * (light * colour - patch)


def _pictures(stage: Stage, fps: int) -> Iterator[NDArray[np.uint8]]:
    for index in range(round(END * fps)):
        yield draw(stage, index / fps)


def film(path: Path, stage: Stage, *, fps: int = 30) -> Path:
    """Write it as H.264."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{stage.width}x{stage.height}", "-r", str(fps), "-i", "-"]
    data = b"".join(picture.tobytes() for picture in _pictures(stage, fps))
    subprocess.run(["ffmpeg", "-v", "error", "-y", *raw, *_ENCODE, str(path)], input=data, check=True)
    return path


def turn(upright: Path, path: Path, degrees: int) -> Path:
    """The same film stored turned, with the note by how many degrees clockwise players turn it back."""
    turns = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}[degrees]
    stored = path.with_name(f"stored-{path.name}")
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(upright), "-vf", turns, *_ENCODE, str(stored)], check=True)
    note = ["-c", "copy", "-metadata:s:v:0", f"rotate={360 - degrees}", str(path)]
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(stored), *note], check=True)
    stored.unlink()
    return path
