"""Each kind of number, held against a case done by hand."""

import numpy as np
import pytest

from backend.coaching.metric_table import METRICS
from backend.coaching.movement import Movement
from backend.coaching.phases import Stroke
from backend.coaching.scene import Scene
from backend.coaching.skeleton import COUNT

FPS = 10.0
T = np.arange(0, 40) / FPS
MOMENTS = {"set_up": 0.0, "load": 1.0, "strike": 2.0, "impact": 2.45, "follow_through": 2.7, "end": 3.2}


def measured(name: str, **series: np.ndarray) -> tuple[float, float | None]:
    """A metric of these series alone, with the stroke of MOMENTS, and its moment."""
    count = len(T)
    nothing = np.zeros((count, COUNT))
    there = np.ones(count, bool)
    move = Movement(T, FPS, np.zeros((count, COUNT, 2)), nothing, np.zeros((count, COUNT, 3)), there, ~there)
    scene = Scene(move, series, Stroke(dict(MOMENTS), "right"), None, "other", None)
    one = next(one for one in METRICS if one.name == name)
    found = one.compute(scene, scene.window(one.window))
    assert found is not None
    return found.value, found.moment


def peak(at: float, height: float) -> np.ndarray:
    """Zero but at one time."""
    return np.where(np.isclose(T, at), height, 0.0)


def test_a_range_is_the_largest_less_the_smallest_and_shows_the_largest() -> None:
    assert measured("knee_left_range", knee_left=np.linspace(20, 59, 40)) == (39.0, 3.9)


def test_at_impact_is_told_between_the_pictures() -> None:
    found = measured("elbow_right_at_impact", elbow_right=100 * T)
    assert found == pytest.approx((245, 2.45))


def test_lean_and_stance_are_the_medians_of_the_set_up() -> None:
    # Eleven pictures from 0.0 to 1.0: what comes later, and the one that is far off, count for nothing.
    lean = np.where(T <= 1.0, 10 * T, 90.0)
    lean[3] = 1000.0
    assert measured("trunk_lean_set_up", trunk_lean=lean)[0] == pytest.approx(6.0)
    assert measured("stance_width", feet_apart=np.where(T <= 1.0, 0.8, 2.0))[0] == pytest.approx(0.8)
    assert measured("balance_set_up", balance=np.where(T <= 1.0, -0.25, 1.0))[0] == pytest.approx(-0.25)


def test_the_longest_stride_is_of_the_whole() -> None:
    assert measured("stride_length", feet_apart=peak(3.5, 1.4)) == (1.4, 3.5)


def test_sway_is_a_standard_deviation_beside_a_straight_path() -> None:
    # Left and right by 0.1 about a walk of half a trunk a second, from a second before impact to 0.25 s after it:
    # 12 pictures (1.5 to 2.6), so the deviation is 0.1 but for the little that a line takes of it.
    x = 0.5 * T + np.where(np.arange(40) % 2, 0.1, -0.1)
    assert measured("head_sway", head_x=x, head_y=np.zeros(40))[0] == pytest.approx(0.1, rel=0.02)
    assert measured("head_sway", head_x=0.5 * T, head_y=-T)[0] == pytest.approx(0, abs=1e-9)
    assert measured("head_sway", head_x=x, head_y=x)[0] == pytest.approx(0.1 * 2**0.5, rel=0.02)


def test_the_head_goes_up_and_down_by_what_lies_between() -> None:
    assert measured("head_drop", head_y=peak(2.0, 0.3) - peak(2.2, 0.1)) == pytest.approx((0.4, 2.0))
    assert measured("head_drop", head_y=peak(0.5, 5.0))[0] == 0, "long before impact"


def test_separation_is_the_widest_turn_with_its_sign_and_leads_by_what_lies_before_impact() -> None:
    turned = peak(2.1, -35.0) + peak(1.5, 20.0) + peak(0.2, 80.0)
    assert measured("separation_peak", separation=turned) == (-35.0, 2.1)
    assert measured("separation_lead", separation=turned) == pytest.approx((0.35, 2.1))


def test_the_fastest_moment_of_a_wrist_is_told() -> None:
    assert measured("wrist_speed_left_peak", wrist_speed_left=peak(2.4, 9.5)) == (9.5, 2.4)


def test_symmetry_is_of_the_larger_side() -> None:
    less, more = peak(1.0, 30.0), peak(2.0, 40.0)
    assert measured("symmetry_elbow", elbow_left=less, elbow_right=more) == pytest.approx((-25.0, 2.0))
    assert measured("symmetry_elbow", elbow_left=more, elbow_right=less)[0] == pytest.approx(25.0)
    assert measured("symmetry_elbow", elbow_left=more, elbow_right=0 * more)[0] == pytest.approx(100.0)


def test_durations_and_tempo_are_those_of_the_phases() -> None:
    assert measured("load_seconds")[0] == pytest.approx(1.0)
    assert measured("strike_seconds")[0] == pytest.approx(0.7)
    assert measured("tempo")[0] == pytest.approx(1.0 / 0.45)
