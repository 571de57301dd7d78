"""A video, from the file to everything that is told about it. Runs in a process of its own (`child.py`)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backend.coaching import model, people, pose, recording
from backend.coaching.frames import Frame, picture_size, use_frames
from backend.coaching.motion import ANALYSIS, Motion, angles_csv, describe, understand
from backend.coaching.options import AnalysisOptions
from backend.coaching.pictures import Made, Wanted, make_pictures
from backend.coaching.recompute import summary_bytes
from backend.config import settings
from backend.videos.media import probe
from backend.videos.media_info import Limits, MediaError, MediaInfo

#: Told the stage (reading, poses, motion, pictures) and how much of the whole is done, from 0 to 100.
Tell = Callable[[str, float], None]
Summary = dict[str, Any]

# Where in the whole each stage begins.
_POSES, _MOTION, _PICTURES, _END = 2.0, 70.0, 72.0, 100.0


async def analyse(
    source: str, folder: Path, options: AnalysisOptions, tell: Tell, *, timeout_seconds: float
) -> Summary:
    """Analyse the video at `source` (`file:` path or http(s) address) and write every file into `folder`.

    Returns what is in `summary.json`. Raises MediaError (duration_too_long: for this rate), ToolMissing, CoachError
    coach_unavailable.
    """
    tell("reading", 0)
    limits = Limits(max_duration_seconds=settings.max_duration_seconds)
    info = await probe(source, limits=limits)
    if not options.takes(info.duration):
        raise _too_long(options)
    seen, delegate = await _see(source, info, folder, options, limits, timeout_seconds, tell)
    tell("motion", _MOTION)
    motion = understand(seen.recording, options)
    told = describe(motion)
    (folder / "poses.jsonl.gz").write_bytes(recording.write(seen.recording, motion.drawn()))
    (folder / "angles.csv").write_bytes(angles_csv(motion))
    tell("pictures", _PICTURES)
    made = await _pictures(source, info, folder, options, motion, told, limits, timeout_seconds, tell)
    summary = {
        "version": 1,
        "made_by": _made_by(delegate),
        "options": options.to_json(),
        "video": {
            "duration": info.duration,
            "width": info.width,
            "height": info.height,
            "rotation": info.rotation,
            "fps": info.fps,
        },
        "athlete": seen.athlete(options),
        **told,
        "files": {"poses": "poses.jsonl.gz", "angles": "angles.csv", "overlay": made.overlay, "frames": made.frames},
    }
    (folder / "summary.json").write_bytes(summary_bytes(summary))
    tell("pictures", _END)
    return summary


def _too_long(options: AnalysisOptions) -> MediaError:
    rate = f"{options.sample_fps:g} frames a second{', each kept as a picture,' if options.include_frames else ''}"
    words = f"At {rate} at most {options.most_seconds / 60:.0f} minutes are analysed."
    return MediaError("duration_too_long", f"{words} Cut the video, or choose a lower rate.")


def _made_by(delegate: str) -> dict[str, Any]:
    path = model.model_file()
    return {
        "analysis": ANALYSIS,
        "mediapipe": pose.version(),
        "numpy": np.__version__,
        "model": {"name": path.name, "sha256": model.digest(path)},
        "delegate": delegate,
    }


class _Seen:
    """Everybody in the video, as a recording and as tracks."""

    def __init__(
        self, frames: list[tuple[float, list[pose.Detection]]], info: MediaInfo, options: AnalysisOptions
    ) -> None:
        times = [t for t, _ in frames]
        size, shown = picture_size(info), (info.width, info.height)
        tracks = people.follow(times, [found for _, found in frames])
        self.people = people.persons(tracks, step_seconds=1 / options.sample_fps)
        self.one = people.choose(self.people, options.athlete, frames=max(1, len(frames)), size=size)
        self.recording = recording.record(
            times, self.people, self.one, picture=size, shown=shown, sample_fps=options.sample_fps
        )

    def athlete(self, options: AnalysisOptions) -> dict[str, Any] | None:
        """Who was chosen among whom, in plain values."""
        if self.one is None:
            return None
        chosen = options.athlete if isinstance(options.athlete, str) else "point"
        share = len(self.one.frames) / max(1, len(self.recording.t))
        return {
            "id": self.one.id,
            "chosen_by": chosen,
            "seen_share": round(share, 4),
            "people": [_person(track, body) for track, body in zip(self.people, self.recording.bodies, strict=True)],
        }


def _person(track: people.Track, body: recording.Body) -> dict[str, Any]:
    bodies = [pose.Detection(points, world) for points, world in zip(body.points, body.world, strict=True)]
    return {
        "id": track.id,
        "frames": len(track.frames),
        "from": round(track.times[0], 4),
        "to": round(track.times[-1], 4),
        "box": [round(value, 1) for value in people.box(bodies[0])],
        "size": round(float(np.median([people.body_size(one) for one in bodies])), 1),
        "motion": round(track.motion, 3),
    }


async def _see(
    source: str,
    info: MediaInfo,
    folder: Path,
    options: AnalysisOptions,
    limits: Limits,
    timeout_seconds: float,
    tell: Tell,
) -> tuple[_Seen, str]:
    tell("poses", _POSES)
    landmarker = pose.Landmarker(model.model_file(), people=options.max_people, delegate=settings.pose_delegate)

    def use(frames: Iterator[Frame]) -> list[tuple[float, list[pose.Detection]]]:
        found: list[tuple[float, list[pose.Detection]]] = []
        for frame in frames:
            # What a file says of its length need not be so.
            if found and not options.takes(frame.t - found[0][0]):
                raise _too_long(options)
            found.append((frame.t, landmarker.see(frame.picture, frame.t)))
            if info.duration:
                tell("poses", min(_MOTION, _POSES + (_MOTION - _POSES) * frame.t / info.duration))
        return found

    try:
        found = await use_frames(
            source,
            info,
            folder,
            use,
            fps=options.sample_fps,
            size=picture_size(info),
            timeout_seconds=timeout_seconds,
            limits=limits,
        )
    finally:
        landmarker.close()
    return _Seen(found, info, options), landmarker.delegate


async def _pictures(
    source: str,
    info: MediaInfo,
    folder: Path,
    options: AnalysisOptions,
    motion: Motion,
    told: dict[str, Any],
    limits: Limits,
    timeout_seconds: float,
    tell: Tell,
) -> Made:
    """Make what was asked for, and name the pictures of the moments in `told`."""
    keys = {one["event"]: one["frame"] for one in told["key_frames"]}
    wanted = Wanted(options.overlay, options.include_frames, keys)
    if not wanted.anything:
        return Made(None, [], {})
    count = len(motion.recording.t)
    made = await make_pictures(
        source,
        info,
        folder,
        motion.drawn(),
        wanted,
        fps=options.sample_fps,
        most_bytes=options.most_bytes(info.duration),
        timeout_seconds=timeout_seconds,
        limits=limits,
        tell=lambda index: tell("pictures", min(99.0, _PICTURES + (99 - _PICTURES) * (index + 1) / count)),
    )
    for one in told["key_frames"]:
        one["file"] = made.keys.get(one["event"])
    return made
