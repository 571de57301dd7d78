"""The skeleton in stored pictures."""

import re
from pathlib import Path

import numpy as np

from backend.coaching.drawing import COLOURS, draw
from backend.coaching.skeleton import COUNT, INDEX

PLAYER = Path(__file__).parents[2] / "static/src/coach/stage.js"


def test_left_and_right_have_the_colours_that_they_have_in_the_player() -> None:
    """A key frame beside the player would else show the other leg."""
    shown = dict(re.findall(r"const (LEFT|RIGHT|MIDDLE) = '#(\w{6})'", PLAYER.read_text()))
    for name, one in (("LEFT", "left"), ("RIGHT", "right"), ("MIDDLE", "both")):
        assert bytes(COLOURS[one]).hex() == shown[name]


def test_a_limb_is_drawn_in_the_colour_of_its_side() -> None:
    points: list[tuple[float, float, float] | None] = [None] * COUNT
    points[INDEX["left_knee"]], points[INDEX["left_ankle"]] = (50.0, 20.0, 1.0), (50.0, 80.0, 1.0)
    drawn = draw(np.zeros((100, 100, 3), np.uint8), points, (1.0, 1.0))
    assert tuple(drawn[50, 50]) == COLOURS["left"]
    assert not drawn[50, 10].any()
