"""What an analysis may be asked for."""

from typing import Any

import pytest

from backend.coaching.options import AnalysisOptions


def test_what_was_asked_for_survives_being_stored() -> None:
    for options in (AnalysisOptions(), AnalysisOptions(sample_fps=30, athlete=(0.25, 1.0), view="side", overlay=False)):
        assert AnalysisOptions.from_json(options.to_json()) == options
    assert AnalysisOptions.from_json({}) == AnalysisOptions()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_fps": 0},
        {"sample_fps": 31},
        {"sample_fps": "fast"},
        {"max_people": 0},
        {"view": "above"},
        {"discipline": "chess"},
        {"athlete": "tallest"},
        {"athlete": {"x": 2, "y": 0}},
        {"athlete": {"x": 0.5}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        AnalysisOptions.from_json(wrong)
