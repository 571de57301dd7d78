"""Numbers and times as people say them."""

from datetime import UTC, datetime, timedelta

import pytest

from backend.core import words

NOW = datetime(2026, 3, 14, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (None, "–"),
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (999_499, "999 KB"),
        (999_960, "1.0 MB"),
        (4_200_000, "4.2 MB"),
        (1_350_000_000, "1.35 GB"),
        (999_999_999, "1.00 GB"),
        (7_000_000_000_000, "7.00 TB"),
        (9_000_000_000_000_000, "9000.00 TB"),
    ],
)
def test_sizes_are_decimal_and_short(size: int | None, said: str) -> None:
    assert words.filesize(size) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0, "0:00"),
        (0.1, "0.1 s"),
        (0.98, "1.0 s"),
        (7.4, "0:07"),
        (59.6, "1:00"),
        (754, "12:34"),
        (3723, "1:02:03"),
        (36000, "10:00:00"),
    ],
)
def test_durations_are_as_players_show_them(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=-3), "just now"),
        (timedelta(seconds=44), "just now"),
        (timedelta(seconds=50), "1 minute ago"),
        (timedelta(minutes=5), "5 minutes ago"),
        (timedelta(minutes=59, seconds=20), "59 minutes ago"),
        (timedelta(minutes=59, seconds=40), "1 hour ago"),
        (timedelta(hours=3), "3 hours ago"),
        (timedelta(hours=23, minutes=50), "yesterday"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(days=60), "13 Jan 2026"),
    ],
)
def test_ages_are_in_words(age: timedelta, said: str) -> None:
    assert words.ago(NOW - age, now=NOW) == said


def test_a_moment_is_said_exactly() -> None:
    assert words.timestamp(NOW) == "14 Mar 2026, 15:00:00 UTC"
    assert words.ago(None) == "never"
    assert words.timestamp(None) == "–"
