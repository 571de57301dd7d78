"""What is wrong with a form's values, in words."""

import pytest
from pydantic import BaseModel, Field

from backend.core.forms import checked


class _Asked(BaseModel):
    rate: float = Field(1, ge=0.25, le=30)
    seed: int = Field(0, ge=0, le=2**31 - 1)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("rate", "31", "Use 30 or less."),
        ("rate", "0", "Use 0.25 or more."),
        ("rate", "ten", "This is not a number that fits here."),
        ("seed", "-1", "Use 0 or more."),
        ("seed", "2147483648", "Use 2,147,483,647 or less."),
        ("seed", "1.5", "This is not a number that fits here."),
    ],
)
def test_a_number_that_does_not_fit_is_told_its_bounds_to_the_last_digit(field: str, value: str, words: str) -> None:
    assert checked(_Asked, {field: value}) == (None, {field: words})
