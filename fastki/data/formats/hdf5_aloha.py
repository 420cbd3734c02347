"""ALOHA: one file an episode with ``action`` and ``observations/…``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastki.data.formats.hdf5_dataset import Hdf5Dataset, Place
from fastki.data.formats.hdf5_file import Hdf5File
from fastki.data.select import Key
from fastki.errors import DataError

_IMAGES = "observations/images/"
_PROMPTS = ("language_raw", "language_instruction", "task")


class AlohaDataset(Hdf5Dataset):
    """Episodes as the ALOHA scripts record them, images compressed or not."""

    title = "ALOHA"
    layout = "action, observations/qpos, observations/images/…"
    rate = 50.0
    per_frame = ("observations/",)
    # The lengths of the compressed images, in an order of cameras that isn't told; JPEG marks its own end.
    left_out = ("compress_len",)
    actions = "action"
    states = (("observations/qpos",),)

    @classmethod
    def matches(cls, file: Hdf5File) -> bool:
        return file.dataset("action") is not None and bool(file.children("observations"))

    def _episodes(self, file: Hdf5File) -> list[Place]:
        cameras = file.children(_IMAGES)
        notes: list[str] = []
        if any(_is_encoded(dataset) for _, dataset in file.datasets(_IMAGES)):
            notes.append(
                "compressed images are decoded as JPEG files are; look at one: if red and blue are swapped in it, "
                "they were swapped before the compression"
            )
        prompt = _prompt(file, notes)
        # The simulator's files don't name the robot, but no other one's have this camera.
        hint = "simulated aloha" if "top" in cameras and file.flag("sim") else ""
        return [Place(file.path, format="ALOHA HDF5", prompt=prompt, hint=hint, notes=tuple(notes))]

    def _key(self, file: Hdf5File, name: str, dataset: Any) -> Key:
        if name.startswith(_IMAGES) and _is_encoded(dataset):
            return Key(name, "image", (-1, -1, 3), str(dataset.dtype))
        return super()._key(file, name, dataset)


def _prompt(file: Hdf5File, notes: list[str]) -> str:
    """The instruction, which some recorders add in an attribute or a dataset."""
    for name in _PROMPTS:
        try:
            text = file.text("", name, notes) or "".join(file.texts(name)[:1])
        except DataError as error:
            notes.append(f"no prompt: {error}")
            continue
        if text:
            return text
    return ""


def _is_encoded(dataset: Any) -> bool:
    """Whether a row is a picture's file: bytes padded with zeros, or as many as it takes."""
    if len(dataset.shape) == 2:
        return bool(dataset.dtype == np.uint8)
    if dataset.dtype.kind == "O":
        return len(dataset.shape) == 1 and dataset.id.get_offset() is not None
    return len(dataset.shape) == 1 and dataset.dtype.kind == "S"
