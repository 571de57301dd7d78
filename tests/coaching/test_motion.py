"""What a movement comes to: held against movements known exactly, mirrored, enlarged, and seen less often or worse."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.coaching import recording
from backend.coaching.metrics import Metric
from backend.coaching.motion import Motion, angles_csv, describe, understand
from backend.coaching.options import AnalysisOptions, View
from backend.coaching.recompute import recompute
from backend.coaching.recording import Recording
from tests.coaching import mannequin
from tests.coaching.figures import exact, mirrored, without

#: A tenth, or so much in the unit: what a model's noise comes to in a small number.
FLOORS = {"deg": 3.0, "trunk": 0.02, "trunk/s": 0.1, "s": 0.1, "%": 5.0, "base": 0.05, "": 0.1}


def seen(shown: Recording, view: View = "unknown", **more: Any) -> Motion:
    return understand(shown, AnalysisOptions(view=view, **more))


def numbers(motion: Motion) -> dict[str, Metric]:
    return {one.definition.name: one for one in motion.metrics}


def values(motion: Motion) -> dict[str, float | None]:
    return {name: one.value for name, one in numbers(motion).items()}


def test_angles_are_those_that_were_drawn() -> None:
    motion = seen(exact(30))
    for joint in ("knee", "elbow"):
        for side in ("left", "right"):
            want = [mannequin.angle(t, joint, side) for t in motion.scene.t.tolist()]
            got = motion.scene.values[f"{joint}_{side}"]
            assert float(np.sqrt(((got - want) ** 2).mean())) < 0.6, (joint, side)


def test_phases_are_where_the_movement_was_made_to_have_them() -> None:
    for fps in (10.0, 30.0):
        told = describe(seen(exact(fps)))["moments"]
        assert told["load"] == pytest.approx(mannequin.LOAD, abs=2 / fps)
        assert told["strike"] == pytest.approx(mannequin.TURN, abs=2 / fps)
        assert told["end"] == pytest.approx(mannequin.REST, abs=2 / fps)


def test_the_peak_speed_is_that_of_the_drawn_wrist() -> None:
    def place(t: float) -> Any:
        at = mannequin.joints_at(t)
        return at["right_wrist"] - at["hips"]

    times = np.arange(0, 4, 0.001)
    fastest = max(math.dist(place(t), place(t + 0.001)) / 0.001 for t in times.tolist())
    found = numbers(seen(exact(30)))["wrist_speed_right_peak"]
    assert found.value == pytest.approx(fastest, rel=0.05)
    assert found.moment == pytest.approx(2.46, abs=0.07)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_numbers_agree_at_five_ten_and_thirty_pictures_a_second(noise: float) -> None:
    """Or are told to be too fast for the pictures there are."""
    by_rate = {fps: numbers(seen(exact(fps, noise=noise))) for fps in (5.0, 10.0, 30.0)}
    compared = 0
    for name, best in by_rate[30.0].items():
        for fps in (5.0, 10.0):
            other = by_rate[fps][name]
            if best.value is not None and other.value is not None:
                compared += 1
                allowed = max(0.1 * abs(best.value), FLOORS[best.definition.unit])
                assert abs(other.value - best.value) <= allowed, (name, fps, best.value, other.value)
            elif best.value is not None:
                assert other.reason, name
    assert compared > 20


def swapped(name: str) -> str:
    return name.replace("left", "?").replace("right", "left").replace("?", "right")


#: What changes its sign in a mirror, seen from the front.
SIGNED = ("trunk_lean_set_up", "trunk_lean_at_impact", "balance", "symmetry", "separation_peak")


@settings(max_examples=15)
@given(noise=st.floats(0, 1.5), seed=st.integers(0, 999), view=st.sampled_from(["front", "side", "other"]))
def test_a_mirror_swaps_left_and_right_and_changes_nothing_else(noise: float, seed: int, view: View) -> None:
    shown = exact(12.5, noise=noise, seed=seed)
    plain, mirror = values(seen(shown, view)), values(seen(mirrored(shown), view))
    for name, value in plain.items():
        other = mirror[swapped(name)]
        if value is None or other is None:
            assert value == other, name
        elif name.startswith("trunk_lean") and view != "front":
            assert abs(value) == pytest.approx(abs(other), abs=1e-6), name  # forwards, if it is known where that is
        else:
            assert other == pytest.approx(-value if name.startswith(SIGNED) else value, rel=1e-6, abs=1e-6), name


@settings(max_examples=15)
@given(scale=st.floats(0.2, 5), seed=st.integers(0, 999))
def test_size_in_the_picture_changes_nothing(scale: float, seed: int) -> None:
    plain, other = (values(seen(exact(12.5, noise=0.7, scale=factor, seed=seed))) for factor in (1.0, scale))
    assert {name: value is None for name, value in plain.items()} == {name: v is None for name, v in other.items()}
    for name, value in plain.items():
        if value is not None:
            assert other[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_symmetry_is_the_share_that_the_smaller_range_lacks() -> None:
    found = values(seen(exact(30), "front"))
    left, right, told = (found[name] for name in ("elbow_left_range", "elbow_right_range", "symmetry_elbow"))
    assert left is not None
    assert right is not None
    assert told is not None
    assert told == pytest.approx(100 * (left - right) / max(left, right), abs=0.01)
    assert -100 <= told <= 100


def test_phases_set_by_hand_where_none_were_found_reach_as_far_as_somebody_is_seen() -> None:
    shown = exact(10)
    body = shown.bodies[0]
    part = slice(2, 10)
    shorter = replace(body, frames=body.frames[part], points=body.points[part], world=body.world[part])
    options = AnalysisOptions(view="front")
    assert understand(replace(shown, bodies=(shorter,)), options).scene.stroke is None
    given = {"load": 0.4, "strike": 0.5, "follow_through": 0.7}
    stroke = understand(replace(shown, bodies=(shorter,)), options, given).scene.stroke
    assert stroke is not None
    assert [stroke.moments[name] for name in ("set_up", "end")] == pytest.approx([0.2, 0.9])


def test_what_the_view_does_not_show_is_none_with_the_reason() -> None:
    front, side = numbers(seen(exact(30), "front")), numbers(seen(exact(30), "side"))
    assert front["knee_left_range"].value is None
    assert "front" in (front["knee_left_range"].reason or "")
    assert side["knee_left_range"].value is not None
    assert side["stance_width"].value is None
    assert front["stance_width"].value == pytest.approx(0.98, abs=0.15)
    assert side["separation_peak"].value is None
    assert front["separation_peak"].value is not None


def test_what_was_hardly_seen_is_none_with_the_share_that_was() -> None:
    motion = seen(without(exact(10), "right_wrist", slice(0, 25)))
    one = numbers(motion)["elbow_right_range"]
    assert one.value is None
    assert one.coverage < 0.6
    assert "pictures that matter" in (one.reason or "")
    assert numbers(motion)["elbow_left_range"].value is not None


def test_a_short_gap_costs_nothing_and_a_long_one_stays_a_gap() -> None:
    short = seen(without(exact(10), "right_wrist", slice(8, 10)))
    assert np.isfinite(short.scene.values["elbow_right"]).all()
    long = seen(without(exact(10), "right_wrist", slice(3, 9)))
    assert np.isnan(long.scene.values["elbow_right"][3:9]).all()


def test_nobody_in_the_picture_is_an_answer_too() -> None:
    nobody = replace(exact(10), bodies=(), athlete=None)
    motion = seen(nobody)
    told = describe(motion)
    assert told["coverage"] == {"frames": 40, "with_pose": 0, "share": 0.0, "gaps": [{"from": 0.0, "to": 3.9}]}
    assert all(one["value"] is None and one["reason"] for one in told["metrics"])
    assert told["phases"] is None
    assert told["phases_reason"]
    assert motion.drawn() == [None] * 40
    assert len(angles_csv(motion).splitlines()) == 41


def test_every_number_says_what_it_is() -> None:
    for one in describe(seen(exact(30)))["metrics"]:
        assert one["definition"]
        assert one["method"]
        assert one["label"]
        assert (one["value"] is None) == bool(one["reason"])
        assert 0 <= one["confidence"] <= 1
        assert 0 <= one["coverage"] <= 1


def test_findings_cite_threshold_value_and_moment() -> None:
    leaning = seen(exact(30), "front")
    scene, found = leaning.scene, leaning.findings
    known = numbers(leaning)
    for one in found:
        metric = known[one["metric"]]
        value = abs(one["value"]) if one["threshold"]["absolute"] else one["value"]
        assert value > one["threshold"]["value"] if one["threshold"]["op"] == ">" else value < one["threshold"]["value"]
        assert one["value"] == pytest.approx(metric.value, abs=1e-4)
        assert one["threshold"]["source"]
        assert scene.stroke is not None
        assert one["phase"] == scene.stroke.phase_at(one["moment"])


def test_a_bowling_arm_that_straightens_is_found_and_the_rule_named() -> None:
    motion = seen(exact(30), "front", discipline="bowling")
    one = next(one for one in motion.findings if one["code"] == "elbow_straightens")
    assert one["value"] > 15
    assert "ICC" in one["threshold"]["source"]


def test_the_same_recording_gives_the_same_bytes() -> None:
    shown = exact(24, noise=1)
    first, again = seen(shown), seen(shown)
    assert json.dumps(describe(first)) == json.dumps(describe(again))
    assert recording.write(shown, first.drawn()) == recording.write(shown, again.drawn())
    assert angles_csv(first) == angles_csv(again)


def kept(shown: Recording) -> tuple[bytes, dict[str, Any]]:
    """The files of an analysis, as they lie in the storage."""
    options = AnalysisOptions()
    rounded = recording.read(recording.write(shown, [None] * len(shown.t)))
    motion = understand(rounded, options)
    return recording.write(rounded, motion.drawn()), {"options": options.to_json(), "kept": 1, **describe(motion)}


def test_a_recording_read_back_gives_the_same_summary() -> None:
    poses, summary = kept(exact(24, noise=1))
    again, _ = recompute(poses, summary, {})
    assert json.dumps(again) == json.dumps(summary)


def test_moments_set_by_hand_change_what_hangs_on_them() -> None:
    poses, summary = kept(exact(30))
    summary["key_frames"][0]["file"] = "key/set_up.jpg"
    after, table = recompute(poses, summary, {"impact": 2.6, "follow_through": 2.8})
    assert after["moments"]["impact"] == 2.6
    assert after["moments"]["load"] == summary["moments"]["load"]
    assert [one["source"] for one in after["phases"]] == ["found", "found", "found", "given"]
    before = {one["name"]: one for one in summary["metrics"]}
    changed = {one["name"]: one for one in after["metrics"]}
    assert changed["elbow_left_at_impact"]["moment"] == 2.6
    assert changed["elbow_right_range"] == before["elbow_right_range"]
    assert after["kept"] == 1
    assert after["key_frames"][0]["file"] == "key/set_up.jpg"
    assert b"strike" in table
    back, _ = recompute(poses, after, {})
    assert back["moments"] == summary["moments"]


def test_poses_that_are_none_are_refused() -> None:
    for data in (b"", b"no", recording.write(exact(5), [None] * 20)[:-40]):
        with pytest.raises(ValueError, match="poses"):
            recording.read(data)
