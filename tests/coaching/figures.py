"""Recordings made of the mannequin's exact joints: what the arithmetic is held against, without a model in between."""

import numpy as np

from backend.coaching.recording import Body, Recording, Values
from backend.coaching.skeleton import COUNT, INDEX, SIDES
from tests.coaching import mannequin

WIDTH, HEIGHT, TRUNK = 1000, 1000, 150.0


def exact(
    fps: float = 30.0, *, scale: float = 1.0, noise: float = 0.0, seconds: float = mannequin.END, seed: int = 1
) -> Recording:
    """The mannequin's stroke, seen by a perfect model, or one that errs by `noise` pixels."""
    t = (np.arange(round(seconds * fps)) / fps).round(4)
    points = np.stack([_points(float(one)) for one in t])
    points[..., :2] += np.random.default_rng(seed).normal(0, noise, points[..., :2].shape) if noise else 0
    points[..., :2] *= scale
    size = (round(WIDTH * scale), round(HEIGHT * scale))
    body = Body(0, np.arange(len(t)), points, _world(points))
    return Recording(*size, fps, t, (body,), 0)


def _points(t: float) -> Values:
    at = mannequin.joints_at(t)
    out = np.full((COUNT, 3), 1.0)
    head = at["head"]
    out[:, :2] = head
    for side, outwards in (("right", -1), ("left", 1)):
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
            out[INDEX[f"{side}_{joint}"], :2] = at[f"{side}_{joint}"]
        for finger in ("pinky", "index", "thumb"):
            out[INDEX[f"{side}_{finger}"], :2] = at[f"{side}_wrist"]
        out[INDEX[f"{side}_heel"], :2] = at[f"{side}_ankle"] + np.array([0, 0.1])
        out[INDEX[f"{side}_foot_index"], :2] = at[f"{side}_toe"]
        out[INDEX[f"{side}_ear"], :2] = head + np.array([outwards * 0.19, 0])
    out[:, :2] = out[:, :2] * TRUNK + np.array([WIDTH / 2, HEIGHT / 2])
    return out


def _world(points: Values) -> Values:
    """Metres about the hips; the shoulders turn against them by as much as the right wrist is high."""
    hips = (points[:, INDEX["left_hip"], :2] + points[:, INDEX["right_hip"], :2]) / 2
    flat = (points[..., :2] - hips[:, None]) / TRUNK * 0.5
    depth = np.zeros(points.shape[:2])
    lift = flat[:, INDEX["right_wrist"], 1]
    for side, sign in zip(SIDES, (1, -1), strict=True):
        depth[:, INDEX[f"{side}_shoulder"]] = -sign * lift * 0.2
    return np.concatenate([flat, depth[..., None]], axis=2)


def without(recording: Recording, name: str, frames: slice) -> Recording:
    """One point out of sight in some pictures."""
    body = recording.bodies[0]
    points = body.points.copy()
    points[frames, INDEX[name], 2] = 0.1
    changed = Body(body.id, body.frames, points, body.world)
    return Recording(recording.width, recording.height, recording.sample_fps, recording.t, (changed,), 0)


def mirrored(recording: Recording) -> Recording:
    """The same in a mirror: what was left is right."""
    order = [INDEX[name.replace("left", "?").replace("right", "left").replace("?", "right")] for name in INDEX]
    body = recording.bodies[0]
    points, world = body.points[:, order].copy(), body.world[:, order].copy()
    points[..., 0] = recording.width - points[..., 0]
    world[..., 0] *= -1
    changed = Body(body.id, body.frames, points, world)
    return Recording(recording.width, recording.height, recording.sample_fps, recording.t, (changed,), 0)


__all__ = ["TRUNK", "exact", "mirrored", "without"]
