"""Phases of strokes whose beginning, turn and end are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.coaching.phases import Stroke, find_stroke, given_stroke


def bump(t: NDArray[np.float64], begin: float, end: float, height: float) -> NDArray[np.float64]:
    """A speed that rises from rest and falls to it again."""
    u = np.clip((t - begin) / (end - begin), 0, 1)
    rise: NDArray[np.float64] = height * 16 * u**2 * (1 - u) ** 2
    return rise


def stroke_speed(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return bump(t, 1.0, 2.0, 3.0) + bump(t, 2.0, 2.8, 10.0)


@pytest.mark.parametrize("fps", [10, 24, 30])
def test_the_phases_of_a_stroke_are_found_within_two_pictures(fps: float) -> None:
    t = np.arange(0, 4, 1 / fps)
    stroke, reason = find_stroke(t, {"left": 0.3 * stroke_speed(t), "right": stroke_speed(t)})
    assert reason is None
    assert stroke is not None
    assert stroke.side == "right"
    want = {"set_up": 0.0, "load": 1.0, "strike": 2.0, "impact": 2.4, "end": 2.8}
    for name, at in want.items():
        assert stroke.moments[name] == pytest.approx(at, abs=2 / fps), name
    assert list(stroke.moments.values()) == sorted(stroke.moments.values())


def test_impact_is_told_finer_than_the_pictures() -> None:
    t = np.arange(0, 4, 0.1) + 0.037
    stroke, _ = find_stroke(t, {"right": stroke_speed(t)})
    assert stroke is not None
    assert stroke.moments["impact"] == pytest.approx(2.4, abs=0.02)


def test_without_a_way_back_there_is_no_load() -> None:
    t = np.arange(0, 4, 1 / 30)
    stroke, _ = find_stroke(t, {"right": bump(t, 2.0, 2.8, 10.0)})
    assert stroke is not None
    assert stroke.moments["load"] == pytest.approx(stroke.moments["strike"], abs=0.1)


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        (lambda t: 0.4 * np.abs(np.sin(t)), "never move fast"),
        (lambda t: bump(t, 0.5, 1.3, 9.0) + bump(t, 2.5, 3.3, 10.0), "No single stroke"),
        (lambda t: np.full_like(t, np.nan), "not seen"),
        # Only at the rim of the picture, where a body comes apart.
        (lambda t: np.where(t > 3.9, 10.0, 0.2), "never move fast"),
    ],
)
def test_what_is_no_stroke_has_no_phases_and_says_why(speed: object, words: str) -> None:
    t = np.arange(0, 4, 1 / 30)
    stroke, reason = find_stroke(t, {"right": speed(t)})  # type: ignore[operator]
    assert stroke is None
    assert words in (reason or "")


def found() -> Stroke:
    t = np.arange(0, 4, 1 / 30)
    stroke, _ = find_stroke(t, {"right": stroke_speed(t)})
    assert stroke is not None
    return stroke


def test_a_person_may_set_a_moment_and_the_others_stay() -> None:
    before = found()
    after = given_stroke(before, {"load": 0.8}, first=0, last=4)
    assert after.moments == {**before.moments, "load": 0.8}
    assert after.given == {"load"}


def test_impact_follows_a_strike_that_was_moved_past_it() -> None:
    after = given_stroke(found(), {"load": 2.6, "strike": 2.8, "follow_through": 3.2, "end": 3.6}, first=0, last=4)
    assert after.moments["impact"] == pytest.approx(3.0)


def test_where_nothing_was_found_a_person_sets_all() -> None:
    with pytest.raises(ValueError, match="load is missing"):
        given_stroke(None, {"strike": 2.0}, first=0, last=4)
    after = given_stroke(None, {"load": 1, "strike": 2, "follow_through": 3}, first=0, last=4)
    assert after.moments == {"set_up": 0, "load": 1, "strike": 2, "impact": 2.5, "follow_through": 3, "end": 4}


@pytest.mark.parametrize(
    ("moments", "words"),
    [
        ({"load": 3.5}, "strike cannot come before load"),
        ({"end": 9.0}, "end lies outside"),
        ({"load": float("nan")}, "load lies outside"),
        ({"hit": 1.0}, "no moment called hit"),
    ],
)
def test_impossible_moments_are_refused_in_words(moments: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        given_stroke(found(), moments, first=0, last=4)


def test_every_time_lies_in_one_phase() -> None:
    stroke = found()
    assert [stroke.phase_at(t) for t in (0.0, 1.5, 2.1, stroke.moments["end"], 3.9)] == [
        "set_up",
        "load",
        "strike",
        "follow_through",
        None,
    ]


@pytest.mark.parametrize(("begin", "end"), [(0, 2.65), (2.22, 4)])
def test_a_stroke_whose_fastest_moment_is_at_an_end_of_the_film_is_none(begin: float, end: float) -> None:
    t = np.arange(begin, end, 0.1)
    stroke, reason = find_stroke(t, {"right": stroke_speed(t)})
    assert stroke is None
    assert "the first or the last that was seen" in (reason or "")


def test_a_film_that_ends_before_the_wrist_rests_has_a_follow_through_up_to_its_end() -> None:
    t = np.arange(0, 2.75, 0.1)
    stroke, _ = find_stroke(t, {"right": stroke_speed(t)})
    assert stroke is not None
    assert stroke.moments["end"] == pytest.approx(2.7)
    assert stroke.moments["follow_through"] == pytest.approx(2.6)
