"""Numbers as people read them."""

import pytest

from backend.coaching.words import amount, cited


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (12.4, "deg", "12°"),
        (-0.3, "deg", "0°"),
        (-120.02, "%", "−120 %"),
        (-0.001, "trunk", "0.00 ×\u00a0trunk"),
        (2.031, "trunk/s", "2.03 ×\u00a0trunk/s"),
        (-0.61, "base", "−0.61"),
        (0.4, "s", "0.40 s"),
    ],
)
def test_a_value_has_its_unit_and_no_more_places_than_a_film_tells(value: float, unit: str, words: str) -> None:
    assert amount(value, unit) == words


def test_a_difference_tells_its_sign() -> None:
    assert [amount(value, "deg", signed=True) for value in (5.2, -5.2, 0.1)] == ["+5°", "−5°", "0°"]


def test_a_finding_cites_what_it_rests_on() -> None:
    threshold = {"op": "<", "value": 20.0, "absolute": True, "source": "A rule of thumb."}
    assert cited({"value": 9.4, "unit": "deg", "threshold": threshold}) == "9°, worth a look below 20°. A rule of thumb"
