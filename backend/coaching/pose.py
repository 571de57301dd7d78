"""Where the points of bodies are in a picture: MediaPipe's pose landmarker, and the only module that imports it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend.coaching.frames import Picture
from backend.coaching.options import CoachError
from backend.coaching.skeleton import COUNT

Delegate = Literal["cpu", "gpu"]
#: In step with what the model was made for; a lower one sees people in curtains.
CONFIDENCE = 0.5
# Of `mediapipe` only what draws and records imports these, which are not installed with it (pyproject.toml).
_NOT_NEEDED = ("cv2", "matplotlib", "matplotlib.pyplot")
_WITHOUT = (
    "Pose analysis is not installed on this server. `make run` installs it; "
    "by hand: pip install -r requirements-coach.lock, and a model (docs/operations.md)."
)


@dataclass(frozen=True)
class Detection:
    """One body: `points` (33, 3) are x and y in pixels of the picture and visibility from 0 to 1; `world` (33, 3) are
    metres about the middle of the hips, y down, z away from the camera, as the model guesses them."""

    points: NDArray[np.float64]
    world: NDArray[np.float64]


def installed() -> bool:
    """Whether the library is there; does not load it."""
    return find_spec("mediapipe") is not None


def version() -> str:
    """Of the library; empty where it is absent."""
    try:
        return metadata.version("mediapipe")
    except metadata.PackageNotFoundError:
        return ""


class Landmarker:
    """The model at work on the pictures of one video, in order. Not for several threads at once."""

    def __init__(self, model: Path, *, people: int, delegate: Literal["auto", "cpu", "gpu"]) -> None:
        """Raises CoachError coach_unavailable."""
        if not installed():
            raise CoachError("coach_unavailable", _WITHOUT)
        if not model.is_file():
            words = f"The pose model is missing: {model.name}. `make run` makes it (docs/operations.md)."
            raise CoachError("coach_unavailable", words)
        self._model = model
        # With one body the library smooths what it sees, by an amount that depends on the frame rate, and runs behind
        # fast movement. With two it does not, and tells us in passing who else is there.
        self._people = max(2, people)
        with _quiet():
            self._library = _library()
            self.delegate: Delegate = "gpu" if delegate == "gpu" or (delegate == "auto" and _has_gpu()) else "cpu"
            self._work = self._start(may_fall_back=delegate == "auto")
        self._last = -1

    def _start(self, *, may_fall_back: bool) -> Any:
        try:
            return self._create()
        except (RuntimeError, ValueError) as error:
            if self.delegate == "gpu" and may_fall_back:
                self.delegate = "cpu"
                return self._start(may_fall_back=False)
            words = "The pose model could not be loaded."
            raise CoachError("coach_unavailable", words, detail=str(error)[:2000]) from None

    def _create(self) -> Any:
        tasks, vision = self._library.tasks, self._library.tasks.vision
        device = tasks.BaseOptions.Delegate.GPU if self.delegate == "gpu" else tasks.BaseOptions.Delegate.CPU
        options = vision.PoseLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(self._model), delegate=device),
            running_mode=vision.RunningMode.VIDEO,
            num_poses=self._people,
            min_pose_detection_confidence=CONFIDENCE,
            min_pose_presence_confidence=CONFIDENCE,
            min_tracking_confidence=CONFIDENCE,
        )
        return vision.PoseLandmarker.create_from_options(options)

    def see(self, picture: Picture, t: float) -> list[Detection]:
        """Who is in the picture shown at `t` seconds, later than the one before."""
        milliseconds = max(self._last + 1, round(t * 1000))
        self._last = milliseconds
        image = self._library.Image(self._library.ImageFormat.SRGB, np.ascontiguousarray(picture))
        found = self._work.detect_for_video(image, milliseconds)
        height, width = picture.shape[:2]
        detections = []
        for points, world in zip(found.pose_landmarks, found.pose_world_landmarks, strict=True):
            flat = np.array([(one.x * width, one.y * height, one.visibility) for one in points], np.float64)
            metres = np.array([(one.x, one.y, one.z) for one in world], np.float64)
            if flat.shape == metres.shape == (COUNT, 3) and np.isfinite(flat).all() and np.isfinite(metres).all():
                detections.append(Detection(flat, metres))
        return detections

    def close(self) -> None:
        """Free what the library holds."""
        self._work.close()


def _library() -> Any:
    """MediaPipe, with empty modules where it imports what is not installed."""
    stand_ins = [name for name in _NOT_NEEDED if name not in sys.modules and find_spec(name.partition(".")[0]) is None]
    for name in stand_ins:
        sys.modules[name] = ModuleType(name)
    try:
        import mediapipe
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return mediapipe


def _has_gpu() -> bool:
    return any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/dri/renderD128"))


@contextmanager
def _quiet() -> Iterator[None]:
    """The library's C++ part writes its remarks to the error stream itself, before it can be told not to."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
