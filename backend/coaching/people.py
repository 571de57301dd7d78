"""Who is who from picture to picture, who is no person at all, and which of them is the athlete."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend.coaching.pose import Detection
from backend.coaching.skeleton import JOINTS, LIMBS, side

#: A body that was away for longer is somebody else.
AWAY_SECONDS = 1.0
#: Joints move from picture to picture by so many body sizes, and so many more each second, on the average.
STEP_SIZES = 0.25
STEP_SIZES_A_SECOND = 1.2
#: Two bodies whose joints are closer than this share of their size are one, seen twice.
SAME_SIZES = 0.12
#: In animals and cars the model sees a trunk and guesses the limbs. Of a person two limbs are plain to see: the
#: visibility of the less visible far joint of each, on the average of both, in the typical picture. (Cats reach 0.53,
#: people seen from behind or no further down than the hips 0.75.)
LIMB_VISIBILITY = 0.65
#: The longer thigh, in lengths of the trunk, as pictures of people show them; table legs go beyond.
THIGH_TRUNKS = (0.05, 2.5)
#: What shows for less time, or in fewer pictures, is a flicker.
LEAST_SECONDS = 0.35
LEAST_FRAMES = 3


@dataclass
class Track:
    """One body through the video: frame indexes, their times, and what was seen in each."""

    id: int = 0
    frames: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    seen: list[Detection] = field(default_factory=list)

    @property
    def limb(self) -> float:
        """How plain its two plainest limbs are, in its typical picture."""
        return float(np.median([limb_visibility(one) for one in self.seen]))

    @property
    def size(self) -> float:
        """Median of its longer side, in pixels."""
        return float(np.median([body_size(one) for one in self.seen]))

    @property
    def motion(self) -> float:
        """How far its joints travel, in body sizes a second; standing and being jittered is not travelling."""
        if len(self.times) < 2:
            return 0.0
        steps = [joints(b) - joints(a) for a, b in zip(self.seen, self.seen[1:], strict=False)]
        moved = sum(float(np.linalg.norm(step, axis=1).mean()) for step in steps)
        return moved / self.size / max(self.times[-1] - self.times[0], 1e-6)


def joints(one: Detection) -> NDArray[np.float64]:
    """Positions of the twelve joints."""
    return one.points[list(JOINTS), :2]


def box(one: Detection) -> tuple[float, float, float, float]:
    """Left, top, width and height of what the model places with some trust."""
    trusted = one.points[one.points[:, 2] >= 0.3, :2]
    points = trusted if len(trusted) else one.points[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def body_size(one: Detection) -> float:
    """The longer side of all its points' box, in pixels: crouching changes it less than the height."""
    points = one.points[:, :2]
    return max(1.0, float((points.max(axis=0) - points.min(axis=0)).max()))


def limb_visibility(one: Detection) -> float:
    """Visibility of the less visible far joint, of the two plainest limbs on the average."""
    limbs = sorted(min(one.points[near, 2], one.points[far, 2]) for near, far in LIMBS)
    return float(limbs[-1] + limbs[-2]) / 2


def has_human_proportions(one: Detection) -> bool:
    """Whether trunk and thighs could be a person's."""
    points = one.points[:, :2]
    (left, right), (hip, other), (knee, far) = side("shoulder"), side("hip"), side("knee")
    trunk = float(np.linalg.norm((points[left] + points[right] - points[hip] - points[other]) / 2))
    thigh = max(float(np.linalg.norm(points[hip] - points[knee])), float(np.linalg.norm(points[other] - points[far])))
    return THIGH_TRUNKS[0] < thigh / max(trunk, 1e-9) < THIGH_TRUNKS[1]


def distinct(found: Sequence[Detection]) -> list[Detection]:
    """Without what has no human proportions, and bodies that are another one seen twice: the better seen stays."""
    kept: list[Detection] = []
    human = filter(has_human_proportions, found)
    for one in sorted(human, key=lambda each: -float(each.points[list(JOINTS), 2].mean())):
        if all(_distance(one, other) > SAME_SIZES for other in kept):
            kept.append(one)
    return kept


def _distance(one: Detection, other: Detection) -> float:
    """Mean distance of their joints in body sizes."""
    apart = np.linalg.norm(joints(one) - joints(other), axis=1).mean()
    return float(apart) / max(body_size(one), body_size(other))


def follow(times: Sequence[float], found: Sequence[Sequence[Detection]]) -> list[Track]:
    """Tie the bodies of each picture to those before, the closest first. In the order of their first appearance."""
    tracks: list[Track] = []
    live: list[Track] = []
    for index, (t, bodies) in enumerate(zip(times, found, strict=True)):
        left = distinct(bodies)
        live = [track for track in live if t - track.times[-1] <= AWAY_SECONDS]
        pairs = sorted(
            (
                (_distance(one, track.seen[-1]), number, which)
                for number, track in enumerate(live)
                for which, one in enumerate(left)
                if _distance(one, track.seen[-1]) <= STEP_SIZES + STEP_SIZES_A_SECOND * (t - track.times[-1])
            ),
        )
        tied: dict[int, int] = {}
        for _, number, which in pairs:
            if number not in tied and which not in tied.values():
                tied[number] = which
        for number, which in tied.items():
            _extend(live[number], index, t, left[which])
        for which, one in enumerate(left):
            if which not in tied.values():
                tracks.append(Track())
                live.append(tracks[-1])
                _extend(tracks[-1], index, t, one)
    return tracks


def _extend(track: Track, index: int, t: float, one: Detection) -> None:
    track.frames.append(index)
    track.times.append(t)
    track.seen.append(one)


def persons(tracks: Sequence[Track], *, step_seconds: float) -> list[Track]:
    """Those that are people, numbered from 0; `step_seconds` is between pictures."""
    kept = [track for track in tracks if _is_person(track, step_seconds)]
    for number, track in enumerate(kept):
        track.id = number
    return kept


def _is_person(track: Track, step_seconds: float) -> bool:
    lasted = track.times[-1] - track.times[0] + step_seconds
    long_enough = lasted >= LEAST_SECONDS and len(track.frames) >= min(LEAST_FRAMES, LEAST_SECONDS / step_seconds)
    return long_enough and track.limb >= LIMB_VISIBILITY


def choose(
    people: Sequence[Track], how: str | tuple[float, float], *, frames: int, size: tuple[int, int]
) -> Track | None:
    """The athlete among these; a point is from 0 to 1 on the first of `frames` pictures of `size`.

    Largest and most moving count more the longer they are there: by the root, so that who is there half of the time
    needs to be 1.4 times as large.
    """
    if not people:
        return None
    if not isinstance(how, str):
        x, y = how[0] * size[0], how[1] * size[1]
        # Who is not there yet when the video begins is taken where they first appear, after all who are.
        return min(people, key=lambda track: (track.times[0] > AWAY_SECONDS, _from_box(track.seen[0], x, y), track.id))

    def weight(track: Track) -> float:
        value = track.size if how == "largest" else track.size * track.motion
        return value * math.sqrt(len(track.frames) / frames)

    return max(people, key=lambda track: (weight(track), -track.id))


def _from_box(one: Detection, x: float, y: float) -> float:
    """How far a point is from a body: in pixels beyond its box, or within it in box sizes from its middle, less one."""
    left, top, width, height = box(one)
    beyond = float(np.hypot(max(left - x, 0, x - left - width), max(top - y, 0, y - top - height)))
    if beyond:
        return beyond
    return max(abs(x - left - width / 2) / max(width, 1), abs(y - top - height / 2) / max(height, 1)) - 1
