"""Writers of small HDF5 files, each with the schema that its convention's own recording scripts write."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

LIBERO_WORDS = "pick up the black bowl on the stove and place it on the plate"


def append_step(group: h5py.Group, step: dict[str, Any]) -> None:
    """As DROID's recorder: every dataset grows by a row a step, without limit."""
    for key, value in step.items():
        if isinstance(value, dict):
            append_step(group.require_group(key), value)
            continue
        value = np.asarray(value)
        if key not in group:
            group.create_dataset(key, (1, *value.shape), maxshape=(None, *value.shape), dtype=value.dtype)
        else:
            group[key].resize(len(group[key]) + 1, axis=0)
        group[key][-1] = value


def droid_step(rng: np.random.Generator) -> dict[str, Any]:
    state = {
        "cartesian_position": rng.normal(size=6),
        "gripper_position": rng.uniform(),
        "joint_positions": rng.normal(size=7),
        "joint_velocities": rng.normal(size=7),
        "prev_controller_latency_ms": 1.5,
        "prev_command_successful": True,
    }
    return {
        "action": {
            "cartesian_position": rng.normal(size=6),
            "cartesian_velocity": rng.normal(size=6),
            "gripper_position": rng.uniform(),
            "gripper_velocity": rng.normal(),
            "joint_position": rng.normal(size=7),
            "joint_velocity": rng.uniform(-1, 1, size=7),
            "robot_state": state,
        },
        "observation": {
            "robot_state": state,
            "timestamp": {"cameras": {"123_frame_received": 1_690_000_000_000}, "robot_state": {"read_start": 5}},
            "camera_type": {"123": 0},
            "camera_extrinsics": {"123_left": rng.normal(size=6)},
            "controller_info": {"success": False, "movement_enabled": True},
        },
    }


def write_droid(folder: Path, frames: int = 6, *, seed: int = 0, metadata: dict[str, Any] | None = None) -> Path:
    """One episode's folder: ``trajectory.h5``, and ``metadata_*.json`` where given."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with h5py.File(folder / "trajectory.h5", "w") as file:
        file.attrs["current_task"] = "wipe the table"
        file.attrs["building"] = "lab"
        for _ in range(frames):
            append_step(file, droid_step(rng))
    if metadata is not None:
        (folder / f"metadata_LAB+{seed}.json").write_text(json.dumps(metadata))
    return folder


def droid_metadata(task: str = "put the cup in the sink") -> dict[str, Any]:
    serials = {"wrist_cam_serial": "111", "ext1_cam_serial": "222", "ext2_cam_serial": "333"}
    return {"uuid": "LAB+1", "current_task": task, "trajectory_length": 6, **serials}


def write_libero(
    path: Path, lengths: tuple[int, ...] = (5, 3), *, seed: int = 0, images: bool = True, words: Any = LIBERO_WORDS
) -> Path:
    """A task's file as LIBERO's ``create_dataset.py`` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_name"] = "Libero_Tabletop_Manipulation"
        data.attrs["problem_info"] = json.dumps({"problem_name": "p", "language_instruction": words})
        data.attrs["bddl_file_name"] = "libero/bddl_files/libero_spatial/pick_up_the_black_bowl.bddl"
        data.attrs["bddl_file_content"] = "(define (problem p))" * 50
        data.attrs["macros_image_convention"] = "opengl"
        kwargs = {"robots": ["Panda"], "control_freq": 20, "camera_heights": 8}
        data.attrs["env_args"] = json.dumps({"type": 1, "env_name": "Libero", "env_kwargs": kwargs})
        for i, frames in enumerate(lengths):
            write_demo(data.create_group(f"demo_{i}"), frames, rng, images=images)
        data.attrs["num_demos"], data.attrs["total"] = len(lengths), sum(lengths)
    return path


def write_demo(demo: h5py.Group, frames: int, rng: np.random.Generator, *, images: bool) -> None:
    obs = demo.create_group("obs")
    for key, width in (("gripper_states", 2), ("joint_states", 7), ("ee_states", 6), ("ee_pos", 3), ("ee_ori", 3)):
        obs[key] = rng.normal(size=(frames, width))
    for key in ("agentview_rgb", "eye_in_hand_rgb") if images else ():
        obs[key] = rng.integers(0, 256, size=(frames, 8, 10, 3), dtype=np.uint8)
    demo["actions"] = rng.uniform(-1, 1, size=(frames, 7))
    demo["states"] = rng.normal(size=(frames, 21))
    demo["robot_states"] = rng.normal(size=(frames, 9))
    demo["rewards"] = demo["dones"] = np.zeros(frames, dtype=np.uint8)
    demo.attrs["num_samples"] = frames
    demo.attrs["model_file"] = "<mujoco/>" * 30
    demo.attrs["init_state"] = rng.normal(size=21)


def write_robomimic(path: Path, lengths: tuple[int, ...] = (4,) * 12, *, env_kwargs: Any = None) -> Path:
    """Proprioception only, with filter keys ``train`` and ``valid``, as robomimic's low-dimensional files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": env_kwargs or {}})
        data.attrs["total"] = sum(lengths)
        for i, frames in enumerate(lengths):
            demo = data.create_group(f"demo_{i}")
            demo["actions"] = rng.uniform(-1, 1, size=(frames, 7)) + i
            demo["states"] = rng.normal(size=(frames, 32))
            demo["rewards"] = np.zeros(frames)
            for group in ("obs", "next_obs"):
                for key, width in (("eef_pos", 3), ("eef_quat", 4), ("gripper_qpos", 2), ("joint_pos", 7)):
                    demo[f"{group}/robot0_{key}"] = rng.normal(size=(frames, width))
            demo.attrs["num_samples"] = frames
        names = np.array([f"demo_{i}" for i in range(len(lengths))], dtype="S8")
        file["mask/train"] = names[2:]
        file["mask/valid"] = names[:2]
    return path


def write_aloha(
    path: Path,
    frames: int = 6,
    *,
    seed: int = 0,
    width: int = 14,
    cameras: tuple[str, ...] = ("cam_high", "cam_left_wrist"),
    sim: bool = False,
    compress: str = "",
) -> Path:
    """One episode as ALOHA's recorder writes it; ``compress``: "padded" JPEG rows, or "fixed" or "ragged" ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w", rdcc_nbytes=2**21) as root:
        root.attrs["sim"], root.attrs["compress"] = sim, bool(compress)
        obs = root.create_group("observations")
        image = obs.create_group("images")
        lengths = []
        for camera in cameras:
            pictures = np.kron(rng.integers(0, 256, size=(frames, 2, 3, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
            if not compress:
                image.create_dataset(camera, data=pictures, chunks=(1, *pictures.shape[1:]))
                continue
            encoded = [jpeg(picture) for picture in pictures]
            lengths.append([len(data) for data in encoded])
            store_encoded(image, camera, encoded, compress)
        for key in ("qpos", "qvel", "effort"):
            obs.create_dataset(key, data=rng.normal(size=(frames, width)))
        root.create_dataset("action", data=rng.normal(size=(frames, width)))
        if compress:
            root.create_dataset("compress_len", data=np.array(lengths, dtype=np.float32))
    return path


def store_encoded(group: h5py.Group, camera: str, encoded: list[bytes], how: str) -> None:
    longest = max(map(len, encoded))
    if how == "padded":
        rows = np.stack([np.frombuffer(data.ljust(longest, b"\0"), np.uint8) for data in encoded])
        group.create_dataset(camera, data=rows, chunks=(1, longest))
    elif how == "fixed":
        group.create_dataset(camera, data=np.array(encoded, dtype=f"S{longest}"))
    else:
        rows = group.create_dataset(camera, (len(encoded),), dtype=h5py.vlen_dtype(np.uint8))
        for i, data in enumerate(encoded):
            rows[i] = np.frombuffer(data, np.uint8)


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
