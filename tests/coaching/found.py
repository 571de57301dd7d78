"""An analysis as the job leaves it, from the mannequin's exact joints: for pages that show one, without the model."""

import dataclasses
import json
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func

from backend.coaching.models import Analysis
from backend.coaching.motion import Motion, angles_csv, describe, understand
from backend.coaching.options import AnalysisOptions
from backend.coaching.recording import Body, Recording, write
from backend.core.db import transaction
from backend.core.storage import storage
from tests.coaching import figures, mannequin

STAGE = mannequin.LANDSCAPE
OPTIONS = AnalysisOptions(view="front")
MADE_BY = {"analysis": "1", "mediapipe": "1.2.2", "numpy": np.__version__, "delegate": "cpu"}


def recorded() -> Recording:
    """The stroke as it is in a film of STAGE."""
    exact = figures.exact(10)
    body = exact.bodies[0]
    points = body.points.copy()
    points[..., :2] -= np.array([figures.WIDTH / 2, figures.HEIGHT / 2])
    points[..., :2] = points[..., :2] / figures.TRUNK * STAGE.trunk + np.array(STAGE.hips)
    bodies = (Body(body.id, body.frames, points, body.world),)
    return dataclasses.replace(exact, width=STAGE.width, height=STAGE.height, bodies=bodies)


def summarised(motion: Motion) -> dict[str, Any]:
    person = {"frames": 40, "from": 0.0, "to": 3.9, "size": 300.0, "motion": 0.5}
    people = [
        {"id": 0, "box": [330.0, 60.0, 200.0, 330.0], **person},
        {"id": 1, "box": [620.0, 120.0, 120.0, 240.0], **person},
    ]
    told = describe(motion)
    for frame in told["key_frames"]:
        frame["file"] = f"key/{frame['event']}.jpg"
    return {
        "version": 1,
        "made_by": {**MADE_BY, "model": {"name": "pose.task", "sha256": "0" * 64}},
        "options": OPTIONS.to_json(),
        "video": {"duration": 4.0, "width": STAGE.width, "height": STAGE.height, "rotation": 0, "fps": 15.0},
        "athlete": {"id": 0, "chosen_by": "largest", "seen_share": 1.0, "people": people},
        **told,
        "files": {"poses": "poses.jsonl.gz", "angles": "angles.csv", "overlay": None, "frames": []},
    }


async def add_found(
    *, project_id: uuid.UUID, session_id: uuid.UUID, video_id: uuid.UUID, film: Path | None = None
) -> uuid.UUID:
    """A completed analysis of the video; with its film, with key frames. Answers its id."""
    motion = understand(recorded(), OPTIONS)
    summary = summarised(motion)
    made = uuid.uuid4()
    contents = {"poses.jsonl.gz": write(motion.recording, motion.drawn()), "angles.csv": angles_csv(motion)}
    with tempfile.TemporaryDirectory() as place:
        for frame in summary["key_frames"]:
            if film is None:
                frame["file"] = None
                continue
            picture = Path(place) / "frame.jpg"
            taken = ["-ss", str(frame["t"]), "-i", str(film), "-frames:v", "1", "-update", "1", str(picture)]
            subprocess.run(["ffmpeg", "-v", "error", "-y", *taken], check=True)
            contents[frame["file"]] = picture.read_bytes()
        contents["summary.json"] = json.dumps(summary).encode()
        files = {name: f"tests/analysis/{made}/{name}" for name in contents}
        for name, data in contents.items():
            path = Path(place) / "file"
            path.write_bytes(data)
            await storage.put_file(files[name], path, content_type="application/octet-stream")
    async with transaction() as session:
        session.add(
            Analysis(
                id=made,
                project_id=project_id,
                session_id=session_id,
                video_id=video_id,
                options=OPTIONS.to_json(),
                s3_bucket="bucket",
                s3_key="key",
                summary=summary,
                metrics={one["name"]: one["value"] for one in summary["metrics"] if one["value"] is not None},
                files=files,
                completed_at=func.now(),
            )
        )
    return made
