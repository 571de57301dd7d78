"""Limbs that the model takes for each other are put back, and points that leap are taken out."""

import numpy as np

from backend.coaching.limbs import untangled, without_spikes
from backend.coaching.skeleton import INDEX
from tests.coaching.figures import exact

LEGS = [INDEX[f"{side}_{name}"] for name in ("knee", "ankle", "heel", "foot_index") for side in ("left", "right")]
OTHERS = [INDEX[f"{side}_{name}"] for name in ("knee", "ankle", "heel", "foot_index") for side in ("right", "left")]


def test_legs_that_were_swapped_in_some_pictures_are_put_back() -> None:
    shown = exact(10)
    body = shown.bodies[0]
    points, world = body.points.copy(), body.world.copy()
    for frame in (0, 1, 7, 20, 21, 22, 39):
        points[frame, LEGS], world[frame, LEGS] = points[frame, OTHERS], world[frame, OTHERS]
    mended, mended_world = untangled(shown.t, points, world)
    assert (mended == body.points).all()
    assert (mended_world == body.world).all()


def test_legs_that_were_never_swapped_stay() -> None:
    body = exact(30).bodies[0]
    assert (untangled(exact(30).t, body.points, body.world)[0] == body.points).all()


def test_a_point_that_leaps_for_one_picture_is_taken_out_and_no_other() -> None:
    points = exact(10).bodies[0].points[..., :2].copy()
    points[12, INDEX["left_ankle"]] += [120, 0]
    taken = without_spikes(points)
    assert np.argwhere(taken).tolist() == [[12, INDEX["left_ankle"]]]
    assert np.isnan(points[12, INDEX["left_ankle"]]).all()
