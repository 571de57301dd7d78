"""The formulas, held against cases done by hand."""

import numpy as np
import pytest

from backend.coaching import angles


def places(*points: tuple[float, ...]) -> list[np.ndarray]:
    return [np.array([point], float) for point in points]


@pytest.mark.parametrize(
    ("near", "joint", "far", "degrees"),
    [
        ((0, 0), (0, 1), (0, 2), 0),  # straight down
        ((0, 0), (0, 1), (1, 1), 90),
        ((0, 0), (0, 1), (-1, 1), 90),  # either way
        ((0, 0), (0, 1), (0, 0), 180),  # folded
        ((0, 0), (3, 0), (3 + 3**0.5, 1), 30),
    ],
)
def test_flexion_is_none_in_a_straight_limb(
    near: tuple[float, float], joint: tuple[float, float], far: tuple[float, float], degrees: float
) -> None:
    assert angles.flexion(*places(near, joint, far))[0] == pytest.approx(degrees, abs=1e-6)


def test_a_limb_without_length_has_no_angle() -> None:
    assert np.isnan(angles.flexion(*places((0, 0), (0, 0), (1, 1)))[0])
    assert np.isnan(angles.flexion(*places((0, 0), (np.nan, 1), (1, 1)))[0])


def test_an_arm_is_raised_from_the_trunk() -> None:
    assert angles.elevation(*places((0, 0), (0, 1), (0, 3)))[0] == pytest.approx(0)
    assert angles.elevation(*places((0, 0), (1, 0), (0, 3)))[0] == pytest.approx(90)
    assert angles.elevation(*places((0, 0), (0, -1), (0, 3)))[0] == pytest.approx(180)


def test_a_foot_is_at_a_right_angle_and_its_toes_go_up() -> None:
    assert angles.dorsiflexion(*places((0, 0), (0, 4), (-1, 5), (3, 5)))[0] == pytest.approx(0)
    up = angles.dorsiflexion(*places((0, 0), (0, 4), (0, 5), (3**0.5, 4)))[0]
    assert up == pytest.approx(30)


def test_the_trunk_leans_the_way_one_looks() -> None:
    hips, shoulders = places((0, 0), (1, -1))
    assert angles.lean(hips, shoulders, 1)[0] == pytest.approx(45)
    assert angles.lean(hips, shoulders, -1)[0] == pytest.approx(-45)
    assert angles.lean(hips, shoulders, 0)[0] == pytest.approx(45)


def test_a_turn_is_seen_from_above() -> None:
    left, right = places((1, 0, 0), (-1, 0, 0))
    assert angles.turn(left, right)[0] == pytest.approx(0)
    left, right = places((1, 0, 1), (-1, 0, -1))
    assert angles.turn(left, right)[0] == pytest.approx(45)
    assert angles.wrapped(np.array([190.0, -190.0, 45.0])) == pytest.approx([-170, 170, 45])


def test_speed_is_that_of_a_circle() -> None:
    t = np.arange(0, 1, 0.01)
    circle = np.stack([2 * np.cos(3 * t), 2 * np.sin(3 * t)], axis=1)
    assert angles.speed(t, circle)[5:-5] == pytest.approx(6.0, rel=1e-3)


def test_speed_at_uneven_times_is_that_of_a_line() -> None:
    t = np.array([0, 0.125, 0.208, 0.333, 0.417])
    assert angles.speed(t, np.stack([4 * t, 3 * t], axis=1)) == pytest.approx(5.0)


def test_the_centre_of_mass_of_one_who_stands_is_between_hips_and_shoulders() -> None:
    at = {}
    for side, x in (("left", 1.0), ("right", -1.0)):
        for joint, y in (("shoulder", -3), ("elbow", -2), ("wrist", -1), ("hip", 0), ("knee", 2), ("ankle", 4)):
            at[f"{side}_{joint}"] = np.array([[x, float(y)]])
    centre = angles.centre_of_mass(at)[0]
    # 0.578·(-3·0.66) + 2·(0.028·(-2.564) + 0.022·(-1.318) + 0.1·0.866 + 0.061·3.212), by hand
    assert centre == pytest.approx([0, -0.7809], abs=1e-3)
    at["left_wrist"][:] = np.nan
    assert np.isfinite(angles.centre_of_mass(at)).all()


def test_the_masses_of_all_segments_are_the_whole_body() -> None:
    assert angles.TRUNK_MASS + 2 * sum(mass for _, mass, *_ in angles.SEGMENTS) == pytest.approx(1)
