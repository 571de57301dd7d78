"""The film of an animatic: every frame is there, and its slow zoom does not tremble."""

import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from backend.generation.providers import animatic_film as filming
from backend.generation.providers.animatic_scenes import Scene, timed

SIZE = (320, 180)
FRAMES = 72


async def filmed(folder: Path, pictures: Sequence[Image.Image], scenes: Sequence[Scene], frames: int) -> bytes:
    """The luma of all frames."""
    cards = [filming.saved(each, folder / f"{number}.rgb") for number, each in enumerate(pictures)]
    dest = folder / "film.mp4"

    async def tell(seconds: float) -> None:
        """Nobody listens."""

    output = await filming.encode(
        cards,
        scenes,
        dest,
        size=SIZE,
        fps=24,
        frames=frames,
        sounds=[],
        noise=None,
        timeout_seconds=120,
        tell=tell,
    )
    assert output.returncode == 0, output.stderr
    words = ["ffmpeg", "-v", "error", "-i", str(dest), "-vf", "extractplanes=y", "-f", "rawvideo", "-"]
    return subprocess.run(words, check=True, capture_output=True).stdout


def middle(frame: bytes) -> tuple[float, float]:
    """Where what is bright lies, in pixels."""
    weights = across = down = 0.0
    for place, value in enumerate(frame):
        if value > 24:
            weights += value - 16
            across += (value - 16) * (place % SIZE[0])
            down += (value - 16) * (place // SIZE[0])
    return across / weights, down / weights


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.3, 0.65)])
async def test_a_slow_zoom_moves_by_fractions_of_pixels(tmp_path: Path, place: tuple[float, float]) -> None:
    width, height = filming.card_size(SIZE)
    card = Image.new("RGB", (width, height))
    x, y = width * place[0], height * place[1]
    ImageDraw.Draw(card).ellipse((x - 12, y - 12, x + 12, y + 12), fill="white")
    luma = await filmed(tmp_path, [card], [Scene("", 0, FRAMES)], FRAMES)
    pixels = SIZE[0] * SIZE[1]
    seen = [middle(luma[number * pixels : (number + 1) * pixels]) for number in range(FRAMES)]
    for way in (0, 1):
        steps = [after[way] - before[way] for before, after in pairwise(seen)]
        usual = [
            sum(steps[max(0, number - 6) : number + 7]) / len(steps[max(0, number - 6) : number + 7])
            for number in range(len(steps))
        ]
        assert max(abs(step - mean) for step, mean in zip(steps, usual, strict=True)) < 0.4


async def test_scenes_are_seen_from_their_first_frame_to_their_last_and_fade_between(tmp_path: Path) -> None:
    greys = (40, 120, 220)
    scenes = [Scene("", 0, 30), Scene("", 20, 31), Scene("", 50, 22)]
    cards = [Image.new("RGB", filming.card_size(SIZE), (grey,) * 3) for grey in greys]
    luma = await filmed(tmp_path, cards, scenes, FRAMES)
    pixels = SIZE[0] * SIZE[1]
    assert len(luma) == FRAMES * pixels
    seen = [luma[number * pixels + pixels // 2] for number in range(FRAMES)]
    shown = [round(16 + grey * 219 / 255) for grey in greys]
    assert seen[:20] == pytest.approx([shown[0]] * 20, abs=3)
    assert seen[30:50] == pytest.approx([shown[1]] * 20, abs=3)
    assert seen[51:] == pytest.approx([shown[2]] * 21, abs=3)
    fade = seen[19:31]
    assert fade == sorted(fade)
    assert (fade[2] > shown[0] + 3, fade[-2] < shown[1] - 3) == (True, True)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=24), st.integers(24, 1440))
def test_pieces_are_the_whole_film_in_its_order(weights: list[float], frames: int) -> None:
    scenes = timed(["x"] * len(weights), weights, frames=frames, fps=24)
    pieces = filming.pieces_of(scenes)
    assert [piece.start for piece in pieces] == [0, *(piece.start + piece.frames for piece in pieces[:-1])]
    assert pieces[-1].start + pieces[-1].frames == frames
    assert {len(piece.scenes) for piece in pieces} <= {1, 2}
    assert sorted({scene for piece in pieces for scene in piece.scenes}) == list(range(len(scenes)))
