"""Angles and distances of a body in the plane of the picture, frame by frame: pure geometry.

Flexion is 0° when straight, as in Pose2Sim and Sports2D. y points down. NaN goes in where a point was not seen, and
comes out where it was needed. Positions are (frames, 2), or (frames, 3) where that is said.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Masses of segments as shares of the body, and where along them their middle is: Winter, Biomechanics and Motor
#: Control of Human Movement, table 4.1. Head and trunk are one, from the hips to the shoulders.
SEGMENTS = (
    ("upper_arm", 0.028, 0.436, "shoulder", "elbow"),
    ("forearm", 0.022, 0.682, "elbow", "wrist"),  # with the hand
    ("thigh", 0.100, 0.433, "hip", "knee"),
    ("leg", 0.061, 0.606, "knee", "ankle"),  # with the foot
)
TRUNK_MASS, TRUNK_MIDDLE = 0.578, 0.660


def between(one: Values, other: Values) -> Values:
    """The unsigned angle between two directions, in degrees from 0 to 180; NaN where one has no length."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (one * other).sum(axis=-1) / np.where(lengths > 0, lengths, np.nan)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def flexion(near: Values, joint: Values, far: Values) -> Values:
    """How far a joint is bent: 0 when the three points lie in a line, in degrees."""
    return between(joint - near, far - joint)


def elevation(shoulder: Values, elbow: Values, hip: Values) -> Values:
    """The upper arm against the trunk: 0 hanging along it, 90 straight out, in degrees."""
    return between(elbow - shoulder, hip - shoulder)


def dorsiflexion(knee: Values, ankle: Values, heel: Values, toe: Values) -> Values:
    """The foot against the shank: 0 at a right angle, positive with the toes up, in degrees."""
    return 90 - between(knee - ankle, toe - heel)


def lean(hips: Values, shoulders: Values, facing: float) -> Values:
    """The trunk against the vertical, in degrees from -180 to 180.

    `facing` is 1 or -1, the direction on the x axis in which the athlete looks: positive is forwards then. 0 (towards
    the camera, or away): positive is to the right of the picture.
    """
    trunk = shoulders - hips
    return np.degrees(np.arctan2(trunk[:, 0] * (facing or 1.0), -trunk[:, 1]))


def turn(left: Values, right: Values) -> Values:
    """The direction of a line across the body, from right to left, seen from above, in degrees; (frames, 3), z away."""
    across = left - right
    return np.degrees(np.arctan2(across[:, 2], across[:, 0]))


def wrapped(degrees: Values) -> Values:
    """The same angle between -180 and 180."""
    return (degrees + 180) % 360 - 180


def speed(t: Values, positions: Values) -> Values:
    """Length of the velocity, in units of `positions` a second, by central differences at real times."""
    if len(t) < 2:
        return np.full(len(t), np.nan)
    velocity = np.full_like(positions, np.nan)
    there = np.isfinite(positions).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin >= 2:
            velocity[begin:end] = np.gradient(positions[begin:end], t[begin:end], axis=0)
    return np.asarray(np.linalg.norm(velocity, axis=1))


def centre_of_mass(joints: dict[str, Values]) -> Values:
    """Of the whole body, from `left_shoulder` and so on; an arm or leg that was not seen is taken for the other one."""
    hips = (joints["left_hip"] + joints["right_hip"]) / 2
    shoulders = (joints["left_shoulder"] + joints["right_shoulder"]) / 2
    total = TRUNK_MASS * (hips + TRUNK_MIDDLE * (shoulders - hips))
    for _, mass, where, near, far in SEGMENTS:
        both = [joints[f"{side}_{near}"] * (1 - where) + joints[f"{side}_{far}"] * where for side in ("left", "right")]
        for one, other in (both, both[::-1]):
            total = total + mass * np.where(np.isfinite(one), one, other)
    return total
