"""A summary anew, after a person has set where the phases begin."""

import json
from collections.abc import Mapping
from typing import Any

from backend.coaching.motion import angles_csv, describe, understand
from backend.coaching.options import AnalysisOptions
from backend.coaching.phases import Stroke
from backend.coaching.recording import read


def recompute(
    poses_gz: bytes, summary: Mapping[str, Any], moments: Mapping[str, float]
) -> tuple[dict[str, Any], bytes]:
    """The summary and the table of angles with these moments (seconds) instead; those not named stay as they are.

    No moments at all: the phases are found anew. Pictures of moments that moved are no longer named. Raises ValueError
    in words where the order is wrong or a time lies outside.
    """
    recording = read(poses_gz)
    if not len(recording.t):
        raise ValueError("this video has no pictures")
    options = AnalysisOptions.from_json(summary["options"])
    before = None
    if moments and summary.get("moments"):
        before = Stroke(dict(summary["moments"]), summary.get("strike_side"), frozenset(summary.get("given", ())))
    motion = understand(recording, options, moments, before)
    told = describe(motion)
    pictures = {(one["event"], one["frame"]): one["file"] for one in summary.get("key_frames", ())}
    for one in told["key_frames"]:
        one["file"] = pictures.get((one["event"], one["frame"]))
    return {**summary, **told}, angles_csv(motion)


def summary_bytes(summary: Mapping[str, Any]) -> bytes:
    """What is in `summary.json`."""
    return (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode()
