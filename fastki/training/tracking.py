"""Trackers beside the run's own files: TensorBoard, Weights & Biases. Each is told the same numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from fastki.config import to_plain
from fastki.data.extras import need
from fastki.training.config import TrainConfig
from fastki.training.hosts import first_process
from fastki.training.run_folder import RunFolder


class Tracker(Protocol):
    """Takes numbers by name."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files under ``RUN/tensorboard``; of a run that goes on, what it noted after ``step`` before is hidden."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        library = _tensorboard()
        self._writer = library.SummaryWriter(str(folder.path / "tensorboard"), purge_step=step + 1 if step else None)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of a project; goes on with the same run when training is resumed. Offline where WANDB_MODE says so."""

    def __init__(self, folder: RunFolder, config: TrainConfig, project: str) -> None:
        library = _wandb()
        kept = folder.path / "wandb_id.txt"
        known = kept.read_text(encoding="utf-8").strip() if kept.is_file() else None
        self._run: Any = library.init(
            project=project, dir=str(folder.path), config=to_plain(config), id=known, resume="allow"
        )
        kept.write_text(str(self._run.id), encoding="utf-8")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


def require_trackers(tensorboard: bool, wandb: str | None) -> None:
    """Fail before any work where a tracker that is asked for can't be had.

    Raises:
        DataError: its library is not installed; the message has the command that installs it.
    """
    if tensorboard:
        _tensorboard()
    if wandb is not None:
        _wandb()


@contextlib.contextmanager
def open_trackers(
    config: TrainConfig, folder: RunFolder, tensorboard: bool, wandb: str | None, *, step: int = 0
) -> Iterator[Sequence[Tracker]]:
    """Those that were asked for, in the first process alone; closed when the block ends.

    Args:
        config, folder: of the run.
        tensorboard: whether to write TensorBoard's files.
        wandb: a project of Weights & Biases.
        step: that the run goes on from.

    Raises:
        DataError: a library is not installed; the message has the command that installs it.
    """
    with contextlib.ExitStack() as stack:
        trackers: list[Tracker] = []
        if first_process():
            if tensorboard:
                trackers.append(TensorBoard(folder, step))
            if wandb is not None:
                trackers.append(WeightsAndBiases(folder, config, wandb))
        for tracker in trackers:
            stack.callback(tracker.close)
        yield trackers


def _tensorboard() -> Any:
    return need("tensorboardX", extra="tensorboard", what="--tensorboard", doing="logging with")


def _wandb() -> Any:
    return need("wandb", extra="wandb", what="--wandb", doing="logging with")
