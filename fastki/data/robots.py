"""Robot presets: which keys are the state, the actions and the cameras, and what their dimensions mean.

A robot's recordings come in several conventions (RLDS, LeRobot, the lab's own HDF5), so a preset lists the
keys of each. The camera slots and their order are those of openpi's policies.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from fastki.errors import UsageError

Kind = Literal["position", "velocity", "difference"]
SLOTS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")


@dataclass(frozen=True)
class Vector:
    """The actions, or the state, of a robot under the keys of one convention.

    Attributes:
        keys: concatenated in this order.
        widths: how many numbers a frame each key holds.
        names: a name for each dimension of the whole.
        units: likewise; None where a dimension has none.
        grippers: the dimensions that open and close a gripper.
        kind: what the numbers are: positions to go to, velocities, or differences to make in one step.
    """

    keys: tuple[str, ...]
    widths: tuple[int, ...]
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    grippers: tuple[int, ...] = ()
    kind: Kind = "position"

    def __post_init__(self) -> None:
        if not len(self.keys) == len(self.widths) or not sum(self.widths) == len(self.names) == len(self.units):
            raise UsageError(f"the parts of a robot's vector {self.keys} do not fit together")

    def fits(self, widths: Mapping[str, int]) -> bool:
        """Whether data with ``widths`` numbers a frame under each key have this vector."""
        return all(widths.get(key) == width for key, width in zip(self.keys, self.widths, strict=True))


@dataclass(frozen=True)
class Robot:
    """What is known of a robot before any of its data are read.

    Attributes:
        name: as ``--robot`` takes it.
        title: for people.
        actions, states: in order of preference; the first that the data have counts.
        cameras: openpi's slot → cameras that may fill it, in order of preference; a slot without one is
            masked.
        words: found in a dataset's robot type or name, they mean this robot.
        marks: sets of keys; data that have all keys of one are this robot's.
        remark: what a user should know of it.
        fps: frames per second that its recordings have, where they do not say.
    """

    name: str
    title: str
    actions: tuple[Vector, ...]
    states: tuple[Vector, ...]
    cameras: Mapping[str, tuple[str, ...]]
    words: tuple[str, ...]
    marks: tuple[frozenset[str], ...] = ()
    remark: str = ""
    fps: float | None = None

    def slots(self, cameras: Collection[str]) -> dict[str, str | None]:
        """openpi's three slots, in order → the one of ``cameras`` that fills it, None for a masked slot."""
        return {slot: next((key for key in self.cameras.get(slot, ()) if key in cameras), None) for slot in SLOTS}


_JOINTS = tuple(f"joint_{i}" for i in range(1, 8))


def _droid(actions: tuple[str, str], *, positions: bool = False) -> Vector:
    """Seven joint velocities (or positions) and a gripper."""
    what, unit = ("position", "rad") if positions else ("velocity", "× 0.2 rad/step")
    return Vector(
        keys=actions,
        widths=(7, 1),
        names=(*(f"{joint} {what}" for joint in _JOINTS), "gripper position"),
        units=(*(unit for _ in _JOINTS), "fraction"),
        grippers=(7,),
        kind="position" if positions else "velocity",
    )


def _whole(vector: Vector, key: str) -> Vector:
    """The same dimensions under one key."""
    return Vector((key,), (sum(vector.widths),), vector.names, vector.units, vector.grippers, vector.kind)


_DROID_ACTIONS = tuple(
    _droid((f"{prefix}joint_velocity", f"{prefix}gripper_position"))
    for prefix in ("action_dict/", "action/", "action.")
)
_DROID_STATES = tuple(
    _droid(keys, positions=True)
    for keys in (
        ("observation/joint_position", "observation/gripper_position"),
        ("observation/robot_state/joint_positions", "observation/robot_state/gripper_position"),
        ("observation.state.joint_position", "observation.state.gripper_position"),
        ("joint_position", "gripper_position"),
    )
)

DROID = Robot(
    name="droid",
    title="DROID (Franka arm, Robotiq gripper)",
    actions=(*_DROID_ACTIONS, _whole(_DROID_ACTIONS[0], "actions")),
    states=_DROID_STATES,
    cameras={
        "base_0_rgb": (
            "observation/exterior_image_1_left",
            "observation.images.exterior_1_left",
            "observation.images.exterior_image_1_left",
            "exterior_image_1_left",
            "ext1",
        ),
        "left_wrist_0_rgb": (
            "observation/wrist_image_left",
            "observation.images.wrist_left",
            "observation.images.wrist_image_left",
            "wrist_image_left",
            "wrist",
        ),
    },
    words=("droid",),
    marks=(
        frozenset({"action_dict/joint_velocity"}),
        frozenset({"action/joint_velocity", "observation/robot_state/joint_positions"}),
        frozenset({"action.joint_velocity", "action.gripper_position"}),
        frozenset({"exterior_image_1_left", "wrist_image_left", "joint_position"}),
    ),
    remark="1 of a joint velocity is DROID's fastest, 0.2 rad in a step of 1/15 s",
    fps=15.0,
)

_ALOHA_NAMES = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")


def _aloha(key: str) -> Vector:
    """Two arms of six joints and a gripper."""
    return Vector(
        keys=(key,),
        widths=(14,),
        names=tuple(f"{side}_{name}" for side in ("left", "right") for name in _ALOHA_NAMES),
        units=(*["rad"] * 6, "fraction") * 2,
        grippers=(6, 13),
    )


def _aloha_cameras(camera: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{camera}" for prefix in ("observations/images/", "observation.images.", "images/", ""))


ALOHA = Robot(
    name="aloha",
    title="ALOHA (two ViperX arms)",
    actions=(_aloha("action"), _aloha("actions")),
    states=(_aloha("observations/qpos"), _aloha("observation.state"), _aloha("state"), _aloha("observation/state")),
    cameras={
        "base_0_rgb": (*_aloha_cameras("cam_high"), *_aloha_cameras("top")),
        "left_wrist_0_rgb": _aloha_cameras("cam_left_wrist"),
        "right_wrist_0_rgb": _aloha_cameras("cam_right_wrist"),
    },
    words=("aloha", "trossen", "vx300"),
    marks=(
        frozenset({"observations/qpos", "observations/images/cam_high"}),
        frozenset({"observation.images.cam_high", "observation.images.cam_left_wrist"}),
    ),
)


def _end_effector(key: str) -> Vector:
    """Steps of the hand in space, and the gripper."""
    names = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    return Vector((key,), (7,), names, (None,) * 7, grippers=(6,), kind="difference")


_LIBERO_STATE = ("x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_1", "finger_2")
_LIBERO_UNITS = ("m", "m", "m", "rad", "rad", "rad", "m", "m")

LIBERO = Robot(
    name="libero",
    title="LIBERO (simulated Franka arm)",
    actions=(_end_effector("actions"), _end_effector("action")),
    states=(
        Vector(("obs/ee_states", "obs/gripper_states"), (6, 2), _LIBERO_STATE, _LIBERO_UNITS, (6, 7)),
        *(
            Vector((key,), (8,), _LIBERO_STATE, _LIBERO_UNITS, (6, 7))
            for key in ("state", "observation.state", "observation/state")
        ),
    ),
    cameras={
        "base_0_rgb": ("obs/agentview_rgb", "observation.images.image", "observation/image", "image"),
        "left_wrist_0_rgb": (
            "obs/eye_in_hand_rgb",
            "observation.images.image2",
            "observation.images.wrist_image",
            "observation/wrist_image",
            "wrist_image",
        ),
    },
    words=("libero",),
    marks=(frozenset({"obs/agentview_rgb", "obs/eye_in_hand_rgb"}), frozenset({"image", "wrist_image", "state"})),
    remark="actions are the controller's inputs, -1 to 1; 1 is 5 cm or 0.5 rad a step; gripper -1 opens, 1 closes",
)

_SO101_NAMES = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


def _so101(key: str) -> Vector:
    names = tuple(f"{name}.pos" for name in _SO101_NAMES)
    return Vector((key,), (6,), names, (*["deg"] * 5, "%"), grippers=(5,))


SO101 = Robot(
    name="so101",
    title="SO-100 or SO-101 arm",
    actions=(_so101("action"), _so101("actions")),
    states=(_so101("observation.state"), _so101("state")),
    cameras={
        "base_0_rgb": tuple(f"observation.images.{name}" for name in ("front", "top", "up", "base", "side", "main")),
        "left_wrist_0_rgb": tuple(f"observation.images.{name}" for name in ("wrist", "gripper", "hand", "handeye")),
    },
    words=("so101", "so100", "so_101", "so_100", "so-101", "so-100"),
    remark="joints in degrees where the arm was set to them (use_degrees), else in percent of their range",
)

BRIDGE = Robot(
    name="bridge",
    title="BridgeData (WidowX arm)",
    actions=tuple(
        Vector(
            vector.keys,
            vector.widths,
            vector.names,
            ("m", "m", "m", "rad", "rad", "rad", "fraction"),
            (6,),
            vector.kind,
        )
        for vector in (_end_effector("action"), _end_effector("actions"))
    ),
    states=tuple(
        Vector(
            (key,),
            (7,),
            ("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
            ("m", "m", "m", "rad", "rad", "rad", "fraction"),
            (6,),
        )
        for key in ("observation/state", "observation.state", "state")
    ),
    cameras={
        "base_0_rgb": ("observation/image_0", "observation.images.image_0", "observation/image", "image_0"),
        "left_wrist_0_rgb": ("observation/image_3", "observation.images.image_3", "image_3"),
    },
    words=("bridge", "widowx"),
    remark="actions are differences of one step, gripper 0 closed to 1 open",
    fps=5.0,
)


def _metaworld_cameras(*names: str) -> tuple[str, ...]:
    return tuple(f"observation.images.{name}" for name in names)


METAWORLD = Robot(
    name="metaworld",
    title="Meta-World (simulated Sawyer arm)",
    actions=(Vector(("action",), (4,), ("x", "y", "z", "gripper"), (None,) * 4, (3,), "difference"),),
    states=(Vector(("observation.state",), (4,), ("x", "y", "z", "gripper"), ("m", "m", "m", "fraction"), (3,)),),
    cameras={
        "base_0_rgb": _metaworld_cameras("front", "corner2", "corner", "corner3", "corner4", "topview"),
        "left_wrist_0_rgb": _metaworld_cameras("gripperPOV", "behindGripper"),
        "right_wrist_0_rgb": _metaworld_cameras("side"),
    },
    words=("metaworld", "meta-world"),
    remark="actions are the controller's inputs, -1 to 1; 1 moves the hand's target by 1 cm in each of the simulator's "
    "80 steps a second, or closes the gripper",
)

ROBOTS: Mapping[str, Robot] = {robot.name: robot for robot in (DROID, ALOHA, LIBERO, SO101, BRIDGE, METAWORLD)}


def robot_preset(name: str) -> Robot | None:
    """The preset ``name``; None for "none".

    Raises:
        UsageError: an unknown name; the message lists the known ones.
    """
    if name == "none":
        return None
    if name not in ROBOTS:
        near = difflib.get_close_matches(name, ROBOTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use {', '.join(ROBOTS)}, auto or none"
        raise UsageError(f"--robot {name!r} is unknown: {hint}")
    return ROBOTS[name]


def guess_robot(widths: Mapping[str, int], cameras: Collection[str], hint: str) -> tuple[Robot | None, str]:
    """The robot whose data these look like, and why; None, and why not.

    Args:
        widths: numeric key → numbers a frame.
        cameras: the image keys.
        hint: the dataset's robot type and name, as far as it has them.
    """
    keys = {*widths, *cameras}
    for robot in ROBOTS.values():
        if not any(vector.fits(widths) for vector in robot.actions):
            continue
        word = next((word for word in robot.words if word in hint.lower()), None)
        if word is not None:
            return robot, f"its name or robot type has {word!r} in it, and its keys fit"
        for mark in robot.marks:
            if mark <= keys:
                return robot, f"it has {', '.join(sorted(mark))}"
    return None, "neither its names nor its keys are those of a preset"
