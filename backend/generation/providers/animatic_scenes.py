"""What an animatic shows when: the prompt cut into scenes, one after the other, that fill its length. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: A scene is about so long, in seconds; where there are many sentences so short, and never shorter than the last.
USUAL_SECONDS, SHORT_SECONDS, LEAST_SECONDS = 3.5, 2.2, 1.0
FADE_SECONDS = 0.6
MOST_SCENES = 24
_FEW_WORDS = 4

_SENTENCE = re.compile(r"(?<=[.!?。！？…])\s+|\n+")
_CLAUSE = re.compile(r"(?<=[,;:—])\s+")


@dataclass(frozen=True)
class Scene:
    """One card: `text` is its caption; `start` and `frames` count frames; it overlaps the next one by its fade."""

    text: str
    start: int
    frames: int


def texts(prompt: str, seconds: float, pictures: int) -> list[str]:
    """The captions: one for each picture (empty where the words have run out), else as many as the length bears."""
    parts = [part for part in (" ".join(each.split()) for each in _SENTENCE.split(prompt)) if part]
    room = max(1, min(MOST_SCENES, int(seconds / LEAST_SECONDS)))
    usual = max(round(seconds / USUAL_SECONDS), min(len(parts), int(seconds / SHORT_SECONDS)))
    wanted = min(pictures, room) if pictures else max(1, min(room, usual))
    if len(parts) < wanted:
        parts = [clause.strip() for part in parts for clause in _CLAUSE.split(part) if clause.strip()]
    if len(parts) < wanted and not pictures:
        words = " ".join(parts).split()
        if len(words) >= wanted * _FEW_WORDS:
            parts = _even(words, wanted)
    parts = _joined(parts, wanted)
    return parts + [""] * (wanted - len(parts)) if pictures else parts or [""]


def timed(captions: Sequence[str], weights: Sequence[float], *, frames: int, fps: int) -> list[Scene]:
    """Scenes that fill exactly so many frames: each its share by weight, and none shorter than it can be read."""
    count = len(captions)
    fade = fade_frames(count, frames, fps)
    least = min(round(LEAST_SECONDS * fps), frames // count)
    spare = frames - least * count
    total = sum(weights) or float(count)
    shares = [weight if sum(weights) else 1.0 for weight in weights]
    ends, passed = [], 0.0
    for number, share in enumerate(shares, 1):
        passed += share
        ends.append(least * number + round(spare * passed / total))
    starts = [0, *ends[:-1]]
    return [
        Scene(text, start, min(frames, end + fade) - start)
        for text, start, end in zip(captions, starts, ends, strict=True)
    ]


def fade_frames(count: int, frames: int, fps: int) -> int:
    """How many frames a cross-fade takes: short films have short ones."""
    return min(round(FADE_SECONDS * fps), frames // (4 * count))


def _joined(parts: Sequence[str], wanted: int) -> list[str]:
    """No more than `wanted` texts: neighbours stand together, about as much in each."""
    if len(parts) <= wanted:
        return list(parts)
    total, passed = sum(len(part) for part in parts), 0
    groups: list[list[str]] = [[] for _ in range(wanted)]
    for number, part in enumerate(parts):
        place = min(wanted - 1, (passed + len(part) // 2) * wanted // max(1, total))
        place = max(place, wanted - (len(parts) - number))  # the last ones get one each rather than none
        groups[place].append(part)
        passed += len(part)
    return [" ".join(group) for group in groups if group]


def _even(words: Sequence[str], count: int) -> list[str]:
    cuts = [round(number * len(words) / count) for number in range(count + 1)]
    return [" ".join(words[begin:end]) for begin, end in pairwise(cuts)]
