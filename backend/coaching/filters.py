"""Smoothing and filling of values over time: pure arithmetic. A value that is not there is NaN.

The filter is the one of Pose2Sim and Sports2D: a Butterworth low-pass of order 2, run forwards and backwards, which
makes it of order 4 and without delay. The same as SciPy's `butter` and `filtfilt`, which the tests hold it against.
"""

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

CUTOFF_HZ = 6.0
#: Of the rate of the pictures: 6 Hz is more than 10 pictures a second can tell.
CUTOFF_SHARE = 0.4
#: A gap that is longer is not filled.
GAP_SECONDS = 0.3
#: Values that lead into the filter, mirrored at each end.
PADDING = 9


def cutoff(fps: float) -> float:
    """The frequency in Hz above which movement is taken for noise, at so many pictures a second."""
    return min(CUTOFF_HZ, CUTOFF_SHARE * fps)


def coefficients(cutoff_hz: float, fps: float) -> tuple[Values, Values]:
    """Numerator and denominator of a Butterworth low-pass of order 2, by the bilinear transform."""
    warped = math.tan(math.pi * cutoff_hz / fps)
    scale = 1 + math.sqrt(2) * warped + warped**2
    b = warped**2 / scale * np.array([1.0, 2.0, 1.0])
    a = np.array([1.0, 2 * (warped**2 - 1) / scale, (1 - math.sqrt(2) * warped + warped**2) / scale])
    return b, a


def low_pass(values: Values, cutoff_hz: float, fps: float) -> Values:
    """Filter along the first axis, forwards and backwards; no NaN, evenly spaced. Up to three stay as they are."""
    count = len(values)
    padding = min(PADDING, count - 1)
    if count <= 3:
        return values.copy()
    b, a = coefficients(cutoff_hz, fps)
    head = 2 * values[0] - values[padding:0:-1]
    tail = 2 * values[-1] - values[-2 : -padding - 2 : -1]
    padded = np.concatenate([head, values, tail])
    forwards = _run(b, a, padded)
    return _run(b, a, forwards[::-1])[::-1][padding : padding + count]


def _run(b: Values, a: Values, values: Values) -> Values:
    """One pass (direct form II transposed) that begins as if the first value had been there for ever."""
    # Steady state for a constant input of 1: from the recurrence z1 = b1 - a1 + z2, z2 = b2 - a2.
    second = (b[2] - a[2]) * values[0]
    first = (b[1] - a[1]) * values[0] + second
    out = np.empty_like(values)
    for index, value in enumerate(values):
        result = b[0] * value + first
        first = b[1] * value - a[1] * result + second
        second = b[2] * value - a[2] * result
        out[index] = result
    return out


def runs(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Beginnings and ends (the index after the last) of the stretches that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def fill_gaps(t: Values, values: Values, longest_seconds: float = GAP_SECONDS) -> Values:
    """Join what is missing between two values no more than so long apart, by a straight line. One column.

    What is missing at the beginning or the end stays missing.
    """
    there = np.isfinite(values)
    filled = values.copy()
    for begin, end in runs(~there):
        if begin == 0 or end == len(values) or t[end] - t[begin - 1] > longest_seconds + 1e-6:
            continue
        filled[begin:end] = np.interp(t[begin:end], t[[begin - 1, end]], values[[begin - 1, end]])
    return filled


def smooth(t: Values, values: Values, fps: float) -> Values:
    """Filter at real times, each stretch without gaps by itself; columns, if several, have the same gaps.

    Times that are not even are brought to an even step first, and back afterwards.
    """
    out = values.copy()
    step = 1 / fps
    there = np.isfinite(values if values.ndim == 1 else values[:, 0])
    for begin, end in runs(there):
        times, part = t[begin:end], values[begin:end]
        if len(part) <= 3:
            continue
        even = np.linspace(times[0], times[-1], max(2, round((times[-1] - times[0]) * fps) + 1))
        if len(even) == len(times) and np.abs(even - times).max() <= 0.05 * step:
            out[begin:end] = low_pass(part, cutoff(fps), fps)
        elif len(even) > 3:
            out[begin:end] = curve(even, low_pass(curve(times, part, even), cutoff(fps), fps), times)
    return out


def curve(t: Values, values: Values, at: Values) -> Values:
    """Values between three values and more, by cubics whose slopes are those of parabolas through three neighbours."""
    slope = np.gradient(values, t, axis=0, edge_order=2)
    place = np.clip(np.searchsorted(t, at, side="right") - 1, 0, len(t) - 2)
    width = t[place + 1] - t[place]
    u = np.clip((at - t[place]) / width, 0, 1)
    if values.ndim > 1:
        u, width = u[:, None], width[:, None]
    return np.asarray(
        (1 + 2 * u) * (1 - u) ** 2 * values[place]
        + u**2 * (3 - 2 * u) * values[place + 1]
        + width * u * (1 - u) * ((1 - u) * slope[place] - u * slope[place + 1])
    )
