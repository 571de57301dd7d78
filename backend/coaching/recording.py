"""What was seen in a video: everybody's points in every picture taken, as they are kept in `poses.jsonl.gz`.

Values are rounded before anything is computed from them, so that a recording read back gives the same numbers.
"""

import gzip
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.coaching.people import Track
from backend.coaching.skeleton import BONES, COUNT, KEYPOINTS

Values = NDArray[np.float64]
VERSION = 1
#: Of gzip: the best takes three times as long for a fortieth less.
_COMPRESSION = 6
# A hundredth of a pixel, a thousandth of certainty, a tenth of a millimetre.
_POINT_PLACES, _CERTAINTY_PLACES, _WORLD_PLACES, _TIME_PLACES = 2, 3, 4, 4


@dataclass(frozen=True)
class Body:
    """One person's track: `frames` are indexes into the recording's times; points (n, 33, 3), world (n, 33, 3)."""

    id: int
    frames: NDArray[np.int64]
    points: Values
    world: Values


@dataclass(frozen=True)
class Recording:
    """Points are in pixels of the upright picture (`width`, `height`); `t` are seconds; `athlete` is a body's id."""

    width: int
    height: int
    sample_fps: float
    t: Values
    bodies: tuple[Body, ...]
    athlete: int | None

    @property
    def fps(self) -> float:
        """How many pictures there are a second, where there are any without a break."""
        steps = np.diff(self.t)
        if not len(steps):
            return self.sample_fps
        return float(1 / steps[steps <= 1.75 * np.median(steps)].mean())

    @property
    def body(self) -> Body | None:
        """The athlete."""
        return next((body for body in self.bodies if body.id == self.athlete), None)

    def somebody(self) -> NDArray[np.bool_]:
        """In which pictures anybody is."""
        there = np.zeros(len(self.t), bool)
        for body in self.bodies:
            there[body.frames] = True
        return there


def record(
    times: Sequence[float],
    people: Iterable[Track],
    athlete: Track | None,
    *,
    picture: tuple[int, int],
    shown: tuple[int, int],
    sample_fps: float,
) -> Recording:
    """Put tracks, in pixels of a `picture` of this size, into pixels of the picture as it is `shown`."""
    scale = np.array([shown[0] / picture[0], shown[1] / picture[1], 1.0])
    bodies = []
    for track in people:
        points = np.stack([one.points for one in track.seen]) * scale
        points[..., :2] = points[..., :2].round(_POINT_PLACES)
        points[..., 2] = points[..., 2].round(_CERTAINTY_PLACES)
        world = np.stack([one.world for one in track.seen]).round(_WORLD_PLACES)
        bodies.append(Body(track.id, np.array(track.frames, np.int64), points, world))
    t = np.array(times, np.float64).round(_TIME_PLACES)
    return Recording(*shown, sample_fps, t, tuple(bodies), athlete.id if athlete else None)


def write(recording: Recording, drawn: Sequence[dict[str, Any] | None]) -> bytes:
    """The compressed file; `drawn` is what is to be drawn of the athlete in each picture. The same bytes each time."""
    head = {
        "kind": "poses",
        "version": VERSION,
        "width": recording.width,
        "height": recording.height,
        "keypoints": list(KEYPOINTS),
        "bones": [list(bone) for bone in BONES],
        "sample_fps": recording.sample_fps,
        "athlete": recording.athlete,
    }
    there: list[list[tuple[Body, int]]] = [[] for _ in recording.t]
    for body in recording.bodies:
        for place, frame in enumerate(body.frames.tolist()):
            there[frame].append((body, place))
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=_COMPRESSION, mtime=0, filename="") as file:
        file.write(_line(head))
        for index, t in enumerate(recording.t.tolist()):
            people = [
                {"id": body.id, "points": body.points[place].tolist(), "world": body.world[place].tolist()}
                for body, place in there[index]
            ]
            file.write(_line({"t": t, "frame": index, "athlete": drawn[index], "people": people}))
    return buffer.getvalue()


def read(data: bytes) -> Recording:
    """What `write` wrote. Raises ValueError where it did not."""
    try:
        t: list[float] = []
        seen: dict[int, list[tuple[int, Values, Values]]] = {}
        # Line by line: as lists of numbers an hour would take gigabytes.
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            head = json.loads(file.readline())
            if head["kind"] != "poses" or head["version"] != VERSION:
                raise KeyError(head["version"])
            for frame in map(json.loads, file):
                t.append(frame["t"])
                for one in frame["people"]:
                    points, world = (np.array(one[name], np.float64) for name in ("points", "world"))
                    seen.setdefault(one["id"], []).append((frame["frame"], points, world))
        bodies = tuple(_body(number, rows) for number, rows in sorted(seen.items()))
        times = np.array(t, np.float64)
        return Recording(head["width"], head["height"], head["sample_fps"], times, bodies, head["athlete"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError("these are no poses that this version reads") from error


def _body(number: int, rows: list[tuple[int, Values, Values]]) -> Body:
    frames, points, world = zip(*rows, strict=True)
    shape = (len(rows), COUNT, 3)
    return Body(
        number,
        np.array(frames, np.int64),
        np.array(points, np.float64).reshape(shape),
        np.array(world, np.float64).reshape(shape),
    )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
