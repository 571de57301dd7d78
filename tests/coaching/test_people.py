"""Who is who from picture to picture, who is no person, and who is the athlete: with bodies made of numbers."""

import numpy as np
import pytest

from backend.coaching.people import Track, choose, distinct, follow, has_human_proportions, persons
from backend.coaching.pose import Detection
from backend.coaching.skeleton import INDEX
from tests.coaching.figures import exact

STEP = 0.1


def body(x: float, *, size: float = 1.0, frame: int = 0, limbs: float = 1.0) -> Detection:
    """A person at `x` pixels; `limbs` is how plain arms and legs are to see."""
    known = exact(10).bodies[0]
    points = known.points[frame].copy()
    points[:, :2] = (points[:, :2] - 500) * size + [x, 500]
    for name in ("elbow", "wrist", "knee", "ankle"):
        for side in ("left", "right"):
            points[INDEX[f"{side}_{name}"], 2] = limbs
    return Detection(points, known.world[frame])


def times(count: int) -> list[float]:
    return [STEP * index for index in range(count)]


def test_two_who_pass_each_other_stay_themselves() -> None:
    found = [[body(100 + 15 * n, size=0.5), body(700 - 15 * n)][:: 1 if n % 2 else -1] for n in range(40)]
    tracks = follow(times(40), found)
    assert sorted(len(track.frames) for track in tracks) == [40, 40]
    for track in tracks:
        sizes = [float(np.ptp(one.points[:, 1])) for one in track.seen]
        assert max(sizes) < 1.3 * min(sizes)


def test_who_comes_back_after_long_is_another_track_and_after_a_blink_the_same() -> None:
    here = [[body(300)] for _ in range(10)]
    assert len(follow(times(25), [*here, *[[]] * 5, *here])) == 1
    assert len(follow(times(40), [*here, *[[]] * 20, *here])) == 2


def test_a_body_seen_twice_is_one() -> None:
    assert len(distinct([body(300), body(304), body(600)])) == 2


def test_cats_flickers_and_table_legs_are_nobody() -> None:
    table = body(500)
    for name in ("left_shoulder", "right_shoulder"):
        table.points[INDEX[name], :2] = table.points[INDEX["left_hip"], :2] - [0, 10]
    assert not has_human_proportions(table)
    found = [[body(100), body(900, limbs=0.5), *([body(500, size=0.4)] if 4 <= n < 6 else [])] for n in range(20)]
    people = persons(follow(times(20), found), step_seconds=STEP)
    assert [(track.id, len(track.frames)) for track in people] == [(0, 20)]


def crowd() -> list[Track]:
    """A large one who stands still, a small one who runs, and one who is largest but only passes through."""
    found = [
        [body(200, size=1.0), body(400 + 10 * n, size=0.6, frame=n % 40), *([body(800, size=1.2)] if n < 5 else [])]
        for n in range(40)
    ]
    return persons(follow(times(40), found), step_seconds=STEP)


@pytest.mark.parametrize(
    ("how", "first_x"), [("largest", 200), ("moving", 400), ((0.8, 0.5), 800), ((0.42, 0.4), 400), ((0.0, 0.0), 200)]
)
def test_the_athlete_is_the_largest_the_most_moving_or_the_one_pointed_at(
    how: str | tuple[float, float], first_x: float
) -> None:
    one = choose(crowd(), how, frames=40, size=(1000, 1000))
    assert one is not None
    hips = one.seen[0].points[[INDEX["left_hip"], INDEX["right_hip"]], 0].mean()
    assert hips == pytest.approx(first_x, abs=5)


def test_among_nobody_there_is_no_athlete() -> None:
    assert choose([], "largest", frames=10, size=(100, 100)) is None
