"""Schemas of RLDS datasets, and random episodes of them."""

from __future__ import annotations

import numpy as np
from tfds_writer import image, steps, tensor

DROID = steps(
    {
        "action": tensor("float64", 7),
        "action_dict": {
            "cartesian_position": tensor("float64", 6),
            "cartesian_velocity": tensor("float64", 6),
            "gripper_position": tensor("float64", 1),
            "gripper_velocity": tensor("float64", 1),
            "joint_position": tensor("float64", 7),
            "joint_velocity": tensor("float64", 7),
        },
        "discount": tensor("float32"),
        "language_instruction": tensor("string"),
        "language_instruction_2": tensor("string"),
        "language_instruction_3": tensor("string"),
        "observation": {
            "cartesian_position": tensor("float64", 6),
            "exterior_image_1_left": image(180, 320),
            "exterior_image_2_left": image(180, 320),
            "gripper_position": tensor("float64", 1),
            "joint_position": tensor("float64", 7),
            "wrist_image_left": image(180, 320),
        },
        "reward": tensor("float32"),
    },
    episode_metadata={"file_path": tensor("string"), "recording_folderpath": tensor("string")},
)


def random_value(spec, rng, frames):
    """Random steps of a description: arrays and lists with ``frames`` elements."""
    if isinstance(spec, dict):
        return {name: random_value(child, rng, frames) for name, child in spec.items()}
    if spec.kind == "image":
        height, width, _ = spec.shape
        ramp = np.linspace(0, 200, height * width * 3).reshape(height, width, 3)
        return np.stack([ramp + rng.integers(0, 50) for _ in range(frames)]).astype(np.uint8)
    if spec.dtype == "string":
        return ["do it"] * frames
    if spec.dtype in ("int32", "bool"):
        return rng.integers(-4 if spec.dtype == "int32" else 0, 2, (frames, *spec.shape))
    return rng.normal(size=(frames, *spec.shape)).astype(np.float32).astype(spec.dtype)


def flags(frames):
    first, last = np.arange(frames) == 0, np.arange(frames) == frames - 1
    return {"is_first": first, "is_last": last, "is_terminal": last}


def random_episode(spec, rng, frames):
    """One episode of ``spec``: its steps, and what its metadata hold."""
    inner = {name: child for name, child in spec.items() if name != "steps"}
    made = random_value(spec["steps"].inner, rng, frames) | flags(frames)
    others = {name: dict.fromkeys(child, "words") for name, child in inner.items()}
    return {"steps": made, **others}
