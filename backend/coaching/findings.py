"""What stands out in the numbers, against thresholds that are told along with it. A hint for a coach, no verdict."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backend.coaching.metrics import Metric
from backend.coaching.options import Discipline
from backend.coaching.scene import Scene

#: Where a threshold comes from when it is nobody's rule.
OURS = "A rule of thumb of this program."
ICC = "ICC Illegal Bowling Regulations: the elbow may straighten by 15° at most, measured in a laboratory."


@dataclass(frozen=True)
class Rule:
    """`metric` beyond `limit` is worth a look; `absolute` compares without the sign."""

    code: str
    metric: str
    op: Literal[">", "<"]
    limit: float
    text: str
    source: str = OURS
    absolute: bool = False
    disciplines: tuple[Discipline, ...] | None = None


RULES = (
    Rule("head_moves", "head_sway", ">", 0.12, "The head strays during the stroke."),
    Rule("head_drops", "head_drop", ">", 0.45, "The head moves up and down a lot during the stroke."),
    Rule("off_balance", "balance_at_impact", ">", 1.0, "The centre of mass is beyond the feet at impact.",
         absolute=True),
    Rule("set_up_off_centre", "balance_set_up", ">", 0.6, "The weight is mostly on one side in the set-up.",
         absolute=True),
    Rule("trunk_leans", "trunk_lean_at_impact", ">", 45.0, "The trunk leans far at impact.", absolute=True),
    Rule("narrow_stance", "stance_width", "<", 0.4, "The feet are close together in the set-up."),
    Rule("knees_uneven", "symmetry_knee", ">", 20.0, "One knee moves through a larger range than the other.",
         absolute=True, disciplines=("general",)),
    Rule("late_separation", "separation_lead", "<", 0.0, "Hips and shoulders are apart the most only after impact."),
    Rule("little_separation", "separation_peak", "<", 20.0, "Hips and shoulders turn almost as one.", absolute=True,
         disciplines=("golf", "batting", "tennis")),
    Rule("quick_back", "tempo", "<", 1.5, "The way back is hurried beside the way forward.", disciplines=("golf",)),
    Rule("front_arm_bent", "elbow_left_at_impact", ">", 45.0, "The left elbow is well bent at impact.",
         disciplines=("golf",)),
)  # fmt: skip

#: Extension of the bowling arm in the strike: the metric is made here, because it is of one discipline alone.
BOWLING_DEGREES = 15.0


def find(scene: Scene, metrics: list[Metric], discipline: Discipline) -> list[dict[str, Any]]:
    """Every rule that applies and is exceeded, in plain values, in the order of the table."""
    known = {one.definition.name: one for one in metrics}
    found = []
    for rule in RULES:
        one = known[rule.metric]
        if one.value is None or (rule.disciplines and discipline not in rule.disciplines):
            continue
        value = abs(one.value) if rule.absolute else one.value
        if value > rule.limit if rule.op == ">" else value < rule.limit:
            found.append(_finding(scene, rule, one.value, one.definition.unit, one.moment, one.frame))
    if discipline == "bowling" and (arm := _bowling_arm(scene)) is not None:
        found.append(arm)
    return found


def _finding(
    scene: Scene, rule: Rule, value: float, unit: str, moment: float | None, frame: int | None
) -> dict[str, Any]:
    return {
        "code": rule.code,
        "metric": rule.metric,
        "severity": "watch",
        "text": rule.text,
        "value": round(value, 4),
        "unit": unit,
        "threshold": {"op": rule.op, "value": rule.limit, "absolute": rule.absolute, "source": rule.source},
        "moment": None if moment is None else round(moment, 4),
        "frame": frame,
        "phase": scene.stroke.phase_at(moment) if scene.stroke and moment is not None else None,
    }


def _bowling_arm(scene: Scene) -> dict[str, Any] | None:
    """The elbow of the bowling arm straightening from the turn to impact, in the plane of the picture."""
    if scene.stroke is None or scene.stroke.side is None:
        return None
    name = f"elbow_{scene.stroke.side}"
    begin, end = scene.stroke.moments["strike"], scene.stroke.moments["impact"]
    inside = (scene.t >= begin - 1e-6) & (scene.t <= end + 1e-6)
    values, t = scene.values[name][inside], scene.t[inside]
    if len(values) < 3 or not np.isfinite(values).all():
        return None
    straightened = float(values.max() - values[values.argmax() :].min())
    if straightened <= BOWLING_DEGREES:
        return None
    rule = Rule("elbow_straightens", f"{name}_range", ">", BOWLING_DEGREES,
                "The bowling elbow straightens in the plane of the picture; one camera can only hint at it.",
                ICC)  # fmt: skip
    moment = float(t[values.argmax()])
    frame = int(abs(scene.t - moment).argmin())
    return _finding(scene, rule, straightened, "deg", moment, frame)
