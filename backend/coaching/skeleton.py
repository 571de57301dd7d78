"""The points of a body as MediaPipe names them, and the bones between them. Left and right are the person's own."""

from itertools import pairwise

KEYPOINTS = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
    *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle", "left_heel", "right_heel", "left_foot_index", "right_foot_index"),
)
INDEX = {name: index for index, name in enumerate(KEYPOINTS)}
COUNT = len(KEYPOINTS)

SIDES = ("left", "right")
#: The twelve joints that angles are made of.
JOINTS = tuple(
    INDEX[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in SIDES
)


def side(name: str) -> tuple[int, int]:
    """Indexes of the left and the right one."""
    return INDEX[f"left_{name}"], INDEX[f"right_{name}"]


#: What must be there for a limb to be seen: its two far joints.
LIMBS = tuple(
    (INDEX[f"{one}_{near}"], INDEX[f"{one}_{far}"])
    for near, far in (("elbow", "wrist"), ("knee", "ankle"))
    for one in SIDES
)


def _chain(one: str, *names: str) -> list[tuple[int, int]]:
    return list(pairwise(INDEX[f"{one}_{name}"] for name in names))


#: Pairs of points that are drawn as lines, with the side they belong to.
BONES_BY_SIDE: dict[str, list[tuple[int, int]]] = {
    one: [
        *_chain(one, "shoulder", "elbow", "wrist", "index"),
        *_chain(one, "shoulder", "hip", "knee", "ankle", "heel", "foot_index", "ankle"),
    ]
    for one in SIDES
}
BONES: list[tuple[int, int]] = [side("shoulder"), side("hip"), *BONES_BY_SIDE["left"], *BONES_BY_SIDE["right"]]


def mirrored() -> list[int]:
    """The order of points that swaps left and right."""
    order = []
    for name in KEYPOINTS:
        if "left" in name:
            order.append(INDEX[name.replace("left", "right")])
        else:
            order.append(INDEX[name.replace("right", "left")])
    return order
