"""Small bar charts, as numbers that a template draws: the server makes the picture, no script is needed."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.admin.filters import Window
from backend.admin.numbers import Bucket
from backend.core import words

WIDTH, HEIGHT = 300, 56
_SPANS: dict[Window, str] = {"hour": "the last hour", "day": "the last day"}
_EACH: dict[Window, str] = {"hour": "a minute", "day": "half an hour"}


@dataclass(frozen=True)
class Bar:
    """One column: the whole in the main colour, and on top of it a part in another. In the chart's own units."""

    x: float
    width: float
    y: float
    height: float
    top_y: float
    top_height: float
    words: str


@dataclass(frozen=True)
class Chart:
    """`words` say the picture to who cannot see it; `most` is the value of its upper edge."""

    words: str
    bars: list[Bar]
    most: str
    start: str


def _chart(title: str, parts: Sequence[tuple[float, float, str]], *, most: str, window: Window) -> Chart:
    """`parts`: for each column the lower part, the upper part, and what it says."""
    highest = max((low + high for low, high, _ in parts), default=0) or 1
    step = WIDTH / max(1, len(parts))
    bars = []
    for number, (low, high, said) in enumerate(parts):
        lower = round(low / highest * HEIGHT, 1) if low else 0.0
        upper = round(high / highest * HEIGHT, 1) if high else 0.0
        # The smallest number that is not zero can still be seen.
        lower, upper = max(lower, 1.5 if low else 0), max(upper, 1.5 if high else 0)
        bars.append(
            Bar(
                x=round(number * step, 2),
                width=round(step * 0.78, 2),
                y=round(HEIGHT - lower, 1),
                height=lower,
                top_y=round(HEIGHT - lower - upper, 1),
                top_height=upper,
                words=said,
            )
        )
    return Chart(title, bars, most, "1 h ago" if window == "hour" else "24 h ago")


def depth(buckets: Sequence[Bucket], window: Window, *, exact: bool) -> Chart:
    """Jobs that waited at the end of each bucket; not `exact` when there are too many now to count them."""
    about = "" if exact else "about "
    most = max((bucket.waiting for bucket in buckets), default=0)
    now = buckets[-1].waiting if buckets else 0
    title = f"Jobs waiting in {_SPANS[window]}: at most {about}{most:,}, now {about}{now:,}"
    parts = [(bucket.waiting, 0.0, f"{bucket.at:%H:%M} UTC: {about}{bucket.waiting:,} waiting") for bucket in buckets]
    return _chart(title, parts, most=f"{about}{most:,} waiting", window=window)


def throughput(buckets: Sequence[Bucket], window: Window) -> Chart:
    """Jobs that ended, failed ones on top."""
    total = sum(bucket.completed for bucket in buckets)
    failed = sum(bucket.failed for bucket in buckets)
    most = max((bucket.completed + bucket.failed for bucket in buckets), default=0)
    title = f"Jobs ended in {_SPANS[window]}: {total:,} completed, {failed:,} failed, at most {most:,} {_EACH[window]}"
    parts = [
        (
            bucket.completed,
            bucket.failed,
            f"{bucket.at:%H:%M} UTC: {bucket.completed:,} completed"
            + (f", {bucket.failed:,} failed" if bucket.failed else ""),
        )
        for bucket in buckets
    ]
    return _chart(title, parts, most=f"{most:,} {_EACH[window]}", window=window)


def waits(buckets: Sequence[Bucket], window: Window) -> Chart:
    """How long jobs waited before they began: half of them at most, and 95 % at most above it."""
    known = [bucket.wait_most for bucket in buckets if bucket.wait_most is not None]
    most = max(known, default=0.0)
    parts = []
    for bucket in buckets:
        if bucket.wait_half is None or bucket.wait_most is None:
            parts.append((0.0, 0.0, f"{bucket.at:%H:%M} UTC: no job ended"))
            continue
        half, nearly = words.span(bucket.wait_half), words.span(bucket.wait_most)
        said = f"{bucket.at:%H:%M} UTC: half waited at most {half}, 95 % at most {nearly}"
        parts.append((bucket.wait_half, bucket.wait_most - bucket.wait_half, said))
    title = f"Wait before a job began, in {_SPANS[window]}: at most {words.span(most)} for 95 of 100 jobs"
    return _chart(title if known else f"No job ended in {_SPANS[window]}", parts, most=words.span(most), window=window)


def typical_wait(buckets: Sequence[Bucket]) -> float | None:
    """The middle of the buckets' medians, each as often as it has jobs."""
    known = sorted((bucket.wait_half, bucket.completed) for bucket in buckets if bucket.wait_half is not None)
    half = sum(weight for _, weight in known) / 2
    for wait, weight in known:
        half -= weight
        if half <= 0:
            return wait
    return None
