"""How a prompt becomes scenes: all its words, in order, over exactly the whole length."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backend.generation.providers.animatic_scenes import texts, timed

PROMPT = "A keeper finds a bottle. She reads it by lamplight, while the storm grows. At dawn a ship appears."
WORDS = st.text(alphabet="ab .,!?漢\n", min_size=1, max_size=200)


def test_sentences_become_scenes_where_there_is_time() -> None:
    assert texts(PROMPT, 7, 0) == [
        "A keeper finds a bottle.",
        "She reads it by lamplight, while the storm grows.",
        "At dawn a ship appears.",
    ]
    assert texts(PROMPT, 2, 0) == [PROMPT]


def test_one_sentence_is_cut_where_it_pauses_or_else_in_the_middle() -> None:
    assert texts("By day the sea is calm, by night it roars", 7, 0) == ["By day the sea is calm,", "by night it roars"]
    assert texts("one two three four five six seven eight", 7, 0) == ["one two three four", "five six seven eight"]


def test_each_picture_has_a_scene_also_where_words_run_out() -> None:
    assert texts("One. Two.", 8, 4) == ["One.", "Two.", "", ""]
    assert len(texts("One.", 2, 9)) == 2


@given(WORDS, st.floats(1, 60), st.integers(0, 24))
def test_no_word_is_lost_and_none_is_moved(prompt: str, seconds: float, pictures: int) -> None:
    assert " ".join(texts(prompt, seconds, pictures)).split() == prompt.split()


@given(st.lists(st.floats(0, 30), min_size=1, max_size=24), st.integers(1, 1440))
def test_scenes_fill_the_film_to_the_frame(weights: list[float], frames: int) -> None:
    frames = max(frames, len(weights))
    scenes = timed(["x"] * len(weights), weights, frames=frames, fps=24)
    assert scenes[0].start == 0
    assert max(scene.start + scene.frames for scene in scenes) == frames
    for before, after in pairwise(scenes):
        assert before.start < after.start <= before.start + before.frames
    shown = [sum(s.start <= number < s.start + s.frames for s in scenes) for number in range(frames)]
    assert set(shown) <= {1, 2}
