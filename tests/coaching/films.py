"""Films of the mannequin, made once for all tests of a process; and an analysis of one, as the job runs it."""

import csv
import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.coaching.child import run_analysis
from backend.coaching.options import AnalysisOptions
from backend.coaching.readiness import coach_report
from tests.coaching import mannequin

_STAGES = {"portrait": mannequin.PORTRAIT, "landscape": mannequin.LANDSCAPE}
_KEPT = tempfile.TemporaryDirectory(prefix="mannequins-")

#: Why an analysis cannot be tried here; CI installs what it needs.
NOT_READY = coach_report().why


@cache
def film(kind: str) -> Path:
    """`portrait`, `landscape`, or one of them stored turned, as in `landscape-90`."""
    name, _, degrees = kind.partition("-")
    path = Path(_KEPT.name) / f"{kind}.mp4"
    return mannequin.turn(film(name), path, int(degrees)) if degrees else mannequin.film(path, _STAGES[name])


async def analysed(source: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """The summary; files are in the folder."""

    async def tell(stage: str, percent: float) -> None:
        return

    asked = AnalysisOptions.from_json(options)
    return await run_analysis(f"file:{source}", folder, asked, timeout_seconds=300, on_progress=tell)


def table(folder: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of `angles.csv`, without the phases; NaN where nothing is."""
    rows = list(csv.DictReader(io.StringIO((folder / "angles.csv").read_text())))
    names = [name for name in rows[0] if name != "phase"]
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def values(summary: dict[str, Any]) -> dict[str, Any]:
    """Metrics by name."""
    return {one["name"]: one for one in summary["metrics"]}
