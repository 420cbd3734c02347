"""Reading a dataset frame by frame, as training with LeRobot's library does: one row, and H actions from it on."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class PerFrame(ABC):
    """All frames of a folder of parquet files, one after the other."""

    title: str

    def __init__(self, frames_per_episode: int) -> None:
        self.frames_per_episode = frames_per_episode

    def item(self, frame: int, horizon: int) -> dict[str, Any]:
        """Frame ``frame`` with its ``horizon`` next actions ``[H, A]``, the last one repeated at an episode's end."""
        item = self.row(frame)
        last = frame - int(item["frame_index"]) + self.frames_per_episode - 1
        window = np.minimum(np.arange(frame, frame + horizon), last).tolist()
        return {**item, "action": self.actions(window)}

    @abstractmethod
    def row(self, frame: int) -> dict[str, Any]:
        """All columns of one row."""

    @abstractmethod
    def actions(self, frames: Sequence[int]) -> Any:
        """``[H, A]``, the actions of these rows."""


class HuggingFaceRows(PerFrame):
    """By the library ``datasets``, on which LeRobot's own reader is built, giving NumPy arrays in place of tensors."""

    title = "Hugging Face datasets, ds[i]"

    def __init__(self, root: Path, frames_per_episode: int, cache: Path) -> None:
        super().__init__(frames_per_episode)
        import datasets

        datasets.disable_progress_bars()
        files = [str(path) for path in sorted((root / "data").rglob("*.parquet"))]
        self._rows = datasets.Dataset.from_parquet(files, cache_dir=str(cache)).with_format("numpy")
        self._actions = self._rows.select_columns("action")

    def row(self, frame: int) -> dict[str, Any]:
        return self._rows[frame]

    def actions(self, frames: Sequence[int]) -> Any:
        return self._actions[frames]["action"]


class ArrowRows(PerFrame):
    """By pyarrow from a table in memory: what is left of the above where ``datasets`` is not installed."""

    title = "pyarrow, table.slice(i, 1) (datasets is not installed)"

    def __init__(self, root: Path, frames_per_episode: int, cache: Path) -> None:
        super().__init__(frames_per_episode)
        files = sorted((root / "data").rglob("*.parquet"))
        self._table = pa.concat_tables([pq.read_table(path) for path in files]).combine_chunks()

    def row(self, frame: int) -> dict[str, Any]:
        return {name: np.asarray(values[0]) for name, values in self._table.slice(frame, 1).to_pydict().items()}

    def actions(self, frames: Sequence[int]) -> Any:
        return np.asarray(self._table.column("action").take(pa.array(frames)).to_pylist())


def per_frame_reader() -> type[HuggingFaceRows] | type[ArrowRows]:
    """The library's way if it is installed, else the stand-in."""
    return HuggingFaceRows if importlib.util.find_spec("datasets") else ArrowRows
