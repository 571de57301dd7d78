"""Sessions and analyses in words for pages."""

from collections.abc import Mapping
from typing import Any

from backend.coaching.models import AnalysisStatus, Discipline, View
from backend.coaching.schemas import AnalysisOut
from backend.core import web
from backend.jobs.words import STAGES

STAGES.update(
    reading="Reading the video",
    poses="Finding the athlete",
    motion="Measuring",
    pictures="Drawing",
    storing="Storing what was found",
)

VIEWS = {
    View.UNKNOWN: "Find out",
    View.SIDE: "From the side",
    View.FRONT: "From the front",
    View.BACK: "From behind",
    View.OTHER: "From elsewhere",
}
DISCIPLINES = {
    Discipline.GENERAL: "General",
    Discipline.BATTING: "Batting",
    Discipline.BOWLING: "Bowling",
    Discipline.GOLF: "Golf",
    Discipline.TENNIS: "Tennis",
}
PHASES = {"set_up": "Set-up", "load": "Load", "strike": "Strike", "follow_through": "Follow-through"}
#: How the athlete was chosen among several people.
CHOSEN = {"largest": "the largest is followed", "moving": "the one who moves most is followed"}
#: After a number, by the unit's name; what is not here follows as it is.
UNITS = {
    "deg": "°",
    "": "",
    "share": "",
    "ratio": "",
    "trunk": " ×\u00a0trunk",
    "trunk/s": " ×\u00a0trunk/s",
    "base": "",
}
#: With decimals nobody could tell apart in a film; others have two.
WHOLE = ("deg", "%")


def progress_words(analysis: AnalysisOut) -> str | None:
    """What an unfinished analysis is doing; None for one that has ended."""
    if analysis.status == AnalysisStatus.QUEUED:
        return "Waiting for its video"
    if analysis.status != AnalysisStatus.PROCESSING:
        return None
    if analysis.started_at is None:
        return "Waiting its turn"
    return STAGES.get(analysis.stage, "Working") if analysis.stage else "Starting"


def chosen_words(chosen_by: Any) -> str:
    return CHOSEN.get(str(chosen_by), "the one you chose is followed")


def view_word(view: str) -> str:
    return VIEWS[View(view)]


def discipline_word(discipline: str) -> str:
    return DISCIPLINES[Discipline(discipline)]


def phase_word(name: str) -> str:
    return PHASES.get(name, name.replace("_", " ").capitalize())


def amount(value: float, unit: str, *, signed: bool = False) -> str:
    """A measured value as people read it; `signed` tells a plus, too."""
    number = f"{value:{'+' if signed else ''}.{0 if unit in WHOLE else 2}f}"
    if not number.strip("+-0."):  # no less than nothing
        number = number.lstrip("+-")
    return f"{number.replace('-', '−')}{after_number(unit)}"


def after_number(unit: str) -> str:
    return UNITS.get(unit, f" {unit}")


def metric_word(name: str) -> str:
    """A metric's name where its label is not at hand."""
    return name.replace("_", " ").capitalize()


def measured(metric: Mapping[str, Any]) -> str:
    return amount(metric["value"], metric["unit"])


def cited(finding: Mapping[str, Any]) -> str:
    """The value and the threshold that a finding rests on."""
    threshold = finding["threshold"]
    than = {">": "above", ">=": "from", "<": "below", "<=": "up to"}.get(threshold["op"], threshold["op"])
    value, limit = (amount(each["value"], finding["unit"]) for each in (finding, threshold))
    return f"{value}, worth a look {than} {limit}. {threshold['source'].rstrip('.')}"


web.templates().filters.update(progress_words=progress_words, chosen_words=chosen_words)
web.templates().filters.update(phase_word=phase_word, measured=measured, cited=cited, amount=amount)
web.templates().filters.update(view_word=view_word, discipline_word=discipline_word)
web.templates().globals.update(session_views=VIEWS, session_disciplines=DISCIPLINES)
