"""Smoothing and filling, held against SciPy and against movements that are known in closed form."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from backend.coaching.filters import coefficients, curve, cutoff, fill_gaps, low_pass, runs, smooth


@pytest.mark.parametrize(("fps", "hertz"), [(10, 4.0), (5, 2.0), (30, 6.0), (60, 6.0), (24, 6.0), (12.5, 5.0)])
def test_the_cutoff_is_six_hertz_or_what_the_rate_can_tell(fps: float, hertz: float) -> None:
    assert cutoff(fps) == pytest.approx(hertz)


@given(fps=st.floats(2, 120), share=st.floats(0.01, 0.49))
def test_the_coefficients_are_those_of_scipy(fps: float, share: float) -> None:
    b, a = coefficients(share * fps, fps)
    expected_b, expected_a = scipy.signal.butter(2, 2 * share)
    assert b == pytest.approx(expected_b, rel=1e-9, abs=1e-12)
    assert a == pytest.approx(expected_a, rel=1e-9, abs=1e-12)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(11, 200), fps=st.floats(5, 60))
def test_the_filter_is_that_of_scipy(seed: int, count: int, fps: float) -> None:
    values = np.random.default_rng(seed).normal(size=(count, 2))
    b, a = scipy.signal.butter(2, cutoff(fps) / (fps / 2))
    assert low_pass(values, cutoff(fps), fps) == pytest.approx(scipy.signal.filtfilt(b, a, values, axis=0), abs=1e-9)


def test_a_slow_swing_passes_and_fast_noise_does_not() -> None:
    t = np.arange(0, 6, 1 / 30)
    swing, noise = np.sin(2 * np.pi * 0.7 * t), np.sin(2 * np.pi * 13 * t)
    assert np.abs(smooth(t, swing, 30) - swing)[20:-20].max() < 0.002
    assert np.abs(smooth(t, noise, 30))[20:-20].max() < 0.05


def test_uneven_times_are_smoothed_as_what_they_are() -> None:
    """24 pictures a second of which ten are taken. A straight line would be bent if they were taken for even."""
    t = np.floor(np.arange(0, 40) * 2.4 + 0.999) / 24
    assert smooth(t, 3 * t + 1, 10) == pytest.approx(3 * t + 1, abs=2e-3)


def test_short_gaps_are_filled_by_a_line_and_longer_ones_stay() -> None:
    t = np.arange(0, 2, 0.1)
    values = 2 * t
    values[[0, 5, 6, 12, 13, 14, 19]] = np.nan
    filled = fill_gaps(t, values)
    assert filled[[5, 6]] == pytest.approx([1.0, 1.2])
    assert np.flatnonzero(np.isnan(filled)).tolist() == [0, 12, 13, 14, 19]


def test_each_stretch_is_smoothed_by_itself_and_gaps_stay_gaps() -> None:
    t = np.arange(0, 4, 0.1)
    values = np.where(t < 2, 0.0, 100.0)
    values[18:24] = np.nan
    smoothed = smooth(t, values, 10)
    assert smoothed[:18] == pytest.approx(0)
    assert smoothed[24:] == pytest.approx(100)
    assert np.isnan(smoothed[18:24]).all()


def test_stretches_are_found_at_both_ends() -> None:
    assert runs(np.array([True, True, False, True, False, False, True])) == [(0, 2), (3, 4), (6, 7)]
    assert runs(np.zeros(3, bool)) == []


def test_the_curve_goes_through_its_points_and_follows_a_parabola() -> None:
    t = np.array([0, 0.1, 0.25, 0.3, 0.5])
    assert curve(t, t**2, t) == pytest.approx(t**2)
    at = np.linspace(0, 0.5, 50)
    assert curve(t, t**2, at) == pytest.approx(at**2, abs=1e-9)
